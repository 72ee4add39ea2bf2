"""The daemons of a run: one for each potential, restarted when one dies, stopped at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pimd.daemon.budget import STAGES
from pimd.run.child import DaemonChild, DaemonFailure

__all__ = ["Plan", "Supervisor", "Totals"]

RESTARTS_WITHOUT_PROGRESS = 3
"""A daemon that dies this often without finishing a round in between is not started again."""

POLL_S = 0.2
"""How often to look whether a daemon that was asked has been replaced."""


@dataclass
class Plan:
    """What one daemon serves: a potential, and the sockets it connects to.

    `requests`: whether it will be asked for the forces of members.
    """

    name: str
    config: dict[str, Any]
    requests: bool = False


@dataclass
class Totals:
    """What all daemons together have done, deaths included."""

    rounds: int = 0
    structures_evaluated: int = 0
    structures_needed: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def add(self, budget: dict[str, Any], sign: int = 1) -> Totals:
        self.rounds += sign * int(budget.get("rounds", 0))
        self.structures_evaluated += sign * int(budget.get("structures_evaluated", 0))
        self.structures_needed += sign * int(budget.get("structures_needed", 0))
        for stage, seconds in budget.get("seconds", {}).items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + sign * float(seconds)
        return self

    def minus(self, other: Totals) -> Totals:
        return Totals(
            self.rounds - other.rounds,
            self.structures_evaluated - other.structures_evaluated,
            self.structures_needed - other.structures_needed,
            {k: v - other.seconds.get(k, 0.0) for k, v in self.seconds.items()},
        )


class Supervisor:
    """Starts the planned daemons and keeps them going.

    Args:
        plans: one for each daemon.
        folder: where configurations go.
        log_path: the daemons' own output; structures they could not evaluate go beside it.
        say: prints one line to the user.
        on_failure: called once, from a thread, when a daemon cannot go on: the run must end.
        is_ending: whether i-PI is on its way out, so that daemons may end.
        restarts: whether i-PI can go on with another daemon when one dies.
    """

    def __init__(
        self,
        plans: list[Plan],
        folder: Path,
        log_path: Path,
        say: Callable[[str], None],
        on_failure: Callable[[dict[str, Any]], None],
        is_ending: Callable[[], bool],
        restarts: bool = True,
    ) -> None:
        self.plans, self.folder, self.log_path = plans, folder, log_path
        self.say, self.on_failure, self.is_ending = say, on_failure, is_ending
        self.restarts = restarts
        self._children: list[DaemonChild] = []
        self._gone = [Totals() for _ in plans]
        self._deaths = [0] * len(plans)
        self._rounds_at_death = [0] * len(plans)
        self._stopping = False
        self._serving = False
        self._lock = threading.Lock()
        self.failure: dict[str, Any] | None = None
        self.n_restarts = 0
        self._n_asked = 0

    def start(self) -> None:
        """Start all daemons; they load side by side."""
        for index in range(len(self.plans)):
            self._children.append(self._launch(index))

    def wait_warm(self, timeout: float, watch: Callable[[], None] | None = None) -> None:
        """Wait until every daemon has evaluated its structures.

        Raises:
            DaemonFailure: if one cannot.
        """
        deadline = time.monotonic() + timeout
        for child in list(self._children):
            child.wait_warm(max(1.0, deadline - time.monotonic()), watch)
        self._serving = True

    @property
    def warmed_up(self) -> list[dict[str, Any]]:
        """What each structure gave before the first step, with the device it ran on."""
        return [{**event, "device": c.device} for c in self._children for event in c.warmed_up]

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self._children]

    def totals(self) -> Totals:
        """What has been done up to the last reports."""
        total = Totals()
        for gone, child in zip(self._gone, self._children, strict=True):
            total.rounds += gone.rounds
            total.structures_evaluated += gone.structures_evaluated
            total.structures_needed += gone.structures_needed
            for stage, seconds in gone.seconds.items():
                total.seconds[stage] = total.seconds.get(stage, 0.0) + seconds
            total.add(child.budget)
        return total

    def fresh_totals(self, timeout: float = 2.0) -> Totals:
        """What has been done up to now: asks every daemon for a report and waits for it."""
        for child in list(self._children):
            child.ask_for_report(timeout)
        return self.totals()

    def ask(
        self, socket_name: str, request: dict[str, Any], limit: float
    ) -> dict[str, Any]:
        """Ask the daemon of a socket, and its replacement if it dies, for at most `limit` s.

        Returns the event that answers.

        Raises:
            DaemonFailure: no daemon answered.
            SystemExit: i-PI is on its way out.
        """
        index = self._serving_socket(socket_name)
        self._n_asked += 1
        request = {**request, "members": self._n_asked}
        asked: DaemonChild | None = None
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            child = self._children[index]
            if child is not asked:
                child.ask(request)
                asked = child
            answer = child.answer(self._n_asked, POLL_S)
            if answer is not None:
                return answer
            if self.failure is not None:
                raise DaemonFailure(str(self.failure["message"]))
            if self.is_ending():
                raise SystemExit  # as i-PI's own waiting ends
            if not child.running:
                time.sleep(POLL_S)  # another is being started
        raise DaemonFailure(
            f"the daemon of '{socket_name}' gave no forces of members within {limit:g} s"
        )

    def replace(self, socket_name: str) -> None:
        """End the daemon that serves a socket, because it hangs; another is started."""
        self._children[self._serving_socket(socket_name)].kill()

    def stop(self, patience: float = 5.0) -> None:
        """End all daemons; those whose server said EXIT have ended by themselves."""
        self._stopping = True
        for child in list(self._children):
            child.stop(patience)

    def _serving_socket(self, name: str) -> int:
        targets = (plan.config["targets"] for plan in self.plans)
        return next(k for k, some in enumerate(targets) if any(t["name"] == name for t in some))

    def _launch(self, index: int) -> DaemonChild:
        plan = self.plans[index]
        return DaemonChild(
            plan.name,
            {"dump_dir": str(self.log_path.parent.resolve()), **plan.config},
            self.folder / f"daemon-{index}.json",
            self.log_path,
            on_event=self._event,
            on_exit=lambda child: self._exited(index, child),
            requests=plan.requests,
        )

    def _event(self, child: DaemonChild, event: dict[str, Any]) -> None:
        if event.get("event") == "warning" and not (self._stopping or self.is_ending()):
            self.say(f"{child.name}: {event.get('message', '')}")

    def _exited(self, index: int, child: DaemonChild) -> None:
        with self._lock:
            idle = self._stopping or not self._serving or self.failure is not None
            if idle or self.is_ending():
                return
            if child.errors:
                self._fail(child, child.errors[-1])
                return
            self._gone[index].add(child.budget)
            if not self.restarts:
                why = f"{child.failure_text()}, and stock i-PI cannot go on with another"
                self._fail(child, {"message": why})
                return
            progress = self._gone[index].rounds > self._rounds_at_death[index]
            self._rounds_at_death[index] = self._gone[index].rounds
            self._deaths[index] = 1 if progress else self._deaths[index] + 1
            if self._deaths[index] > RESTARTS_WITHOUT_PROGRESS:
                self._fail(child, {})
                return
            self.n_restarts += 1
            self.say(f"{child.failure_text()}; starting another")
            try:
                self._children[index] = self._launch(index)
            except (OSError, DaemonFailure) as error:
                self._fail(child, {"message": f"cannot start another daemon: {error}"})

    def _fail(self, child: DaemonChild, event: dict[str, Any]) -> None:
        self.failure = {"message": child.failure_text(), **event}
        threading.Thread(target=self.on_failure, args=(self.failure,), daemon=True).start()
