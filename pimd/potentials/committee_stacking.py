"""Whether the members of a committee are faster in one pass or one after another.

One pass over stacked weights saves overhead, which counts for small batches; one after another
needs less memory at a time, which counts for large ones. Which is faster depends on the model,
the machine and the batch, so it is measured in the first calls, for every size of batch anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TypeVar

from pimd.potentials.options import choice

__all__ = ["MODES", "StackingChoice"]

T = TypeVar("T")

MODES = ("auto", "always", "never")
ROUNDS = 3
"""Calls of each way before the choice is made; the first is a warm-up and does not count."""


@dataclass
class _Trial:
    """Seconds per unit of size that each way took, of the calls that count."""

    calls: int = 0
    stacked: list[float] = field(default_factory=list)
    one_by_one: list[float] = field(default_factory=list)
    chosen: bool | None = None


class StackingChoice:
    """Runs a computation stacked or one by one, whichever has been measured to be faster.

    Args:
        mode: `always` or `never` stacked, or `auto`, measured: the first calls of every kind of
            batch go by turns through both ways, and the shortest time counts.
        clock: seconds; a test may bring its own.

    Attributes:
        decisions: kind of batch -> whether it is evaluated stacked.
    """

    def __init__(self, mode: str = "auto", clock: Callable[[], float] = time.perf_counter) -> None:
        self.mode = choice("stacking", mode, MODES)
        self._clock = clock
        self._trials: dict[Hashable, _Trial] = {}

    @property
    def decisions(self) -> dict[Hashable, bool]:
        return {k: t.chosen for k, t in self._trials.items() if t.chosen is not None}

    def run(
        self,
        compute: Callable[[bool], T],
        kind: Hashable,
        size: int,
        synchronize: Callable[[], None],
    ) -> T:
        """The result of `compute(stacked)`.

        Args:
            compute: called once.
            kind: what is computed; times of different kinds are not compared.
            size: of the batch, such as its pairs; batches within a factor of two are compared
                by their time per unit.
            synchronize: waits until the device is done.
        """
        if self.mode != "auto":
            return compute(self.mode == "always")
        trial = self._trials.setdefault((kind, size.bit_length()), _Trial())
        if trial.chosen is not None:
            return compute(trial.chosen)
        stacked, counts = trial.calls % 2 == 0, trial.calls >= 2
        synchronize()
        start = self._clock()
        result = compute(stacked)
        synchronize()
        if counts:
            times = trial.stacked if stacked else trial.one_by_one
            times.append((self._clock() - start) / max(1, size))
        trial.calls += 1
        if trial.calls == 2 * ROUNDS:
            trial.chosen = min(trial.stacked) < min(trial.one_by_one)
        return result
