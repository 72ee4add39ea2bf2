"""Serve forcefields over unix sockets of the run's own, whatever the input says.

Two runs of one input, or one run after another was killed, meet at the same `/tmp/ipi_NAME` or
port, and the second fails. Here named forcefields listen at paths that only this run knows, while
`address`, `port` and `mode` stay as in the input, so that RESTART is the same input.
`mode="shm"` keeps its shared memory and uses the path for its control socket.

Other forcefields open their socket as ever; a socket file that nobody listens at any more is
removed, and said, instead of failing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from pimd.ipi.extensions.patching import Extension, Layer

__all__ = ["PrivateSockets", "remove_if_stale"]

LONGEST_PATH = 103
"""Bytes in a unix socket's path that every system allows."""


class PrivateSockets(Extension):
    """See the module.

    Args:
        paths: forcefield name -> path of its socket; forcefields within others count.
    """

    name = "private_sockets"
    purpose = "forcefields listen at sockets of the run's own; stale socket files do not matter"
    relies_on: ClassVar = {
        "ipi.engine.forcefields:FFSocket.start": "ff9888550373",
        "ipi.interfaces.sockets:InterfaceSocket.open": "6664d4b38de0",
        "ipi.interfaces.sockets:InterfaceSocket.close": "af608293aa09",
        "ipi.interfaces.sockets:InterfaceSocket.pool_update": "5c692c3a0c70",
    }

    def __init__(self, paths: Mapping[str, str] | None = None) -> None:
        self.paths = dict(paths or {})

    def layers(self) -> Mapping[str, Layer]:
        return {
            "ipi.engine.forcefields:FFSocket.start": self._start,
            "ipi.interfaces.sockets:InterfaceSocket.open": _open,
            "ipi.interfaces.sockets:InterfaceSocket.close": _close,
        }

    def _start(self, stock: Any) -> Any:
        def start(forcefield: Any) -> None:
            forcefield.socket.private_path = self.paths.get(forcefield.name)
            stock(forcefield)

        return start


def _open(stock: Any) -> Any:
    """InterfaceSocket.open."""

    def open(self: Any) -> None:
        path = getattr(self, "private_path", None)
        if path is not None:
            self.server = _listen(path, self.slots)
            self.clients, self.jobs = [], []
            self.executor = ThreadPoolExecutor(max_workers=self.max_workers)
            return
        if self.mode in ("unix", "shm"):
            remove_if_stale(self.sockets_prefix + self.address)
        stock(self)

    return open


def _listen(path: str, slots: int) -> socket.socket:
    """A server listening at a path of the run's own."""
    from ipi.interfaces.sockets import SERVERTIMEOUT

    if len(os.fsencode(path)) > LONGEST_PATH:
        raise RuntimeError(
            f"the path of the socket, {path}, is longer than the {LONGEST_PATH} bytes a unix "
            "socket may have: use a folder with a shorter name (TMPDIR)"
        )
    remove_if_stale(path)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.bind(path)
    except OSError as error:
        server.close()
        raise RuntimeError(f"cannot open the socket {path}: {error.strerror}") from None
    server.listen(slots)
    server.settimeout(SERVERTIMEOUT)
    return server


def _close(stock: Any) -> Any:
    """InterfaceSocket.close: of a private socket, without touching what the input names."""

    def close(self: Any) -> None:
        path = getattr(self, "private_path", None)
        if path is None:
            return stock(self)
        for client in self.clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            finally:
                client.close()
        self.clients, self.jobs = [], []
        self.server.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return None

    return close


def remove_if_stale(path: str) -> bool:
    """Remove a unix socket file that nobody listens at; returns whether it was one."""
    from ipi.utils.messages import verbosity, warning

    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            warning(f" @SOCKET: removed {path}, left behind by a run that ended", verbosity.low)
            return True
        except OSError:  # a full backlog: somebody listens
            pass
    return False
