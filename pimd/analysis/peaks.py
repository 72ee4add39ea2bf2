"""The highest maximum of a curve, and the minimum behind it, with errors from its frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pimd.analysis.rdf import Bins
from pimd.analysis.statistics import TooFewSamples, bootstrap

__all__ = ["Peak", "highest_peak", "minimum_after", "vertex"]


@dataclass(frozen=True)
class Peak:
    """The highest maximum of a mean curve.

    Attributes:
        position, position_error: of the vertex of a parabola through three bins; NaN for an error
            that there are too few samples for.
        height, height_error: of the same.
    """

    position: float
    position_error: float
    height: float
    height_error: float


def highest_peak(bins: Bins, series: np.ndarray, seed: int = 0) -> Peak:
    """The highest maximum of the mean of curves (n_frames, n_bins), in the order of time."""
    position, height = _vertex(bins, series.mean(axis=0))
    try:
        values = bootstrap(lambda s: np.array(_vertex(bins, s.mean(axis=0))), series, seed=seed)
        errors = values.std(axis=0, ddof=1)
    except TooFewSamples:
        errors = np.full(2, np.nan)
    return Peak(position, float(errors[0]), height, float(errors[1]))


def minimum_after(bins: Bins, curve: np.ndarray, level: float = 1.0) -> int | None:
    """Bin of the first minimum after the highest maximum; None: the curve has none.

    It is the lowest point between where the curve falls below `level` (1: no correlation in g(r))
    and where it comes back, or ends.
    """
    below = np.flatnonzero((curve < level) & (np.arange(len(curve)) > np.argmax(curve)))
    if not len(below):
        return None
    back = np.flatnonzero((curve >= level) & (np.arange(len(curve)) > below[0]))
    end = back[0] if len(back) else len(curve)
    return int(below[0] + np.argmin(curve[below[0] : end]))


def vertex(values: np.ndarray) -> tuple[float, float]:
    """Index and height of the top of a parabola through the highest point and its neighbours.

    The index is between points; at an end of the values it is that point itself.
    """
    k = int(np.argmax(values))
    if not 0 < k < len(values) - 1:
        return float(k), float(values[k])
    left, middle, right = values[k - 1 : k + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(k + shift), float(middle - 0.25 * (left - right) * shift)


def _vertex(bins: Bins, curve: np.ndarray) -> tuple[float, float]:
    index, height = vertex(curve)
    return bins.start + (index + 0.5) * bins.width, height
