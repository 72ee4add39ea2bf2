"""Ctrl-C while a run is being prepared, also where Python loses it.

Python raises KeyboardInterrupt wherever the main thread is. If that is in a destructor or in a
callback of a weak reference, of which i-PI's dependency graph has many, it is printed and
forgotten, and the run goes on waiting.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["HeardInterrupt"]


class HeardInterrupt:
    """While it is entered, `check` raises for a Ctrl-C that was lost.

    Only the main thread may handle signals; elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self._heard = False
        self._before: Any = None
        self._in_place = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)
            self._in_place = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._in_place:
            signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raise KeyboardInterrupt if one has come."""
        if self._heard:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._heard = True
        raise KeyboardInterrupt
