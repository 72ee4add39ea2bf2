"""Several runs side by side on the same daemons: what they ask for together is one batch.

Each run is an i-PI in a process of its own (`pimd.run.shared_daemon`), with a run directory of its
own; the daemons, one for each distinct potential, are started here and serve them all. A run that
fails leaves the others alone; a daemon that cannot go on ends all of them, each with its RESTART.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pimd.run.child import DaemonFailure, last_line
from pimd.run.supervisor import Plan, Supervisor

__all__ = ["Ended", "Member", "Options", "run_together"]

SAY_INTERVAL_S = 5.0
END_LIMIT_S = 60.0
"""How long runs that were asked to end may take to write where they stand."""


@dataclass(frozen=True)
class Member:
    """One of the runs.

    Attributes:
        name: for messages; no slash in it.
        input: XML input.
        run_dir: where it works; its parent gets NAME.log, what the run says.
        resume: go on from the newest checkpoint.
        steps: end at this step instead of the input's total_steps.
    """

    name: str
    input: Path
    run_dir: Path
    resume: bool = False
    steps: int | None = None


@dataclass(frozen=True)
class Options:
    """As those of `pimd run`; limits in seconds, `threads` for each daemon."""

    threads: int | None = None
    warm_up_limit: float = 600.0
    compute_limit: float = 3600.0
    restart_interval: float = 60.0


@dataclass(frozen=True)
class Ended:
    """How a run ended: `finished`, `stopped` or `failed`, why, and at which step."""

    reason: str
    message: str
    last_step: int


def run_together(
    members: Sequence[Member], folder: Path, say: Callable[[str], None],
    options: Options | None = None,
) -> dict[str, Ended]:
    """Run them all to their ends.

    Args:
        members: with names of their own.
        folder: gets daemon.log.
        say: prints a line of progress.
        options: of runs and daemons.

    Returns:
        Name of a run -> how it ended.

    Raises:
        DaemonFailure: a run or a daemon could not begin; the message names it.
        KeyboardInterrupt: after all runs have written their RESTART.
    """
    group = _Group(members, folder, say, options or Options())
    try:
        group.start()
        return group.wait()
    finally:
        group.close()


class _Run:
    """One run's process and what is known of it."""

    def __init__(self, member: Member, options: Options, scratch: Path) -> None:
        self.member = member
        self.plans: list[dict[str, Any]] = []
        self.planned = threading.Event()
        self.ending = False
        self.step, self.total = 0, 0
        self.ended: Ended | None = None
        self.on_silent: Callable[[str], None] = lambda socket: None
        given = {
            "input": str(member.input.resolve()), "run_dir": str(member.run_dir.resolve()),
            "resume": member.resume, "steps": member.steps, **dataclasses.asdict(options),
        }
        config = scratch / f"{member.name}.json"
        config.write_text(json.dumps(given))
        self.log = member.run_dir.parent / f"{member.name}.log"
        read_fd, write_fd = os.pipe()
        command = [sys.executable, "-m", "pimd.run.shared_daemon"]
        command += ["--status-fd", str(write_fd), str(config)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True,
                pass_fds=[write_fd], start_new_session=True,
            )
        os.close(write_fd)
        self._thread = threading.Thread(
            target=self._read, args=(read_fd,), name=member.name, daemon=True
        )
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def tell(self, what: dict[str, Any]) -> None:
        """Say something to the run; one that is gone hears nothing."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()
        except (OSError, ValueError):
            return

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end; it is gone if it was already."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def _read(self, read_fd: int) -> None:
        with os.fdopen(read_fd, "r", errors="replace") as pipe:
            for line in pipe:
                self._note(json.loads(line))
        code = self.process.wait()
        if self.ended is None:
            how = f"signal {-code}" if code < 0 else f"status {code}"
            message = f"it ended with {how}: {last_line(self.log)}"
            self.ended = Ended("failed", message, self.step)
        self.ending = True
        self.planned.set()

    def _note(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "plans":
            self.plans = event["plans"]
            self.planned.set()
        elif kind == "step":
            self.step, self.total = event["step"], event["total"]
        elif kind == "silent":
            self.on_silent(event["socket"])
        elif kind == "ending":
            self.ending = True
        elif kind == "end":
            self.step = event["last_step"]
            self.ended = Ended(event["reason"], event["message"], event["last_step"])


class _Group:
    """The runs and their daemons."""

    def __init__(
        self, members: Sequence[Member], folder: Path, say: Callable[[str], None],
        options: Options,
    ) -> None:
        names = [member.name for member in members]
        if len(set(names)) != len(names) or not names:
            raise ValueError(f"expected runs with names of their own, got {names}")
        self.folder, self.say, self.options = folder, say, options
        self._scratch = Path(tempfile.mkdtemp(prefix="pimd-"))
        self._stopping = False
        self._supervisor: Supervisor | None = None
        self._runs: list[_Run] = []
        self._members = members

    def start(self) -> None:
        """Start runs, then the daemons they need, and let the runs go.

        Raises:
            DaemonFailure: one of them does not begin.
        """
        for member in self._members:
            member.run_dir.parent.mkdir(parents=True, exist_ok=True)
            self._runs.append(_Run(member, self.options, self._scratch))
        for run in self._runs:
            while not run.planned.wait(0.1):
                pass
            if run.ended is not None:
                raise DaemonFailure(f"{run.member.name}: {run.ended.message}")
        plans = _merged(self._runs)
        self._supervisor = Supervisor(
            plans, self._scratch, self.folder / "daemon.log", self.say,
            on_failure=self._failed, is_ending=self._is_ending,
        )
        for run in self._runs:
            run.on_silent = lambda socket, run=run: self._silent(run, socket)  # type: ignore[misc]
        self._supervisor.start()
        self._supervisor.wait_warm(self.options.warm_up_limit)
        for run in self._runs:
            run.tell({"warm": _of_run(run, self._supervisor.warmed_up)})
        self.say(
            f"{len(self._runs)} runs on {len(plans)} daemon" + "s" * (len(plans) != 1)
            + ": " + ", ".join(plan.name for plan in plans)
        )

    def wait(self) -> dict[str, Ended]:
        """Wait for all runs to end."""
        assert self._supervisor is not None
        said_at = time.monotonic()
        gone: set[str] = set()
        while any(run.alive for run in self._runs):
            time.sleep(0.1)
            for run in self._runs:
                if run.ending and run.member.name not in gone:
                    gone.add(run.member.name)
                    _forget(self._supervisor.plans, run)
            if time.monotonic() - said_at >= SAY_INTERVAL_S:
                said_at = time.monotonic()
                self.say(self._progress())
        work = self._supervisor.fresh_totals(0.5)
        if work.rounds:
            self.say(
                f"{work.structures_evaluated} structures in {work.rounds} calls of the daemons, "
                f"{work.structures_evaluated / work.rounds:.1f} in each"
            )
        return {run.member.name: run.ended for run in self._runs if run.ended is not None}

    def close(self) -> None:
        """End what is still there: runs first, so that each writes where it stands."""
        self._stopping = True
        for run in self._runs:
            run.end()
        deadline = time.monotonic() + END_LIMIT_S
        while any(run.alive for run in self._runs) and time.monotonic() < deadline:
            time.sleep(0.05)
        for run in self._runs:
            run.end(signal.SIGKILL)
            if run.process.stdin is not None:
                run.process.stdin.close()
        if self._supervisor is not None:
            self._supervisor.stop(0.5)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _progress(self) -> str:
        parts = []
        for run in self._runs:
            where = f"{run.step}/{run.total}" if run.total else "starting"
            parts.append(f"{run.member.name} {run.ended.reason if run.ended else where}")
        return "  ".join(parts)

    def _is_ending(self) -> bool:
        return self._stopping or all(run.ending for run in self._runs)

    def _failed(self, failure: dict[str, Any]) -> None:
        for run in self._runs:
            run.tell({"failure": str(failure["message"])})

    def _silent(self, run: _Run, socket: str) -> None:
        self.say(f"{run.member.name}: no answer for {self.options.compute_limit:g} s")
        if self._supervisor is not None:
            self._supervisor.replace(f"{run.member.name}/{socket}")


def _merged(runs: Sequence[_Run]) -> list[Plan]:
    """One plan for each potential, with the sockets of all runs as RUN/SOCKET."""
    plans: dict[str, Plan] = {}
    for run in runs:
        for given in run.plans:
            config = given["config"]
            key = str(config["spec"])
            if key not in plans:
                plans[key] = Plan(given["name"], {**config, "targets": []})
            for target in config["targets"]:
                named = {**target, "name": f"{run.member.name}/{target['name']}"}
                plans[key].config["targets"].append(named)
    return list(plans.values())


def _of_run(run: _Run, reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The reports on the sockets of a run, by the names it knows."""
    start = f"{run.member.name}/"
    return [
        {**report, "simulation": report["simulation"].removeprefix(start)}
        for report in reports if report["simulation"].startswith(start)
    ]


def _forget(plans: Sequence[Plan], run: _Run) -> None:
    """A daemon that has to be replaced need not wait for a run that has ended."""
    for plan in plans:
        left = [
            target for target in plan.config["targets"]
            if not target["name"].startswith(f"{run.member.name}/")
        ]
        plan.config["targets"] = left or plan.config["targets"]
