"""How much of the beginning of a run is left out of its averages.

A run starts from a structure that was built, and most often with all beads in one point. Estimators
that live of the spread of beads are then far off for some samples. In a long series that is a bias
of the size of the error, too short for the search for equilibrium to see; so some is left out in
any case.
"""

from __future__ import annotations

import math

import numpy as np

from pimd.analysis.statistics import average

__all__ = ["beginning", "first_at", "settled"]

LEAST_SKIPPED = 0.05
"""Of the series."""
CORRELATIONS_SKIPPED = 10.0
"""Statistical inefficiencies, unless that is more than"""
MOST_SKIPPED = 0.25
"""of the series, which leaves enough of a slow one."""
ROUNDING = 1e-9
"""Relative, of times."""


def first_at(time: np.ndarray, begin: float) -> int:
    """Index of the first sample that is not before `begin`; len(time) where all are.

    Args:
        time: fs, (n,), increasing; rounded.
        begin: fs.
    """
    return int(np.searchsorted(time, begin - ROUNDING * abs(begin)))


def beginning(values: np.ndarray, time: np.ndarray, skip: float | None = None) -> int:
    """Samples to leave out at the beginning of a series.

    Args:
        values: (n,)
        time: fs, (n,)
        skip: fs; None: found out.

    Raises:
        ValueError: nothing is left.
    """
    if skip is not None:
        found = first_at(time, time[0] + skip)
        if found >= len(values):
            raise ValueError(
                f"--skip {1e-3 * skip:g}: the run has {1e-3 * (time[-1] - time[0]):.3g} ps"
            )
        return found
    return settled(values)


def settled(values: np.ndarray) -> int:
    """Samples of a series, (n,), before it is in equilibrium; one is always left."""
    searched = average(values)
    least = max(
        LEAST_SKIPPED * len(values),
        min(CORRELATIONS_SKIPPED * searched.inefficiency, MOST_SKIPPED * len(values)),
    )
    return max(searched.start, min(math.ceil(least), len(values) - 1))
