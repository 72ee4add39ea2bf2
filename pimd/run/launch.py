"""`pimd run`: from an i-PI input to a finished run, in the order things happen.

    read the input -> claim the run directory -> parse it with i-PI -> start the daemons and wait
    until they have evaluated the first structures -> run i-PI with progress -> summary
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from pimd.claim import Claim
from pimd.interrupts import HeardInterrupt
from pimd.ipi import extensions
from pimd.ipi.input import InputError, InputFile, read_input
from pimd.ipi.server import IpiServer, Outcome
from pimd.ipi.systems import SocketUse, SystemInfo, socket_uses, system_infos
from pimd.ipi.uncertainty import may_tell, sources
from pimd.record.h5md_file import RecordError
from pimd.record.h5md_recovery import cut_record
from pimd.results.screen import as_said
from pimd.run.checkpoints import checkpoint_step, latest_checkpoint
from pimd.run.child import DaemonFailure
from pimd.run.describe import describe
from pimd.run.frames import FrameFile
from pimd.run.member_file import MEMBER_FILE, MemberFile
from pimd.run.members import Recorder
from pimd.run.observe import Observer
from pimd.run.plan import SocketPaths, ask_in_batches, make_plans
from pimd.run.progress import Progress
from pimd.run.rundir import (
    END_PATIENCE_S,
    RunDirectory,
    RunDirectoryError,
    default_run_directory,
)
from pimd.run.stock import NOTES, input_addresses
from pimd.run.summary import RunSummary, versions
from pimd.run.supervisor import Supervisor
from pimd.run.uncertainty import (
    KEPT_FILE,
    STOPPED_FILE,
    NoUncertainty,
    Uncertainty,
    UncertaintyOptions,
)
from pimd.structure import PotentialError

__all__ = ["WRONG_INPUT", "RunOptions", "Session", "run"]

WRONG_INPUT = (
    InputError,
    NoUncertainty,
    PotentialError,
    RecordError,
    RunDirectoryError,
    extensions.ExtensionError,
    extensions.OutputPositionsError,
)
"""What ends a run before it began, through no fault of a daemon."""


@dataclass
class RunOptions:
    """What the command line of `pimd run` and `pimd check` says.

    Times are in seconds; `trial` has the daemons evaluate a full round before they serve; `stock`
    leaves i-PI as it is. `supervisor` makes what keeps the daemons, as `Supervisor` itself does.
    """

    input: Path
    run_dir: Path | None = None
    potentials: list[str] = field(default_factory=list)
    steps: int | None = None
    resume: bool = False
    fresh: bool = False
    threads: int | None = None
    interval: float | None = None
    warm_up_limit: float = 600.0
    compute_limit: float = 3600.0
    restart_interval: float = 60.0
    stock: bool = False
    trial: bool = False
    uncertainty: UncertaintyOptions = field(default_factory=UncertaintyOptions)
    supervisor: Callable[..., Supervisor] = Supervisor


class Session:
    """One run: everything that is alive while it goes on."""

    def __init__(self, options: RunOptions, console: Console) -> None:
        self.options, self.console = options, console
        self.summary = RunSummary(versions=versions())
        self.document: InputFile
        self.directory: RunDirectory
        self.server: IpiServer | None = None
        self.supervisor: Supervisor | None = None
        self.infos: list[SystemInfo] = []
        self.uses: list[SocketUse] = []
        self.say = lambda message: console.print(
            message, highlight=False, soft_wrap=True, markup=False
        )
        self._sockets = Path(tempfile.mkdtemp(prefix="pimd-"))
        self._claim: Claim | None = None

    @property
    def ipi(self) -> IpiServer:
        """The i-PI of this run, once `load` has begun."""
        assert self.server is not None
        return self.server

    def open(self) -> None:
        """Read the input and claim the run directory.

        Raises:
            InputError, RunDirectoryError: with what to do.
        """
        options = self.options
        folder = options.run_dir or default_run_directory(options.input)
        self.directory = RunDirectory(folder)
        self._claim = Claim(
            self.directory.path, RunDirectoryError,
            f"{self.directory.path}: a run goes on here", END_PATIENCE_S,
        )
        self._claim.take()
        if options.resume:
            self._open_resumed()
        else:
            self.document = read_input(options.input)
            self._apply_options()
            for line in self.directory.start_new(aside=options.fresh):
                self.say(line)
            self.directory.input.write_text(self.document.xml())

    def _open_resumed(self) -> None:
        for line in self.directory.continue_run():
            self.say(line)
        checkpoint, step = latest_checkpoint(self.directory)
        self.document = read_input(checkpoint)
        self._apply_options()
        total = self.document.total_steps
        if step >= total:
            raise RunDirectoryError(
                f"{self.directory.path} is finished: it stands at step {step} of {total}; "
                "give a larger --steps to go on"
            )
        for line in extensions.truncate_outputs(checkpoint, self.directory.path):
            self.say(line)
        for line in self._cut_kept(step):
            self.say(line)
        self.say(f"resuming at step {step} of {total}, from {checkpoint.name}")

    def _cut_kept(self, step: int) -> list[str]:
        """Drop what was kept beside i-PI's outputs after the checkpoint."""
        folder = self.directory.path
        said = MemberFile(folder / MEMBER_FILE).cut(step)
        for name, stride in extensions.record_files(self.document.root):
            said += cut_record(folder / name, step, stride)
        for name in (KEPT_FILE, STOPPED_FILE):
            said += FrameFile.cut(folder / name, step)
        return said

    def _apply_options(self) -> None:
        self.document.set_potentials(self.options.potentials)
        if self.options.steps is not None:
            self.document.total_steps = self.options.steps
        self.document.check_served()

    def load(self) -> None:
        """Parse with i-PI, start the daemons, wait until they are warm, open the sockets.

        Raises:
            InputError: i-PI refuses the input.
            DaemonFailure: a daemon cannot evaluate it.
        """
        stock = self.options.stock
        sockets = SocketPaths.for_input(self.document, self._sockets)
        settings = extensions.Settings(
            private_sockets={} if stock else dict(sockets.paths),
            compute_limit=self.options.compute_limit,
            driver_limit=self.options.warm_up_limit,
            restart_interval=self.options.restart_interval,
            on_silent=self._silent,
            stock=stock,
        )
        for note in NOTES if stock else ():
            self.say(note)
        folder = self.options.input.resolve().parent
        if self.options.resume:
            folder = self.directory.path
        self.server = IpiServer(self.document.xml(), folder, self.directory.path, settings)
        self.ipi.load(lambda simulation: self._before_bind(simulation, sockets))

    def _before_bind(self, simulation: Any, sockets: SocketPaths) -> None:
        self.infos = system_infos(simulation)
        self.uses = socket_uses(simulation, self.infos)
        for info in self.infos:
            text = describe(simulation, info)
            self.say(("" if len(self.infos) == 1 else f"system {info.index}: ") + text.short)
            for warning in text.warnings:
                self.say(f"warning: {warning}")
        ask_in_batches(self.uses)
        plans = make_plans(
            self.document, self.uses,
            input_addresses(self.uses, self.directory.path) if self.options.stock
            else sockets.addresses(self.uses),
            threads=self.options.threads, connect_timeout=self.options.warm_up_limit,
            trial=self.options.trial,
            requests=self.options.uncertainty.members_every is not None,
        )
        self.supervisor = self.options.supervisor(
            plans, self._sockets, self.directory.path / "daemon.log", self.say,
            on_failure=lambda event: self.ipi.fail(str(event["message"])),
            is_ending=lambda: self.ipi.is_ending, restarts=not self.options.stock,
        )
        with HeardInterrupt() as interrupt:
            self.supervisor.start()
            self.supervisor.wait_warm(self.options.warm_up_limit, interrupt.check)
        self.options.uncertainty.check(
            may_tell(simulation, {w["simulation"]: w["uncertainty"] for w in self._warm_reports()}),
            may_tell(simulation, {n: m > 1 for n, m in self._n_members().items()}),
        )
        for use in self.uses:
            spec = next(s.spec for s in self.document.sockets if s.name == use.name)
            self.say(f"forces of '{use.name}': {spec}, {use.n_beads} beads in one call")

    def _silent(self, socket_name: str) -> None:
        """i-PI has given up on the daemon of a socket: another takes its place."""
        if self.supervisor is not None:
            limit = self.options.compute_limit
            self.say(f"the daemon of '{socket_name}' gave no answer for {limit:g} s")
            self.supervisor.replace(socket_name)

    def run(self) -> Outcome:
        """Run i-PI to its end, showing progress."""
        assert self.supervisor is not None
        for status in self.ipi.extension_status:
            if not (status.enabled or self.options.stock):
                self.say(f"note: i-PI extension '{status.name}' is off: {status.reason}")
        with Progress(self.console, interval_s=self.options.interval) as progress:
            self.say = progress.say
            self.supervisor.say = progress.say
            uncertainty = self._uncertainty()
            recorder = self._recorder(uncertainty)
            observer = Observer(
                self.ipi.simulation, self.supervisor, progress, uncertainty, recorder
            )
            outcome = self.ipi.run(
                self._ends_run(observer.before_steps), self._ends_run(observer.after_step),
                observer.after_steps,
            )
        self.supervisor.stop()
        self.summary.uncertainty = uncertainty.summary()
        if recorder is not None:
            self.summary.uncertainty["members"] = recorder.summary()
        summary = self.summary
        summary.steps, summary.last_step = outcome.steps, outcome.last_step
        summary.wall_seconds = outcome.wall_seconds
        summary.exit_reason, summary.message = outcome.reason, outcome.message
        summary.daemon_restarts = self.supervisor.n_restarts
        summary.set_work(observer.work, observer.exchanges)
        return outcome

    def _uncertainty(self) -> Uncertainty:
        pbc = {s.name: s.spec.options.get("pbc") for s in self.document.sockets if s.spec}
        return Uncertainty(
            sources(self.ipi.simulation, self.infos, pbc), self.options.uncertainty,
            self.directory.path, stop=self.ipi.stop, say=lambda message: self.say(message),
        )

    def _recorder(self, uncertainty: Uncertainty) -> Recorder | None:
        """What records the forces of members, if that was asked for."""
        every = self.options.uncertainty.members_every
        if every is None:
            return None
        assert self.supervisor is not None
        return Recorder(
            uncertainty.sources, self._n_members(), self.supervisor,
            MemberFile(self.directory.path / MEMBER_FILE), every, self._sockets,
            self.options.compute_limit,
        )

    def _n_members(self) -> dict[str, int]:
        """Socket name -> members of the committee that serves it; 0: it is none."""
        return {str(w["simulation"]): int(w["n_members"]) for w in self._warm_reports()}

    def _ends_run(self, call: Callable[..., None]) -> Callable[..., None]:
        """`call`, where an error that is the user's to read ends the run with its words."""

        def guarded(*arguments: int) -> None:
            try:
                call(*arguments)
            except (*WRONG_INPUT, DaemonFailure) as error:
                self.ipi.fail(str(error))
                raise SystemExit from error

        return guarded

    def finish(self) -> None:
        """Write summary.json."""
        summary = self.summary
        summary.total_steps = self.document.total_steps
        summary.potentials = {s.name: str(s.spec) for s in self.document.sockets}
        summary.n_atoms = [len(info.structure) for info in self.infos]
        summary.n_beads = [info.n_beads for info in self.infos]
        devices = {str(w.get("device", "cpu")) for w in self._warm_reports()}
        summary.device = ", ".join(sorted(devices)) or "cpu"
        status = self.server.extension_status if self.server else []
        summary.extensions = {s.name: "on" if s.enabled else s.reason for s in status}
        summary.written = sorted(
            path.name for path in self.directory.path.iterdir()
            if path.is_file() and path.name not in ("i-pi.log", "daemon.log", "input.xml")
        )
        self.directory.write_summary(summary.as_dict())

    def _warm_reports(self) -> list[dict[str, Any]]:
        return self.supervisor.warmed_up if self.supervisor is not None else []

    def close(self) -> None:
        """Let go of processes and sockets."""
        if self.supervisor is not None:
            self.supervisor.stop(0.5)
        shutil.rmtree(self._sockets, ignore_errors=True)
        if self._claim is not None:
            self._claim.drop()


