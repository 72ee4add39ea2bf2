"""Where a server listens: `unix:NAME`, `inet:HOST:PORT` or `shm:NAME`.

NAME is what i-PI calls the address; its socket file is `/tmp/ipi_NAME`. A NAME with a slash is
the path of the socket file itself. With `shm` the socket carries the headers and shared memory
the arrays.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass

__all__ = ["SOCKETS_PREFIX", "Address", "AddressError", "parse_address"]

SOCKETS_PREFIX = "/tmp/ipi_"
"""i-PI's default `sockets_prefix`."""

_MAX_UNIX_PATH = 107
_SOCKET_BUFFER_BYTES = 1 << 22
_EXPECTED = "expected unix:NAME, inet:HOST:PORT or shm:NAME"


class AddressError(ValueError):
    """An address that cannot be used; the message says what one looks like."""


@dataclass(frozen=True)
class Address:
    """A parsed address.

    Attributes:
        kind: "unix", "inet" or "shm".
        path: socket file, of unix and shm.
        host, port: of inet.
        text: as it was given.
    """

    kind: str
    path: str
    host: str
    port: int
    text: str

    @property
    def shm(self) -> bool:
        """Whether the arrays travel in shared memory."""
        return self.kind == "shm"

    @property
    def place(self) -> tuple[str, int]:
        """What the socket connects to."""
        return (self.host, self.port) if self.kind == "inet" else (self.path, 0)

    def __str__(self) -> str:
        return self.text

    def start_connecting(self) -> tuple[socket.socket, bool]:
        """A non-blocking socket and whether it is connected already.

        One that is not becomes writable when the attempt has ended; `finish_connecting` says how.

        Raises:
            OSError: nothing listens there, or the queue of the server is full (EAGAIN).
        """
        family = socket.AF_INET if self.kind == "inet" else socket.AF_UNIX
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            _tune(sock)
            target = (self.host, self.port) if self.kind == "inet" else self.path
            code = sock.connect_ex(target)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
        except BaseException:
            sock.close()
            raise
        return sock, code == 0


def finish_connecting(sock: socket.socket) -> None:
    """Raise the OSError of a connecting attempt that has ended in one."""
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _tune(sock: socket.socket) -> None:
    """Large buffers, so that a whole reply leaves in one call; no delay of small messages."""
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        AddressError: if it is none; the message says what was expected.
    """
    kind, _, rest = text.strip().partition(":")
    if kind in ("unix", "shm"):
        if not rest:
            raise AddressError(f"the address '{text}' has no name: {_EXPECTED}")
        path = rest if "/" in rest else SOCKETS_PREFIX + rest
        if len(os.fsencode(path)) > _MAX_UNIX_PATH:
            raise AddressError(
                f"the socket file {path} has a longer name than the {_MAX_UNIX_PATH} bytes that "
                "a unix socket can have: use a shorter address or sockets_prefix"
            )
        return Address(kind, path, "", 0, text.strip())
    if kind == "inet":
        host, colon, port_text = rest.rpartition(":")
        if not (colon and host and port_text.isdigit() and 0 < int(port_text) < 65536):
            raise AddressError(f"cannot read the address '{text}': {_EXPECTED}")
        return Address(kind, "", _resolve(host, text), int(port_text), text.strip())
    raise AddressError(f"cannot read the address '{text}': {_EXPECTED}")


def _resolve(host: str, text: str) -> str:
    """The IPv4 address of a host, once, since a look-up can block; i-PI listens on IPv4."""
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise AddressError(
            f"cannot find the host '{host}' of the address '{text}': {error}"
        ) from error
    return str(found[0][4][0])
