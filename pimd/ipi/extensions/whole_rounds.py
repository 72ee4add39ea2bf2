"""Send the beads of a step together: no round is dispatched while it is being queued.

i-PI's polling thread wakes every `latency` and sends what is queued at that moment, while the
main thread is still queueing the other beads. The round is split, the parts are padded, and the
driver is called twice a step where once would do.

Here each `ForceComponent.queue` holds back what its thread queues until the last bead is in; then
the whole round appears in the list of requests at once and the polling thread is woken. Nothing
is guessed and nothing waits: a request queued outside a round is sent at once, other systems'
rounds are not held up, and the polling thread sleeps until it is woken instead of looking ten
thousand times a second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ipi.engine.forcefields import FFSocket
from ipi.interfaces.sockets import UPDATEFREQ
from ipi.utils.messages import info, verbosity

from pimd.ipi.extensions.bell import Bell
from pimd.ipi.extensions.patching import Extension, Layer

__all__ = ["Counter", "RequestList", "WholeRounds", "counters"]

IDLE_S = 0.05
"""How often the polling thread looks whether it should end while nothing is queued."""


@dataclass
class Counter:
    """What one socket forcefield has sent.

    Attributes:
        exchanges: messages with positions, each answered by one message with forces.
        requests: structures in them that i-PI asked for, padding not counted.
        direct: of the exchanges, those without i-PI's requests (`direct_rounds`).
    """

    exchanges: int = 0
    requests: int = 0
    direct: int = 0


_counters: dict[str, Counter] = {}


def counters() -> dict[str, Counter]:
    """Forcefield name -> what it has sent since the extension was enabled."""
    return _counters


class RequestList(list[Any]):
    """The requests of one forcefield, in which a round appears all at once.

    What a thread appends between `hold` and `release` is kept apart and joins the list in one
    step at the outermost `release`. Iterating is over a snapshot, so that a request that is
    removed meanwhile cannot hide its neighbour.
    """

    def __init__(self, requests: Iterable[Any], lock: Any) -> None:
        super().__init__(requests)
        self.bell = Bell()
        self._lock = lock
        self._mine = threading.local()

    def hold(self) -> None:
        """Keep what this thread appends apart; holds may be nested."""
        depth = getattr(self._mine, "depth", 0)
        if depth == 0:
            self._mine.pending = []
        self._mine.depth = depth + 1

    def release(self) -> None:
        """End one `hold`; at the outermost, what was kept apart joins the list."""
        self._mine.depth -= 1
        if self._mine.depth == 0:
            pending, self._mine.pending = self._mine.pending, None
            if pending:
                with self._lock:
                    self.extend(pending)
                self.bell.ring()

    def append(self, request: Any) -> None:
        """Add one request; called with the forcefield's lock held, as i-PI does."""
        pending = getattr(self._mine, "pending", None)
        if pending is None:
            super().append(request)
            self.bell.ring()
        else:
            pending.append(request)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.copy())


def request_lists(forcefield: Any) -> list[RequestList]:
    """The lists that a forcefield's requests end up in: its own, or those of its parts.

    Forcefields that wait for the answer while they queue (ffcavphsocket) have none: their rounds
    must not be held.
    """
    if type(forcefield) is FFSocket:
        requests = forcefield.requests
        return [requests] if isinstance(requests, RequestList) else []
    parts = getattr(forcefield, "fflist", None) or [getattr(forcefield, "ff", None)]
    return [found for part in parts if part is not None for found in request_lists(part)]


def _held(stock: Callable[..., Any], which: Callable[[Any], list[RequestList]]) -> Any:
    """`stock`, with the request lists that `which` finds for an object held meanwhile."""

    def queue(self: Any, *args: Any, **kwargs: Any) -> Any:
        lists = which(self)
        for requests in lists:
            requests.hold()
        try:
            return stock(self, *args, **kwargs)
        finally:
            for requests in lists:
                requests.release()

    return queue


def _of_component(component: Any) -> list[RequestList]:
    return request_lists(component.ff)


