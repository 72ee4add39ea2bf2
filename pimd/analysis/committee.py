"""The error of an average that a committee of potentials makes: reweighting and cumulants.

Dynamics was run with one potential V; the members V_i would have given other averages. With

    h_i = beta/P sum_b [V_i(q_b) - V(q_b)]          over all beads, kT

    direct      <a>_i = <a exp(-h_i)> / <exp(-h_i)>           (G. M. Torrie and J. P. Valleau, 1977)
    cumulant    <a>_i ~ <a> - [<a h_i> - <a><h_i>]            (CEA: M. Ceriotti, G. A. R. Brain, O.
                        Riordan and D. E. Manolopoulos, Proc. R. Soc. A 468, 2 (2012))

and, where the observable too has members a_j, X_ji = <a_j>_i. The spread over all X is the model's
error (G. Imbalzano et al., J. Chem. Phys. 154, 074102 (2021)):

    sigma^2 = [M_V (M_a - 1) sigma_a^2 + (M_V - 1) M_a sigma_aV^2] / (M_V M_a - 1)
            = Var(X), all with ddof 1

sigma_a: spread over j of the averages; sigma_aV: over i, averaged over j. Var(h) grows with the
number of atoms, and the direct average dies with exp(Var h): so it is taken for Var(h) <= 1/2 only,
and the cumulant, whose next term is <da (dh)^2>/2, otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pimd.analysis.statistics import TooFewSamples, average, bootstrap
from pimd.analysis.weights import kish, normalised
from pimd.analysis.work import reduced_work

__all__ = ["CommitteeAverage", "committee_average", "exponents"]

DIRECT = 0.5
"""Variance of h up to which averages are reweighted directly."""
TOO_WIDE = 20.0
FEWEST_EFFECTIVE = 100.0
N_BOOTSTRAP = 100

Reweighting = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(n_observables, n_samples), (n_potentials, n_samples) -> (n_observables, n_potentials)."""


@dataclass(frozen=True)
class CommitteeAverage:
    """An average with the error of the model and that of the sampling.

    Attributes:
        mean: over the samples, and over members of the observable.
        model_error: spread over members of potential and observable, ddof 1.
        statistical_error: standard error of `mean`; NaN where there are too few samples.
        sigma_observable: spread over the members of the observable; 0 for one.
        sigma_potential: spread over those of the potential.
        matrix: (n_observables, n_potentials) <a_j>_i.
        second_order: (n_observables, n_potentials) <da (dh)^2>/2, the term left out by CEA.
        variances: (n_potentials,) of h.
        efficiency: (n_potentials,) Kish effective sample size over the number of samples.
        method: `direct` or `cumulant`.
        warnings: what should make a reader careful, one line each.
    """

    mean: float
    model_error: float
    statistical_error: float
    sigma_observable: float
    sigma_potential: float
    matrix: np.ndarray
    second_order: np.ndarray
    variances: np.ndarray
    efficiency: np.ndarray
    method: str
    warnings: tuple[str, ...] = ()


def exponents(
    members: np.ndarray, sampled: np.ndarray, temperature: float, *, recentre: bool = False
) -> np.ndarray:
    """h of each member and sample, (n_members, n_samples), kT.

    Args:
        members: (n_members, n_samples, n_beads) eV, calibrated.
        sampled: (n_samples, n_beads) eV, of the potential that moved the beads: the committee's
            mean, a head of its own, or a weighted baseline.
        temperature: K.
        recentre: move the members so that their mean is what was sampled.

    Raises:
        ValueError: shapes that do not belong together, or energies that are not finite.
    """
    v, base = np.asarray(members, dtype=float), np.asarray(sampled, dtype=float)
    if v.ndim != 3 or v.shape[1:] != base.shape or len(v) < 2 or not v.size:
        raise ValueError(
            "expected energies of at least 2 members, (n_members, n_samples, n_beads), and of what "
            f"was sampled, (n_samples, n_beads), got {v.shape} and {base.shape}"
        )
    h = np.array([reduced_work(base, member, temperature) for member in v])
    return h - h.mean(axis=0) if recentre else h


