"""Averages of one run, or of several, as tables, figures and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pimd.analysis.beginning import first_at
from pimd.results.quantity import with_error
from pimd.results.result import Result, Table
from pimd.results.style import GREY, PALETTE, new_axes

if TYPE_CHECKING:
    from pimd.analysis.run_estimates import RunEstimates
    from pimd.record.series import Series

__all__ = ["draw_running", "result_of"]

SHOWN = {
    "energy": "E", "potential energy": "V", "kinetic energy, centroid virial": "K, virial",
    "kinetic energy, thermodynamic": "K, thermo.", "temperature": "T", "pressure": "p",
    "density": "density",
}  # fmt: skip
"""What is drawn, at most four of them, and what it is called there."""
MOST_POINTS = 1000


def result_of(found: RunEstimates) -> Result:
    """The result of one run."""
    result = Result(
        "estimate", f"{found.name}: {described(found)}",
        list(found.quantities.values()), notes=list(found.notes), warnings=list(found.warnings),
    )
    if found.tensors:
        components = ["xx", "yy", "zz", "xy", "xz", "yz"]
        table = Table("kinetic energy tensor of one atom, meV", ["element", *components])
        for symbol, six in found.tensors.items():
            table.rows.append([symbol, *(with_error(q.value, q.error) for q in six)])
        result.tables.append(table)
        result.data["kinetic_tensors"] = found.tensors
    if found.columns:
        table = Table("other columns", ["column", "mean (error)", "unit", "effective samples"])
        for one in found.columns:
            effective = None if one.n_effective is None else round(one.n_effective)
            table.rows.append([one.name, with_error(one.value, one.error), one.unit, effective])
        result.tables.append(table)
        result.data["columns"] = {one.name: one.as_json() for one in found.columns}
        result.warnings += [f"{one.name}: {line}" for one in found.columns for line in one.warnings]
    if found.heat_capacity is not None:
        result.data["heat_capacity"] = found.heat_capacity
    if found.momenta is not None:
        result.data["momenta"] = found.momenta
    result.data["run"] = {
        "name": found.name, "n_atoms": found.n_atoms, "n_beads": found.n_beads,
        "timestep_fs": found.timestep, "temperature_K": found.temperature,
    }
    drawn = [name for name in SHOWN if name in found.series and len(found.series[name]) > 1]
    if drawn:
        result.figures["running"] = lambda figure: draw_running(figure, found, drawn[:4])
    return result


def described(found: RunEstimates) -> str:
    """The system in one line."""
    beads = "classical nuclei" if found.n_beads == 1 else f"{found.n_beads} beads"
    step = f", time step {found.timestep:g} fs" if np.isfinite(found.timestep) else ""
    return f"{found.n_atoms} atoms, {beads}, {found.temperature:g} K{step}"


def draw_running(figure: Any, found: RunEstimates, names: Sequence[str]) -> None:
    """Series, what of them was left out, and the mean from there on with its error."""
    all_axes = new_axes(figure, len(names), sharex=True)
    for axes, name in zip(all_axes, names, strict=True):
        series, quantity = found.series[name], found.quantities[name]
        ps, values = _thinned(series)
        axes.plot(ps, values, color=PALETTE[0], linewidth=0.5, alpha=0.6)
        if found.begin > series.time[0]:
            axes.axvspan(ps[0], found.begin / 1000, color=GREY, alpha=0.15, linewidth=0)
        kept = slice(first_at(series.time, found.begin), None)
        later = series.values[kept]
        running = np.cumsum(later) / np.arange(1, len(later) + 1)
        axes.plot(series.time[kept] / 1000, running, color=PALETTE[1], linewidth=1.4)
        if quantity.error > 0:
            axes.axhspan(
                quantity.value - quantity.error, quantity.value + quantity.error,
                color=PALETTE[1], alpha=0.2, linewidth=0,
            )
        low, high = later.min(), later.max()
        if high > low:
            axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
        axes.set_ylabel(f"{SHOWN[name]}\n({quantity.unit})", fontsize=8)
        axes.ticklabel_format(useOffset=False)
        axes.tick_params(labelsize=8)
    all_axes[-1].set_xlabel("time (ps)")
    figure.suptitle(
        "red: mean from the end of equilibration (grey) on, band: its error", fontsize=8
    )


def _thinned(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Every so many points, ps."""
    stride = max(1, len(series) // MOST_POINTS)
    return series.time[::stride] / 1000, series.values[::stride]
