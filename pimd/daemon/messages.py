"""What i-PI and a client say to each other: headers, bounds on lengths, events, errors.

Every message starts with a header of 12 bytes, upper case, padded with spaces. Numbers are
native float64 and int32, in atomic units; cell vectors are columns.

    INIT      i32 request, i32 length, text
    POSDATA   one structure:         h[9], ih[9], i32 n, x[3n]
              B structures:          i32 n, B x (h[9], ih[9]), B x x[3n]
              in shared memory:      i32 n, and the first time 6 x (i32 length, name)
    FORCEREADY, the reply to GETFORCE
              one structure:         f64 V, i32 n, f[3n], W[9], i32 length, text
              B structures:          V[B], i32 n, B x f[3n], B x W[9], B x (i32 length, text)
              in shared memory:      B x (i32 length, text)

The layouts are those of i-PI 3.0 to 3.3 (`ipi/interfaces/sockets.py`).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

HEADER_BYTES = 12
"""Length of every header."""
MAX_INIT_BYTES = 1 << 16
"""Longest parameter text accepted."""
MAX_BATCH = 4096
"""Most structures in one message."""
MAX_NAME_BYTES = 200
"""Longest name of a shared segment."""
MAX_PAYLOAD_BYTES = 1 << 30
"""Most bytes of cells and positions in one message."""
SEGMENT_KINDS = ("pos", "h", "ih", "pot", "force", "vir")
"""The shared segments, in the order in which i-PI names them."""

DOUBLE, INT = 8, 4
"""Bytes of a float64 and of an int32."""
CELLS_BYTES = 18 * DOUBLE
"""Bytes of h and ih of one structure."""


class LocalProtocolError(RuntimeError):
    """We used the protocol wrongly: a fault of this program."""


class RemoteProtocolError(RuntimeError):
    """The server sent what the protocol does not allow here."""


class WrongNumberOfAtoms(RemoteProtocolError):
    """The server's structures have another number of atoms than the template."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(
            f"expected structures of {expected} atoms, as in the template, but the server sent "
            f"{got}: give the template of this simulation, or the address of another one"
        )
        self.expected, self.got = expected, got


def header(text: str) -> bytes:
    """A header: 12 bytes, padded with spaces."""
    return text.ljust(HEADER_BYTES).encode("ascii")


STATUS, INIT, POSDATA = header("STATUS"), header("INIT"), header("POSDATA")
GETFORCE, EXIT = header("GETFORCE"), header("EXIT")
NEEDINIT, READY, HAVEDATA = header("NEEDINIT"), header("READY"), header("HAVEDATA")


class State(enum.Enum):
    """Where a connection is in the exchange."""

    NEEDINIT = "waiting for INIT"
    READY = "waiting for positions"
    POSITIONS = "has positions, waiting for STATUS or GETFORCE"
    ASKED_STATUS = "computing, a STATUS to be answered"
    ASKED_FORCE = "computing, a GETFORCE to be answered"
    HAVEDATA = "has results, waiting for GETFORCE"
    CLOSED = "closed"


@dataclass(frozen=True)
class Say:
    """Send these bytes."""

    data: bytes


@dataclass(frozen=True)
class Initialised:
    """INIT came: its request, its text and how many structures each message will hold."""

    request: int
    parameters: str
    batch_size: int


@dataclass(frozen=True)
class SegmentNames:
    """The first positions in shared memory: attach the segments, by kind, before going on."""

    names: dict[str, str]


@dataclass(frozen=True)
class Positions:
    """Structures to be evaluated; views into the protocol's memory, valid until delivered.

    Both are None where the structures are in shared memory.

    Attributes:
        cells_bohr: (n_structures, 3, 3), columns are lattice vectors.
        positions_bohr: (n_structures, n_atoms, 3).
    """

    cells_bohr: np.ndarray | None
    positions_bohr: np.ndarray | None


@dataclass(frozen=True)
class SendResults:
    """The server waits for the results: send them."""


@dataclass(frozen=True)
class Exit:
    """The server said EXIT. `pending`: it had asked for forces that it never took."""

    pending: bool


Event = Say | Initialised | SegmentNames | Positions | SendResults | Exit
