"""A simulation in words: what will be sampled, and what is known to go wrong with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from pimd.ipi.committees import committee_warnings
from pimd.ipi.systems import SystemInfo
from pimd.ipi.thermostats import Setting, nose_hoover_lines, nose_hoover_warnings
from pimd.units import ATOMIC_TIME_FS, HBAR_EV_FS, KB_EV_PER_KELVIN, KB_HARTREE_PER_KELVIN

__all__ = ["Description", "describe"]

RESONANCE_SHARE = 0.7
"""Exact free ring-polymer propagation resonates at w_max dt = pi; stay below this share of it."""


@dataclass
class Description:
    """One system in words.

    Attributes:
        lines: (what, value) for a table.
        warnings: what a careful reader of the input would say.
        omega_max_dt: highest ring-polymer frequency times the time step, None where there is none.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    omega_max_dt: float | None = None
    short: str = ""


def describe(simulation: Any, info: SystemInfo) -> Description:
    """Describe one system of a parsed simulation.

    The highest free ring-polymer frequency is w_max = 2 P / (beta hbar); exact propagation of the
    free ring polymer with a step dt needs w_max dt < pi, the Cayley propagator of i-PI needs less
    than about 3.6.
    """
    system = simulation.syslist[info.index]
    text = Description()
    composition = formula(info.structure.numbers)
    cell = info.structure.cell
    temperature = _kelvin(system)
    step_fs = _time_step_fs(system)
    text.lines.append(("atoms", f"{len(info.structure)} ({composition})"))
    if abs(np.linalg.det(cell)) > 1e-12:
        lengths = ", ".join(f"{length:.3f}" for length in np.linalg.norm(cell, axis=1))
        volume = abs(np.linalg.det(cell))
        text.lines.append(("cell", f"{lengths} Å, {volume:.1f} Å³"))
    text.lines.append(("beads", str(info.n_beads)))
    mode = getattr(system.motion, "enstype", "") or type(system.motion).__name__
    text.lines.append(("motion", _motion_words(system, str(mode))))
    if temperature is not None:
        text.lines.append(("temperature", f"{temperature:g} K"))
    if step_fs is not None:
        text.lines.append(("time step", f"{step_fs:.4g} fs"))
    text.warnings += committee_warnings(simulation, info.forcefields)
    if temperature:
        setting = Setting(
            info.n_beads, len(info.structure), temperature, _is_harmonic(simulation, info)
        )
        text.lines += [("thermostat", words) for words in nose_hoover_lines(system.motion, setting)]
        text.warnings += nose_hoover_warnings(system.motion, setting)
    if temperature and step_fs and info.n_beads > 1:
        _ring_polymer(text, info, temperature, step_fs, system)
    text.short = (
        f"{len(info.structure)} atoms ({composition}), {info.n_beads} "
        f"bead{'s' * (info.n_beads != 1)}"
        + (f", {temperature:g} K" if temperature else "")
        + (f", {step_fs:.3g} fs" if step_fs else "")
        + f", {_motion_words(system, str(mode))}"
    )
    return text


def _ring_polymer(
    text: Description, info: SystemInfo, temperature: float, step_fs: float, system: Any
) -> None:
    beta_hbar_fs = HBAR_EV_FS / (KB_EV_PER_KELVIN * temperature)
    omega_max = 2.0 * info.n_beads / beta_hbar_fs  # 1/fs
    text.omega_max_dt = omega_max * step_fs
    rounds_per_period = 2.0 * np.pi / text.omega_max_dt
    text.lines.append((
        "ring polymer",
        f"ω_max = {omega_max * 1000:.0f} ps⁻¹, ω_max Δt = {text.omega_max_dt:.2f} "
        f"(limit π), {rounds_per_period:.1f} steps per period",
    ))
    transforms = getattr(system.nm, "mode", "rpmd")
    if transforms == "rpmd" and text.omega_max_dt > RESONANCE_SHARE * np.pi:
        longest = RESONANCE_SHARE * np.pi / omega_max
        text.warnings.append(
            f"ω_max Δt = {text.omega_max_dt:.2f} is "
            + ("beyond" if text.omega_max_dt >= np.pi else "close to")
            + f" the resonance at π: use a time step below {longest:.2g} fs"
        )


def formula(numbers: np.ndarray) -> str:
    """Element counts, `H128 O64`."""
    counts = Counter(chemical_symbols[number] for number in numbers)
    return " ".join(f"{symbol}{count}" for symbol, count in sorted(counts.items()))


def _is_harmonic(simulation: Any, info: SystemInfo) -> bool:
    """Whether all forces are those of pimd's harmonic oscillators."""
    fields = [simulation.fflist.get(name) for name in info.forcefields]
    return all((getattr(ff, "pars", None) or {}).get("potential") == "harmonic" for ff in fields)


def _kelvin(system: Any) -> float | None:
    value = float(system.ensemble.temp)
    return round(value / KB_HARTREE_PER_KELVIN, 3) if value > 0 else None


def _time_step_fs(system: Any) -> float | None:
    step = getattr(system.motion, "dt", None)
    return None if not step else float(step) * ATOMIC_TIME_FS


def _motion_words(system: Any, mode: str) -> str:
    thermostat = getattr(system.motion, "thermostat", None)
    barostat = getattr(system.motion, "barostat", None)
    words = [mode.upper()]
    if thermostat is not None and type(thermostat).__name__ != "Thermostat":
        words.append(type(thermostat).__name__.replace("Thermo", "").upper() or "Langevin")
    if barostat is not None and type(barostat).__name__ != "Barostat":
        words.append(type(barostat).__name__.replace("Barostat", "Baro"))
    splitting = getattr(system.motion, "splitting", "")
    if splitting:
        words.append(str(splitting).upper())
    return " ".join(words)
