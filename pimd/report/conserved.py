"""The drift of the conserved quantity: how well the equations of motion were integrated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pimd.analysis.beginning import first_at
from pimd.analysis.statistics import FEWEST, inefficiency
from pimd.report.drawing import FS_PER_PS, mark_start, thinned, time_axis
from pimd.report.section import Figure, Section
from pimd.results.quantity import Quantity
from pimd.results.style import PALETTE, new_axes

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["Drift", "conserved_section", "drift"]

MEV = 1000.0
LARGE = 1.0
"""meV per atom and picosecond that should make a reader careful."""
STANDARD_ERRORS = 3.0


@dataclass(frozen=True)
class Drift:
    """A straight line through the conserved quantity after the start.

    Attributes:
        slope: eV/fs.
        error: of it, for residuals correlated in time; NaN for too few samples.
        n_effective: independent residuals.
        scatter: eV, standard deviation of the residuals.
        start: samples left out at the beginning.
        line: eV, (n_samples - start,).
    """

    slope: float
    error: float
    n_effective: float
    scatter: float
    start: int
    line: np.ndarray


def drift(time: np.ndarray, values: np.ndarray, start: int) -> Drift:
    """Least squares after the start.

        slope = sum (t - <t>)(y - <y>) / sum (t - <t>)^2,   SE^2 = g s^2 / sum (t - <t>)^2

    with the statistical inefficiency g and the variance s^2 of the residuals.

    Args:
        time: fs, (n,).
        values: eV, (n,).
        start: samples left out; at least 3 must remain.
    """
    t, y = time[start:] - time[start:].mean(), values[start:]
    if len(t) < 3:
        raise ValueError(f"a drift needs 3 samples, got {len(t)}")
    slope = float(t @ y / (t @ t))
    line = y.mean() + slope * t
    residuals = y - line
    g = inefficiency(residuals)
    n_effective = len(t) / g
    scatter = float(math.sqrt(residuals @ residuals / (len(t) - 2)))
    error = math.sqrt(g) * scatter / math.sqrt(t @ t) if n_effective >= FEWEST else math.nan
    return Drift(slope, error, n_effective, scatter, start, line)


def conserved_section(run: Run, begin: float) -> Section | None:
    """The conserved quantity along the run and its drift after `begin`, fs; None where it was not
    written."""
    series = run.properties.get("conserved")
    if series is None or len(series) < 4 or not np.isfinite(series.values).all():
        return None
    start = first_at(series.time, begin)
    found = drift(series.time, series.values, min(start, len(series) - 3))
    return _section(run, series.time, series.values, found)


def _section(run: Run, time: np.ndarray, values: np.ndarray, found: Drift) -> Section:
    scale = MEV / run.n_atoms
    slope = FS_PER_PS * scale * found.slope
    error = FS_PER_PS * scale * found.error
    few = () if math.isfinite(error) else (
        f"{found.n_effective:.1f} independent samples: too few for an error",
    )
    section = Section(
        "Conserved quantity",
        quantities=[
            Quantity("drift of the conserved quantity", slope, error, "meV/atom/ps",
                     found.n_effective, len(found.line), few),
        ],
        text=[
            "The drift is that of a straight line after the start. The conserved quantity "
            f"scatters by {scale * found.scatter:.3g} meV/atom about it, and has changed by "
            f"{scale * (values[-1] - values[0]):.3g} meV/atom since the first sample."
        ],
    )  # fmt: skip
    if abs(slope) > LARGE and abs(slope) > STANDARD_ERRORS * error:
        section.warnings.append(
            f"the conserved quantity drifts by {slope:.3g} meV per atom and picosecond: use a "
            "shorter time step, and look whether forces are conservative and precise enough"
        )
    shown = scale * (values - values[found.start])

    def draw(figure: Any) -> None:
        (axes,) = new_axes(figure)
        x, unit = time_axis(time)
        axes.plot(*thinned(x, shown), color=PALETTE[0], linewidth=0.9)
        axes.plot(x[found.start :], scale * (found.line - values[found.start]), color=PALETTE[1],
                  linewidth=1.2, label=f"{slope:.3g} meV/atom/ps")
        mark_start(axes, x[0], x[found.start])
        axes.legend(frameon=False, fontsize=9)
        axes.set(xlabel=f"time ({unit})", ylabel="conserved quantity\n(meV/atom)")

    section.figures.append(Figure(
        "conserved", draw,
        "Conserved quantity less its value at the start of the average; the line is its drift.",
        2.9,
    ))  # fmt: skip
    return section
