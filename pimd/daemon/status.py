"""Why the daemon ended, and what it tells while it runs.

Events are dictionaries that JSON can carry; "event" says which:

    warmed_up   simulation, n_atoms, seconds, energy_ev, largest_force (eV/Å), n_members,
                uncertainty (whether the extras tell one)
    ready       potential, device, simulations: about to connect
    connected   simulation, connection: the server has sent INIT
    note        simulation, message
    warning     simulation, message
    finished    simulation: its server said EXIT
    error       message, simulation, bead, file (the offending structure), traceback
    budget      seconds by stage, wall_seconds, rounds, structures_evaluated, structures_needed,
                structures_requested, last_round_structures, last_round_seconds,
                model_seconds_per_structure, memory_splits, asked (whether somebody asked for
                it, and it counts all that was done before)
    members, members_failed: see `pimd.daemon.members`
    end         reason, status, message

`bead` counts the structures of the message that failed, from 0: that is the bead where a message
holds the whole ring polymer; with one connection per bead it is the number of the connection.
Structures needed are the distinct ones that the server asked for and got; those it asked for to
fill a batch are requested only.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import Any

from pimd.daemon.budget import Budget

__all__ = ["ExitReason", "Report", "Reporter"]

Report = Callable[[dict[str, Any]], None]

BUDGET_INTERVAL = 0.5
"""Seconds between budget events."""


class ExitReason(enum.Enum):
    """Why the daemon ended; `status` is the exit status of a process."""

    FINISHED = ("the server said EXIT", 0)
    STOPPED = ("stopped by a signal or on request", 0)
    EVALUATION_FAILED = ("a structure could not be evaluated", 10)
    PROTOCOL_ERROR = ("the server sent what the daemon cannot accept", 11)
    NEVER_APPEARED = ("no server appeared", 12)
    SERVER_LOST = ("the server went away", 13)
    LOADING_FAILED = ("the potential could not be loaded", 14)
    REFUSED = ("the server named a potential that may not be loaded", 15)

    def __init__(self, text: str, status: int) -> None:
        self.text = text
        self.status = status


class Reporter:
    """Counts what was done and passes events on.

    Args:
        report: gets every event; None: nobody listens.
        budget: whose seconds are told, from now on.
    """

    def __init__(self, report: Report | None, budget: Budget) -> None:
        self._report = report
        self._budget = budget
        self.restart()
        self.rounds = 0
        self.structures_evaluated = 0
        self.structures_needed = 0
        self.structures_requested = 0
        self.memory_splits = 0
        self._last_structures = 0
        self._last_seconds = 0.0

    def restart(self) -> None:
        """Count time from now on."""
        self._before = self._budget.snapshot()
        self._started = self._last = time.monotonic()

    def event(self, event: str, **values: Any) -> None:
        """Tell an event."""
        if self._report is not None:
            self._report({"event": event, **values})

    def evaluated(self, n_structures: int, seconds: float) -> None:
        """A round was evaluated."""
        self.rounds += 1
        self.structures_evaluated += n_structures
        self._last_structures, self._last_seconds = n_structures, seconds

    def answered(self, n_requested: int, n_needed: int) -> None:
        """A server got what it asked for: structures, and how many of them were new."""
        self.structures_requested += n_requested
        self.structures_needed += n_needed

    def budget(self, *, now: bool = False) -> None:
        """Tell the budget if it was not told in the last half second, or `now`."""
        moment = time.monotonic()
        if self._report is None or (moment - self._last < BUDGET_INTERVAL and not now):
            return
        self._last = moment
        seconds = {
            stage: value - self._before[stage] for stage, value in self._budget.snapshot().items()
        }
        self.event(
            "budget",
            seconds=seconds,
            wall_seconds=moment - self._started,
            rounds=self.rounds,
            structures_evaluated=self.structures_evaluated,
            structures_needed=self.structures_needed,
            structures_requested=self.structures_requested,
            last_round_structures=self._last_structures,
            last_round_seconds=self._last_seconds,
            model_seconds_per_structure=seconds["model"] / max(1, self.structures_evaluated),
            memory_splits=self.memory_splits,
            asked=now,
        )
