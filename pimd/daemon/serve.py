"""Serve i-PI's simulations with one potential: what `pimd serve` and the child process run."""

from __future__ import annotations

import contextlib
import json
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
from pimd.daemon.members import MemberRequests, evaluate_members
from pimd.daemon.models import GivenModel, NamedModels
from pimd.daemon.rounds import Request, Template
from pimd.daemon.simulation import Simulation, Target
from pimd.daemon.status import ExitReason, Report, Reporter
from pimd.evaluator import Evaluator
from pimd.potentials.registry import Spec
from pimd.units import BOHR_ANGSTROM

__all__ = ["ExitReason", "Target", "WarmUpFailed", "serve", "serve_named", "warm_up"]

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
    member_forces: bool = False,
    dump_dir: Path | str = ".",
) -> list[dict[str, Any]]:
    """Evaluate each template once, as the daemon will: finds a wrong model early.

    Returns, for each target: simulation, n_atoms, seconds, energy_ev, largest_force (eV/Å),
    n_members, uncertainty (whether the extras tell one); where it asks for a trial round also
    trial_structures, trial_seconds, memory_mb, device_memory_mb.

    Raises:
        WarmUpFailed: a template cannot be evaluated.
        PotentialError: a property the potential does not give.
        AddressError: an address that is none.
    """
    caller = Caller(evaluator, properties, member_forces)
    return [_warm_up_one(caller, target, Path(dump_dir)) for target in targets]


def _warm_up_one(caller: Caller, target: Target, dump_dir: Path) -> dict[str, Any]:
    template, name = target.template, target.name or target.address
    started = time.perf_counter()
    answer = _evaluate_copies(caller, target, 1, 0.0, dump_dir)
    forces, members = answer.evaluated.forces, answer.evaluated.member_energies
    report = {
        "simulation": name,
        "n_atoms": len(template),
        "seconds": time.perf_counter() - started,
        "energy_ev": float(answer.evaluated.energies[0]),
        "largest_force": 0.0 if forces is None else float(np.abs(forces).max(initial=0.0)),
        "n_members": 0 if members is None else len(members),
        "uncertainty": answer.extras is not None and _tells_uncertainty(answer.extras[0]),
    }
    if target.trial_structures:
        report |= _trial_round(caller, target, dump_dir)
    return report


def _tells_uncertainty(extras: bytes) -> bool:
    """Whether i-PI, or `pimd run`, can see from the extras of a structure how sure they are."""
    found = json.loads(extras)
    return "committee_uncertainty" in found or len(found.get("committee_pot", ())) > 1


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
    member_forces: bool = False,
    connect_timeout: float = CONNECT_TIMEOUT,
    reconnect_timeout: float = RECONNECT_TIMEOUT,
    report: Report | None = None,
    dump_dir: Path | str = ".",
    spec: Spec | None = None,
    member_requests: MemberRequests | None = None,
) -> ExitReason:
    """Serve simulations with one potential until their servers say EXIT or are gone.

    The templates are evaluated first. SIGTERM and SIGINT end it in order when it runs in the
    main thread; a second one ends it at once.

    Args:
        evaluator: evaluates all beads of all simulations.
        targets: addresses and templates.
        properties: of the potential, sent as extras; see `pimd.daemon.extras`.
        member_forces: whether those of committee members are sent too, with their virials.
        connect_timeout: seconds to wait for a server to appear.
        reconnect_timeout: seconds to wait for a server that went away without EXIT.
        report: gets the events of `pimd.daemon.status`.
        dump_dir: folder for a structure that cannot be evaluated.
        spec: of the potential, to tell the user where an input names another; None: he knows.
        member_requests: to be answered beside the serving.

    Returns:
        Why it ended; `.status` is an exit status, 0 if all went well.

    Raises:
        ValueError: no targets, an address that is none, an unknown property, no forces of
            members where they may be requested.
    """
    reporter = Reporter(report, evaluator.budget)
    simulations = _simulations(targets, connect_timeout, reconnect_timeout)
    folder = Path(dump_dir)
    try:
        warmed = warm_up(
            evaluator, targets, properties=properties, member_forces=member_forces,
            dump_dir=folder,
        )
    except WarmUpFailed as error:
        reporter.event("error", **error.details)
        return _end(reporter, ExitReason.EVALUATION_FAILED, str(error))
    for entry, target in zip(warmed, targets, strict=True):
        if member_requests is not None and entry["n_members"] > 1:
            evaluate_members(evaluator, [target.template])
        reporter.event("warmed_up", **entry)
    reporter.restart()
    caller = Caller(evaluator, properties, member_forces)
    loop = Loop(GivenModel(caller, spec), simulations, reporter, folder)
    if member_requests is not None:
        member_requests.start(loop, evaluator)
    potential = evaluator.potential
    return _run(loop, reporter, potential.name, str(potential.device))


def serve_named(
    models: NamedModels,
    targets: Sequence[Target],
    *,
    connect_timeout: float = CONNECT_TIMEOUT,
    reconnect_timeout: float = RECONNECT_TIMEOUT,
    report: Report | None = None,
    dump_dir: Path | str = ".",
) -> ExitReason:
    """Serve each simulation with the potential its server names; as `serve` otherwise.

    Args:
        models: finds the potentials; they are loaded with the first round.
        targets, connect_timeout, reconnect_timeout, report, dump_dir: as for `serve`.
    """
    reporter = Reporter(report, models.budget)
    simulations = _simulations(targets, connect_timeout, reconnect_timeout)
    loop = Loop(models, simulations, reporter, Path(dump_dir))
    with contextlib.closing(models):
        return _run(loop, reporter, "the potential that each input names", "its device")


def _simulations(
    targets: Sequence[Target], connect_timeout: float, reconnect_timeout: float
) -> list[Simulation]:
    if not targets:
        raise ValueError("nothing to serve: give at least one address")
    simulations = [Simulation(t, connect_timeout, reconnect_timeout) for t in targets]
    _refuse_doubles(simulations)
    return simulations


def _run(loop: Loop, reporter: Reporter, potential: str, device: str) -> ExitReason:
    """Wait for the servers and serve them."""
    for simulation in loop.simulations:
        simulation.start(time.monotonic())
    with contextlib.closing(loop), _signals(loop):
        reporter.event(
            "ready", potential=potential, device=device,
            simulations=[s.name for s in loop.simulations],
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
