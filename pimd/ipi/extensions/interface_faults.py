"""What can go wrong between a server and its drivers: gone, hanging, or never there.

Layers for i-PI's `InterfaceSocket`. Work of a driver that is lost, or silent for longer than its
limit, is queued again; an exception never ends the polling thread without a word; waiting for a
reply, for a driver or for a greeting always ends, with i-PI at the latest.
"""

from __future__ import annotations

import concurrent.futures
import select
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ipi.interfaces import sockets
from ipi.interfaces.sockets import SERVERTIMEOUT, UPDATEFREQ, Driver, InvalidSize, SHMDriver, Status
from ipi.utils.messages import info, verbosity, warning
from ipi.utils.softexit import softexit

from pimd.ipi.extensions.driver_faults import BadReply
from pimd.ipi.extensions.patching import Layer

__all__ = ["LIMITS", "Limits", "close_driver", "ending", "interface_layers", "overdue"]

MAX_LOST = 10
"""A structure that this many drivers in a row were lost with is not given to another."""

LOOK_S = 0.05
"""How often a thread that waits for drivers looks whether i-PI is ending."""

GREETING_S = 5.0
"""How long new drivers are accepted before work goes on, however many come."""

FIRST_ANSWER_S = 20.0
"""What a new connection may take to answer its first STATUS; nothing else is done meanwhile."""


@dataclass
class Limits:
    """Times in seconds; 0 means no limit.

    Attributes:
        compute: a driver that is silent for longer with work in hand is disconnected.
        driver: the run ends when work has waited this long and no driver is connected.
        on_silent: called with the name of the forcefield when `compute` is exceeded.
    """

    compute: float = 0.0
    driver: float = 120.0
    on_silent: Callable[[str], None] | None = None


LIMITS = Limits()


def ending(interface: Any) -> bool:
    """Whether the polling thread of an interface has been asked to end."""
    loop = getattr(interface, "polling", None)
    return bool(softexit.triggered or (loop is not None and not loop[0]))


def _warn(text: str) -> None:
    warning(f" @SOCKET: {text}", verbosity.low)


# drivers come and go ------------------------------------------------------------------------


def _pool_update(_stock: Any) -> Any:
    """InterfaceSocket.pool_update: let lost drivers go, their work queued again; greet new ones."""

    def pool_update(self: Any) -> None:
        for client in self.clients[:]:
            if not client.status & Status.Up:
                _let_go(self, client)
        patience = 0.0 if self.clients else SERVERTIMEOUT
        deadline = time.monotonic() + GREETING_S
        while time.monotonic() < deadline and not ending(self):
            if not _readable([self.server], patience):
                break
            client = _greet(self)
            if client is not None:
                self.clients.append(client)
                self.poll_iter = UPDATEFREQ
                # others may be starting up beside it, but answers must not wait for them
                patience = 0.0 if self.jobs else SERVERTIMEOUT

    return pool_update


def _greet(interface: Any) -> Any:
    """Accept one connection; None if whatever connected is no driver."""
    try:
        connection, _ = interface.server.accept()
    except OSError:
        return None  # gone before it was accepted
    with connection:
        try:
            connection.settimeout(sockets.TIMEOUT)
            driver = (SHMDriver if interface.mode == "shm" else Driver)(connection)
        except OSError:
            return None
    driver.batch_size = interface.batch_size
    driver.silence_limit = min(LIMITS.driver or FIRST_ANSWER_S, FIRST_ANSWER_S)
    driver.get_status()
    driver.silence_limit = LIMITS.compute
    driver.exit_on_disconnect = False
    if not driver.status & Status.Up or driver.status & Status.HasData:
        _warn("a connection is no driver that is ready to begin; closing it")
        close_driver(driver)
        return None
    driver.exit_on_disconnect = interface.exit_on_disconnect
    info(" @SOCKET: a driver has connected.", verbosity.low)
    return driver


