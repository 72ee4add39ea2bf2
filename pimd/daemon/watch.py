"""Which sockets the loop waits for, and a way to wake it from another thread or a signal."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time

from pimd.daemon.simulation import Link

__all__ = ["Watcher"]

_SHORT = 1.0e-3
_NAP = 5.0e-5


class Watcher:
    """A selector over links.

    A link is registered only while something is expected of its socket: one that is closed by
    the server while we compute would otherwise be reported over and over.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._interest: dict[Link, tuple[socket.socket, int]] = {}
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ)

    @property
    def wake_fd(self) -> int:
        """A byte written here does the same as `wake`."""
        return self._wake_out.fileno()

    def wake(self) -> None:
        """Let `wait` return; for any thread and for signal handlers."""
        with contextlib.suppress(OSError):
            self._wake_out.send(b"\0")

    def wait(self, timeout: float) -> list[tuple[Link, bool, bool]]:
        """Links with something to do, each with (readable, writable).

        Waits at most `timeout` seconds, which may be inf. The selector cannot wait for less than
        a millisecond; shorter times are slept here and may be cut shorter.
        """
        if timeout < _SHORT:
            found = self._selector.select(0)
            if not found and timeout > 0.0:
                time.sleep(min(timeout, _NAP))
        else:
            found = self._selector.select(None if timeout == float("inf") else timeout)
        ready = []
        for key, mask in found:
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._wake_in.recv(4096)
            else:
                readable = bool(mask & selectors.EVENT_READ)
                ready.append((key.data, readable, bool(mask & selectors.EVENT_WRITE)))
        return ready

    def update(self, link: Link) -> None:
        """Register the link for what it waits for now."""
        sock, events = link.connecting, selectors.EVENT_WRITE
        connection = link.connection
        if connection is not None:
            sock = connection.socket
            if not connection.wants_write:
                events = selectors.EVENT_READ if connection.wants_read else 0
        wanted = (sock, events) if sock is not None and events else None
        if wanted == self._interest.get(link):
            return
        self.forget(link)
        if wanted is not None:
            self._selector.register(wanted[0], events, link)
            self._interest[link] = wanted

    def forget(self, link: Link) -> None:
        """Wait for nothing of this link; to be called before its socket is closed."""
        before = self._interest.pop(link, None)
        if before is not None:
            self._selector.unregister(before[0])

    def close(self) -> None:
        """Give the file descriptors back."""
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()
