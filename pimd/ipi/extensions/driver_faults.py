"""What can go wrong with one driver: lost, silent, or answering nonsense.

Layers for i-PI's `Driver`, the server's end of one connection. A connection that is lost or
breaks the protocol is marked as disconnected, so that its work is given to another driver. An
answer that is understood but cannot be used (numbers that are not finite, another number of
atoms, extras that i-PI cannot use) raises `BadReply`, because another driver would answer the
same.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from ipi.interfaces import sockets
from ipi.interfaces.sockets import HDRLEN, MESSAGE, Disconnected, InvalidSize, Status
from ipi.utils.messages import verbosity, warning
from ipi.utils.softexit import softexit

from pimd.ipi.extensions.patching import Layer

__all__ = ["BadReply", "driver_layers", "look_at", "wrong_atoms"]

SEND_LIMIT_S = 2.0
"""How long an idle driver may leave a message in its socket before it counts as lost."""

EXIT_LIMIT_S = 0.1
"""The same while i-PI is ending: drivers that hang must not hold up RESTART."""


class BadReply(Exception):
    """A driver answered what cannot be used.

    Attributes:
        index: which structure of the batch, or None.
        request: i-PI's request for it, filled in where it is known.
    """

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index
        self.request: Any = None


_parsed = threading.local()


def _sendall(_stock: Any) -> Any:
    """Driver.sendall: more patience than i-PI's 0.1 s, and never a time-out that i-PI retries.

    i-PI doubles its time-outs, for receiving too, each time a send runs out of time.
    """

    def sendall(self: Any, data: Any, flags: int = 0) -> None:
        limit = EXIT_LIMIT_S if softexit.triggered else SEND_LIMIT_S
        before = self.gettimeout()
        self.settimeout(limit)
        try:
            socket.socket.sendall(self, data, flags)
        except TimeoutError:
            raise ConnectionError(f"the driver has not read its message for {limit} s") from None
        finally:
            if self.fileno() >= 0:
                self.settimeout(before)

    return sendall


def _get_status(_stock: Any) -> Any:
    """Driver.get_status: ask and wait, but not past a soft exit nor past `silence_limit`."""

    def get_status(self: Any) -> int:
        try:
            if not self.waitstatus:
                self.send_msg("status")
                self.waitstatus = True
            reply = _receive_header(self)
            self.waitstatus = False
            self.status = _meaning(reply)
        except OSError as error:
            warning(f" @SOCKET: lost a driver while asking for its status: {error}", verbosity.low)
            self.status = Status.Disconnected
        status: int = self.status
        return status

    return get_status


def _meaning(reply: bytes) -> int:
    """i-PI's Status for a reply to STATUS; anything else is no driver."""
    for word, flag in (
        ("ready", Status.Ready),
        ("needinit", Status.NeedsInit),
        ("havedata", Status.HasData),
    ):
        if reply == MESSAGE[word]:
            return int(Status.Up | flag)
    raise ConnectionError(f"it answered STATUS with {reply!r}")


def _receive_header(driver: Any) -> bytes:
    """Twelve bytes; ConnectionError at the end of file, after a soft exit or too long a silence."""
    limit = getattr(driver, "silence_limit", 0.0)
    deadline = time.monotonic() + limit if limit > 0 else math.inf
    header = b""
    while len(header) < HDRLEN:
        try:
            part = driver.recv(HDRLEN - len(header))
        except TimeoutError:
            if softexit.triggered:
                raise ConnectionError("i-PI is ending") from None
            if time.monotonic() > deadline:
                raise ConnectionError(f"no answer for {limit:g} s") from None
            continue
        if not part:
            raise ConnectionError("it closed the connection")
        header += part
    return header


