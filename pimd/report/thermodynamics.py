"""Energies, temperature and whatever else i-PI wrote at a stride: courses and averages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pimd.analysis.equilibrium import Equilibrium, averaged
from pimd.analysis.statistics import Average
from pimd.report.columns import Column, column, is_averaged
from pimd.report.drawing import histogram, mark_start, thinned, time_axis
from pimd.report.section import Figure, Section
from pimd.results.quantity import Quantity
from pimd.results.style import GREY, PALETTE, new_axes

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["Measured", "average_section", "course_section", "measured"]

MOST_COMPONENTS = 9
ENERGIES = ("potential", "kinetic_cv", "kinetic_td")
OTHERS = ("volume", "density", "pressure_cv", "pressure_md", "pressure_td")
"""Drawn where they change."""
STANDARD_ERRORS = 3.0


@dataclass(frozen=True)
class Measured:
    """A column of numbers with its average.

    Attributes:
        name: i-PI's, with [k] for the components of vectors.
        column: its words, unit and scale.
        time: fs, (n,).
        values: in the units of the record, (n,).
        average: of them.
    """

    name: str
    column: Column
    time: np.ndarray
    values: np.ndarray
    average: Average

    @property
    def quantity(self) -> Quantity:
        note = "" if self.name == self.column.words else self.name
        return Quantity.of(
            self.column.words, self.average, self.column.unit, self.column.scale, note=note
        )

    @property
    def shown(self) -> np.ndarray:
        """Values in the unit they are shown in, (n,)."""
        return self.column.scale * self.values


def measured(run: Run, begin: float) -> list[Measured]:
    """Averages of all properties that have a meaningful one; series with NaN, and those that end
    before equilibrium begins, are left out.

    Args:
        run: with properties.
        begin: fs, when equilibrium begins.
    """
    found = []
    for name, series in run.properties.items():
        if not is_averaged(name) or not len(series) or series.values.ndim > 2:
            continue
        if series.time[-1] < begin:
            continue
        columns = series.values.reshape(len(series), -1)
        if columns.shape[1] > MOST_COMPONENTS or not np.isfinite(columns).all():
            continue
        shown = column(name, series.unit)
        for k, values in enumerate(columns.T):
            suffix = f"[{k}]" if columns.shape[1] > 1 else ""
            found.append(Measured(
                name + suffix, Column(shown.words + suffix, shown.unit, shown.scale), series.time,
                values, averaged(series, begin, values),
            ))  # fmt: skip
    return found


def average_section(
    run: Run, found: Sequence[Measured], equilibrium: Equilibrium
) -> Section | None:
    """Averages with errors, and whether the temperature is the one that was asked for.

    Args:
        run: of which they are.
        found: what was averaged.
        equilibrium: where they begin.
    """
    if not found:
        return None
    section = Section("Averages", quantities=[one.quantity for one in found])
    section.notes.append(
        "Of the whole cell. Errors in brackets are one standard error in units of the last digits, "
        "with correlation in time; N eff is the number of independent samples. "
        f"{equilibrium.note[:1].upper()}{equilibrium.note[1:]}."
    )
    if equilibrium.late:
        section.warnings.append(f"equilibrium came late: {equilibrium.note}")
    target = run.setup.temperature
    for one in found:
        if one.name == "temperature" and target and run.setup.mode not in ("", "nve"):
            away = one.average.mean - target
            if abs(away) > STANDARD_ERRORS * one.average.error:
                section.warnings.append(
                    f"the temperature is {one.average.mean:.2f} K, {abs(away):.2f} K "
                    f"{'above' if away > 0 else 'below'} the {target:g} K asked for, "
                    f"{abs(away) / one.average.error:.0f} standard errors: not equilibrated yet, "
                    "or too long a time step"
                )
    return section


def course_section(run: Run, found: Sequence[Measured]) -> Section | None:
    """Figures of energies, temperature, and volume or pressure along the run."""
    by_name = {one.name: one for one in found}
    figures = []
    energies = [by_name[name] for name in ENERGIES if name in by_name]
    if energies:
        figures.append(Figure(
            "energies", lambda figure: _draw_courses(figure, energies),
            "Potential and kinetic energy of the cell, on the right how often each value occurs; "
            "grey: left out of the averages; dashed: the averages.",
            1.0 + 1.7 * len(energies),
        ))  # fmt: skip
    if "temperature" in by_name:
        target = run.setup.temperature
        figures.append(Figure(
            "temperature",
            lambda figure: _draw_courses(figure, [by_name["temperature"]], target),
            "Temperature of the ring polymer's momenta"
            + (f"; dotted: the {target:g} K asked for." if target else "."), 2.9,
        ))  # fmt: skip
    others = [
        by_name[name] for name in OTHERS if name in by_name and np.ptp(by_name[name].values) > 0
    ]
    if others:
        words = " and ".join(one.column.words for one in others)
        figures.append(Figure(
            "cell", lambda figure: _draw_courses(figure, others),
            f"{words[0].upper()}{words[1:]}.", 1.0 + 1.7 * len(others),
        ))  # fmt: skip
    return Section("Energies and temperature", figures=list(figures)) if figures else None


def _draw_courses(
    figure: Any, found: Sequence[Measured], target: float | None = None
) -> None:
    """One row for each series: its course, and how often each value occurs after the start."""
    flat = new_axes(figure, len(found), 2, width_ratios=[6, 1], sharey="row")
    for k, one in enumerate(found):
        course, often = flat[2 * k], flat[2 * k + 1]
        colour = PALETTE[k % len(PALETTE)]
        time, unit = time_axis(one.time)
        course.plot(*thinned(time, one.shown), color=colour, linewidth=0.9)
        start = one.average.start
        mark_start(course, time[0], time[start])
        mean = one.column.scale * one.average.mean
        course.plot(
            [time[start], time[-1]], [mean, mean], color="0.2", linewidth=1.0, linestyle="--"
        )
        if target is not None:
            course.axhline(target, color=GREY, linewidth=1.0, linestyle=":")
        course.set_ylabel(f"{one.column.words.replace(', ', chr(10))}\n({one.column.unit})")
        histogram(often, one.shown[start:], colour)
        if k == len(found) - 1:
            course.set_xlabel(f"time ({unit})")
