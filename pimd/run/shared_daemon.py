"""One run among several that share their daemons: `python -m pimd.run.shared_daemon OPTIONS.json`.

It is `pimd run` but for the daemons, which belong to the process that started it
(`pimd.run.together`). The two speak in JSON objects, one a line. To the parent, on `--status-fd`:

    {"event": "plans", "plans": [...]}       what daemons it needs, where it will listen
    {"event": "step", "step": 120, "total": 4000}
    {"event": "silent", "socket": "water"}   no answer came for `compute_limit` seconds
    {"event": "ending"}                      before i-PI says EXIT to its daemons
    {"event": "end", "reason": "finished", "message": "...", "last_step": 4000}

From the parent, on stdin:

    {"warm": [...]}                          the daemons' events "warmed_up"
    {"failure": "..."}                       no daemon can go on

The run ends in order, with RESTART, at SIGTERM and when the parent is gone.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from pimd.daemon.child import StatusPipe
from pimd.run.child import DaemonFailure
from pimd.run.launch import WRONG_INPUT, RunOptions, Session
from pimd.run.supervisor import Plan, Supervisor, Totals

__all__ = ["SharedDaemon", "main"]

STEP_INTERVAL_S = 0.5
"""How often the parent hears of the step."""


class SharedDaemon(Supervisor):
    """Stands where the `Supervisor` of a run does, and leaves the daemons to the parent.

    Args:
        report: gets the events for the parent.
        lines: what the parent says, line by line.
        plans, folder, log_path, say, on_failure, is_ending, restarts: as `Supervisor`.
    """

    def __init__(
        self, report: Callable[[dict[str, Any]], None], lines: Any, plans: list[Plan],
        *arguments: Any, **options: Any,
    ) -> None:
        super().__init__(plans, *arguments, **options)
        self._report, self._lines = report, lines
        self._heard: queue.Queue[dict[str, Any]] = queue.Queue()
        self._warmed_up: list[dict[str, Any]] = []

    def start(self) -> None:
        """Tell the parent what daemons are needed."""
        threading.Thread(target=self._listen, name="parent", daemon=True).start()
        self._report({"event": "plans", "plans": [asdict(plan) for plan in self.plans]})

    def wait_warm(self, timeout: float, watch: Callable[[], None] | None = None) -> None:
        """Wait until the parent says that the daemons are ready; it minds the time.

        Raises:
            DaemonFailure: one cannot evaluate its structures.
        """
        while True:
            if watch is not None:
                watch()
            try:
                said = self._heard.get(timeout=0.05)
            except queue.Empty:
                continue
            if "failure" in said:
                raise DaemonFailure(str(said["failure"]))
            self._warmed_up = list(said.get("warm", []))
            self._serving = True
            return

    @property
    def warmed_up(self) -> list[dict[str, Any]]:
        return self._warmed_up

    def totals(self) -> Totals:
        """Nothing: what the daemons do is counted by the parent, for all runs together."""
        return Totals()

    def fresh_totals(self, timeout: float = 2.0) -> Totals:
        return Totals()

    def ask(self, socket_name: str, request: dict[str, Any], limit: float) -> dict[str, Any]:
        """Refuse: daemons that are shared answer no requests.

        Raises:
            DaemonFailure: always.
        """
        raise DaemonFailure("forces of members cannot be asked of a daemon that runs share")

    def replace(self, socket_name: str) -> None:
        """Tell the parent that a daemon hangs."""
        self._report({"event": "silent", "socket": socket_name})

    def stop(self, patience: float = 5.0) -> None:
        self._stopping = True

    def _listen(self) -> None:
        for line in self._lines:
            said = json.loads(line)
            if "failure" in said and self._serving:
                self.failure = {"message": str(said["failure"])}
                self.on_failure(self.failure)
            else:
                self._heard.put(said)
        if not self._stopping:  # nobody is there any more
            os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """The process; its exit status is that of `pimd run`."""
    parser = argparse.ArgumentParser(prog="python -m pimd.run.shared_daemon")
    parser.add_argument("--status-fd", type=int, required=True, help="pipe for events")
    parser.add_argument("options", type=Path, help="JSON file: entries of RunOptions")
    chosen = parser.parse_args(arguments)
    report = StatusPipe(chosen.status_fd)
    os.set_inheritable(chosen.status_fd, False)
    given = json.loads(chosen.options.read_text())
    for name in ("input", "run_dir"):
        given[name] = Path(given[name])
    options = RunOptions(
        **given,
        supervisor=lambda *a, **k: SharedDaemon(report, sys.stdin, *a, **k),
    )
    return _run(Session(options, Console(file=sys.stdout)), report)


def _run(session: Session, report: Callable[[dict[str, Any]], None]) -> int:
    end: dict[str, Any] = {"event": "end", "reason": "failed", "last_step": 0}
    try:
        session.open()
        session.load()
        _tell_of_the_end(report)
        threading.Thread(
            target=_tell_steps, args=(session, report), name="steps", daemon=True
        ).start()
        outcome = session.run()
        session.summary.time_fractions = {}  # of all runs together, which the parent knows
        session.finish()
        end |= {
            "reason": outcome.reason, "message": outcome.message, "last_step": outcome.last_step
        }
    except (*WRONG_INPUT, DaemonFailure) as error:
        end["message"] = str(error)
        if hasattr(session, "directory") and session.server is not None:
            session.summary.message = str(error)
            session.finish()
    except KeyboardInterrupt:
        end |= {"reason": "stopped", "message": "stopped before the first step"}
    finally:
        session.close()
    report(end)
    return 0 if end["reason"] in ("finished", "stopped") else 1


def _tell_of_the_end(report: Callable[[dict[str, Any]], None]) -> None:
    """Have the parent know before the daemons do: they end as soon as i-PI says EXIT."""
    from ipi.utils.softexit import softexit

    before = softexit.cleanup

    def cleanup(status: str = "restartable", message: str = "") -> None:
        report({"event": "ending"})
        before(status, message)

    softexit.cleanup = cleanup


def _tell_steps(session: Session, report: Callable[[dict[str, Any]], None]) -> None:
    simulation = session.ipi.simulation
    while not session.ipi.is_ending:
        report({"event": "step", "step": int(simulation.step), "total": int(simulation.tsteps)})
        time.sleep(STEP_INTERVAL_S)


if __name__ == "__main__":
    sys.exit(main())
