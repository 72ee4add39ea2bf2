"""Run i-PI in this process: extensions on, its printing in a log, signals, a clear outcome.

    server = IpiServer(xml, input_folder, run_directory, settings)
    server.load(before_bind)        parse; `before_bind(simulation)` may start daemons
    outcome = server.run(after_step)

i-PI ends a run by raising SystemExit from wherever it is, with status 0 whatever happened; here
every way to end becomes one `Outcome`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pimd.ipi import extensions
from pimd.ipi.blas import limit_blas
from pimd.ipi.input import InputError
from pimd.ipi.thermostats import NEEDS_EXTENSION, uses_nose_hoover

__all__ = ["IpiServer", "Outcome"]

EXIT_LIMIT_S = 15.0
"""How long to wait for i-PI's own cleanup; RESTART is written in the first of these seconds."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        reason: `finished`, `stopped` (by a signal, an EXIT file or the wall clock, as asked),
            or `failed`.
        message: one message that says what happened.
        steps: steps done.
        last_step: the step RESTART stands at.
        wall_seconds: of the loop over steps.
    """

    reason: str
    message: str
    steps: int
    last_step: int
    wall_seconds: float


class _Passed(float):
    """The total_time of an input, written as it is, but passed at any time.

    i-PI compares it with the time that a run took, between the outputs of a step and the next
    step: the one place where a run can be ended that loses nothing. A checkpoint holds the number
    of the input.
    """

    def __gt__(self, other: float) -> bool:
        return True

    def __lt__(self, other: float) -> bool:
        return True


class IpiServer:
    """One i-PI simulation in this process, which can hold only one.

    Args:
        xml: the input, as text.
        input_folder: where i-PI reads the files the input names.
        run_directory: where i-PI writes.
        settings: of the extensions.
    """

    def __init__(
        self,
        xml: str,
        input_folder: Path,
        run_directory: Path,
        settings: extensions.Settings,
    ) -> None:
        self.xml, self.input_folder, self.run_directory = xml, input_folder, run_directory
        self.settings = settings
        self.log_path = run_directory / "i-pi.log"
        self.extension_status: list[extensions.ExtensionStatus] = []
        self.simulation: Any = None
        self._first_stop: tuple[str, str] | None = None
        self._failure: str | None = None
        self._stop_message = ""
        self._log: Any = None

    def load(self, before_bind: Callable[[Any], None]) -> None:
        """Parse the input and open the sockets.

        Args:
            before_bind: gets the simulation when atoms, cells and forcefields are known, before
                any socket is opened or file written.

        Raises:
            InputError: with i-PI's own words, if it refuses the input.
        """
        from ipi.engine.simulation import Simulation

        def hook(simulation: Any) -> None:
            os.chdir(self.run_directory)
            before_bind(simulation)

        self.extension_status = extensions.enable_all(self.settings)
        self._check_thermostats()
        self._check_records()
        if not self.settings.stock:
            limit_blas()
        self._log = open(self.log_path, "a", buffering=1)  # noqa: SIM115  (open for the run)
        os.chdir(self.input_folder)
        passed_on: list[BaseException] = []

        def guarded(simulation: Any) -> None:
            try:
                hook(simulation)
            except BaseException as error:
                passed_on.append(error)
                raise

        try:
            with self._redirected():
                self.simulation = Simulation.load_from_xml(
                    self.xml, request_banner=True, post_init_hook=guarded
                )
        except BaseException as error:
            if passed_on and error is passed_on[0]:
                raise
            if isinstance(error, KeyboardInterrupt):
                raise
            self._note_traceback()
            said = str(error) or type(error).__name__
            raise InputError(f"i-PI refuses the input: {said} (more in {self.log_path})") from error
        self._record_stops()

    def _check_thermostats(self) -> None:
        """Nosé–Hoover chains are an extension, without which i-PI's words would not help."""
        if not uses_nose_hoover(ET.fromstring(self.xml)):
            return
        off = [s for s in self.extension_status if s.name == "nose_hoover" and not s.enabled]
        if off:
            raise InputError(f"{NEEDS_EXTENSION} (it is off: {off[0].reason})")

    def _check_records(self) -> None:
        """The format h5md is an extension, without which i-PI's words would not help."""
        if not extensions.record_files(ET.fromstring(self.xml)):
            return
        off = [s for s in self.extension_status if s.name == "h5md_output" and not s.enabled]
        if off:
            raise InputError(
                "<trajectory format='h5md'> is written by pimd's extension h5md_output, and "
                f"cannot be written here (it is off: {off[0].reason})"
            )

    @property
    def is_ending(self) -> bool:
        """Whether i-PI is on its way out."""
        from ipi.utils.softexit import softexit

        return bool(softexit.triggered)

    def fail(self, message: str) -> None:
        """End the run from any thread, with RESTART, as failed."""
        from ipi.utils.softexit import softexit

        self._failure = self._failure or message
        with self._quietly():
            softexit.cleanup("restartable", message)

    def stop(self, message: str) -> None:
        """End the run in order after the outputs of the present step; for `after_step`."""
        self._stop_message = self._stop_message or message
        self.simulation.ttime = _Passed(self.simulation.ttime)

    def run(
        self,
        before_steps: Callable[[], None],
        after_step: Callable[[int], None],
        after_steps: Callable[[bool], None],
    ) -> Outcome:
        """Run to the end, whatever it is; never raises for what happens in i-PI.

        Args:
            before_steps: called when the forces of the first structures are there.
            after_step: called after each step, before its outputs, with the steps done so far.
            after_steps: called after the last step, before i-PI closes its sockets, with whether
                i-PI's properties can still be read.
        """
        simulation = self.simulation
        first = int(simulation.step)
        start = time.perf_counter()
        done = [0]
        stock_step = simulation.run_step

        def run_step(step: int) -> None:
            stock_step(step)
            if not self.is_ending:
                done[0] += 1
                after_step(first + done[0])

        simulation.run_step = run_step
        with self._redirected():
            try:
                self._initial_forces()
                before_steps()
                start = time.perf_counter()
                simulation.run()
            except SystemExit:
                pass
            except BaseException as error:
                self._failure = self._failure or f"{type(error).__name__}: {error}"
                self._note_traceback()
            wall = time.perf_counter() - start
            after_steps(not (self.is_ending or self._failure))
            self._clean_up()
        return self._outcome(first, done[0], wall)

    def evaluate_once(self, then: Callable[[], None]) -> str | None:
        """Evaluate the first structures, call `then`, and end; returns what went wrong, if any."""
        with self._redirected():
            try:
                self._initial_forces()
                then()
            except SystemExit:
                pass
            except BaseException as error:
                self._failure = self._failure or f"{type(error).__name__}: {error}"
                self._note_traceback()
            self._clean_up()
        return extensions.failure_message() or self._failure

    def end(self) -> None:
        """End without a step: sockets and outputs are closed."""
        with self._redirected():
            self._clean_up()

    def _initial_forces(self) -> None:
        """Evaluate the first structures, so that a step costs what a step costs."""
        for system in self.simulation.syslist:
            system.forces.queue()
            system.forces.pots  # noqa: B018  (i-PI computes on access)

    def _outcome(self, first: int, steps: int, wall: float) -> Outcome:
        from ipi.utils.softexit import softexit

        simulation = self.simulation
        failure = extensions.failure_message() or self._failure
        last = first + steps
        ended = simulation.finished or last >= simulation.tsteps
        if failure:
            reason, message = "failed", failure
        elif ended and not softexit._killed:
            reason, message = "finished", f"{last} steps done"
        else:
            reason, message = "stopped", self._why_stopped()
        return Outcome(reason, message, steps, last, wall)

    def _why_stopped(self) -> str:
        from ipi.utils.softexit import softexit

        if self._stop_message:
            return self._stop_message
        if softexit._killed:
            return "a signal asked the run to end"
        if (self.run_directory / "EXIT").exists():
            return "an EXIT file asked the run to end"
        if self._first_stop is not None and "wall" in self._first_stop[1].lower():
            return "the wall-clock time of the input has passed"
        return (self._first_stop[1].strip() if self._first_stop else "") or "as asked"

    def _clean_up(self) -> None:
        """i-PI's own end: forcefields closed, outputs closed, RESTART written."""
        from ipi.utils.softexit import softexit

        worker = threading.Thread(
            target=self._clean_up_once, name="softexit of the main thread", daemon=True
        )
        worker.start()
        worker.join(EXIT_LIMIT_S)
        deadline = time.monotonic() + EXIT_LIMIT_S
        while softexit.exiting and time.monotonic() < deadline:
            time.sleep(0.01)

    def _clean_up_once(self) -> None:
        from ipi.utils.softexit import softexit

        simulation = self.simulation
        status = "restartable"
        try:
            softexit.cleanup(status, simulation.exit_message)
        except Exception:
            self._note_traceback()

    def _record_stops(self) -> None:
        """Note the first reason i-PI gives for ending."""
        from ipi.utils.softexit import softexit

        stock = softexit.cleanup

        def cleanup(status: str = "restartable", message: str = "") -> None:
            if self._first_stop is None:
                self._first_stop = (status, message)
            stock(status, message)

        softexit.cleanup = cleanup

    def _note_traceback(self) -> None:
        if self._log is not None:
            traceback.print_exc(file=self._log)

    @contextlib.contextmanager
    def _redirected(self) -> Iterator[None]:
        """i-PI prints to stdout from all its threads; all of it goes into the log."""
        before = sys.stdout
        sys.stdout = self._log
        try:
            yield
        finally:
            sys.stdout = before

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        with contextlib.suppress(SystemExit):
            yield