def _recv_forceready(_stock: Any) -> Any:
    """Driver._recv_forceready: i-PI's own spins for ever on a closed connection."""

    def recv_forceready(self: Any) -> None:
        try:
            header = _receive_header(self)
        except OSError as error:
            raise Disconnected(str(error)) from None
        if header != MESSAGE["forceready"]:
            raise Disconnected(f"it answered GETFORCE with {header!r}")

    return recv_forceready


def _recv_forces_bulk(_stock: Any) -> Any:
    """Driver._recv_forces_bulk: the number of atoms is looked at as soon as it is there.

    i-PI waits first for as many bytes as the right number of atoms would take, drops the driver
    when they do not come, and asks the next one the same.
    """

    def recv_forces_bulk(self: Any, natoms: int) -> list[Any]:
        before_forces = HDRLEN + 12
        size = before_forces + 24 * natoms + 76
        if size > len(self._buf):
            self._buf = np.zeros(size, np.byte)
        _receive_into(self, memoryview(self._buf)[:size], before_forces, natoms)
        buffer = self._buf
        energy = float(np.frombuffer(buffer, np.float64, 1, HDRLEN)[0])
        forces = np.frombuffer(buffer, np.float64, 3 * natoms, before_forces).copy()
        offset = before_forces + 24 * natoms
        virial = np.frombuffer(buffer, np.float64, 9, offset).reshape(3, 3).copy()
        length = int(np.frombuffer(buffer, np.int32, 1, offset + 72)[0])
        text = ""
        if length > 0:
            text = self.recvall(np.zeros(length, np.dtype("S1"))).tobytes().decode("utf-8")
        return [energy, forces, virial, sockets.parse_extra(text)]

    return _checked(recv_forces_bulk)


def _receive_into(driver: Any, view: memoryview, n_head: int, natoms: int) -> None:
    """Fill `view` with a reply, whose first `n_head` bytes say how many atoms it has."""
    received, silent, looked = 0, 0, False
    while received < len(view):
        try:
            part = driver.recv_into(view[received:])
        except TimeoutError:
            silent += 1
            if silent > sockets.NTIMEOUT:
                raise Disconnected("it stopped in the middle of a message") from None
            continue
        if part == 0:
            raise Disconnected("it closed the connection")
        received += part
        if not looked and received >= n_head:
            looked = True
            if bytes(view[:HDRLEN]) != MESSAGE["forceready"]:
                raise Disconnected(f"it answered GETFORCE with {bytes(view[:HDRLEN])!r}")
            came = int(np.frombuffer(view[n_head - 4 : n_head], np.int32)[0])
            if came != natoms:
                raise wrong_atoms(driver, natoms, came)


def wrong_atoms(driver: Any, expected: int, came: int | None) -> BadReply:
    """What to say of an answer with `came` atoms instead of `expected`; None: not known."""
    text = f"the driver returned forces for {'other' if came is None else came} atoms, "
    text += f"expected {expected}: start it with the structure of this forcefield"
    if driver.batch_size > 1:
        text += (
            f", and make sure that it knows batches (i-PI asks for {driver.batch_size} structures "
            "at a time; without <batch_size> it asks for one)"
        )
    return BadReply(text)


def _checked(receive: Any) -> Any:
    """Driver._recv_forces_bulk of any kind of driver, one structure: its numbers are looked at."""

    def recv_forces(self: Any, natoms: int) -> list[Any]:
        result: list[Any] = receive(self, natoms)
        look_at(result, 0)
        return result

    return recv_forces


def _checked_batch(receive: Any) -> Any:
    """Driver._recv_forces_bulk_batch of any kind of driver."""

    def recv_forces(self: Any, natoms: int, n_real: int) -> list[list[Any]]:
        try:
            results: list[list[Any]] = receive(self, natoms, n_real)
        except InvalidSize:  # the number that was read last is still in the buffer
            came = int(np.frombuffer(self._buf[:4].tobytes(), np.int32)[0])
            raise wrong_atoms(self, natoms, came) from None
        for index, result in enumerate(results):
            look_at(result, index)
        return results

    return recv_forces


