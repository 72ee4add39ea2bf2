"""One round's answer, read straight into the arrays that i-PI uses.

The answer to GETFORCE is, for a batch of B structures with n atoms,

    FORCEREADY  B energies  int32 n  B x 3n forces  B x 9 virials  B x (int32 length, extras)

and without batches the same with B = 1. With shared memory only FORCEREADY and the extras come
through the socket. `ReplyBuffer` is laid out like the message, so that nothing is copied on the
way from the socket to the forces.
"""

from __future__ import annotations

import os
import select
import struct
from typing import Any

import numpy as np
from ipi.interfaces import sockets
from ipi.interfaces.sockets import HDRLEN, MESSAGE, NTIMEOUT, TIMEOUT, Disconnected
from ipi.utils.softexit import softexit

from pimd.ipi.extensions.driver_faults import BadReply, look_at, wrong_atoms

__all__ = ["ReplyBuffer", "check_text", "parse_text"]

INT = 4
ROOM = 65536
"""Bytes kept for extras; longer ones are read into memory of their own."""

ALIGNMENT = 64


class ReplyBuffer:
    """Memory for the answers to the rounds of one force component.

    Args:
        n_beads: structures in a round, at least 1.
        n_atoms: atoms in each.

    Attributes:
        energies: (n_beads,) hartree, not aligned: to be copied.
        forces: (n_beads, 3 n_atoms) hartree/bohr.
        virials: (n_beads, 3, 3) hartree, as the driver sent them.
    """

    def __init__(self, n_beads: int, n_atoms: int) -> None:
        self.n_beads, self.n_atoms = n_beads, n_atoms
        head = HDRLEN + 8 * n_beads + INT
        n_numbers = n_beads * (3 * n_atoms + 9)
        self._fixed = head + 8 * n_numbers
        size = self._fixed + INT * n_beads + ROOM
        memory = np.zeros(size + ALIGNMENT, np.uint8)
        start = -(memory.ctypes.data + head) % ALIGNMENT  # the forces are aligned
        memory = memory[start : start + size]
        self._count_at = head - INT
        self._view = memory.data
        self.energies = memory[HDRLEN : self._count_at].view(np.float64)
        self._numbers = memory[head : self._fixed].view(np.float64)
        self._finite = np.zeros(n_numbers, bool)
        self.forces = self._numbers[: -9 * n_beads].reshape(n_beads, 3 * n_atoms)
        self.virials = self._numbers[-9 * n_beads :].reshape(n_beads, 3, 3)

    def receive(self, driver: Any) -> list[bytes] | None:
        """Read an answer whose first bytes have come; the extras of each bead, None: all empty.

        Args:
            driver: i-PI's end of the connection.

        Raises:
            Disconnected, OSError: the connection broke, or what came is no answer.
            BadReply: the answer is understood and cannot be used.
        """
        if isinstance(driver, sockets.SHMDriver):
            tail = self._receive_segments(driver)
        else:
            tail = self._receive_message(driver)
        self._check_numbers()
        if len(tail) == INT * self.n_beads and not any(tail):
            return None
        texts = _split(driver, bytearray(tail), self.n_beads)
        for bead, text in enumerate(texts):
            check_text(text, bead)
        return texts

    def _receive_message(self, driver: Any) -> memoryview:
        """Everything through the socket; returns what there is of the extras."""
        view, head = self._view, self._count_at + INT
        needed, received, looked = self._fixed + INT * self.n_beads, 0, False
        while received < needed:
            received += _read(driver, view[received:])
            if not looked and received >= head:
                looked = True
                _check_header(view)
                (came,) = struct.unpack_from("=i", view, self._count_at)
                if came != self.n_atoms:
                    raise wrong_atoms(driver, self.n_atoms, came)
        return view[self._fixed : received]

    def _receive_segments(self, driver: Any) -> memoryview:
        """The header and the extras through the socket, the rest from shared memory."""
        view = self._view[self._fixed - HDRLEN :]
        needed, received = HDRLEN + INT * self.n_beads, 0
        while received < needed:
            received += _read(driver, view[received:])
        _check_header(view)
        for name, array in (
            ("pot", self.energies), ("force", self.forces), ("vir", self.virials)
        ):
            array[...] = driver._view[name]
        return view[HDRLEN:received]

    def _check_numbers(self) -> None:
        """Raise BadReply unless everything is finite."""
        if np.isfinite(self._numbers, out=self._finite).all() and np.isfinite(self.energies).all():
            return
        for bead in range(self.n_beads):
            look_at([float(self.energies[bead]), self.forces[bead], self.virials[bead]], bead)


def check_text(text: bytes, bead: int) -> None:
    """Raise BadReply for extras that `parse_text` would refuse, without parsing most of them.

    JSON that begins with a brace is an object or no JSON at all.
    """
    if text[:1] == b"{" and b'"raw"' not in text and b"\\u" not in text and text.isascii():
        return
    parse_text(text, bead)


def parse_text(text: bytes, bead: int) -> dict[str, Any]:
    """The extras of one bead as i-PI has them.

    Raises:
        BadReply: i-PI cannot use them.
    """
    try:
        extras: dict[str, Any] = sockets.parse_extra(text.decode("utf-8"))
    except BadReply as error:
        raise BadReply(str(error), bead) from None
    except ValueError as error:
        raise BadReply(f"the driver's answer cannot be read: {error}", bead) from None
    return extras


def _check_header(view: memoryview) -> None:
    if view[:HDRLEN] != MESSAGE["forceready"]:
        raise Disconnected(f"it answered GETFORCE with {bytes(view[:HDRLEN])!r}")


def _read(driver: Any, view: memoryview) -> int:
    """Some bytes of a message that has begun; how many."""
    descriptor = driver.fileno()
    for _ in range(NTIMEOUT + 1):
        try:
            n = os.readv(descriptor, [view])
        except BlockingIOError:
            if softexit.triggered:
                raise Disconnected("i-PI is ending") from None
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            waiting.poll(1000.0 * TIMEOUT)
            continue
        if n == 0:
            raise Disconnected("it closed the connection")
        return n
    raise Disconnected("it stopped in the middle of a message")


def _split(driver: Any, data: bytearray, n_texts: int) -> list[bytes]:
    """Extras, each after its length; what `data` lacks is read, and there is nothing more."""
    texts: list[bytes] = []
    at = 0
    while len(texts) < n_texts:
        end = at + INT
        if end <= len(data):
            (length,) = struct.unpack_from("=i", data, at)
            if length < 0:
                raise Disconnected(f"it sent extras of {length} bytes")
            end += length
            if end <= len(data):
                texts.append(bytes(data[at + INT : end]))
                at = end
                continue
        needed = end + INT * (n_texts - len(texts) - 1) - len(data)
        more = memoryview(bytearray(needed))
        received = 0
        while received < needed:
            received += _read(driver, more[received:])
        data += more
    if at != len(data):
        raise Disconnected("it sent more than it was asked for")
    return texts
