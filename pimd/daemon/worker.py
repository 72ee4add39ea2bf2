"""A thread that evaluates while the loop goes on reading.

i-PI gives a client up whose socket takes no bytes for 0.1 s. While one simulation is evaluated,
the messages of the others must therefore be read.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Worker"]

T = TypeVar("T")


class Worker(Generic[T]):
    """Runs one function at a time in a thread of its own.

    Args:
        wake: called in that thread when a result is there.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._tasks: queue.SimpleQueue[Callable[[], T] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[T | Exception] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, task: Callable[[], T]) -> None:
        """Start a task; the one before it must have been collected."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="pimd-evaluate", daemon=True)
            self._thread.start()
        self._tasks.put(task)

    def result(self, timeout: float | None = None) -> T:
        """The result of the task, or raise what it raised.

        Raises:
            TimeoutError: it did not come within `timeout` seconds.
        """
        try:
            outcome = self._results.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no result within {timeout} s") from None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def ready(self) -> bool:
        """Whether `result` would return at once."""
        return not self._results.empty()

    def close(self) -> None:
        """Let the thread end after its task."""
        self._tasks.put(None)

    def _work(self) -> None:
        while True:
            task = self._tasks.get()
            if task is None:
                return
            try:
                self._results.put(task())
            except Exception as error:
                self._results.put(error)
            del task
            self._wake()
