"""A forcefield's line to its drivers: a round to each, without i-PI's requests."""

from __future__ import annotations

import select
import threading
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from ipi.interfaces.sockets import MESSAGE, Disconnected, SHMDriver, Status
from ipi.utils.messages import verbosity, warning
from ipi.utils.softexit import softexit

from pimd.cores import available_cores
from pimd.ipi.extensions.bead_rounds import die_off
from pimd.ipi.extensions.driver_faults import BadReply
from pimd.ipi.extensions.interface_faults import close_driver, overdue
from pimd.ipi.extensions.whole_rounds import RequestList

if TYPE_CHECKING:
    from pimd.ipi.extensions.bead_rounds import Round

__all__ = ["LOOK_S", "Flight", "Line"]

LOOK_S = 0.05
"""How often a thread that waits for an answer looks whether something else has happened."""

AT_ONCE_S = 4e-4 if available_cores() > 1 else 0.0
"""An answer that comes sooner is not slept for, where the driver has a core of its own."""

GETFORCE = MESSAGE["getforce"]

ANSWERED = Status.Up | Status.Busy
"""A driver that has answered and whose status is not known yet; i-PI's own way asks for it."""

PATIENCE_S = 0.01
"""How long to wait for the polling thread to finish with the round before."""


@dataclass(eq=False)
class Flight:
    """A round that is out, or that goes out as soon as a driver is free.

    Attributes:
        round: whose forces.
        positions: (n_beads, 3 n_atoms) bohr, as sent.
        cell: and its inverse, columns, bohr, as sent.
        client: i-PI's end of the driver's connection; None while all drivers are busy.
        start: time it was sent, seconds since the epoch.
        requests: i-PI's requests for it, once it has gone over to i-PI's own way.
        extras: of the answer.
    """

    round: Round
    positions: np.ndarray
    cell: tuple[np.ndarray, np.ndarray]
    client: Any = None
    start: float = 0.0
    requests: list[Any] | None = None
    extras: list[Any] | None = None


class _Watch:
    """What a round needs for one driver: who is listened to, and the message's beginning.

    Attributes:
        quick: whether the last answer came at once.
    """

    def __init__(self, client: Any, server: int) -> None:
        self.client, self.server, self.quick = client, server, False
        self.poll = select.poll()
        for descriptor in (server, client.fileno()):
            self.poll.register(descriptor, select.POLLIN)
        self._cell: Any = None
        self._head = b""

    def head(self, wanted: Round, cell: tuple[np.ndarray, ...]) -> bytes:
        """What comes before the positions; made again when the cell has changed."""
        if self._cell is not cell:
            count, cells = np.int32(wanted.n_atoms).tobytes(), b"".join(c.tobytes() for c in cell)
            single = wanted.n_beads == 1
            numbers = cells + count if single else count + wanted.n_beads * cells
            self._head, self._cell = MESSAGE["posdata"] + numbers, cell
        return self._head


