"""The client's half of i-PI's socket protocol: bytes in, events out; no sockets, no torch.

What may come when, and what it leads to, is `TABLE`; the layouts are in `messages`.

The caller asks for `buffer()`, the memory that the next bytes belong in, fills some of it from
its socket, and says how many with `received(n)`. An empty buffer means: read nothing until the
results are delivered. The protocol never asks for more than it can hold, and checks each length
from the wire before it reserves memory for it: see `memory_bound`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from pimd.daemon.messages import (
    CELLS_BYTES,
    DOUBLE,
    EXIT,
    GETFORCE,
    HAVEDATA,
    HEADER_BYTES,
    INIT,
    INT,
    MAX_BATCH,
    MAX_INIT_BYTES,
    MAX_NAME_BYTES,
    MAX_PAYLOAD_BYTES,
    POSDATA,
    SEGMENT_KINDS,
    STATUS,
    Event,
    Exit,
    Initialised,
    LocalProtocolError,
    Positions,
    RemoteProtocolError,
    Say,
    SegmentNames,
    SendResults,
    State,
    WrongNumberOfAtoms,
    header,
)

__all__ = ["TABLE", "Protocol", "memory_bound"]

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

TABLE: dict[tuple[State, bytes], tuple[State, str]] = {
    (State.NEEDINIT, STATUS): (State.NEEDINIT, "say_needinit"),
    (State.NEEDINIT, INIT): (State.READY, "read_init"),
    (State.NEEDINIT, EXIT): (State.CLOSED, "exit"),
    (State.READY, STATUS): (State.READY, "say_ready"),
    (State.READY, POSDATA): (State.POSITIONS, "read_positions"),
    (State.READY, EXIT): (State.CLOSED, "exit"),
    (State.POSITIONS, STATUS): (State.ASKED_STATUS, "positions"),
    (State.POSITIONS, GETFORCE): (State.ASKED_FORCE, "positions"),
    (State.POSITIONS, EXIT): (State.CLOSED, "exit_pending"),
    (State.HAVEDATA, STATUS): (State.HAVEDATA, "say_havedata"),
    (State.HAVEDATA, GETFORCE): (State.READY, "send_results"),
    (State.HAVEDATA, EXIT): (State.CLOSED, "exit_pending"),
}
"""(state, header) -> (state after the whole message, what it leads to).

