"""How far an average at P beads, or with a time step, is from its limit.

Both errors are even: of the primitive splitting in 1/P, of a symmetric integrator in the time step,

    <a>(h) = a_0 + b h^2 + O(h^4),        h = 1/P or dt,

so that values at a few h give the limit by a straight line in h^2. The line has to go through the
values within their errors; where it does not, the coarsest are left out one by one, until it does.
Several runs of the same h are one value: their weighted mean, if they agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["UNLIKELY", "Limit", "Pooled", "limit", "pooled", "weighted_line"]

UNLIKELY = 0.01
"""Probability of a chi^2 as large below which values are not said to agree."""


@dataclass(frozen=True)
class Limit:
    """A straight line in h^2.

    Attributes:
        value: at h = 0.
        error: its standard error.
        slope: of the line.
        slope_error: its standard error.
        chi2: sum of squared deviations over squared errors, of the points used.
        used: (n_points,) bool, those the line was fitted to.
        h, values, errors: (n_points,) what was given, finest first.
        warnings: what should make a reader careful, one line each.
    """

    value: float
    error: float
    slope: float
    slope_error: float
    chi2: float
    used: np.ndarray
    h: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    warnings: tuple[str, ...] = ()

    @property
    def finest(self) -> float:
        """What the finest of the points is off by: its value minus the limit."""
        return float(self.values[0] - self.value)


@dataclass(frozen=True)
class Pooled:
    """One value from several independent ones.

    Attributes:
        value: mean with weights 1/error^2.
        error: its standard error.
        chi2: of the values about it.
        probability: of a chi^2 at least as large.
        warnings: that they do not agree.
    """

    value: float
    error: float
    chi2: float
    probability: float
    warnings: tuple[str, ...] = ()


def limit(h: Sequence[float], values: Sequence[float], errors: Sequence[float]) -> Limit:
    """Extrapolate to h = 0.

    Args:
        h: (n_points,) 1/P or the time step, > 0, at least two different ones.
        values: (n_points,) averages there.
        errors: (n_points,) their standard errors, > 0.

    Raises:
        ValueError: too few points, or numbers that cannot be used.
    """
    x, y, s = (np.asarray(a, dtype=float) for a in (h, values, errors))
    if x.ndim != 1 or not x.shape == y.shape == s.shape:
        raise ValueError(
            f"expected a value and an error at each h, got {x.shape}, {y.shape} and {s.shape}"
        )
    if not (np.isfinite(y).all() and (x > 0).all() and (s > 0).all() and np.isfinite(s).all()):
        raise ValueError("a limit needs finite values with positive errors, at h > 0")
    if len(np.unique(x)) < 2:
        raise ValueError("a limit needs values at two different numbers of beads or time steps")
    order = np.argsort(x, kind="stable")
    x, y, s = x[order], y[order], s[order]
    n = len(x)
    while True:
        line, covariance, chi2 = weighted_line(np.square(x[:n]), y[:n], s[:n])
        fits = n == 2 or _probability(chi2, n - 2) >= UNLIKELY
        if fits or len(np.unique(x[: n - 1])) < 2:
            break
        n -= 1
    careful = []
    if n < len(x):
        careful.append(
            f"{len(x) - n} of {len(x)} points, the coarsest, are not on the line in h^2 and were "
            "left out"
        )
    if n == 2:
        careful.append("two points: whether the error goes with h^2 cannot be told")
    elif not fits:
        careful.append(f"the points are not on a line (chi^2 = {chi2:.1f} of {n} points)")
    return Limit(
        float(line[0]), float(math.sqrt(covariance[0, 0])), float(line[1]),
        float(math.sqrt(covariance[1, 1])), chi2, np.arange(len(x)) < n, x, y, s, tuple(careful),
    )


def pooled(
    values: Sequence[float] | np.ndarray, errors: Sequence[float] | np.ndarray
) -> Pooled:
    """Weighted mean of independent values of the same thing.

    Raises:
        ValueError: no values, or errors that are not positive.
    """
    y, s = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    if y.ndim != 1 or not len(y) or y.shape != s.shape or not (np.isfinite(s) & (s > 0)).all():
        raise ValueError("expected values with positive errors, (n,) each")
    weights = 1.0 / np.square(s)
    mean = float(weights @ y / weights.sum())
    chi2 = float(weights @ np.square(y - mean))
    probability = _probability(chi2, len(y) - 1)
    careful: tuple[str, ...] = ()
    if probability < UNLIKELY:
        careful = (
            f"{len(y)} runs that should agree do not (chi^2 = {chi2:.1f}): one is not "
            "equilibrated, or their errors are too small",
        )
    return Pooled(mean, float(1 / math.sqrt(weights.sum())), chi2, probability, careful)


def weighted_line(
    x: np.ndarray, y: np.ndarray, s: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """The straight line a + b x with weights 1/s^2.

    Args:
        x: (n_points,) >= 0, at least two different ones.
        y: (n_points,) values there.
        s: (n_points,) their standard errors, > 0.

    Returns:
        (2,) a and b, (2, 2) their covariance, and chi^2.
    """
    scale = float(x.max())
    columns = np.stack([np.ones_like(x), x / scale], axis=1) / s[:, None]
    covariance = np.linalg.inv(columns.T @ columns)
    line = covariance @ columns.T @ (y / s)
    chi2 = float(np.square(y / s - columns @ line).sum())
    back = np.array([1.0, 1.0 / scale])
    return line * back, covariance * np.outer(back, back), chi2


def _probability(chi2: float, freedom: int) -> float:
    """That chi^2 of so many degrees of freedom is as large or larger."""
    if freedom < 1:
        return 1.0
    from scipy.stats import chi2 as distribution

    return float(distribution.sf(chi2, freedom))
