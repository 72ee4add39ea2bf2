"""Ctrl-C where it must not be lost, or must not come at once.

`StopAtInterrupt` waits for a good moment: the first signal is noted, a second one raises.
`HeardInterrupt` raises at once and remembers: Python raises KeyboardInterrupt wherever the main
thread is, and if that is in a destructor or in a callback of a weak reference, of which i-PI's
dependency graph has many, it is printed and forgotten, and a run would go on waiting.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, ClassVar, Self

__all__ = ["HeardInterrupt", "StopAtInterrupt"]


class _Watch:
    """Handles signals while it is entered, and puts the handlers before it back.

    Only the main thread may handle signals; elsewhere this does nothing.
    """

    numbers: ClassVar[tuple[signal.Signals, ...]] = (signal.SIGINT,)

    def __init__(self) -> None:
        self._came = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in self.numbers:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        raise NotImplementedError


class StopAtInterrupt(_Watch):
    """While it is entered, `stopped()` says whether SIGINT or SIGTERM came."""

    numbers = (signal.SIGINT, signal.SIGTERM)

    def stopped(self) -> bool:
        """Whether to stop."""
        return self._came

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._came:
            raise KeyboardInterrupt
        self._came = True


class HeardInterrupt(_Watch):
    """While it is entered, `check` raises for a Ctrl-C that was lost."""

    def check(self) -> None:
        """Raise KeyboardInterrupt if one has come."""
        if self._came:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._came = True
        raise KeyboardInterrupt
