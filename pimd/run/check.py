"""`pimd check`: everything but the dynamics, and what would run."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pimd.run.child import DaemonFailure
from pimd.run.describe import describe
from pimd.run.launch import WRONG_INPUT, RunOptions, Session

__all__ = ["check"]


def check(options: RunOptions, console: Console) -> int:
    """Load, warm up and evaluate the first structures of an input, in a scratch directory.

    Returns the exit status: 0 the input would run, 1 its potential cannot evaluate it, 2 it is
    wrong.
    """
    where = Path.cwd()
    scratch = Path(tempfile.mkdtemp(prefix="pimd-check-"))
    options.run_dir = scratch / "run"
    session = Session(options, console)
    words, session.say = session.say, lambda message: None
    try:
        session.open()
        session.load()
        table = []
        failure = session.ipi.evaluate_once(lambda: table.append(_table(session)))
        session.say = words
        if failure:
            raise DaemonFailure(failure)
        console.print(table[0])
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
    table.add_row("memory", _memory_words(session))
    for output in simulation.outputs:
        table.add_row("writes", _output_words(output, int(simulation.tsteps)))
    for status in session.ipi.extension_status:
        table.add_row(
            "extension", f"{status.name}: " + ("on" if status.enabled else f"off, {status.reason}")
        )
    return table


def _warm_words(report: dict[str, Any]) -> str:
    return (
        f"'{report['simulation']}': V = {report['energy_ev']:.6f} eV, largest force "
        f"{report['largest_force']:.3f} eV/Å, on {report['device']}"
    )


def _memory_words(session: Session) -> str:
    ours = peak_memory_mb(os.getpid())
    parts = [] if ours is None else [f"i-PI {ours:.0f} MB"]
    for pid in session.supervisor.pids if session.supervisor else []:
        theirs = peak_memory_mb(pid)
        if theirs is not None:
            parts.append(f"daemon {theirs:.0f} MB")
    for report in session.supervisor.warmed_up if session.supervisor else []:
        if report.get("device_memory_mb"):
            parts.append(f"device {report['device_memory_mb']:.0f} MB")
    return ", ".join(parts) or "unknown on this system"


def peak_memory_mb(pid: int) -> float | None:
    """Largest resident memory of a process so far, where the system tells."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024.0
    except (OSError, ValueError, IndexError):
        pass
    return None


def _output_words(output: Any, total: int) -> str:
    stride = int(getattr(output, "stride", 1))
    kind = type(output).__name__.replace("Output", "").lower()
    what = getattr(output, "what", "") or ", ".join(
        str(item) for item in getattr(output, "outlist", [])
    )
    times = f"every {stride} steps, {total // stride + 1} times"
    return f"{output.filename}: {kind} {what} {times}".replace("  ", " ")
