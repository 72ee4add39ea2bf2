"""`pimd check`: everything but the dynamics, and what would run."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pimd.ipi import extensions
from pimd.run.child import DaemonFailure
from pimd.run.describe import describe
from pimd.run.extension_table import extension_table
from pimd.run.launch import WRONG_INPUT, RunOptions, Session

__all__ = ["check"]


def check(options: RunOptions, console: Console) -> int:
    """Load, warm up and evaluate the first structures of an input, in a scratch directory.

    Returns the exit status: 0 the input would run, 1 its potential cannot evaluate it, 2 it is
    wrong.
    """
    where = Path.cwd()
    scratch = Path(tempfile.mkdtemp(prefix="pimd-check-"))
    options.run_dir, options.trial = scratch / "run", True
    session = Session(options, console)
    words, session.say = session.say, lambda message: None
    try:
        session.open()
        session.load()
        tables: list[Table] = []
        failure = session.ipi.evaluate_once(lambda: tables.extend(_tables(session)))
        session.say = words
        if failure:
            raise DaemonFailure(failure)
        for table in tables:
            console.print(table)
        for warning in _warnings(session):
            console.print(f"warning: {warning}", style="yellow", highlight=False, soft_wrap=True)
        console.print(
            f"{options.input} would run", style="green", highlight=False, soft_wrap=True
        )
        return 0
    except (*WRONG_INPUT, DaemonFailure) as error:
        console.print(f"error: {error}", style="red", highlight=False, markup=False,
                      soft_wrap=True)
        return 1 if isinstance(error, DaemonFailure) else 2
    finally:
        session.close()
        os.chdir(where)
        shutil.rmtree(scratch, ignore_errors=True)


def _warnings(session: Session) -> list[str]:
    simulation = session.ipi.simulation
    return [text for info in session.infos for text in describe(simulation, info).warnings]


def _tables(session: Session) -> list[Table]:
    left = extensions.left_to_ipi(session.ipi.simulation)
    return [_table(session), extension_table(session.ipi.extension_status, left)]


def _table(session: Session) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    simulation = session.ipi.simulation
    for info in session.infos:
        text = describe(simulation, info)
        name = "" if len(session.infos) == 1 else f"system {info.index}: "
        for what, value in text.lines:
            table.add_row(name + what, value)
            name = ""
    table.add_row("steps", f"{simulation.step} to {simulation.tsteps}")
    for use in session.uses:
        spec = next(s.spec for s in session.document.sockets if s.name == use.name)
        table.add_row(f"forces '{use.name}'", f"{spec}, {use.n_beads} beads in one call")
    for report in session.supervisor.warmed_up if session.supervisor else []:
        table.add_row("first structure", _warm_words(report))
        table.add_row("one round", _round_words(report))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    table.add_row("memory of i-PI", f"{used:.0f} MB")
    for output in simulation.outputs:
        table.add_row("writes", _output_words(output, int(simulation.tsteps)))
    return table


def _warm_words(report: dict[str, Any]) -> str:
    members = f", {report['n_members']} members" if report["n_members"] > 1 else ""
    return (
        f"'{report['simulation']}': V = {report['energy_ev']:.6f} eV, largest force "
        f"{report['largest_force']:.3f} eV/Å, on {report['device']}{members}"
    )


def _round_words(report: dict[str, Any]) -> str:
    words = (
        f"{report['trial_structures']} structures in {1000 * report['trial_seconds']:.1f} ms, "
        f"memory of the daemon {report['memory_mb']:.0f} MB"
    )
    if report["device_memory_mb"]:
        words += f", of the device {report['device_memory_mb']:.0f} MB"
    return words


def _output_words(output: Any, total: int) -> str:
    stride = int(getattr(output, "stride", 1))
    kind = type(output).__name__.replace("Output", "").lower()
    what = getattr(output, "what", "") or ", ".join(
        str(item) for item in getattr(output, "outlist", [])
    )
    times = f"every {stride} steps, {total // stride + 1} times"
    return f"{output.filename}: {kind} {what} {times}".replace("  ", " ")