class Line:
    """The rounds of one forcefield.

    Whoever uses the interface holds the lock: the polling thread while it polls, and a thread
    with a round while it sends or receives. While a round is out nobody needs to hold it.

    Args:
        forcefield: i-PI's FFSocket.

    Attributes:
        lock: see above; it is notified when a driver has become free.
        flights: the rounds that are out and have not gone over to i-PI's own way.
        mixed: whether some rounds of the forcefield always take i-PI's own way. Where none
            does, a round that finds requests waits until they are done: otherwise threads
            would keep each other from ever sending directly again.
    """

    def __init__(self, forcefield: Any) -> None:
        self.forcefield, self.interface = forcefield, forcefield.socket
        self.lock = threading.Condition(threading.Lock())
        self.flights: list[Flight] = []
        self.mixed = False

    def obstacle(self, n_beads: int) -> str:
        """Why rounds of so many beads never go out directly, or ''."""
        forcefield, interface = self.forcefield, self.interface
        if not interface.consolidate_messages:
            return "consolidate_messages is off"
        if not forcefield.threaded or not isinstance(forcefield.requests, RequestList):
            return "its requests are not kept in rounds"
        if forcefield.active[0] != -1:
            return "only some atoms are active"
        if interface.batch_size != n_beads:
            return f"batch_size is {interface.batch_size}, the beads are {n_beads}"
        return ""

    # out -----------------------------------------------------------------------------------

    def send(self, wanted: Round) -> Flight | None:
        """Send a round, or wait for a driver; None where it must take i-PI's own way."""
        if not wanted.alone or self.obstacle(wanted.n_beads):
            self.mixed = True
            return None
        flight = Flight(wanted, wanted.positions(), wanted.sent_cell())
        if not self.lock.acquire(timeout=PATIENCE_S):
            return None
        try:
            return None if self._launch(flight) is False else flight
        finally:
            self.lock.release()

    def engaged(self) -> bool:
        """Whether something is queued or out in i-PI's own way."""
        requests = self.forcefield.requests
        return bool(
            self.interface.jobs
            or (requests and any(r["status"] in ("Queued", "Running") for r in requests))
        )

    def _launch(self, flight: Flight) -> bool | None:
        """Send a round, with the lock held; None: it must wait, False: it cannot go."""
        clients = self.interface.clients
        if self.engaged():
            return False if self.mixed else None
        if softexit.triggered or not clients or not all(c.status & Status.Up for c in clients):
            return False
        busy = [other.client for other in self.flights]
        free = [client for client in clients if client not in busy]
        if not free:
            return None
        watch = flight.round.watch
        client = watch.client if watch is not None and watch.client in free else free[0]
        if not self._is_ready(client, flight.round) or not self._send(client, flight):
            return False
        flight.client, flight.start = client, time.time()
        self.flights.append(flight)
        return True

    def _is_ready(self, client: Any, wanted: Round) -> bool:
        """Whether a driver waits for positions, and i-PI's own way has nothing to see to."""
        readable, visited = self._look(wanted, client, 0.0)
        if visited:
            return False
        if client.waitstatus:
            client.get_status()
        elif readable:
            self._lose(client, "it closed the connection, or sent what it was not asked for")
        elif client.status == ANSWERED:
            return True
        if client.status & Status.HasData:
            self._lose(client, "it has data nobody asked for")
        return bool(client.status == Status.Up | Status.Ready)

    def _look(self, wanted: Round, client: Any, seconds: float) -> tuple[bool, bool]:
        """Whether the driver has something to say, and whether somebody waits to be let in."""
        watch = wanted.watch
        if watch is None or watch.client is not client:
            watch = wanted.watch = _Watch(client, self.interface.server.fileno())
        found = watch.poll.poll(1000.0 * seconds)
        visited = any(descriptor == watch.server for descriptor, _ in found)
        return len(found) > visited, visited

    def _send(self, client: Any, flight: Flight) -> bool:
        """POSDATA and GETFORCE in one message; False if the driver is lost."""
        wanted, positions, cell = flight.round, flight.positions, flight.cell
        parts: list[Any]
        if not isinstance(client, SHMDriver):
            parts = [wanted.watch.head(wanted, cell), positions.data.cast("B"), GETFORCE]
        elif client._first_posdata or client._view["pos"].shape != positions.shape:
            return False  # the segments are not what they should be: i-PI's own way
        else:
            for name, array in (("pos", positions), ("h", cell[0]), ("ih", cell[1])):
                client._view[name][...] = array
            count = np.int32(wanted.n_atoms).tobytes()
            parts = [MESSAGE["posdata"] + count + GETFORCE]
        try:
            try:
                sent = client.sendmsg(parts)
            except TimeoutError:
                sent = 0
            for part in parts:
                if sent < len(part):
                    client.sendall(memoryview(part)[sent:])
                sent = max(0, sent - len(part))
        except OSError as error:
            self._lose(client, f"it does not take its message: {error}")
            return False
        client.status = Status.Up | Status.HasData  # as i-PI has it while a driver computes
        client.locked = False
        counter = self.interface.counter
        counter.exchanges += 1
        counter.direct += 1
        counter.requests += wanted.n_beads
        return True

    # back ----------------------------------------------------------------------------------

    def collect(self, flight: Flight) -> bool:
        """Wait for the answer; True if it is in the round's buffer, False if i-PI's own way
        will bring it, to `flight.requests`.

        Raises:
            BadReply: the answer cannot be used.
            SystemExit: i-PI is ending.
        """
        while flight.requests is None:
            if softexit.triggered:
                die_off(self.forcefield.latency)
            if flight.client is None:
                self._wait_for_driver(flight)
                continue
            readable, visited = self._listen(flight)
            late = not readable and overdue(self.interface, {"start": flight.start})
            if not (readable or visited or late) or not self.lock.acquire(timeout=LOOK_S):
                continue
            try:
                if flight.requests is None and readable:
                    return self._receive(flight)
                if flight.requests is None:
                    self.hand_over()
            finally:
                self.lock.release()
        return False

    def _listen(self, flight: Flight) -> tuple[bool, bool]:
        """Wait a while for the answer or for somebody new; see `_look`.

        Where the last answer came at once this looks again and again instead of sleeping: to be
        woken takes longer than the answer.
        """
        wanted, client = flight.round, flight.client
        begin = time.perf_counter()
        while wanted.watch.quick and time.perf_counter() - begin < AT_ONCE_S:
            found = self._look(wanted, client, 0.0)
            if found[0] or found[1]:
                return found
        found = self._look(wanted, client, LOOK_S)
        wanted.watch.quick = found[0] and time.perf_counter() - begin < AT_ONCE_S
        return found

    def _wait_for_driver(self, flight: Flight) -> None:
        if not self.lock.acquire(timeout=LOOK_S):
            return
        try:
            sent = self._launch(flight)
            if sent is None:
                self.lock.wait(LOOK_S)
        finally:
            self.lock.release()
        if sent is False:
            flight.requests = flight.round.request_all()

    def _receive(self, flight: Flight) -> bool:
        client = flight.client
        try:
            flight.extras = flight.round.reply.receive(client)
        except (OSError, Disconnected) as error:
            self._lose(client, str(error))
            self.hand_over()
            return False
        except BadReply:
            self.flights.remove(flight)
            raise
        self.flights.remove(flight)
        client.lastreq, client.status = flight.round.uids[-1], ANSWERED
        if not getattr(self.interface, "private_path", None):
            try:
                client.sendmsg([MESSAGE["status"]])
                client.waitstatus = True
            except OSError as error:
                self._lose(client, str(error))
        self.lock.notify_all()
        return True

    def _lose(self, client: Any, why: str) -> None:
        warning(f" @SOCKET: lost a driver: {why}", verbosity.low)
        close_driver(client)
        client.status = Status.Disconnected

    def hand_over(self) -> None:
        """Let the rounds that are out be ones that i-PI's own way has sent; with the lock held."""
        flights, self.flights = self.flights, []
        for flight in flights:
            h, ih = flight.cell
            cell = SimpleNamespace(h=h, ih=ih, array_pbc=lambda positions: None)  # done already
            requests = [
                self.forcefield.queue(SimpleNamespace(q=positions), cell, reqid=uid)
                for positions, uid in zip(flight.positions, flight.round.uids, strict=True)
            ]
            for request in requests:
                request["status"], request["offset"] = "Running", self.interface.offset
                request["start"] = request["t_dispatched"] = flight.start
            work = requests if self.interface.batch_size > 1 else requests[0]
            self.interface.jobs.append([work, flight.client, None])
            flight.requests = requests
        self.lock.notify_all()
        if flights:
            self.forcefield.requests.bell.ring()
