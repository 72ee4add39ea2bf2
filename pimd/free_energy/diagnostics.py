"""What shows whether a free-energy difference has converged: crossing, parts of the samples.

Of two states in equilibrium P_1(w) = P_0(w) exp(F_1 - F_0 - w), w = u_1 - u_0 in kT: the two
distributions of the work cross at w = F_1 - F_0 (G. E. Crooks, Phys. Rev. E 60, 2721 (1999)). An
answer from a growing part of the samples, from their beginning and from their end, levels off at
the same number once there are enough.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pimd.free_energy.perturbation import FEWEST_EFFECTIVE, NoOverlap

__all__ = ["Convergence", "convergence", "crossing"]


@dataclass(frozen=True)
class Convergence:
    """An answer from parts of the samples.

    Attributes:
        fractions: (n,), of the samples of each state.
        first, first_errors: (n,), from that fraction at the beginning; NaN where it is too little.
        last, last_errors: (n,), from that fraction at the end.
    """

    fractions: np.ndarray
    first: np.ndarray
    first_errors: np.ndarray
    last: np.ndarray
    last_errors: np.ndarray

    @property
    def drift(self) -> float:
        """Second half minus first half, in their standard errors; NaN where it is unknown."""
        half = int(np.argmin(np.abs(self.fractions - 0.5)))
        scale = math.hypot(self.first_errors[half], self.last_errors[half])
        if not scale > 0:
            return math.nan
        return float((self.last[half] - self.first[half]) / scale)


def convergence(
    estimate: Callable[[list[np.ndarray]], tuple[np.ndarray, np.ndarray]],
    series: Sequence[np.ndarray],
    n: int = 10,
) -> list[Convergence]:
    """The same estimates from parts of all series, one `Convergence` for each.

    Args:
        estimate: of arrays like `series`; (m,) values and their standard errors.
        series: one for each state, (..., n_samples); the last axis is time; those without samples
            stay without.
        n: how many fractions; even, so that halves are among them.

    Raises:
        NoOverlap: no answer even from all samples.
    """
    whole = np.asarray(estimate(list(series)))
    found = np.full((n, 2, *whole.shape), math.nan)  # [fraction, first or last, value or error, m]
    found[-1] = whole
    for k in range(n - 1):
        sizes = [round((k + 1) / n * one.shape[-1]) for one in series]
        if any(s < FEWEST_EFFECTIVE and one.size for s, one in zip(sizes, series, strict=True)):
            continue
        for side in (0, 1):
            part = [
                one[..., one.shape[-1] - size :] if side else one[..., :size]
                for one, size in zip(series, sizes, strict=True)
            ]
            with contextlib.suppress(NoOverlap):
                found[k, side] = estimate(part)
    fractions = np.arange(1, n + 1) / n
    return [Convergence(fractions, *found[:, 0, :, k].T, *found[:, 1, :, k].T)
            for k in range(whole.shape[1])]


def crossing(forward_work: np.ndarray, reverse_work: np.ndarray) -> float:
    """Where the distributions of the work cross, kT; NaN where they do not.

    log P_0(w) - log P_1(w) = w - (F_1 - F_0) is fitted in the bins that both have samples in, with
    the slope of 1 that theory gives it and the weights that counting does: a check of BAR that
    shares no equation with it.

    Args:
        forward_work: u_1 - u_0 of samples of state 0, (n_0,) kT.
        reverse_work: u_0 - u_1 of samples of state 1, (n_1,) kT.
    """
    first, last = np.asarray(forward_work, dtype=float), -np.asarray(reverse_work, dtype=float)
    low, high = max(first.min(), last.min()), min(first.max(), last.max())
    if not low < high:
        return math.nan
    shared = min(((x >= low) & (x <= high)).sum() for x in (first, last))
    edges = np.linspace(low, high, max(3, min(40, int(math.sqrt(shared)))) + 1)
    n_0, n_1 = (np.histogram(x, edges)[0].astype(float) for x in (first, last))
    both = (n_0 >= FEWEST_EFFECTIVE) & (n_1 >= FEWEST_EFFECTIVE)
    if not both.any():
        return math.nan
    centres = 0.5 * (edges[1:] + edges[:-1])[both]
    ratios = np.log(n_0[both] / len(first)) - np.log(n_1[both] / len(last))
    weights = 1.0 / (1.0 / n_0[both] + 1.0 / n_1[both])
    return float(np.average(centres - ratios, weights=weights))
