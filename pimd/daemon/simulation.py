"""One simulation that is served: its address, its template and the state of its connections.

A link is one connection through its life: waiting for the next attempt, connecting, open. i-PI
accepts connections rarely, so several links of one simulation come up one by one, and until
then their attempts may fail with EAGAIN.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pimd.daemon.address import Address, finish_connecting, parse_address
from pimd.daemon.connection import Connection
from pimd.daemon.rounds import Template
from pimd.daemon.status import ExitReason
from pimd.potentials.base import PotentialError, Structure

if TYPE_CHECKING:
    from pimd.daemon.models import AnyCaller

__all__ = ["Link", "Simulation", "Target"]

_FIRST_DELAY = 0.02
_LAST_DELAY = 0.5
_DELAY_GROWTH = 1.5
_AFTER_EXIT = 3.0


@dataclass(frozen=True)
class Target:
    """What to serve.

    Attributes:
        address: `unix:NAME`, `inet:HOST:PORT` or `shm:NAME`.
        template: species and periodicity of the simulation's structures.
        n_connections: connections to open; one per bead for i-PI without batch_size.
        name: for messages; the address if empty.
        trial_structures: structures of a trial round, evaluated at the warm-up to see what a
            round costs in time and memory; 0: none.
    """

    address: str
    template: Structure
    n_connections: int = 1
    name: str = ""
    trial_structures: int = 0


class Link:
    """One connection of a simulation.

    Attributes:
        connection: while open, else None.
        connecting: the socket while an attempt is under way, else None.
        retry_at: when the next attempt is due, while neither.
        done: the server said EXIT on it; it is not tried again.
    """

    def __init__(self, simulation: Simulation, index: int) -> None:
        self.simulation, self.index = simulation, index
        self.connection: Connection | None = None
        self.connecting: socket.socket | None = None
        self.retry_at = 0.0
        self.done = False
        self._delay = _FIRST_DELAY

    @property
    def waiting(self) -> bool:
        """Whether the link is down, no attempt is under way, and another is to be made."""
        return self.connection is None and self.connecting is None and not self.done

    @property
    def initialised(self) -> bool:
        """Whether it is open and the server has sent INIT."""
        return self.connection is not None and self.connection.initialised

    def attempt(self, now: float) -> None:
        """Start connecting."""
        try:
            sock, done = self.simulation.address.start_connecting()
        except OSError as error:
            self._failed(error, now)
            return
        if done:
            self._open(sock)
        else:
            self.connecting = sock

    def finish(self, now: float) -> None:
        """The attempt under way has ended."""
        sock, self.connecting = self.connecting, None
        assert sock is not None
        try:
            finish_connecting(sock)
        except OSError as error:
            sock.close()
            self._failed(error, now)
            return
        self._open(sock)

    def lost(self, now: float) -> None:
        """The open connection is gone and closed; try again after a while."""
        if self.initialised:
            self._delay = _FIRST_DELAY
        self.connection = None
        self._retry(now)

    def drop(self) -> None:
        """End an attempt under way; for an open connection see `connection.hang_up`."""
        if self.connecting is not None:
            self.connecting.close()
            self.connecting = None

    def _open(self, sock: socket.socket) -> None:
        simulation = self.simulation
        self.connection = Connection(sock, simulation.template, shm=simulation.address.shm)

    def _failed(self, error: OSError, now: float) -> None:
        self.simulation.refusal = str(error.strerror or error)
        if error.errno == errno.EAGAIN:  # the server is there and its queue is full
            self._delay = _FIRST_DELAY
        self._retry(now)

    def _retry(self, now: float) -> None:
        self.retry_at = now + self._delay
        self._delay = min(_DELAY_GROWTH * self._delay, _LAST_DELAY)


class Simulation:
    """A target while it is served.

    Attributes:
        caller: evaluates for it; None before INIT.
        template: of the structures its server sends.
        outcome: why it is served no more; None while it is.
        links: its connections.
        refusal: what the last attempt to connect came to.
    """

    def __init__(self, target: Target, connect_timeout: float, reconnect_timeout: float) -> None:
        if target.n_connections < 1:
            raise ValueError(f"n_connections is at least 1, got {target.n_connections}")
        self.address: Address = parse_address(target.address)
        self.name = target.name or target.address
        self.caller: AnyCaller | None = None
        self._structure = target.template
        self._templates = {"None": Template.of(target.template)}
        self.template = self._templates["None"]
        self.outcome: ExitReason | None = None
        self.refusal = ""
        self.connect_timeout, self.reconnect_timeout = connect_timeout, reconnect_timeout
        self.ever_initialised = False
        self.said_exit = False
        self._deadline = 0.0
        self.links = [Link(self, k) for k in range(target.n_connections)]

    def start(self, now: float) -> None:
        """From now on the server is waited for."""
        self._deadline = now + self.connect_timeout

    def use_periodicity(self, pbc: Any) -> None:
        """Take the structures as periodic along these directions; None: as in the template.

        Raises:
            PotentialError: no periodicity, or along a direction where the template has no cell.
        """
        if str(pbc) not in self._templates:
            s = self._structure
            try:
                periodic = Structure(s.numbers, s.positions, s.cell, pbc)
            except (TypeError, ValueError) as error:
                raise PotentialError(f"cannot take structures with pbc {pbc}: {error}") from None
            self._templates[str(pbc)] = Template.of(periodic)
        self.template = self._templates[str(pbc)]

    @property
    def connections(self) -> list[Connection]:
        """The open ones."""
        return [link.connection for link in self.links if link.connection is not None]

    def lost(self, link: Link, now: float, *, said_exit: bool) -> None:
        """A connection ended without the server's having finished; it may come back."""
        if link.initialised:
            self.said_exit = said_exit or any(other.done for other in self.links)
            after_exit = _AFTER_EXIT if self.said_exit else float("inf")
            self._deadline = now + min(self.reconnect_timeout, after_exit)
        link.lost(now)

    def exited(self, link: Link) -> None:
        """The server said EXIT on a connection: it ends, if it did on all that were in use."""
        link.done = True
        if not any(other.initialised for other in self.links if other is not link):
            self.outcome = ExitReason.FINISHED

    def check_deadline(self, now: float) -> str:
        """Set the outcome if the server stayed away too long; the message, or ''."""
        if any(link.initialised for link in self.links):
            self.ever_initialised = True
            return ""
        if now < self._deadline:
            return ""
        if self.ever_initialised and self.said_exit:
            self.outcome = ExitReason.FINISHED
            return ""
        if self.ever_initialised:
            self.outcome = ExitReason.SERVER_LOST
            return (
                f"the server at {self.address} went away without EXIT and did not come back "
                f"within {self.reconnect_timeout:g} s ({self.refusal or 'no answer'}); start it "
                "again, then this daemon, or allow more time for reconnecting"
            )
        self.outcome = ExitReason.NEVER_APPEARED
        what = f"no server appeared at {self.address}"
        if self.connections:
            what = f"the server at {self.address} took the connection but never sent INIT"
        return (
            f"{what} within {self.connect_timeout:g} s ({self.refusal or 'no answer'}): check "
            "the address in the input (and the sockets_prefix), or allow more time for connecting"
        )

    def deadline(self) -> float:
        """When `check_deadline` may set an outcome; inf while a server is being served."""
        served = any(link.initialised for link in self.links)
        return float("inf") if served else self._deadline
