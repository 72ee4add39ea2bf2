"""One open connection: a non-blocking socket speaking the protocol.

The owner calls `read` when the socket is readable and `flush` when it is writable, looks at
`request` for structures to be evaluated and at `exited` for the server's EXIT, and gives the
results back with `deliver`.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np

from pimd.daemon.messages import (
    EXIT,
    Event,
    Exit,
    Initialised,
    Positions,
    Say,
    SegmentNames,
    State,
)
from pimd.daemon.protocol import Protocol
from pimd.daemon.replies import ReplyBuffer
from pimd.daemon.rounds import Request, Share, Template
from pimd.daemon.segments import Segments
from pimd.evaluator import Evaluated

__all__ = ["Connection", "ConnectionLost", "hang_up"]

_SCRATCH_BYTES = 1 << 16
_QUIET = 0.2
_HANG_UP_LIMIT = 1.0


class ConnectionLost(OSError):
    """The connection ended without EXIT.

    Attributes:
        said_exit: the last bytes in the socket were an EXIT that came instead of a GETFORCE, or
            while the reply was under way: the server gave this connection up.
    """

    def __init__(self, message: str, *, said_exit: bool = False) -> None:
        super().__init__(message)
        self.said_exit = said_exit


class Connection:
    """One connection to one server.

    Args:
        sock: connected and non-blocking; the connection closes it.
        template: of the simulation's structures.
        shm: arrays travel in shared memory.

    Attributes:
        parameters: the text of INIT, '' before it came.
        request: structures that wait for `deliver`, or None.
        exited: the server's EXIT, or None.
        last_round: number of the last round this connection took part in.
        n_messages: events so far; 0 until the server has spoken.
    """

    def __init__(self, sock: socket.socket, template: Template, *, shm: bool = False) -> None:
        self.socket = sock
        self.template = template
        self.protocol = Protocol(len(template.numbers), shm=shm)
        self.parameters = ""
        self.request: Request | None = None
        self.exited: Exit | None = None
        self.last_round = 0
        self.n_messages = 0
        self._segments: Segments | None = None
        self._reply: ReplyBuffer | None = None
        self._results: list[memoryview] = []
        self._outgoing: deque[memoryview] = deque()

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def initialised(self) -> bool:
        """Whether the server has sent INIT and may send structures."""
        return self.protocol.batch_size is not None

    @property
    def wants_write(self) -> bool:
        """Whether bytes wait to be sent."""
        return bool(self._outgoing)

    @property
    def wants_read(self) -> bool:
        """Whether bytes may be read now: not while computing, nor with a reply under way."""
        return not self._outgoing and len(self.protocol.buffer()) > 0

    @property
    def arriving(self) -> bool:
        """Whether part of a request has come and the rest has not."""
        return self.protocol.state is State.POSITIONS or self.protocol.mid_message

    def read(self) -> None:
        """Take what has come, up to one event.

        Raises:
            ConnectionLost: the server is gone.
            RemoteProtocolError: it sent what it must not.
        """
        while self.wants_read:
            try:
                n = self.socket.recv_into(self.protocol.buffer())
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                raise ConnectionLost(f"the connection broke: {error}") from error
            if n == 0:
                raise ConnectionLost(self._truncation())
            event = self.protocol.received(n)
            if event is not None:
                self.n_messages += 1
                self._handle(event)
                return

    def deliver(self, evaluated: Evaluated, share: Share, extras: list[bytes] | None) -> None:
        """Answer the request with its share of the results, and send what can be sent."""
        assert self._reply is not None
        assert evaluated.forces is not None
        assert evaluated.virials is not None
        self._results = self._reply.write(
            share.per_structure(evaluated.energies),
            share.per_atom(evaluated.forces),
            share.per_structure(evaluated.virials),
            None if extras is None else [extras[slot] for slot in share.slots],
        )
        self.request = None
        self._handle(self.protocol.deliver())

    def flush(self) -> None:
        """Send as much as the socket takes.

        Raises:
            ConnectionLost: the server is gone.
        """
        while self._outgoing:
            view = self._outgoing[0]
            try:
                n = self.socket.send(view)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                raise ConnectionLost(
                    f"the connection broke while a reply was sent: {error}",
                    said_exit=self._left_exit(),
                ) from error
            if n == len(view):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = view[n:]

    def close(self) -> None:
        """Close the socket and let go of shared memory."""
        self._outgoing.clear()
        self._results = []
        self.request = self._reply = self._segments = None
        self.socket.close()

    def _handle(self, event: Event) -> None:
        match event:
            case Say(data):
                self._send([memoryview(data)])
            case Initialised(parameters=parameters, batch_size=batch_size):
                self.parameters = parameters
                if not self.protocol.shm:
                    self._reply = ReplyBuffer(batch_size, self.protocol.n_atoms)
            case SegmentNames(names):
                assert self.protocol.batch_size is not None
                size = self.protocol.batch_size, self.protocol.n_atoms
                self._segments = Segments(names, *size)
                self._reply = ReplyBuffer(*size, segments=self._segments)
            case Positions():
                self.request = Request(self.template, *self._arrays(event))
            case Exit():
                self.exited = event
            case _:  # SendResults
                results, self._results = self._results, []
                self._send(results)

    def _arrays(self, positions: Positions) -> tuple[np.ndarray, np.ndarray]:
        if positions.cells_bohr is not None and positions.positions_bohr is not None:
            return positions.cells_bohr, positions.positions_bohr
        assert self._segments is not None
        return self._segments.arrays["h"], self._segments.arrays["pos"]

    def _send(self, data: Iterable[memoryview]) -> None:
        self._outgoing.extend(view for view in data if len(view))
        self.flush()

    def _truncation(self) -> str:
        came, expected = self.protocol.received_part
        if self.protocol.mid_message:
            return (
                f"the server closed the connection in the middle of a message: {came} of "
                f"{expected} bytes of its last part came"
            )
        return "the server closed the connection without EXIT"

    def _left_exit(self) -> bool:
        with contextlib.suppress(OSError):
            return EXIT in self.socket.recv(_SCRATCH_BYTES)
        return False


def hang_up(connections: Sequence[Connection]) -> None:
    """Close connections so that i-PI sees an orderly end and queues its requests again.

    Closing a socket with unread bytes resets the connection, which kills i-PI's polling thread.
    So: tell the server that nothing more comes, read what it still sends until it closes its
    end or is quiet, then close.
    """
    scratch = memoryview(bytearray(_SCRATCH_BYTES))
    started = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.socket.setblocking(False)
                connection.socket.shutdown(socket.SHUT_WR)
                selector.register(connection.socket, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() - started < _HANG_UP_LIMIT:
            ready = selector.select(_QUIET)
            if not ready:
                break
            for key, _ in ready:
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                try:
                    n = sock.recv_into(scratch)
                except (BlockingIOError, InterruptedError):
                    continue
                except OSError:
                    n = 0
                if n == 0:
                    selector.unregister(sock)
    for connection in connections:
        connection.close()
