"""One daemon process as the run's child: start it, hear from it, see it end.

The child writes one JSON object a line into a pipe (`pimd.daemon.child`); a thread reads them.
It lives in a session of its own, so that Ctrl-C reaches the run alone, and ends itself when the
run dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["DaemonChild", "DaemonFailure"]


class DaemonFailure(RuntimeError):
    """The daemon ended, or did not get ready; the message says why."""


class DaemonChild:
    """A daemon process for one potential.

    Args:
        name: for messages.
        config: what `pimd.daemon.child` reads.
        config_path: where to write it.
        log_path: gets the daemon's own output, appended.
        on_event: called from the reading thread with every event.
        on_exit: called from the reading thread once, when the process has ended.
        requests: whether `ask` will be used.
    """

    def __init__(
        self,
        name: str,
        config: dict[str, Any],
        config_path: Path,
        log_path: Path,
        on_event: Callable[[DaemonChild, dict[str, Any]], None],
        on_exit: Callable[[DaemonChild], None],
        requests: bool = False,
    ) -> None:
        self.name = name
        self.log_path = log_path
        self.errors: list[dict[str, Any]] = []
        self.returncode: int | None = None
        self.warmed_up: list[dict[str, Any]] = []
        self.device = "cpu"
        self.budget: dict[str, Any] = {}
        self._on_event, self._on_exit = on_event, on_exit
        self._warm = threading.Event()
        self._reported = threading.Event()
        self._answers: dict[int, dict[str, Any]] = {}
        self._answered = threading.Condition()
        self._requests: int | None = None
        config_path.write_text(json.dumps(config))
        read_fd, write_fd = os.pipe()
        command = [sys.executable, "-m", "pimd.daemon.child"]
        command += ["--status-fd", str(write_fd), str(config_path)]
        theirs = [write_fd]
        if requests:
            request_fd, self._requests = os.pipe()
            command += ["--request-fd", str(request_fd)]
            theirs.append(request_fd)
        with open(log_path, "ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=theirs,
                start_new_session=True,
            )
        for fd in theirs:
            os.close(fd)
        self._thread = threading.Thread(
            target=self._read, args=(read_fd,), name=f"daemon {name}", daemon=True
        )
        self._thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self.returncode is None

    def wait_warm(self, timeout: float, watch: Callable[[], None] | None = None) -> None:
        """Wait until the potential is loaded and has evaluated the structures.

        Raises:
            DaemonFailure: if the process ends first, or the time is up.
        """
        deadline = time.monotonic() + timeout
        while not self._warm.wait(0.05):
            if watch is not None:
                watch()
            if not self.running:
                raise DaemonFailure(self.failure_text())
            if time.monotonic() > deadline:
                self.stop(0.0)
                raise DaemonFailure(
                    f"the daemon for {self.name} was not ready after {timeout:.0f} s; see "
                    f"{self.log_path}, and allow more with --warm-up-limit"
                )
        if not self.running and self.returncode != 0:
            raise DaemonFailure(self.failure_text())

    def failure_text(self) -> str:
        """Why the process ended, in one message."""
        if self.errors:
            return str(self.errors[-1].get("message", "the daemon reported an error"))
        code = self.returncode
        how = f"signal {-code}" if code is not None and code < 0 else f"status {code}"
        tail = last_line(self.log_path)
        return f"the daemon for {self.name} ended with {how}" + (f": {tail}" if tail else "")

    def ask_for_report(self, timeout: float) -> None:
        """Have the process report its budget now, and wait for that up to `timeout` seconds."""
        self._reported.clear()
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGUSR1)
            self._reported.wait(timeout)

    def ask(self, request: dict[str, Any]) -> None:
        """Send a request of `pimd.daemon.members`; a process that is gone gets none."""
        with self._answered, contextlib.suppress(OSError):
            if self._requests is not None:
                os.write(self._requests, json.dumps(request).encode() + b"\n")

    def answer(self, number: int, timeout: float) -> dict[str, Any] | None:
        """The event that answers a request, waiting for it so many seconds; None: not yet."""
        with self._answered:
            self._answered.wait_for(lambda: number in self._answers or not self.running, timeout)
            return self._answers.pop(number, None)

    def stop(self, patience: float = 5.0) -> None:
        """Let the process end by itself for `patience` seconds, then end it."""
        for number, wait in ((None, patience), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
            try:
                if number is not None:
                    self._process.send_signal(number)
                self._process.wait(wait)
                break
            except subprocess.TimeoutExpired:
                continue
        self._thread.join(5.0)

    def kill(self) -> None:
        """End a process that hangs, at once."""
        self._process.kill()

    def _read(self, read_fd: int) -> None:
        with os.fdopen(read_fd, "r", errors="replace") as pipe:
            for line in pipe:
                try:
                    event = json.loads(line)
                except json.JSONDecodeError:
                    continue
                self._note(event)
        self.returncode = self._process.wait()
        with self._answered:
            if self._requests is not None:
                os.close(self._requests)
                self._requests = None
            self._answered.notify_all()
        self._on_exit(self)

    def _note(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "error":
            self.errors.append(event)
        elif kind == "budget":
            self.budget = event
            if event.get("asked"):  # others may have been on their way, and count less
                self._reported.set()
        elif kind == "warmed_up":
            self.warmed_up.append(event)
        elif kind in ("members", "members_failed"):
            with self._answered:
                self._answers[int(event["id"])] = event
                self._answered.notify_all()
        elif kind == "ready":
            self.device = str(event.get("device", "cpu"))
            self._warm.set()
        self._on_event(self, event)


def last_line(path: Path) -> str:
    """The last line of a text file that says anything, or ''."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 4096))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
