"""Free-energy perturbation: EXP from either side, BAR from both, with what shows when it fails.

With w = u_1 - u_0 in kT (`pimd.analysis.work`) of samples of state 0,

    EXP     F_1 - F_0 = -log <exp(-w)>_0                     (R. W. Zwanzig, 1954)
    BAR     sum_0 f(M + w - F) = sum_1 f(-M + w' + F),  f(x) = 1/(1 + exp x),  M = log(n_0/n_1)
                                                             (C. H. Bennett, 1976; by pymbar)

in kT. Errors are those of correlated samples, to first order in what each sample contributes (the
weight of EXP, the f of BAR), by the statistical inefficiency of just these contributions.

A number that rests on a few samples is worse than none: each result carries its effective number
of samples, the share of the heaviest, the width of the work and, for BAR, the overlap and the two
one-sided answers, which bracket it. No overlap is an error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from pimd.analysis.quiet_pymbar import using_pymbar
from pimd.analysis.statistics import inefficiency, long_run_variance
from pimd.analysis.weights import kish, log_mean_exp, normalised

__all__ = ["Bidirectional", "NoOverlap", "OneSided", "bidirectional", "one_sided"]

FEWEST_EFFECTIVE = 5.0
"""Kish samples, correlation counted, below which there is no answer."""
FEW_EFFECTIVE = 100.0
HEAVIEST = 0.05
"""Share of the weight that a single sample may have."""
WIDE = 2.0
"""Standard deviation of the work, kT, beyond which one side is not enough."""
LEAST_OVERLAP = 1e-3
"""Overlap of two states below which BAR has nothing to go by."""
SMALL_OVERLAP = 0.03
"""P. V. Klimovich, M. R. Shirts and D. L. Mobley, J. Comput. Aided Mol. Des. 29, 397 (2015)."""


class NoOverlap(ValueError):
    """The samples of the two states have too little in common for a free-energy difference."""


@dataclass(frozen=True)
class OneSided:
    """EXP from one side; energies in kT.

    Attributes:
        difference: F of the other state minus F of the one that was sampled.
        error: standard error, correlation counted, to first order in the weights.
        n_samples: of the series.
        inefficiency: statistical inefficiency of the work.
        kish: Kish effective sample size of the weights.
        n_effective: the same over the inefficiency.
        heaviest: share of the weight of the heaviest sample.
        mean_work: <w>, never below the difference but by chance.
        spread: standard deviation of the work.
        skewness: of the work, 0 for Gaussian work.
        cumulant: <w> - Var(w)/2, exact for Gaussian work; a diagnostic, not an answer.
        warnings: what should make a reader careful, one line each.
    """

    difference: float
    error: float
    n_samples: int
    inefficiency: float
    kish: float
    n_effective: float
    heaviest: float
    mean_work: float
    spread: float
    skewness: float
    cumulant: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bidirectional:
    """BAR from samples of both states; energies in kT.

    Attributes:
        difference: F_1 - F_0.
        error: standard error, correlation counted.
        forward: from the samples of state 0 alone, F_1 - F_0.
        reverse: from those of state 1 alone, F_0 - F_1.
        hysteresis: forward + reverse: 0 if both were converged, never far below.
        overlap: 0 to 1, of the two distributions (scalar of pymbar).
        warnings: what should make a reader careful, one line each.
    """

    difference: float
    error: float
    forward: OneSided
    reverse: OneSided
    hysteresis: float
    overlap: float
    warnings: tuple[str, ...] = ()


def one_sided(work: np.ndarray) -> OneSided:
    """EXP from the work of samples of one state, (n_samples,) kT, in the order of time.

    Raises:
        NoOverlap: the answer would rest on fewer than `FEWEST_EFFECTIVE` samples.
        ValueError: no samples, or work that is not finite.
    """
    found = _one_sided(work)
    if found.n_effective < FEWEST_EFFECTIVE:
        raise NoOverlap(
            f"{found.n_effective:.2g} of {found.n_samples} samples carry the average of exp(-w), "
            f"the heaviest {100 * found.heaviest:.0f} % of it (the work is spread over "
            f"{found.spread:.1f} kT, and correlated over {found.inefficiency:.0f} samples): sample "
            "longer, the other state too, or states between the two"
        )
    return found


def bidirectional(forward_work: np.ndarray, reverse_work: np.ndarray) -> Bidirectional:
    """BAR from the work of samples of both states.

    Args:
        forward_work: u_1 - u_0 of samples of state 0, (n_0,) kT, in the order of time.
        reverse_work: u_0 - u_1 of samples of state 1, (n_1,) kT.

    Raises:
        NoOverlap: the two have too little in common.
        ValueError: as `one_sided`.
    """
    forward, reverse = _one_sided(forward_work), _one_sided(reverse_work)
    first, last = np.asarray(forward_work, float), np.asarray(reverse_work, float)
    overlap = _overlap(first, last)
    if not overlap >= LEAST_OVERLAP:
        raise NoOverlap(
            f"the two states overlap by {overlap:.1e} (at least {LEAST_OVERLAP:g} is needed; the "
            f"work is {first.mean():.4g} and {last.mean():.4g} kT on average, spread over "
            f"{forward.spread:.1f} and {reverse.spread:.1f}): put states between them"
        )
    with using_pymbar() as pymbar:
        found = pymbar.bar(first, last)
    difference = float(found["Delta_f"])
    error = _bar_error(first, last, difference)
    if not (math.isfinite(difference) and error > 0) and forward.spread + reverse.spread > 0:
        raise NoOverlap("BAR found no free-energy difference between the two states")
    careful = []
    if overlap < SMALL_OVERLAP:
        careful.append(f"the overlap is {overlap:.3f}, below {SMALL_OVERLAP}: add a state")
    hysteresis = forward.difference + reverse.difference
    scale = math.hypot(forward.error, reverse.error)
    if abs(hysteresis) > 4.0 * scale:
        careful.append(
            f"the two one-sided answers differ by {hysteresis:.3g} kT, their error is {scale:.2g}"
        )
    return Bidirectional(
        difference, error, forward, reverse, hysteresis, overlap, tuple(careful)
    )


def _one_sided(work: np.ndarray) -> OneSided:
    w = np.asarray(work, dtype=float)
    if w.ndim != 1 or len(w) < 2:
        raise ValueError(f"expected the work of samples, (n_samples,), got {w.shape}")
    if not np.isfinite(w).all():
        raise ValueError("the work of a sample is not finite")
    weights = normalised(-w)
    g = inefficiency(w)
    of_weights = float(kish(-w))
    n_effective = of_weights / g
    relative = long_run_variance(len(w) * weights) / len(w)  # the mean of n w_i is 1
    spread = float(w.std(ddof=1))
    skewness = float(np.mean((w - w.mean()) ** 3) / w.std() ** 3) if spread > 0 else 0.0
    careful = []
    if n_effective < FEW_EFFECTIVE:
        careful.append(f"{n_effective:.0f} effective samples of {len(w)}")
    if weights.max() > HEAVIEST:
        careful.append(f"one sample carries {100 * weights.max():.0f} % of the weight")
    if spread > WIDE:
        careful.append(f"the work is spread over {spread:.1f} kT: one side is not enough")
    return OneSided(
        difference=-float(log_mean_exp(-w)), error=math.sqrt(relative), n_samples=len(w),
        inefficiency=g, kish=of_weights, n_effective=n_effective,
        heaviest=float(weights.max()), mean_work=float(w.mean()), spread=spread,
        skewness=skewness, cumulant=float(w.mean() - 0.5 * w.var(ddof=1)), warnings=tuple(careful),
    )


def _bar_error(first: np.ndarray, last: np.ndarray, difference: float) -> float:
    """Of the root of sum_0 f - sum_1 f: how far chance moves the sums, over their slope."""
    shift = math.log(len(first) / len(last))
    sides = expit(difference - shift - first), expit(shift - difference - last)
    slope = sum(float((f * (1.0 - f)).sum()) for f in sides)
    variance = sum(len(f) * long_run_variance(f) for f in sides)
    return math.sqrt(variance) / slope if slope > 0 else math.nan


def _overlap(first: np.ndarray, last: np.ndarray) -> float:
    """pymbar's scalar overlap; 0 where it finds none at all."""
    with using_pymbar() as pymbar, np.errstate(all="ignore"):
        try:
            found = float(pymbar.bar_overlap(first, last))
        except (ArithmeticError, AssertionError, ValueError, pymbar.utils.ConvergenceError):
            return 0.0
    return found if math.isfinite(found) else 0.0
