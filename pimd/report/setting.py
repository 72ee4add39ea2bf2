"""What was simulated, how far it got, and whether it ended well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pimd.report.drawing import FS_PER_PS
from pimd.report.section import Section
from pimd.report.thermodynamics import Measured
from pimd.results.quantity import Quantity, with_error
from pimd.results.result import Table
from pimd.run.describe import formula
from pimd.units import EV_PER_CUBIC_ANGSTROM_GPA

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["facts", "one_line", "setting_section", "state_warnings"]


def one_line(run: Run) -> str:
    """`192 atoms (H128 O64), 32 beads, 300 K, 0.25 fs, NVT PILE_L OBABO`."""
    setup = run.setup
    words = [f"{setup.n_atoms} atom{'s' * (setup.n_atoms != 1)} ({formula(setup.numbers)})",
             f"{setup.n_beads} bead{'s' * (setup.n_beads != 1)}"]
    if setup.temperature:
        words.append(f"{setup.temperature:g} K")
    if math.isfinite(setup.timestep):
        words.append(f"{setup.timestep:.3g} fs")
    ensemble = " ".join([setup.mode, *setup.thermostats, setup.splitting]).upper().split()
    words.append(" ".join(ensemble) or setup.dynamics)
    return ", ".join(words)


def setting_section(run: Run, summary: Mapping[str, Any]) -> Section:
    """The simulation as a table."""
    setup = run.setup
    rows: list[tuple[str, str]] = [
        ("atoms", f"{setup.n_atoms} ({formula(setup.numbers)})"), ("beads", str(setup.n_beads)),
    ]
    if run.has("cells") and setup.pbc.any():
        cell = run.read("cells", 0)
        lengths = ", ".join(f"{length:.3f}" for length in np.linalg.norm(cell, axis=1))
        rows.append(("cell at the start", f"{lengths} Å, {abs(np.linalg.det(cell)):.1f} Å³"))
    ensemble = [setup.mode.upper() or setup.dynamics]
    ensemble += [f"{setup.temperature:g} K"] if setup.temperature else []
    if setup.pressure is not None:
        ensemble.append(f"{1000 * EV_PER_CUBIC_ANGSTROM_GPA * setup.pressure:.4g} MPa")
    rows.append(("ensemble", ", ".join(ensemble)))
    if setup.thermostats:
        rows.append(("thermostat", ", ".join(setup.thermostats)))
    if setup.splitting:
        rows.append(("integrator", setup.splitting.upper()))
    if math.isfinite(setup.timestep):
        rows.append(("time step", f"{setup.timestep:.4g} fs"))
    specs = dict(setup.forcefields) or dict(summary.get("potentials", {}))
    rows += [(f"forcefield {name}", str(spec) or "not known") for name, spec in specs.items()]
    if run.n_frames:
        rows.append(("frames stored", f"{run.n_frames}, of {', '.join(run.names)}"))
    rows += [(name, version) for name, version in summary.get("versions", {}).items()
             if name in ("pimd", "ipi", "torch")]
    return Section("Simulation", tables=[Table("", ["", ""], list(rows))])


def facts(
    run: Run, summary: Mapping[str, Any], found: Sequence[Measured], sections: Sequence[Section]
) -> list[tuple[str, str, str]]:
    """(what, value, unit or remark) of the box at the top."""
    shown = []
    last, total = _last_step(run, summary), summary.get("total_steps") or run.setup.total_steps
    if last is not None:
        shown.append(("steps", f"{last}", f"of {total}" if total else ""))
    time = _last_time(run)
    if time is not None:
        ps = time / FS_PER_PS
        value, unit = (f"{ps:.4g}", "ps") if ps >= 1 else (f"{time:.4g}", "fs")
        shown.append(("simulated", value, unit))
    by_name = {one.name: one for one in found}
    for name, words in (("temperature", "temperature"), ("potential", "potential energy"),
                        ("kinetic_cv", "quantum kinetic energy")):
        if name in by_name:
            shown.append(_fact(words, by_name[name].quantity))
    for section in sections:
        shown += [_fact("sigma", one) for one in section.quantities if one.name.startswith("sigma")]
    if summary.get("ms_per_step"):
        shown.append(("speed", f"{summary['ms_per_step']:.4g}", "ms/step"))
    return shown


def _fact(words: str, quantity: Quantity) -> tuple[str, str, str]:
    if math.isnan(quantity.error):
        return words, f"{quantity.value:.5g}", f"{quantity.unit}, no error"
    return words, with_error(quantity.value, quantity.error), quantity.unit


def state_warnings(run: Run, summary: Mapping[str, Any]) -> list[str]:
    """What is to be said of how the run ended."""
    reason, message = summary.get("exit_reason"), str(summary.get("message", ""))
    last, total = _last_step(run, summary), summary.get("total_steps") or run.setup.total_steps
    where = f" at step {last} of {total}" if last is not None and total else ""
    if reason is None:
        return ["there is no summary.json: the run goes on, was killed, or was not one of pimd"]
    lines = []
    if reason == "failed":
        lines.append(f"the run failed{where}: {message}")
    elif reason == "stopped":
        lines.append(f"the run was stopped{where}: {message}")
    if summary.get("daemon_restarts"):
        n = summary["daemon_restarts"]
        lines.append(f"the daemon died and was replaced {n} time{'s' * (n != 1)}")
    return lines


def _last_step(run: Run, summary: Mapping[str, Any]) -> int | None:
    if summary.get("last_step") is not None:
        return int(summary["last_step"])
    steps = [int(series.step[-1]) for series in run.properties.values() if len(series)]
    steps += [int(run.step[-1])] if run.n_frames else []
    return max(steps) if steps else None


def _last_time(run: Run) -> float | None:
    times = [float(series.time[-1]) for series in run.properties.values() if len(series)]
    times += [float(run.time[-1])] if run.n_frames else []
    return max(times) if times else None
