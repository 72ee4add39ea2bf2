"""End a run that cannot go on, and remember why.

i-PI's polling threads die of an uncaught exception without a word to the main thread, which then
waits for ever, and every soft exit looks the same afterwards. `fail` records one failure, the
first, and asks i-PI for a soft exit, which writes RESTART.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

__all__ = ["FAILURE", "Failure", "fail", "failure_message", "forget_failure", "place_of"]


@dataclass
class Failure:
    """Why a run ended, or nothing yet.

    Attributes:
        message: what happened; empty while nothing has.
        forcefield: name in the input.
        system: index of the `<system>`.
        bead: index of the bead, in the ring polymer of the forcefield.
        step: the step whose forces were being evaluated.
    """

    message: str = ""
    forcefield: str = ""
    system: int | None = None
    bead: int | None = None
    step: int | None = None

    def __bool__(self) -> bool:
        return bool(self.message)

    def __str__(self) -> str:
        where = [f"forcefield '{self.forcefield}'"] if self.forcefield else []
        where += [f"system {self.system}"] if self.system is not None else []
        where += [f"bead {self.bead}"] if self.bead is not None else []
        where += [f"step {self.step}"] if self.step is not None else []
        return ", ".join(where) + (": " if where else "") + self.message


FAILURE = Failure()
"""The first failure of this process, filled in place."""

_simulation: weakref.ref[Any] | None = None
_step: int | None = None


def watch(simulation: Any) -> None:
    """Note the simulation, whose beads `place_of` looks through."""
    global _simulation, _step
    _simulation = weakref.ref(simulation)
    _step = None


def begin_step(step: int) -> None:
    """Note that the step with this index (from 0) is being done."""
    global _step
    _step = step + 1


def forget_failure() -> None:
    """Forget what has failed: another run begins."""
    FAILURE.__dict__.update(Failure().__dict__)


def failure_message() -> str:
    """What failed and where, in one line, or ''."""
    return str(FAILURE) if FAILURE else ""


def fail(forcefield: str, message: str, request: Any = None) -> None:
    """Record a failure and ask for a soft exit; the calling thread ends, as i-PI's do.

    Args:
        forcefield: its name.
        message: what happened, and what to do about it.
        request: the request it happened to, if one can be named.

    Raises:
        SystemExit: always.
    """
    from ipi.utils.softexit import softexit

    if not FAILURE and not softexit.triggered:
        system, bead, step = place_of(request)
        FAILURE.forcefield, FAILURE.system, FAILURE.bead = forcefield, system, bead
        FAILURE.step = step
        FAILURE.message = message
    softexit.trigger(status="restartable", message=f" @SOCKET: {failure_message() or message}.")


def place_of(request: Any) -> tuple[int | None, int | None, int | None]:
    """(system, bead, step) of a request; None where unknown.

    Requests carry a number that is unique over all beads of all systems and components.
    """
    simulation = _simulation() if _simulation is not None else None
    if simulation is None:
        return None, None, None
    step = _step if _step is not None else max(int(simulation.step), 0)
    if request is None:
        return None, None, step
    for index, system in enumerate(simulation.syslist):
        for component in _components(system):
            for bead, force in enumerate(component._forces):
                if force.uid == request["id"]:
                    return (index if len(simulation.syslist) > 1 else None), bead, step
    return None, None, step


def _components(system: Any) -> list[Any]:
    forces = [system.forces, getattr(system.forces, "dforces", None)]
    forces.append(getattr(system.ensemble, "bias", None))
    found = [c for f in forces if f is not None for c in getattr(f, "mforces", [])]
    return [component for component in found if hasattr(component, "_forces")]