def committee_average(
    observable: np.ndarray, h: np.ndarray, *, method: str | None = None, seed: int = 0
) -> CommitteeAverage:
    """Average of an observable, with the committee's error.

    Args:
        observable: (n_samples,), or (n_observables, n_samples) for an observable with members.
        h: (n_potentials, n_samples) of `exponents`, in the order of time.
        method: `direct` or `cumulant`; None: by the variance of h.
        seed: of the bootstrap.

    Raises:
        ValueError: arrays that do not belong together, or a direct average of a few samples.
    """
    a = np.atleast_2d(np.asarray(observable, dtype=float))
    h = np.asarray(h, dtype=float)
    if a.ndim != 2 or h.ndim != 2 or a.shape[1] != h.shape[1] or len(h) < 2:
        raise ValueError(
            "expected an observable, (n_samples,), and h of at least 2 members, (n_members, "
            f"n_samples), got {np.shape(observable)} and {h.shape}"
        )
    variances = h.var(axis=1, ddof=1)
    efficiency = kish(-h) / h.shape[1]
    effective = float(efficiency.min()) * h.shape[1]
    if method is None:
        small = variances.max() <= DIRECT and effective >= FEWEST_EFFECTIVE
        method = "direct" if small else "cumulant"
    if method not in ("direct", "cumulant"):
        raise ValueError(f"method is 'direct' or 'cumulant', got '{method}'")
    if method == "direct" and effective < FEWEST_EFFECTIVE:
        raise ValueError(
            f"a direct average would rest on {effective:.0f} samples: use the cumulant"
        )
    reweight = _direct if method == "direct" else _cumulant
    matrix = reweight(a, h)
    second = _second_order(a, h)
    means = a.mean(axis=1)
    found = average(a.mean(axis=0), start=0)
    of_observable = float(means.std(ddof=1)) if len(a) > 1 else 0.0
    of_potential = float(np.sqrt(matrix.var(axis=1, ddof=1).mean()))
    careful = list(found.warnings)
    careful += _cautions(method, variances, matrix - means[:, None], second)
    careful += _noise(a, h, reweight, of_potential, seed)
    return CommitteeAverage(
        mean=found.mean, model_error=float(matrix.std(ddof=1)), statistical_error=found.error,
        sigma_observable=of_observable, sigma_potential=of_potential, matrix=matrix,
        second_order=second, variances=variances, efficiency=efficiency, method=method,
        warnings=tuple(careful),
    )  # fmt: skip


def _direct(a: np.ndarray, h: np.ndarray) -> np.ndarray:
    found: np.ndarray = a @ normalised(-h).T
    return found


def _cumulant(a: np.ndarray, h: np.ndarray) -> np.ndarray:
    mean = a.mean(axis=1, keepdims=True)
    found: np.ndarray = mean - (a - mean) @ (h - h.mean(axis=1, keepdims=True)).T / a.shape[1]
    return found


def _second_order(a: np.ndarray, h: np.ndarray) -> np.ndarray:
    da, dh = a - a.mean(axis=1, keepdims=True), h - h.mean(axis=1, keepdims=True)
    found: np.ndarray = 0.5 * da @ np.square(dh).T / a.shape[1]
    return found


def _cautions(
    method: str, variances: np.ndarray, shifts: np.ndarray, second: np.ndarray
) -> list[str]:
    careful = []
    if variances.max() > TOO_WIDE:
        careful.append(
            f"Var(h) is {variances.max():.0f}: members too far apart for either average; a better "
            "potential, or a smaller system, is needed"
        )
    if method == "cumulant" and np.abs(second).max() > 0.5 * np.abs(shifts).max():
        careful.append(
            f"the term that the cumulant expansion leaves out ({np.abs(second).max():.2g}) is not "
            f"small against what it says ({np.abs(shifts).max():.2g})"
        )
    return careful


def _noise(
    a: np.ndarray, h: np.ndarray, reweight: Reweighting, of_potential: float, seed: int
) -> list[str]:
    """Whether the shifts are more than statistics."""

    def shifts(columns: np.ndarray) -> np.ndarray:
        observables, exponent = columns[:, : len(a)].T, columns[:, len(a) :].T
        return reweight(observables, exponent) - observables.mean(axis=1, keepdims=True)

    try:
        values = bootstrap(shifts, np.concatenate([a, h]).T, n=N_BOOTSTRAP, seed=seed)
    except TooFewSamples as error:
        return [f"the model's error cannot be told from statistics: {error}"]
    noise = float(np.sqrt(values.var(axis=0, ddof=1).mean()))
    if noise > 0.5 * of_potential:
        return [
            f"the model's error ({of_potential:.2g}) is not well above its statistical error "
            f"({noise:.2g}): sample longer"
        ]
    return []
