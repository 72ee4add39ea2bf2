"""What the figures of a report have in common: long series made short, the start left out."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimd.results.style import GREY

__all__ = ["FS_PER_PS", "histogram", "mark_start", "thinned", "time_axis"]

FS_PER_PS = 1000.0
MOST_POINTS = 1200
"""Points of a line: as many as a screen can tell apart."""


def thinned(x: np.ndarray, y: np.ndarray, most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """A line of at most `most` points that looks the same: lowest and highest point of each
    stretch, in their order; those that are not finite are left out.

    Args:
        x, y: (n,).
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    if len(x) <= most:
        return x, y
    kept = [
        part[k]
        for part in np.array_split(np.arange(len(x)), most // 2)
        for k in sorted({int(np.argmin(y[part])), int(np.argmax(y[part]))})
    ]
    return x[kept], y[kept]


def time_axis(time: np.ndarray) -> tuple[np.ndarray, str]:
    """Times to draw and their unit: fs for what is shorter than a picosecond, else ps, ns.

    Args:
        time: fs, (n,).
    """
    longest = float(np.max(time, initial=0.0))
    for unit, fs in (("ns", 1e6), ("ps", FS_PER_PS)):
        if longest >= 2.0 * fs:
            return time / fs, unit
    return np.asarray(time, dtype=float), "fs"


def mark_start(axes: Any, begin: float, start: float) -> None:
    """Shade what is left out of averages at the beginning."""
    if start > begin:
        axes.axvspan(begin, start, color=GREY, alpha=0.12, linewidth=0)


def histogram(axes: Any, values: np.ndarray, colour: str) -> None:
    """How often values occur, beside a figure of their course: bars to the right."""
    values = np.asarray(values, dtype=float).ravel()
    values = values[np.isfinite(values)]
    bins = int(np.clip(np.sqrt(values.size), 8, 40))
    axes.hist(values, bins=bins, orientation="horizontal", color=colour, alpha=0.6)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(labelleft=False)