def _let_go(interface: Any, client: Any) -> None:
    """Remove a driver; what it was working on is queued again."""
    _warn(f"driver {client.peername} is gone; removing it from the list")
    close_driver(client)
    client.status = Status.Disconnected
    interface.clients.remove(client)
    for job in interface.jobs[:]:
        requests, owner, future = job
        if owner is not client:
            continue
        interface.jobs.remove(job)
        if future is not None:  # its socket is closed, so its thread ends
            concurrent.futures.wait([future], 1.0)
        _lost(interface, requests, client)


def close_driver(client: Any) -> None:
    """Say EXIT to a driver, if that goes, and close its connection."""
    try:
        client.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        client.close()


def _lost(interface: Any, requests: Any, client: Any) -> None:
    """Queue again what a driver was lost with, unless it has cost too many drivers."""
    pending = [r for r in _as_list(requests) if r["status"] not in ("Done", "Exit")]
    client.status = Status.Disconnected
    interface.n_lost = getattr(interface, "n_lost", 0) + 1
    interface._requeue_disconnected(pending, client)
    for request in pending:
        request["n_lost"] = request.get("n_lost", 0) + 1
        if request["n_lost"] >= MAX_LOST:
            error = BadReply(
                f"{MAX_LOST} drivers in a row ended while they computed this structure"
                + _about_losses(interface)
            )
            error.request = request
            raise error


def _about_losses(interface: Any) -> str:
    """What else there is to say where drivers have been lost."""
    n_lost = getattr(interface, "n_lost", 0)
    if n_lost == 0:
        return ""
    text = f" ({n_lost} in all ended while computing: see what the driver itself says"
    if interface.batch_size > 1:
        text += (
            f", and whether it knows batches: i-PI asks for {interface.batch_size} structures at "
            "a time, and for one without <batch_size>"
        )
    return text + ")"


def _as_list(requests: Any) -> list[Any]:
    return requests if isinstance(requests, list) else [requests]


# work goes out and comes back ---------------------------------------------------------------


def _pool_distribute_select(_stock: Any) -> Any:
    """InterfaceSocket._pool_distribute_select: give out work and collect it until all is done.

    Drivers that are free get what is queued meanwhile, without waiting for the others.
    """

    def pool_distribute_select(self: Any) -> None:
        bells = [self.requests.bell] if hasattr(self.requests, "bell") else []
        while not ending(self):
            _give_out(self)
            if not self.jobs:
                break
            watched = [self.server, *bells, *(client for _, client, _ in self.jobs)]
            ready = {id(item) for item in _readable(watched, LOOK_S)}
            for bell in bells:
                if id(bell) in ready:
                    bell.clear()
            for job in self.jobs[:]:
                requests, client, _ = job
                if id(client) in ready or client.fileno() < 0:
                    self.jobs.remove(job)
                    _collect(self, requests, client)
                elif overdue(self, requests):
                    self.jobs.remove(job)
                    _give_up_on(self, requests, client)
            if id(self.server) in ready or _has_lost_drivers(self):
                self.pool_update()
        if _has_lost_drivers(self):
            self.poll_iter = UPDATEFREQ

    return pool_distribute_select


def _has_lost_drivers(interface: Any) -> bool:
    return any(not client.status & Status.Up for client in interface.clients)


def _give_out(interface: Any) -> None:
    """Send what is queued to the drivers that are free, in i-PI's order of preference."""
    busy = {id(client) for _, client, _ in interface.jobs}
    free = [client for client in interface.clients if id(client) not in busy]
    if not free:
        return
    if not interface.prlist or len(free) > len(interface.prlist):
        interface.prlist = [r for r in interface.requests if r["status"] == "Queued"]
    orders = {"any": ["any"], "lock": ["match", "none"]}
    for order in orders.get(interface.match_mode, ["match", "none", "free", "any"]):
        for client in free[:]:
            if not interface.prlist:
                return
            if interface.dispatch_free_client(client, order):
                free.remove(client)


