"""Electrons along a trajectory -> tables and figures."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from pimd.free_energy.dos_files import FramesOfStates
from pimd.free_energy.electronic_frames import ElectronicAverages, ElectronicPoint
from pimd.results.quantity import Quantity, with_error
from pimd.results.result import Result, Table
from pimd.results.style import GREY, PALETTE, band, new_axes
from pimd.units import KB_EV_PER_KELVIN

__all__ = ["result_of"]

NAMES = {
    "free_energy": "A(T) - A(0)",
    "energy": "E(T) - E(0)",
    "entropy_term": "TS",
    "chemical_potential": "mu",
}


def result_of(found: ElectronicAverages, frames: FramesOfStates, n_electrons: float) -> Result:
    """What `pimd electronic` shows."""
    several = found.n_frames > 1
    result = Result(
        "electronic",
        f"Electrons of {frames.source}: {found.n_frames - found.start} frames of {found.n_beads} "
        f"beads, {n_electrons:g} electrons",
        notes=["relative to the ground state of the same density of states; the chemical potential "
               "is found anew for each of them"],
    )
    for point in found.points:
        result.quantities.append(_quantity(point, several))
        result.warnings += list(point.warnings)
    result.tables.append(_table(found, several))
    if found.ion_temperature is not None and several:
        result.tables.append(_relaxed(found))
    result.figures = {"states": partial(_draw_states, found=found, frames=frames)}
    if len(found.points) > 1:
        result.figures["temperature"] = partial(_draw_temperatures, found=found)
    if several:
        result.figures["frames"] = partial(_draw_levels, found=found, frames=frames)
    result.data = {
        "n_electrons": n_electrons,
        "first_frame": found.start,
        "ion_temperature_K": found.ion_temperature,
        "points": found.points,
        "fermi_level_eV": found.fermi_level,
    }
    return result


def _quantity(point: ElectronicPoint, several: bool) -> Quantity:
    a, model = point.averages["free_energy"], point.model_errors["free_energy"]
    known = "" if math.isnan(model) else f"model error {model:.2g}"
    name = f"A({point.temperature:g} K) - A(0)"
    if not several:  # one density of states: nothing was sampled
        return Quantity(name, a.mean, math.nan, "eV", note=known)
    return Quantity(
        name, a.mean, a.error, "eV", a.n_effective, a.n_samples, a.warnings, known
    )


def _table(found: ElectronicAverages, several: bool) -> Table:
    table = Table(
        "Electrons, eV" + (" (statistical error; ± model error)" if several else ""),
        ["T / K", "kT / eV", *NAMES.values()],
    )
    for point in found.points:
        cells = []
        for name in NAMES:
            a, model = point.averages[name], point.model_errors[name]
            text = with_error(a.mean, a.error) if several else f"{a.mean:.10g}"
            cells.append(text if math.isnan(model) else f"{text} ± {model:.2g}")
        table.rows.append([point.temperature, KB_EV_PER_KELVIN * point.temperature, *cells])
    return table


def _relaxed(found: ElectronicAverages) -> Table:
    assert found.ion_temperature is not None
    kt = KB_EV_PER_KELVIN * found.ion_temperature
    table = Table(
        f"With the nuclei, at {found.ion_temperature:g} K, in equilibrium with the electrons, eV",
        ["T / K", "F(T) - F(0)", "<A> less that", "effective samples", "heaviest"],
    )
    for point in found.points:
        one = point.relaxed
        if one is None:
            table.rows.append([point.temperature, None, None, None, None])
            continue
        table.rows.append([
            point.temperature, Quantity("", kt * one.difference, kt * one.error),
            point.averages["free_energy"].mean - kt * one.difference, f"{one.n_effective:.0f}",
            f"{100 * one.heaviest:.1g} %",
        ])  # fmt: skip
    return table


def _draw_states(figure: Any, found: ElectronicAverages, frames: FramesOfStates) -> None:
    axes = new_axes(figure)[0]
    flat = frames.dos[:, found.start :].reshape(-1, frames.dos.shape[-1])
    spread = flat.std(axis=0) if len(flat) > 1 else np.zeros(flat.shape[1])
    label = "mean and spread of frames" if len(flat) > 1 else ""
    band(axes, frames.energies, flat.mean(axis=0), spread, label=label)
    level = float(found.fermi_level[found.start :].mean())
    axes.axvline(level, color=GREY, linewidth=1.0, linestyle="--", label="Fermi level")
    hottest = max(found.points, key=lambda point: point.temperature)
    kt = KB_EV_PER_KELVIN * hottest.temperature
    axes.axvspan(level - 2 * kt, level + 2 * kt, color=PALETTE[1], alpha=0.15, linewidth=0,
                 label=f"± 2 kT at {hottest.temperature:g} K")
    axes.set_xlabel("energy / eV")
    axes.set_ylabel("states / (1/eV)")
    axes.set_ylim(bottom=0.0)
    axes.legend(frameon=False, fontsize="small")


def _draw_temperatures(figure: Any, found: ElectronicAverages) -> None:
    axes = new_axes(figure)[0]
    points = sorted(found.points, key=lambda point: point.temperature)
    x = [point.temperature for point in points]
    for name, colour in zip(list(NAMES)[:3], PALETTE, strict=False):
        mean = [point.averages[name].mean for point in points]
        # without an error there is still a line
        errors = [
            np.hypot(np.nan_to_num(point.averages[name].error),
                     np.nan_to_num(point.model_errors[name]))
            for point in points
        ]
        band(axes, x, mean, errors, label=NAMES[name], colour=colour)
    axes.axhline(0.0, color=GREY, linewidth=0.6)
    axes.set_xlabel("temperature of the electrons / K")
    axes.set_ylabel("eV")
    axes.legend(frameon=False, fontsize="small")


def _draw_levels(figure: Any, found: ElectronicAverages, frames: FramesOfStates) -> None:
    axes = new_axes(figure)[0]
    x = np.arange(found.n_frames) if frames.step is None else frames.step
    axes.plot(x, found.fermi_level, color=PALETTE[0], linewidth=0.8)
    if found.start:
        axes.axvspan(x[0], x[found.start], color=GREY, alpha=0.15, linewidth=0)
    axes.set_xlabel("frame" if frames.step is None else "step")
    axes.set_ylabel("Fermi level / eV")
