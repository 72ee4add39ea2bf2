"""Averages that other potentials would have given, from the samples of one.

Dynamics was run with one potential V; with V_i the averages would have been others. With

    h_i = beta/P sum_b [V_i(q_b) - V(q_b)]          over all beads, kT

    direct      <a>_i = <a exp(-h_i)> / <exp(-h_i)>           (G. M. Torrie and J. P. Valleau, 1977)
    cumulant    <a>_i ~ <a> - [<a h_i> - <a><h_i>]            (CEA: M. Ceriotti, G. A. R. Brain, O.
                        Riordan and D. E. Manolopoulos, Proc. R. Soc. A 468, 2 (2012))

and the next term of the cumulant expansion is <da (dh)^2>/2. The direct average is unbiased, but
its variance grows with exp(Var h), and Var h with the number of atoms: it is taken for
Var(h) <= 1/2 and at least 100 effective samples, and the cumulant otherwise. A constant in h_i
changes neither.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pimd.analysis.statistics import bootstrap
from pimd.analysis.weights import kish, normalised
from pimd.analysis.work import reduced_work

__all__ = [
    "Reweighting", "block_length", "by_cumulant", "cautions", "choose", "directly",
    "effective_samples", "exponents", "is_reliable", "second_order", "standard_errors",
]  # fmt: skip

DIRECT = 0.5
"""Variance of h up to which averages are reweighted directly."""
TOO_WIDE = 20.0
FEWEST_EFFECTIVE = 100.0
CORRELATION_TIMES = 5.0
"""In a block of the bootstrap."""
N_BOOTSTRAP = 100

Reweighting = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(n_observables, n_samples), (n_potentials, n_samples) -> (n_observables, n_potentials)."""


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


def directly(a: np.ndarray, h: np.ndarray) -> np.ndarray:
    """<a>_i by weights, (n_observables, n_potentials)."""
    found: np.ndarray = a @ normalised(-h).T
    return found


def by_cumulant(a: np.ndarray, h: np.ndarray) -> np.ndarray:
    """<a>_i to first order in h, (n_observables, n_potentials)."""
    mean = a.mean(axis=1, keepdims=True)
    found: np.ndarray = mean - (a - mean) @ (h - h.mean(axis=1, keepdims=True)).T / a.shape[1]
    return found


def second_order(a: np.ndarray, h: np.ndarray) -> np.ndarray:
    """<da (dh)^2>/2, the term that `by_cumulant` leaves out."""
    da, dh = a - a.mean(axis=1, keepdims=True), h - h.mean(axis=1, keepdims=True)
    found: np.ndarray = 0.5 * da @ np.square(dh).T / a.shape[1]
    return found


def effective_samples(h: np.ndarray, inefficiencies: np.ndarray) -> np.ndarray:
    """Kish sample size of each potential's weights over the inefficiency of h, (n_potentials,)."""
    return np.asarray(kish(-h) / inefficiencies)


def is_reliable(effective: np.ndarray) -> bool:
    """Whether direct averages rest on enough samples for every potential."""
    return float(effective.min()) >= FEWEST_EFFECTIVE


def choose(
    method: str | None, h: np.ndarray, effective: np.ndarray
) -> tuple[str, Reweighting]:
    """The method to use, by name, and what does it.

    Args:
        method: `direct` or `cumulant`; None: by the variance of h.
        h: (n_potentials, n_samples).
        effective: (n_potentials,) of `effective_samples`.

    Raises:
        ValueError: an unknown method, or a direct average of a few samples.
    """
    if method not in (None, "direct", "cumulant"):
        raise ValueError(f"method is 'direct' or 'cumulant', got '{method}'")
    if method == "direct" and not is_reliable(effective):
        raise ValueError(
            f"a direct average would rest on {effective.min():.0f} samples (at least "
            f"{FEWEST_EFFECTIVE:.0f} are needed): use the cumulant"
        )
    if method is None:
        small = h.var(axis=1, ddof=1).max() <= DIRECT
        method = "direct" if small and is_reliable(effective) else "cumulant"
    return method, directly if method == "direct" else by_cumulant


def cautions(method: str, h: np.ndarray, shifts: np.ndarray, second: np.ndarray) -> list[str]:
    """What of h, and of the shifts <a>_i - <a>, should make a reader careful."""
    careful = []
    widest = float(h.var(axis=1, ddof=1).max())
    if widest > TOO_WIDE:
        careful.append(
            f"Var(h) is {widest:.0f}: members too far apart for either average; a better "
            "potential, or a smaller system, is needed"
        )
    if method == "cumulant" and np.abs(second).max() > 0.5 * np.abs(shifts).max():
        careful.append(
            f"the term that the cumulant expansion leaves out ({np.abs(second).max():.2g}) is not "
            f"small against what it says ({np.abs(shifts).max():.2g})"
        )
    return careful


def block_length(inefficiencies: np.ndarray) -> float:
    """Samples in a block that holds 5 correlation times of the slowest series; g is about 2."""
    return 0.5 * CORRELATION_TIMES * float(np.max(inefficiencies))


def standard_errors(
    function: Reweighting, a: np.ndarray, h: np.ndarray, block: float, seed: int = 0
) -> np.ndarray:
    """Standard errors of a function of observables and exponents, by a blocked bootstrap.

    Args:
        function: of (n_observables, n_samples) and (n_potentials, n_samples).
        a, h: those.
        block: samples in a block.
        seed: of what is drawn.

    Raises:
        TooFewSamples: the samples make too few blocks.
    """

    def values(columns: np.ndarray) -> np.ndarray:
        return function(columns[:, : len(a)].T, columns[:, len(a) :].T)

    found = bootstrap(values, np.concatenate([a, h]).T, block=block, n=N_BOOTSTRAP, seed=seed)
    spread: np.ndarray = found.std(axis=0, ddof=1)
    return spread