def look_at(result: list[Any], index: int) -> None:
    """Raise BadReply unless energy, forces and virial are finite."""
    energy, forces, virial = result[0], result[1], result[2].ravel()
    # a squared norm is finite only if all its terms are: three numbers to look at, not 3 N + 10;
    # `vdot` does so without numpy's warnings
    norms = energy, np.vdot(forces, forces), np.vdot(virial, virial)
    if all(map(math.isfinite, norms)):
        return
    if not math.isfinite(energy):
        raise BadReply(f"the driver returned an energy of {energy}", index)
    bad = np.flatnonzero(~np.isfinite(forces))
    if len(bad):
        atom, axis = divmod(int(bad[0]), 3)
        raise BadReply(
            f"the driver returned a force of {forces[bad[0]]} on atom {atom}, {'xyz'[axis]} "
            f"({len(bad)} components are not finite)",
            index,
        )
    if not np.isfinite(virial).all():
        raise BadReply("the driver returned a virial that is not finite", index)


def _getforce(stock: Any) -> Any:
    """Driver.getforce, used where messages are not consolidated."""

    def getforce(self: Any) -> list[Any]:
        result: list[Any] = stock(self)
        look_at(result, 0)
        return result

    return getforce


def _dispatch_recv(stock: Any) -> Any:
    """Driver.dispatch_recv and dispatch_recv_batch: a lost connection is a disconnect."""

    def dispatch_recv(self: Any, requests: Any) -> bool:
        _parsed.count = 0
        try:
            return bool(stock(self, requests))
        except BadReply as error:
            _name(error, requests)
            raise
        except ValueError as error:
            index = _parsed.count if isinstance(error, UnicodeDecodeError) else None
            bad = BadReply(f"the driver's answer cannot be read: {error}", index)
            _name(bad, requests)
            raise bad from None
        except (OSError, Disconnected) as error:
            warning(f" @SOCKET: lost a driver while it answered: {error}", verbosity.low)
            self.status = Status.Disconnected
            return False

    return dispatch_recv


def _name(error: BadReply, requests: Any) -> None:
    """Say which request a bad reply belongs to, where that is known."""
    if not isinstance(requests, list):
        error.request = requests
    elif error.index is not None or len(requests) == 1:
        error.request = requests[error.index or 0]


def _parse_extra(stock: Any) -> Any:
    """parse_extra: says what is wrong with extras that i-PI cannot use."""

    def parse_extra(text: str) -> dict[str, Any]:
        index = getattr(_parsed, "count", 0)
        _parsed.count = index + 1
        try:
            extras: dict[str, Any] = stock(text)
            return extras
        except (TypeError, ValueError) as error:
            shown = text if len(text) <= 60 else text[:57] + "..."
            raise BadReply(
                f"the driver returned extras that i-PI cannot use, {shown!r}: JSON extras must "
                f"be an object, and not have the key 'raw' ({error})",
                index,
            ) from None

    return parse_extra


def driver_layers() -> Mapping[str, Layer]:
    """Target -> layer, for `socket_faults`."""
    module = "ipi.interfaces.sockets"
    return {
        f"{module}:Driver.sendall": _sendall,
        f"{module}:Driver.get_status": _get_status,
        f"{module}:Driver._recv_forceready": _recv_forceready,
        f"{module}:Driver._recv_forces_bulk": _recv_forces_bulk,
        f"{module}:SHMDriver._recv_forces_bulk": _checked,
        f"{module}:Driver._recv_forces_bulk_batch": _checked_batch,
        f"{module}:SHMDriver._recv_forces_bulk_batch": _checked_batch,
        f"{module}:Driver.getforce": _getforce,
        f"{module}:Driver.dispatch_recv": _dispatch_recv,
        f"{module}:Driver.dispatch_recv_batch": _dispatch_recv,
        f"{module}:parse_extra": _parse_extra,
    }
