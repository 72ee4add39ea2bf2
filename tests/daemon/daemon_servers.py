"""The server's side of the protocol, for tests: what i-PI sends, and reading what comes back."""

from __future__ import annotations

import os
import socket
import tempfile
import uuid
from dataclasses import dataclass
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np

LIMIT = 20.0
"""Seconds that any step of a test may take."""


def word(text: str) -> bytes:
    """A header."""
    return text.ljust(12).encode()


def init_message(batch_size: int = 1, parameters: str = " ", request: int = 0) -> bytes:
    """INIT as i-PI writes it."""
    if batch_size > 1:
        parameters += ("," if parameters.strip() else "") + f" batch_size:{batch_size}"
    text = parameters.encode()
    return word("INIT") + np.int32(request).tobytes() + np.int32(len(text)).tobytes() + text


def positions_message(positions: np.ndarray, cells: np.ndarray, batched: bool) -> bytes:
    """POSDATA of structures (n, n_atoms, 3) in bohr and column cells (n, 3, 3) in bohr."""
    count = np.int32(positions.shape[1]).tobytes()
    both = np.stack([cells, np.zeros_like(cells)], axis=1)  # the inverse is not used
    if batched:
        return word("POSDATA") + count + both.tobytes() + positions.tobytes()
    assert len(positions) == 1
    return word("POSDATA") + both.tobytes() + count + positions.tobytes()


@dataclass
class Reply:
    """What came back after GETFORCE."""

    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray
    extras: list[str]


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, n_atoms: int, batch_size: int = 1) -> None:
        sock.settimeout(LIMIT)
        self.sock, self.n_atoms, self.batch_size = sock, n_atoms, batch_size
        self.segments: dict[str, shared_memory.SharedMemory] = {}

    def read(self, n: int) -> bytes:
        """Exactly n bytes; EOFError if the client is gone."""
        data = bytearray(n)
        view = memoryview(data)
        while len(view):
            got = self.sock.recv_into(view)
            if got == 0:
                raise EOFError(f"{n - len(view)} of {n} bytes")
            view = view[got:]
        return bytes(data)

    def array(self, *shape: int) -> np.ndarray:
        return np.frombuffer(self.read(8 * int(np.prod(shape)))).reshape(shape)

    def count(self) -> int:
        return int(np.frombuffer(self.read(4), np.int32)[0])

    def status(self) -> str:
        """What the client answers to STATUS."""
        self.sock.sendall(word("STATUS"))
        return self.read(12).decode().strip()

    def start(self, parameters: str = " ") -> None:
        """Shake hands and initialise."""
        assert self.status() == "NEEDINIT"
        self.sock.sendall(init_message(self.batch_size, parameters))
        assert self.status() == "READY"

    def send(self, positions: np.ndarray, cells: np.ndarray, end: str = "GETFORCE") -> None:
        """Positions, then GETFORCE or STATUS."""
        message = positions_message(positions, cells, self.batch_size > 1)
        self.sock.sendall(message + word(end))

    def receive(self) -> Reply:
        """The reply to GETFORCE."""
        assert self.read(12) == word("FORCEREADY")
        b, n = self.batch_size, self.n_atoms
        energies = self.array(b)
        assert self.count() == n
        forces, virials = self.array(b, n, 3), self.array(b, 3, 3)
        return Reply(energies, forces, virials, self.extras())

    def extras(self) -> list[str]:
        return [self.read(self.count()).decode() for _ in range(self.batch_size)]

    def round(self, positions: np.ndarray, cells: np.ndarray) -> Reply:
        """One exchange as consolidated i-PI does it."""
        self.send(positions, cells)
        reply = self.receive()
        assert self.status() == "READY"
        return reply

    def exit(self) -> None:
        self.sock.sendall(word("EXIT"))

    def close(self) -> None:
        self.sock.close()
        for segment in self.segments.values():
            segment.close()
            segment.unlink()
        self.segments.clear()

    # -- shared memory ------------------------------------------------------------------------

    def make_segments(self) -> bytes:
        """Create the segments; what names them in the first POSDATA."""
        b, n = self.batch_size, self.n_atoms
        sizes = {"pos": 3 * b * n, "h": 9 * b, "ih": 9 * b, "pot": b, "force": 3 * b * n}
        sizes["vir"] = 9 * b
        names = b""
        for kind, size in sizes.items():
            name = f"pimdtest_{os.getpid()}_{uuid.uuid4().hex[:8]}_{kind}"
            self.segments[kind] = shared_memory.SharedMemory(name, create=True, size=8 * size)
            names += np.int32(len(name)).tobytes() + name.encode()
        return names

    def view(self, kind: str, *shape: int) -> np.ndarray:
        return np.ndarray(shape, np.float64, self.segments[kind].buf)

    def round_shm(self, positions: np.ndarray, cells: np.ndarray) -> Reply:
        """One exchange through shared memory."""
        b, n = self.batch_size, self.n_atoms
        names = b"" if self.segments else self.make_segments()
        self.view("pos", b, n, 3)[:] = positions
        self.view("h", b, 3, 3)[:] = cells
        count = np.int32(n).tobytes()
        self.sock.sendall(word("POSDATA") + count + names + word("GETFORCE"))
        assert self.read(12) == word("FORCEREADY")
        extras = self.extras()
        reply = Reply(
            self.view("pot", b).copy(),
            self.view("force", b, n, 3).copy(),
            self.view("vir", b, 3, 3).copy(),
            extras,
        )
        assert self.status() == "READY"
        return reply


class UnixServer:
    """A listening unix socket at a short path of its own."""

    def __init__(self, path: str | None = None, backlog: int = 4) -> None:
        self.folder = None if path else tempfile.TemporaryDirectory(prefix="pimd", dir="/tmp")
        self.path = path or str(Path(self.folder.name if self.folder else "") / "s")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.bind(self.path)
        self.sock.listen(backlog)
        self.sock.settimeout(LIMIT)

    @property
    def address(self) -> str:
        return f"unix:{self.path}"

    def accept(self, n_atoms: int, batch_size: int = 1) -> Peer:
        return Peer(self.sock.accept()[0], n_atoms, batch_size)

    def close(self) -> None:
        self.sock.close()
        Path(self.path).unlink(missing_ok=True)
        if self.folder:
            self.folder.cleanup()
