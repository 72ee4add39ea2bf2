"""How figures look: one size, one palette, nothing that does not inform."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["GREY", "PALETTE", "band", "new_axes", "new_figure", "save"]

PALETTE = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
"""Paul Tol's bright scheme, safe for the colour-blind."""
GREY = "#777777"


def new_figure(width: float = 6.4, height: float = 4.0) -> Any:
    """An empty matplotlib Figure without a window; size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_axes(figure: Any, rows: int = 1, columns: int = 1, **options: Any) -> list[Any]:
    """Axes of a figure row by row, plain: no frame above and on the right, a faint grid."""
    axes = list(np.ravel(figure.subplots(rows, columns, squeeze=False, **options)))
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(alpha=0.25, linewidth=0.6)
    return axes


def band(
    axes: Any,
    x: Sequence[float] | np.ndarray,
    mean: Sequence[float] | np.ndarray,
    error: Sequence[float] | np.ndarray,
    *,
    label: str = "",
    colour: str = PALETTE[0],
) -> None:
    """A line with its standard error as a band about it; NaN errors leave a gap."""
    centre, spread = np.asarray(mean, dtype=float), np.asarray(error, dtype=float)
    axes.plot(x, centre, color=colour, linewidth=1.4, label=label or None)
    axes.fill_between(
        x, centre - spread, centre + spread, color=colour, alpha=0.25, linewidth=0
    )


def save(figure: Any, path: Path) -> None:
    """Write a figure as its suffix says: .png, .svg or .pdf."""
    figure.savefig(path, dpi=150)
