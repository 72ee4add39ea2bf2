"""What a user should know although nothing went wrong: said once, as a warning.

From Python a notice is a `PimdNotice` warning. The daemon passes notices on as its event
"warning" instead, so that they appear on the user's screen.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

__all__ = ["PimdNotice", "notice", "notices_as_events", "notices_to"]

_listeners: list[Callable[[str], None]] = []
_lock = threading.Lock()


class PimdNotice(UserWarning):
    """Something works, but not as well as it could or not as was asked."""


def notice(message: str) -> None:
    """Say something to the user; whoever says it takes care to say it once."""
    with _lock:
        listeners = list(_listeners)
    for listener in listeners:
        listener(message)
    if not listeners:
        warnings.warn(message, PimdNotice, stacklevel=2)


@contextmanager
def notices_to(listener: Callable[[str], None]) -> Iterator[None]:
    """Pass the notices of all threads to `listener` while the block runs."""
    with _lock:
        _listeners.append(listener)
    try:
        yield
    finally:
        with _lock:
            _listeners.remove(listener)


def notices_as_events(report: Callable[[dict[str, Any]], None]) -> AbstractContextManager[None]:
    """Pass notices on as the event "warning" of `pimd.daemon.status`; from any thread."""
    return notices_to(
        lambda message: report({"event": "warning", "simulation": "potential", "message": message})
    )
