"""The error of an average that a committee of potentials makes, beside that of the sampling.

X_ji = <a_j>_i is the average of the observable of member j in the ensemble of potential i, from
`pimd.analysis.reweighting`. The spread over all X is the model's error (G. Imbalzano et al., J.
Chem. Phys. 154, 074102 (2021)):

    sigma^2 = [M_V (M_a - 1) sigma_a^2 + (M_V - 1) M_a sigma_aV^2] / (M_V M_a - 1)
            = Var(X), all with ddof 1

sigma_a: spread over j of the averages; sigma_aV: over i, averaged over j. Where the two
committees are one and the same, as for the potential energy itself, member i's observable belongs
to member i's ensemble, and the spread is that of the diagonal X_ii: the mean potential energy of
an oscillator is kT/2 whatever its force constant, while X_ji/X_ii is k_j/k_i.

The spread of M members is itself known to sqrt(1/c4(M)^2 - 1) only, 42 % for 4 and 27 % for 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pimd.analysis.reweighting import (
    Reweighting,
    block_length,
    by_cumulant,
    cautions,
    choose,
    directly,
    effective_samples,
    exponents,
    is_reliable,
    second_order,
    standard_errors,
)
from pimd.analysis.statistics import TooFewSamples, average, inefficiency
from pimd.analysis.weights import kish

__all__ = ["CommitteeAverage", "committee_average", "exponents", "uncertainty_of_spread"]


@dataclass(frozen=True)
class CommitteeAverage:
    """An average with the error of the model and that of the sampling.

    Attributes:
        mean: over the samples as they were drawn, and over members of the observable.
        committee_mean: over the averages of the members; the same to first order where the
            members are centred on what was sampled.
        model_error: spread over members of potential and observable, ddof 1.
        statistical_error: standard error of `mean`; NaN where there are too few samples.
        noise: statistical error of the members' shifts, of which `model_error` is the spread; NaN
            where there are too few samples.
        sigma_observable: spread over the members of the observable; 0 for one.
        sigma_potential: spread over those of the potential.
        matrix: (n_observables, n_potentials) <a_j>_i.
        second_order: (n_observables, n_potentials) <da (dh)^2>/2, the term left out by CEA.
        variances: (n_potentials,) of h.
        efficiency: (n_potentials,) Kish effective sample size over the number of samples.
        n_effective: (n_potentials,) Kish samples over the inefficiency of h.
        n_samples: in `mean`.
        of_sampling: independent samples in `mean`.
        direct_error, cumulant_error: the model's error by either method; NaN for the direct one
            where it would rest on too few samples.
        method: `direct` or `cumulant`, whichever the other attributes are of.
        paired: whether member i of the observable goes with member i of the potential alone.
        resolved: whether the model's error is well above its statistical error.
        warnings: what should make a reader careful, one line each.
    """

    mean: float
    committee_mean: float
    model_error: float
    statistical_error: float
    noise: float
    sigma_observable: float
    sigma_potential: float
    matrix: np.ndarray
    second_order: np.ndarray
    variances: np.ndarray
    efficiency: np.ndarray
    n_effective: np.ndarray
    n_samples: int
    of_sampling: float
    direct_error: float
    cumulant_error: float
    method: str
    paired: bool
    resolved: bool
    warnings: tuple[str, ...] = ()

    @property
    def shifts(self) -> np.ndarray:
        """(n_potentials,) average of each member less `mean`."""
        rows = np.diag(self.matrix) if self.paired else self.matrix.mean(axis=0)
        found: np.ndarray = rows - self.mean
        return found


def committee_average(
    observable: np.ndarray,
    h: np.ndarray,
    *,
    method: str | None = None,
    paired: bool = False,
    seed: int = 0,
) -> CommitteeAverage:
    """Average of an observable, with the committee's error.

    Args:
        observable: (n_samples,), or (n_observables, n_samples) for an observable with members.
        h: (n_potentials, n_samples) of `exponents`, in the order of time.
        method: `direct` or `cumulant`; None: by the variance of h.
        paired: the members of observable and potential are the same models, in the same order.
        seed: of the bootstrap.

    Raises:
        ValueError: arrays that do not belong together, or a direct average of a few samples.
    """
    a, h = _checked(observable, h, paired)
    g = np.array([inefficiency(one) for one in h])
    effective = effective_samples(h, g)
    method, reweight = choose(method, h, effective)
    matrix, second = reweight(a, h), second_order(a, h)
    means = a.mean(axis=1)
    found = average(a.mean(axis=0), start=0)
    model = _spread(matrix, paired)
    of_potential = float(np.sqrt(matrix.var(axis=1, ddof=1).mean()))
    block = block_length(np.append(g, found.inefficiency))
    noise, said = _noise(reweight, a, h, paired, block, seed)
    shown = matrix - means[:, None], second
    if paired:  # what all members share is no part of their spread
        shown = _deviations(np.diag(matrix)), _deviations(np.diag(second))
    careful = [*found.warnings, *cautions(method, h, *shown), *said]
    resolved = noise <= 0.5 * (model if paired else of_potential)
    if not resolved and not said:
        careful.append(
            f"the model's error ({model:.2g}) is not well above its statistical error "
            f"({noise:.2g}): sample longer"
        )
    direct = _spread(directly(a, h), paired) if is_reliable(effective) else math.nan
    return CommitteeAverage(
        mean=found.mean, statistical_error=found.error, n_samples=found.n_samples,
        of_sampling=found.n_effective,
        committee_mean=float(np.diag(matrix).mean() if paired else matrix.mean()),
        model_error=model, noise=noise, resolved=resolved,
        sigma_observable=float(means.std(ddof=1)) if len(a) > 1 else 0.0,
        sigma_potential=of_potential, matrix=matrix, second_order=second,
        variances=h.var(axis=1, ddof=1), efficiency=kish(-h) / h.shape[1], n_effective=effective,
        direct_error=direct, cumulant_error=_spread(by_cumulant(a, h), paired),
        method=method, paired=paired, warnings=tuple(careful),
    )  # fmt: skip


def uncertainty_of_spread(n_members: int) -> float:
    """Relative standard deviation of a spread over so many normal members, sqrt(1/c4^2 - 1)."""
    from pimd.potentials.committee_statistics import c4

    return math.sqrt(1.0 / c4(n_members) ** 2 - 1.0)


def _checked(
    observable: np.ndarray, h: np.ndarray, paired: bool
) -> tuple[np.ndarray, np.ndarray]:
    a, h = np.atleast_2d(np.asarray(observable, dtype=float)), np.asarray(h, dtype=float)
    if a.ndim != 2 or h.ndim != 2 or a.shape[1] != h.shape[1] or len(h) < 2:
        raise ValueError(
            "expected an observable, (n_samples,), and h of at least 2 members, (n_members, "
            f"n_samples), got {np.shape(observable)} and {h.shape}"
        )
    if paired and len(a) != len(h):
        raise ValueError(
            f"an observable of the same members as the potential: expected {len(h)}, got {len(a)}"
        )
    return a, h


def _spread(matrix: np.ndarray, paired: bool) -> float:
    return float((np.diag(matrix) if paired else matrix).std(ddof=1))


def _deviations(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = values - values.mean()
    return found


def _noise(
    reweight: Reweighting, a: np.ndarray, h: np.ndarray, paired: bool, block: float, seed: int
) -> tuple[float, list[str]]:
    """Statistical error of what the model's error is the spread of; why there is none."""

    def deviations(observables: np.ndarray, exponent: np.ndarray) -> np.ndarray:
        matrix = reweight(observables, exponent)
        if paired:
            return _deviations(np.diag(matrix))
        found: np.ndarray = matrix - observables.mean(axis=1, keepdims=True)
        return found

    try:
        errors = standard_errors(deviations, a, h, block, seed)
    except TooFewSamples as error:
        return math.nan, [f"the model's error cannot be told from statistics: {error}"]
    return float(np.sqrt(np.square(errors).mean())), []
