"""Wake a thread that waits, also one that waits for sockets at the same time."""

from __future__ import annotations

import contextlib
import os
import select
import weakref

__all__ = ["Bell"]


class Bell:
    """A flag that any thread raises and one thread waits for, alone or together with sockets.

    A pipe, because a thread in `poll` cannot wait for a `threading.Event` as well. Whoever has
    cleared the bell looks afterwards at what it announces, so nothing rung for is missed.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._rung = False
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        weakref.finalize(self, _close, self._read, self._write)

    def fileno(self) -> int:
        """The descriptor that is readable once the bell has rung."""
        return self._read

    def ring(self) -> None:
        """Wake the waiting thread; ringing again before it woke changes nothing."""
        if not self._rung:
            self._rung = True
            with contextlib.suppress(BlockingIOError):  # a full pipe is readable
                os.write(self._write, b"!")

    def clear(self) -> None:
        """Make the bell ready to ring again."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 64)
        self._rung = False

    def wait(self, seconds: float) -> None:
        """Return when the bell has rung, which clears it, or after `seconds`."""
        if self._poll.poll(max(1000.0 * seconds, 0.0)):
            self.clear()


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
