"""Where the time of each step went.

A `Budget` is a set of named clocks that a thread switches between. The stages of a round are

    wait         nothing to do: i-PI is working
    wire         bytes in and out, parsing and writing messages
    copies       arrays to tensors, to the device and back
    neighbours   neighbour lists
    model        the potential

`total()` of all of them is the wall time since the budget was made.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["STAGES", "Budget"]

STAGES = ("wait", "wire", "copies", "neighbours", "model")


class Budget:
    """Seconds spent in each stage, for one thread.

    `with budget.stage("model"): ...` books the time of the block to that stage and goes back to
    the stage it came from, so that every second is booked once.
    """

    def __init__(self, start: str = "wait") -> None:
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self._current = start
        self._since = time.perf_counter()

    def _switch(self, name: str) -> str:
        now = time.perf_counter()
        self.seconds[self._current] += now - self._since
        previous, self._current, self._since = self._current, name, now
        return previous

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Book the block to `name`; raises KeyError for a stage that is not in STAGES."""
        if name not in self.seconds:
            raise KeyError(name)
        previous = self._switch(name)
        try:
            yield
        finally:
            self._switch(previous)

    def snapshot(self) -> dict[str, float]:
        """Seconds by stage up to now."""
        self._switch(self._current)
        return dict(self.seconds)

    def total(self) -> float:
        """Seconds since the budget was made."""
        return sum(self.snapshot().values())
