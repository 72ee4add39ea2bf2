"""Serve i-PI's simulations with one potential: what `pimd serve` and the child process run."""

from __future__ import annotations

import contextlib
import resource
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from pimd.daemon.calls import Answer, Caller, EvaluationError
from pimd.daemon.failures import describe
from pimd.daemon.loop import Loop
from pimd.daemon.rounds import Request, Template
from pimd.daemon.simulation import Simulation, Target
from pimd.daemon.status import ExitReason, Report, Reporter
from pimd.evaluator import Evaluator
from pimd.units import BOHR_ANGSTROM

__all__ = ["ExitReason", "Target", "WarmUpFailed", "serve", "warm_up"]

CONNECT_TIMEOUT = 600.0
"""Seconds to wait for a server to appear."""
RECONNECT_TIMEOUT = 60.0
"""Seconds to wait for a server to come back."""


TRIAL_DISPLACEMENT = 0.01
"""Å; makes the structures of a trial round different."""


class WarmUpFailed(RuntimeError):
    """A template could not be evaluated.

    Attributes:
        details: what the event "error" carries: message, simulation, bead, file, traceback.
    """

    def __init__(self, details: dict[str, Any]) -> None:
        super().__init__(details["message"])
        self.details = details


def warm_up(
    evaluator: Evaluator,
    targets: Sequence[Target],
    *,
    properties: Sequence[str] = (),
    dump_dir: Path | str = ".",
) -> list[dict[str, Any]]:
    """Evaluate each template once, as the daemon will: finds a wrong model early.

    Returns, for each target: simulation, n_atoms, seconds, energy_ev, largest_force (eV/Å); where
    it asks for a trial round also trial_structures, trial_seconds, memory_mb, device_memory_mb.

    Raises:
        WarmUpFailed: a template cannot be evaluated.
        PotentialError: a property the potential does not give.
        AddressError: an address that is none.
    """
    caller = Caller(evaluator, properties)
    return [_warm_up_one(caller, target, Path(dump_dir)) for target in targets]


def _warm_up_one(caller: Caller, target: Target, dump_dir: Path) -> dict[str, Any]:
    template, name = target.template, target.name or target.address
    started = time.perf_counter()
    answer = _evaluate_copies(caller, target, 1, 0.0, dump_dir)
    forces = answer.evaluated.forces
    report = {
        "simulation": name,
        "n_atoms": len(template),
        "seconds": time.perf_counter() - started,
        "energy_ev": float(answer.evaluated.energies[0]),
        "largest_force": 0.0 if forces is None else float(np.abs(forces).max(initial=0.0)),
    }
    if target.trial_structures:
        report |= _trial_round(caller, target, dump_dir)
    return report


def _trial_round(caller: Caller, target: Target, dump_dir: Path) -> dict[str, Any]:
    """What a round costs once neighbour lists and memory are there."""
    n_structures = target.trial_structures
    for _ in range(2):
        answer = _evaluate_copies(caller, target, n_structures, TRIAL_DISPLACEMENT, dump_dir)
    device = caller.evaluator.potential.device
    on_device = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return {
        "trial_structures": n_structures,
        "trial_seconds": answer.seconds,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
        "device_memory_mb": on_device / 2**20,
    }


def _evaluate_copies(
    caller: Caller, target: Target, n: int, displacement: float, dump_dir: Path
) -> Answer:
    """Evaluate n copies of a template, each atom displaced at random by so many Å."""
    template = target.template
    random = np.random.default_rng(0).normal(0.0, 1.0, (n, len(template), 3))
    request = Request(
        Template.of(template),
        np.repeat(template.cell.T[None], n, axis=0) / BOHR_ANGSTROM,
        (template.positions + displacement * random) / BOHR_ANGSTROM,
    )
    try:
        return caller.evaluate([request])
    except EvaluationError as error:
        owner = f"template of {target.name or target.address}"
        failure = describe(error, [(owner, None)], caller, dump_dir)
        raise WarmUpFailed(vars(failure)) from error.__cause__


def serve(
    evaluator: Evaluator,
    targets: Sequence[Target],
    *,
    properties: Sequence[str] = (),
    connect_timeout: float = CONNECT_TIMEOUT,
    reconnect_timeout: float = RECONNECT_TIMEOUT,
    report: Report | None = None,
    dump_dir: Path | str = ".",
) -> ExitReason:
    """Serve simulations until their servers say EXIT or are gone.

    The templates are evaluated first. SIGTERM and SIGINT end it in order when it runs in the
    main thread; a second one ends it at once.

    Args:
        evaluator: evaluates all beads of all simulations.
        targets: addresses and templates.
        properties: of the potential, sent as extras; see `pimd.daemon.extras`.
        connect_timeout: seconds to wait for a server to appear.
        reconnect_timeout: seconds to wait for a server that went away without EXIT.
        report: gets the events of `pimd.daemon.status`.
        dump_dir: folder for a structure that cannot be evaluated.

    Returns:
        Why it ended; `.status` is an exit status, 0 if all went well.

    Raises:
        ValueError: no targets, an address that is none, an unknown property.
    """
    if not targets:
        raise ValueError("nothing to serve: give at least one address")
    folder = Path(dump_dir)
    reporter = Reporter(report, evaluator.budget)
    simulations = [Simulation(t, connect_timeout, reconnect_timeout) for t in targets]
    _refuse_doubles(simulations)
    try:
        warmed = warm_up(evaluator, targets, properties=properties, dump_dir=folder)
    except WarmUpFailed as error:
        reporter.event("error", **error.details)
        return _end(reporter, ExitReason.EVALUATION_FAILED, str(error))
    for entry in warmed:
        reporter.event("warmed_up", **entry)
    reporter.restart()
    for simulation in simulations:
        simulation.start(time.monotonic())
    loop = Loop(Caller(evaluator, properties), simulations, reporter, folder)
    with contextlib.closing(loop), _signals(loop):
        reporter.event(
            "ready",
            potential=evaluator.potential.name,
            device=str(evaluator.potential.device),
            simulations=[s.name for s in simulations],
        )
        reason = loop.run()
    reporter.budget(now=True)
    return _end(reporter, reason, loop.message)


def _end(reporter: Reporter, reason: ExitReason, message: str) -> ExitReason:
    reporter.event(
        "end", reason=reason.name.lower(), status=reason.status, message=message or reason.text
    )
    return reason


def _refuse_doubles(simulations: Sequence[Simulation]) -> None:
    seen = set()
    for simulation in simulations:
        place = simulation.address.place
        if place in seen:
            raise ValueError(
                f"the address {simulation.address} is given twice: give it once, with as many "
                "connections as it should have"
            )
        seen.add(place)


@contextmanager
def _signals(loop: Loop) -> Iterator[None]:
    """Stop the loop on SIGTERM and SIGINT, report on SIGUSR1; nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])  # a second one acts as before
        loop.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.getsignal(number) or signal.SIG_DFL
    for number in before:
        signal.signal(number, handle)
    before[signal.SIGUSR1] = signal.getsignal(signal.SIGUSR1) or signal.SIG_DFL
    signal.signal(signal.SIGUSR1, lambda *_: loop.report_now())
    # a signal may be taken by another thread, which leaves this one waiting in the selector
    wake_fd_before = signal.set_wakeup_fd(loop.wake_fd, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(wake_fd_before)
        for number, handler in before.items():
            signal.signal(number, handler)
