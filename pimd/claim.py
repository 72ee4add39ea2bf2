"""One process at a time: a lock that ends with its holder, however that ends.

    with Claim(path, InUse, "this label is being made"):
        ...

The lock is an advisory one of the system (`flock`) on a small file beside what is claimed, which
goes when it is let go. A process that is killed leaves the file, but not the lock. On a file
system that knows no such locks nothing is claimed, and nothing refused.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path
from types import TracebackType

__all__ = ["Claim"]

try:
    import fcntl
except ImportError:  # not a Unix: no daemon runs there either, but runs are read
    fcntl = None  # type: ignore[assignment]


_POLL_S = 0.1


class Claim:
    """The claim of this process to one path; nothing needs to be there yet.

    Args:
        path: what is claimed: the lock is `.NAME.lock` beside it.
        error: what is raised where another process holds it.
        what: is going on with it, for the message: "{what}, by process 12 on host".
        patience: seconds to wait for a holder that may be about to end.
    """

    def __init__(
        self, path: Path, error: type[Exception], what: str, patience: float = 0.0
    ) -> None:
        self.path = path.absolute().with_name(f".{path.name}.lock")
        self._error, self._what, self._patience = error, what, patience
        self._fd: int | None = None

    def take(self) -> None:
        """Claim it, until `drop`.

        Raises:
            The error of this claim: another process holds it, or another claim in this one.
        """
        deadline = time.monotonic() + self._patience
        while self._fd is None and fcntl is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError:  # whoever writes there next says why that cannot be done
                return
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(fd, 200, 0).decode(errors="replace").strip()
                os.close(fd)
                if time.monotonic() < deadline:
                    time.sleep(_POLL_S)
                    continue
                raise self._error(
                    f"{self._what}, by {holder or 'another process'}: wait for its end, or end it"
                ) from None
            except OSError:  # a file system without locks
                os.close(fd)
                return
            if self._is_ours(fd):
                os.truncate(fd, 0)
                os.pwrite(fd, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
                self._fd = fd
            else:  # the holder let go, and removed the file, between the two calls
                os.close(fd)

    def drop(self) -> None:
        """Let it go; nothing happens where it is not held."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()
            os.close(self._fd)
            self._fd = None

    def _is_ours(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self.path))
        except FileNotFoundError:
            return False

    def __enter__(self) -> Claim:
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.drop()
