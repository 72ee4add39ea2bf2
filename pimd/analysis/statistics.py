"""Averages of correlated series: where equilibrium begins, how much is independent, the error.

    SE^2 = g Var / N,   g = 1 + 2 sum_{t>=1} (1 - t/N) C(t)

g is the statistical inefficiency and N/g the effective number of samples (J. D. Chodera et al.,
J. Chem. Theory Comput. 3, 26 (2007)); the beginning is cut where that leaves most of them
(J. D. Chodera, J. Chem. Theory Comput. 12, 1799 (2016)), within its first third. Blocking (H.
Flyvbjerg and H. G. Petersen, J. Chem. Phys. 91, 461 (1989)) is a second opinion that knows nothing
of correlation functions; the size of the blocks is the smallest B with B^3 > 2N (s_B/s_1)^4 (R. M.
Lee et al., Phys. Rev. E 83, 066706 (2011)).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pimd.analysis.quiet_pymbar import using_pymbar

__all__ = [
    "Average", "TooFewSamples", "average", "blocking_error", "bootstrap", "inefficiency",
    "long_run_variance",
]

FEWEST = 5.0
"""Effective samples below which an average has no error bar."""

FEW = 20.0
"""Below this the error bar itself is uncertain by a sixth and more."""

DISAGREEMENT = 2.0
"""Ratio of the two errors beyond which one of them has not converged."""

MOST_ORIGINS = 200
"""Places tried for the beginning of equilibrium, if they were spread over the whole series."""

LATEST = 1 / 3
"""Of a series: equilibrium is not looked for after that. What is left of a slow series towards its
end is shorter than its correlation, looks independent, and has an error far too small: with 1000
samples of correlation time 40 the mean was off by 3 errors, and by 1.1 with this limit."""

LATE = 0.9
"""Of `LATEST`: a beginning after that may be none."""


class TooFewSamples(ValueError):
    """A series is too short, or too correlated, to say anything of its mean."""


@dataclass(frozen=True)
class Average:
    """The mean of a series and how well it is known.

    Attributes:
        mean: of what is left after the start.
        error: its standard error; NaN where there are too few samples for one, never 0 for that.
        n_samples: of the whole series.
        start: samples left out at the beginning.
        inefficiency: g, samples for one that is independent.
        n_effective: independent samples in the mean.
        blocking: standard error by blocking, the second opinion.
        warnings: what should make a reader careful, one line each.
    """

    mean: float
    error: float
    n_samples: int
    start: int
    inefficiency: float
    n_effective: float
    blocking: float
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.mean:.6g} ± {self.error:.2g}"

    def checked(self) -> Average:
        """Itself.

        Raises:
            TooFewSamples: it has no error.
        """
        if math.isnan(self.error):
            raise TooFewSamples("; ".join(self.warnings))
        return self


def average(series: np.ndarray, start: int | None = None) -> Average:
    """Mean and standard error of a series of equal weights.

    Args:
        series: (n,), one number each time.
        start: samples to leave out; None: found out, up to a third of them.

    Raises:
        ValueError: not a series of finite numbers, or nothing is left of it.
    """
    x = _series(series)
    searched = start is None
    if start is None:
        start = _start_of_equilibrium(x)
    if not 0 <= start < len(x):
        raise ValueError(f"start is {start}, but the series has {len(x)} samples")
    kept = x[start:]
    g = inefficiency(kept)
    n_effective = len(kept) / g
    variance = 0.0 if _is_constant(kept) else kept.var(ddof=1)  # without rounding
    error = float(math.sqrt(variance / n_effective)) if len(kept) > 1 else math.nan
    blocks = blocking_error(kept)
    warnings = []
    if n_effective < FEWEST:
        error = math.nan
        warnings.append(
            f"{n_effective:.1f} effective samples (of {len(x)}, correlated over {g:.0f}): too few "
            "for an error; run longer"
        )
    elif n_effective < FEW:
        warnings.append(f"only {n_effective:.0f} effective samples: the error is uncertain")
    if error > 0 and not 1 / DISAGREEMENT <= blocks / error <= DISAGREEMENT:
        warnings.append(
            f"by blocking the error is {blocks:.2g}, not {error:.2g}: it has not converged"
        )
    if searched and start > LATE * LATEST * len(x):
        warnings.append(
            f"{start} of {len(x)} samples left out, the most that is tried: equilibrium came late, "
            "if at all"
        )
    return Average(
        float(kept.mean()), error, len(x), start, g, n_effective, blocks, tuple(warnings)
    )


def inefficiency(series: np.ndarray) -> float:
    """Statistical inefficiency g >= 1 of a series, (n,); 1 for one that does not change."""
    x = _series(series)
    if len(x) < 3 or _is_constant(x):
        return 1.0
    with using_pymbar() as pymbar:
        return max(1.0, float(pymbar.timeseries.statistical_inefficiency(x)))


def long_run_variance(series: np.ndarray) -> float:
    """Of a series, (n,): n times the variance of its mean, correlation counted."""
    x = _series(series)
    return float(x.var(ddof=1)) * inefficiency(x) if len(x) > 1 else 0.0


def blocking_error(series: np.ndarray) -> float:
    """Standard error of the mean of a series, (n,), by blocking; NaN for fewer than 4 samples."""
    x = _series(series)
    n = len(x)
    if n < 4:
        return math.nan
    if _is_constant(x):
        return 0.0
    naive = x.std(ddof=1) / math.sqrt(n)
    size, error = 1, naive
    while n // size >= 4:
        n_blocks = n // size
        blocks = x[: n_blocks * size].reshape(n_blocks, size).mean(axis=1)
        error = blocks.std(ddof=1) / math.sqrt(n_blocks)
        if size**3 > 2 * n * (error / naive) ** 4:
            break
        size *= 2
    return float(error)


def bootstrap(
    function: Callable[..., Any],
    *series: np.ndarray,
    block: float | None = None,
    n: int = 200,
    seed: int = 0,
) -> np.ndarray:
    """Values of a function of series whose blocks were drawn anew, for its standard error.

    Blocks follow each other in time and are drawn with replacement, the same of all series; the
    end of a series is joined to its beginning, so that every sample is as likely (D. N. Politis
    and J. P. Romano, 1992).

    Args:
        function: of arrays like `series`; returns a number or an array.
        series: (n_samples, ...), equally long; the first axis is time.
        block: samples in a block; None: twice the largest inefficiency of the series (of the mean
            over their other axes).
        n: how many values.
        seed: of what is drawn.

    Returns:
        (n, ...) values; their standard deviation (ddof 1) is the standard error.

    Raises:
        ValueError: series of different length, or fewer than `FEWEST` blocks in them.
    """
    arrays = [np.asarray(s, dtype=float) for s in series]
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1:
        raise ValueError(f"series of one length are drawn together, got {sorted(lengths)}")
    n_samples = lengths.pop()
    if block is None:
        block = 2.0 * max(inefficiency(a.reshape(n_samples, -1).mean(axis=1)) for a in arrays)
    size = max(1, math.ceil(block))
    n_blocks = math.ceil(n_samples / size)
    if n_samples / size < FEWEST:
        raise TooFewSamples(
            f"{n_samples} samples have {n_samples / size:.1f} blocks of {size}, correlated samples "
            f"each; at least {FEWEST:.0f} are needed: run longer"
        )
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(n):
        starts = rng.integers(0, n_samples, n_blocks)
        index = (starts[:, None] + np.arange(size)).ravel()[:n_samples] % n_samples
        values.append(function(*(array[index] for array in arrays)))
    return np.asarray(values)


def _series(series: np.ndarray) -> np.ndarray:
    x = np.asarray(series, dtype=float)
    if x.ndim != 1 or not len(x):
        raise ValueError(f"expected a series of numbers, (n,), got {x.shape}")
    bad = np.flatnonzero(~np.isfinite(x))
    if bad.size:
        raise ValueError(f"sample {bad[0]} of the series is {x[bad[0]]}")
    return x


def _is_constant(x: np.ndarray) -> bool:
    """Whether a series changes by no more than rounding."""
    return bool(np.ptp(x) <= 1e-13 * max(1e-300, np.abs(x).max()))


def _start_of_equilibrium(x: np.ndarray) -> int:
    if len(x) < 10 or _is_constant(x):
        return 0
    origins = range(0, int(LATEST * len(x)) + 1, max(1, len(x) // MOST_ORIGINS))
    with using_pymbar() as pymbar:
        return max(origins, key=lambda start: _effective(pymbar, x[start:]))


def _effective(pymbar: Any, x: np.ndarray) -> float:
    """Independent samples in a series, in a hurry."""
    if _is_constant(x):
        return 1.0
    return len(x) / float(pymbar.timeseries.statistical_inefficiency(x, fast=True))