def _collect(interface: Any, requests: Any, client: Any) -> None:
    """Read the answer of a driver whose socket has something to say."""
    receive = client.dispatch_recv_batch if isinstance(requests, list) else client.dispatch_recv
    if client.fileno() < 0 or not receive(requests):
        _lost(interface, requests, client)
    elif client.status & Status.HasData:
        _warn("a driver has data nobody asked for; disconnecting it")
        client.status = Status.Disconnected


def overdue(interface: Any, requests: Any) -> bool:
    """Whether what was sent together has been out for longer than is allowed."""
    limits = [limit for limit in (interface.timeout, LIMITS.compute) if limit > 0]
    start = _as_list(requests)[0]["start"]
    return bool(limits) and start > 0 and time.time() - start > min(limits)


def _give_up_on(interface: Any, requests: Any, client: Any) -> None:
    """Disconnect a driver that has been silent for too long."""
    start = _as_list(requests)[0]["start"]
    _warn(f"no answer for {time.time() - start:.1f} s; disconnecting driver {client.peername}")
    close_driver(client)
    if LIMITS.on_silent is not None:
        LIMITS.on_silent(getattr(interface, "forcefield", ""))
    _lost(interface, requests, client)


def _check_job_finished(_stock: Any) -> Any:
    """InterfaceSocket.check_job_finished, used where messages are not consolidated."""

    def check_job_finished(self: Any, request: Any, client: Any, future: Any) -> int:
        if request["status"] == "Done":
            return 1
        if future.done():
            error = future.exception()
            if isinstance(error, InvalidSize):
                error = BadReply("the driver returned forces for another number of atoms")
            if error is not None and not isinstance(error, OSError):
                if isinstance(error, BadReply):
                    error.request = request
                raise error
            if request["status"] != "Done":
                _lost(self, request, client)
                return 0
            return 1
        if overdue(self, request):
            _give_up_on(self, request, client)
            return 0
        return -1

    return check_job_finished


def _poll(stock: Any) -> Any:
    """InterfaceSocket.poll: work does not wait for ever for a driver that never comes."""

    def poll(self: Any) -> None:
        stock(self)
        if self.clients:
            self.alone_since = None
            return
        queued = [r for r in self.requests if r["status"] == "Queued"]
        if not queued or LIMITS.driver <= 0:
            self.alone_since = None
            return
        now = time.monotonic()
        if getattr(self, "alone_since", None) is None:
            self.alone_since = now
        elif now - self.alone_since > LIMITS.driver:
            raise BadReply(
                f"no driver has been connected for {LIMITS.driver:g} s, while the forces of "
                f"{len(queued)} structure(s) were asked for: start a driver that connects to "
                f"{address_of(self)}" + _about_losses(self)
            )

    return poll


def address_of(interface: Any) -> str:
    """Where drivers find an interface, in words."""
    private: str | None = getattr(interface, "private_path", None)
    if private:
        return f"the unix socket {private}"
    if interface.mode == "inet":
        return f"{interface.address}, port {interface.port}"
    return f"the unix socket {interface.sockets_prefix}{interface.address}"


def _readable(watched: list[Any], seconds: float) -> list[Any]:
    """Those of the sockets that have something to read, or nothing after `seconds`.

    With `poll`, because `select` refuses descriptors above 1023.
    """
    waiting = select.poll()
    objects = {item.fileno(): item for item in watched if item.fileno() >= 0}
    for descriptor in objects:
        waiting.register(descriptor, select.POLLIN)
    found = waiting.poll(1000.0 * seconds)
    return [objects[descriptor] for descriptor, _ in found]


def interface_layers() -> Mapping[str, Layer]:
    """Target -> layer, for `socket_faults`."""
    interface = "ipi.interfaces.sockets:InterfaceSocket"
    return {
        f"{interface}.pool_update": _pool_update,
        f"{interface}._pool_distribute_select": _pool_distribute_select,
        f"{interface}.check_job_finished": _check_job_finished,
        f"{interface}.poll": _poll,
    }