def run(options: RunOptions, console: Console) -> int:
    """`pimd run`; returns the exit status: 0 finished or stopped as asked, 1 failed, 2 usage.

    The process stays in the run directory, since i-PI may still write there when it exits.
    """
    session = Session(options, console)
    try:
        return _run(session)
    except (*WRONG_INPUT, DaemonFailure) as error:
        console.print(f"error: {error}", style="red", highlight=False, markup=False,
                      soft_wrap=True)
        return 1 if isinstance(error, DaemonFailure) else 2
    except KeyboardInterrupt:
        console.print("stopped before the first step", highlight=False)
        return 130
    finally:
        session.close()


def _run(session: Session) -> int:
    source = session.options.input.resolve()  # i-PI changes the folder
    session.open()
    session.say(f"{session.options.input} -> {session.directory.path}")
    try:
        session.load()
        outcome = session.run()
    except (*WRONG_INPUT, DaemonFailure, KeyboardInterrupt) as error:
        session.summary.message = str(error) or "stopped before the first step"
        session.finish()
        raise
    session.finish()
    folder = as_said(session.directory.path)
    if outcome.reason == "failed":
        restart = session.directory.restart
        stands_at = checkpoint_step(restart)
        session.console.print(
            f"error: the run failed at step {outcome.last_step}: {outcome.message}\n"
            + (f"RESTART of step {stands_at}: {restart}; after mending the cause, go on "
               "with --resume" if stands_at is not None else "no RESTART was written"),
            style="red", highlight=False, markup=False, soft_wrap=True,
        )
    session.summary.print(session.console, folder)
    if outcome.reason == "stopped":
        where = f" --run-dir {folder}" if session.options.run_dir else ""
        session.say(f"go on with: pimd run {as_said(source)} --resume{where}")
    return 1 if outcome.reason == "failed" else 0