def _shared_by_components(forces: Any) -> list[RequestList]:
    """Lists that more than one component fills: their requests make one round.

    A list that one component fills is left to the component, so that a driver starts while the
    next component is still being queued.
    """
    if len(forces.mforces) < 2:
        return []
    times: dict[int, int] = {}
    lists: dict[int, RequestList] = {}
    for component in forces.mforces:
        forcefield = getattr(component, "ff", None)  # scaled components queue nothing
        for requests in request_lists(forcefield) if forcefield is not None else []:
            lists[id(requests)] = requests
            times[id(requests)] = times.get(id(requests), 0) + 1
    return [lists[key] for key, n in times.items() if n > 1]


def _start(stock: Any) -> Any:
    """FFSocket.start: the forcefield gets a `RequestList` and a counter."""

    def start(self: Any) -> None:
        if type(self) is FFSocket and not isinstance(self.requests, RequestList):
            self.requests = RequestList(self.requests, self._threadlock)
            self.socket.requests = self.requests
        self.socket.counter = _counters.setdefault(self.name, Counter())
        stock(self)

    return start


def _poll_loop(stock: Any) -> Any:
    """ForceField._poll_loop: a socket's loop sleeps until there is something to do."""

    def poll_loop(self: Any) -> None:
        requests = self.requests
        if not isinstance(requests, RequestList):
            return stock(self)
        info(f" @ForceField ({self.name}): Starting the polling thread.", verbosity.low)
        pause = 0.0
        while self._doloop[0]:
            requests.bell.wait(pause)
            if requests:
                if not self.socket.jobs:
                    self.socket.poll_iter = UPDATEFREQ  # let in drivers that have come
                self.poll()
            pause = self.latency if _unfinished(self.socket, requests) else IDLE_S
        return None

    return poll_loop


def _unfinished(interface: Any, requests: RequestList) -> bool:
    """Whether something must be looked at again without being woken."""
    return bool(interface.jobs) or any(r["status"] == "Queued" for r in requests)


def _dispatch_free_client(stock: Any) -> Any:
    """InterfaceSocket.dispatch_free_client: counts what is sent."""

    def dispatch_free_client(self: Any, *args: Any, **kwargs: Any) -> bool:
        sent: bool = stock(self, *args, **kwargs)
        counter = getattr(self, "counter", None)
        if sent and counter is not None:
            requests = self.jobs[-1][0]
            counter.exchanges += 1
            counter.requests += len(requests) if isinstance(requests, list) else 1
        return sent

    return dispatch_free_client


class WholeRounds(Extension):
    """See the module."""

    name = "whole_rounds"
    purpose = "the beads of a step go to the driver in one message, never split or padded"
    relies_on: ClassVar = {
        "ipi.engine.forces:ForceComponent.queue": "48038aa7711b",
        "ipi.engine.forces:Forces.queue": "62a52e2e8fc2",
        "ipi.engine.forces:MTSForces.queue_mts": "ec0b2ed30434",
        "ipi.engine.forcefields:FFRotations.queue": "990ecb699d92",
        "ipi.engine.forcefields:FFSocket.start": "ff9888550373",
        "ipi.engine.forcefields:ForceField._poll_loop": "2203423bb30b",
        "ipi.interfaces.sockets:InterfaceSocket.dispatch_free_client": "b4cb4bfed997",
        "ipi.engine.forcefields:ForceField.queue": "c728d7756030",
        "ipi.engine.forcefields:ForceField.release": "d8cc847cc26b",
        "ipi.engine.forcefields:ForceField.start": "cee090ba6e99",
        "ipi.engine.forcefields:FFCommittee.queue": "b418bdc71490",
        "ipi.engine.forces:ForceBead.queue": "3bcf9bafb107",
        "ipi.interfaces.sockets:InterfaceSocket.pool_distribute": "829c49b5d24f",
    }

    def layers(self) -> Mapping[str, Layer]:
        return {
            "ipi.engine.forces:ForceComponent.queue": lambda f: _held(f, _of_component),
            "ipi.engine.forces:Forces.queue": lambda f: _held(f, _shared_by_components),
            "ipi.engine.forces:MTSForces.queue_mts": lambda f: _held(f, _shared_by_components),
            "ipi.engine.forcefields:FFRotations.queue": lambda f: _held(f, request_lists),
            "ipi.engine.forcefields:FFSocket.start": _start,
            "ipi.engine.forcefields:ForceField._poll_loop": _poll_loop,
            "ipi.interfaces.sockets:InterfaceSocket.dispatch_free_client": _dispatch_free_client,
        }

    def enable(self) -> None:
        _counters.clear()
        super().enable()