A server always follows POSDATA with STATUS or GETFORCE. The positions are handed on only then,
so that nothing is left unread in the socket while the potential computes: if this process dies
there, i-PI sees an orderly end of the connection and queues the request again. In the two
states of computing no header is read.
"""

_BODY_ACTIONS = ("read_init", "read_positions")


def memory_bound(n_atoms: int) -> int:
    """Most bytes a `Protocol` for structures of `n_atoms` atoms ever holds.

    min(MAX_PAYLOAD_BYTES, MAX_BATCH (144 + 24 n)) for cells and positions, and the text of INIT
    or one name with the fixed parts.
    """
    payload = min(MAX_PAYLOAD_BYTES, MAX_BATCH * (CELLS_BYTES + 3 * DOUBLE * n_atoms))
    return payload + MAX_INIT_BYTES + CELLS_BYTES + HEADER_BYTES + 2 * INT


class Protocol:
    """One connection, from the client's side.

    Args:
        n_atoms: atoms of every structure, known from the template.
        shm: structures and results travel in shared memory.

    Attributes:
        state: where the exchange stands.
        batch_size: structures a message holds; None before INIT.
    """

    def __init__(self, n_atoms: int, *, shm: bool = False) -> None:
        if n_atoms < 1:
            raise LocalProtocolError(f"a structure has at least one atom, got {n_atoms}")
        self.n_atoms = n_atoms
        self.shm = shm
        self.state = State.NEEDINIT
        self.batch_size: int | None = None
        self._small = bytearray(CELLS_BYTES + INT)  # headers, counts, a single cell
        self._text = bytearray()  # INIT's text or one name
        self._payload = np.empty(0)  # cells, then positions
        self._positions: Positions = Positions(None, None)
        self._names: dict[str, str] = {}
        self._request = 0
        self._view = memoryview(self._small)[:HEADER_BYTES]
        self._filled = 0
        self._then: Callable[[], Event | None] = self._on_header

    # -- bytes in -----------------------------------------------------------------------------

    def buffer(self) -> memoryview:
        """Where the next bytes go; empty if none may be read now."""
        return self._view[self._filled :]

    @property
    def mid_message(self) -> bool:
        """Whether part of a message has come and the rest has not."""
        return self._filled > 0 or self._then != self._on_header

    @property
    def received_part(self) -> tuple[int, int]:
        """(bytes that came, bytes expected) of the part of a message being read."""
        return self._filled, len(self._view)

    @property
    def allocated_bytes(self) -> int:
        """Bytes held for what the server sends."""
        return len(self._small) + len(self._text) + self._payload.nbytes

    def received(self, n: int) -> Event | None:
        """`n` bytes were written to the start of `buffer()`.

        Raises:
            LocalProtocolError: if `n` is not between 1 and the length of the buffer.
            RemoteProtocolError: for a message that is not allowed here, or a length out of
                bounds. The connection cannot be used any more.
        """
        if not 1 <= n <= len(self._view) - self._filled:
            raise LocalProtocolError(
                f"{n} bytes received into a buffer of {len(self._view) - self._filled}"
            )
        self._filled += n
        if self._filled < len(self._view):
            return None
        try:
            return self._then()
        except RemoteProtocolError:
            self._close()
            raise

    def feed(self, data: bytes) -> tuple[list[Event], int]:
        """Take bytes from `data`: the events, and how many bytes were taken.

        Fewer than all are taken where results must be delivered first.
        """
        events: list[Event] = []
        taken = 0
        source = memoryview(data)
        while taken < len(source):
            view = self.buffer()
            n = min(len(view), len(source) - taken)
            if n == 0:
                break
            view[:n] = source[taken : taken + n]
            taken += n
            event = self.received(n)
            if event is not None:
                events.append(event)
        return events, taken

    def deliver(self) -> Event:
        """The results are there: what to do now, `Say` HAVEDATA or `SendResults`.

        Raises:
            LocalProtocolError: if no positions wait for results.
        """
        if self.state is State.ASKED_STATUS:
            self._expect_header(State.HAVEDATA)
            return Say(HAVEDATA)
        if self.state is State.ASKED_FORCE:
            self._expect_header(State.READY)
            return SendResults()
        raise LocalProtocolError(f"results delivered while the connection is {self.state.value}")

    # -- parts of messages --------------------------------------------------------------------

    def _expect(self, view: memoryview, then: Callable[[], Event | None]) -> None:
        self._view, self._filled, self._then = view, 0, then

    def _expect_small(self, n: int, then: Callable[[], Event | None]) -> None:
        self._expect(memoryview(self._small)[:n], then)

    def _expect_header(self, state: State) -> None:
        """Go to `state`; read a header next, or nothing where the state reads none."""
        self.state = state
        reads = state not in (State.ASKED_STATUS, State.ASKED_FORCE, State.CLOSED)
        self._expect_small(HEADER_BYTES if reads else 0, self._on_header)

    def _close(self) -> None:
        self._expect_header(State.CLOSED)

    def _int(self, offset: int = 0) -> int:
        return int(np.frombuffer(self._small, np.int32, 1, offset)[0])

    def _on_header(self) -> Event | None:
        word = bytes(self._small[:HEADER_BYTES])
        entry = TABLE.get((self.state, word))
        if entry is None:
            allowed = ", ".join(
                text.decode().strip() for state, text in TABLE if state is self.state
            )
            raise RemoteProtocolError(
                f"expected one of {allowed} while {self.state.value}, but the server sent "
                f"{word!r}: is this address an i-PI server's?"
            )
        after, action = entry
        if action in _BODY_ACTIONS:  # the state changes when the body is complete
            getattr(self, "_" + action)()
            return None
        before = self.state
        self._expect_header(after)
        if action == "positions":
            return self._positions
        if action.startswith("say_"):
            return Say(header(before.name))
        if action == "send_results":
            return SendResults()
        return Exit(pending=action == "exit_pending")

    # -- INIT ---------------------------------------------------------------------------------

    def _read_init(self) -> None:
        self._expect_small(2 * INT, self._on_init_length)

    def _on_init_length(self) -> Event | None:
        self._request, length = self._int(), self._int(INT)
        if not 0 <= length <= MAX_INIT_BYTES:
            raise RemoteProtocolError(
                f"the INIT text is said to have {length} bytes; 0 to {MAX_INIT_BYTES} are allowed"
            )
        self._text = bytearray(length)
        if length == 0:
            return self._on_init_text()
        self._expect(memoryview(self._text), self._on_init_text)
        return None

    def _on_init_text(self) -> Event:
        text = self._text.decode("utf-8", errors="replace")
        batch_size = _batch_size(text)
        structure_bytes = CELLS_BYTES + 3 * DOUBLE * self.n_atoms
        if batch_size * structure_bytes > MAX_PAYLOAD_BYTES:
            raise RemoteProtocolError(
                f"{batch_size} structures of {self.n_atoms} atoms would need "
                f"{batch_size * structure_bytes} bytes a message; at most {MAX_PAYLOAD_BYTES} "
                "are allowed: use a smaller batch_size"
            )
        self.batch_size = batch_size
        self._text = bytearray()
        if not self.shm:
            self._make_payload(batch_size)
        self._expect_header(TABLE[State.NEEDINIT, INIT][0])
        return Initialised(self._request, text, batch_size)

    def _make_payload(self, batch_size: int) -> None:
        n_cells = 18 * batch_size
        self._payload = np.empty(n_cells + 3 * self.n_atoms * batch_size)
        cells = self._payload[:n_cells].reshape(batch_size, 2, 3, 3)  # [bead, h or ih, xyz, v]
        self._positions = Positions(
            cells[:, 0], self._payload[n_cells:].reshape(batch_size, self.n_atoms, 3)
        )

    # -- POSDATA ------------------------------------------------------------------------------

    def _read_positions(self) -> None:
        if self.shm:
            self._expect_small(INT, self._on_shm_count)
        elif self.batch_size == 1:
            self._expect_small(CELLS_BYTES + INT, self._on_single_prefix)
        else:
            self._expect_small(INT, self._on_batch_count)

    def _check_n_atoms(self, n_atoms: int) -> None:
        if n_atoms != self.n_atoms:
            raise WrongNumberOfAtoms(self.n_atoms, n_atoms)

    def _on_single_prefix(self) -> None:
        self._check_n_atoms(self._int(CELLS_BYTES))
        self._payload[:18] = np.frombuffer(self._small, np.float64, 18)
        self._expect(self._payload[18:].data.cast("B"), self._on_positions)

    def _on_batch_count(self) -> None:
        self._check_n_atoms(self._int())
        self._expect(self._payload.data.cast("B"), self._on_positions)

    def _on_positions(self) -> None:
        self._expect_header(TABLE[State.READY, POSDATA][0])

    def _on_shm_count(self) -> None:
        self._check_n_atoms(self._int())
        if len(self._names) == len(SEGMENT_KINDS):
            self._on_positions()
        else:
            self._expect_small(INT, self._on_name_length)

    def _on_name_length(self) -> None:
        length = self._int()
        if not 1 <= length <= MAX_NAME_BYTES:
            raise RemoteProtocolError(
                f"the name of a shared segment is said to have {length} bytes; "
                f"1 to {MAX_NAME_BYTES} are allowed"
            )
        self._text = bytearray(length)
        self._expect(memoryview(self._text), self._on_name)

    def _on_name(self) -> Event | None:
        name = self._text.decode("ascii", errors="replace")
        if not _PLAIN_NAME.fullmatch(name):
            raise RemoteProtocolError(
                f"{name!r} is no plain name for a shared segment (letters, digits, '_', '-', '.')"
            )
        self._text = bytearray()
        self._names[SEGMENT_KINDS[len(self._names)]] = name
        if len(self._names) < len(SEGMENT_KINDS):
            self._expect_small(INT, self._on_name_length)
            return None
        self._on_positions()
        return SegmentNames(dict(self._names))


def _batch_size(text: str) -> int:
    """Structures a message holds, from the text of INIT.

    i-PI appends `batch_size:B` behind the user's parameters, which end in ` , `; so it is the
    last token, and a user's own parameter of that name never is.
    """
    key, colon, value = text.rpartition(",")[2].partition(":")
    if not colon or key.strip() != "batch_size":
        return 1
    digits = value.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise RemoteProtocolError(f"cannot read the batch_size {digits!r} in INIT: {text[-80:]!r}")
    batch_size = int(digits)
    if not 1 <= batch_size <= MAX_BATCH:
        raise RemoteProtocolError(
            f"the server announced batch_size {batch_size}; 1 to {MAX_BATCH} are allowed"
        )
    return batch_size
