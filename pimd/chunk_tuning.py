"""In how many parts a batch is evaluated fastest, found out while it runs.

Some models take longer for many structures at once than for the same structures in smaller
batches: what they hold no longer fits into the processor's caches. Others gain from size. So
batches of one kind, which come again and again, are evaluated whole, in halves, in quarters and
so on, by turns with the best way so far, and the fastest way is kept.
"""

from __future__ import annotations

import statistics
from collections import deque

__all__ = ["ChunkTuner"]

SAMPLES = 3
"""Of each number of parts, before it is judged; the median counts."""
KEPT = 5
"""Samples, the latest."""
GAIN = 0.05
"""Another number of parts must be faster by this share to be taken."""
HOPELESS = 0.10
"""Slower by this share than the best: still more parts are not tried."""
EXPLORING = 0.02
"""Of all the time spent so far, what trying may have cost."""
WORTHWHILE = 5.0e-3
"""Seconds; batches that take less are left whole."""
AGAIN_AFTER = 500
"""Batches after which the neighbouring numbers of parts are tried again."""


class ChunkTuner:
    """Chooses for batches of one kind among 1, 2, 4, ... parts.

    Args:
        n_structures: of these batches.

    Attributes:
        level: 2**level parts are the best so far.
    """

    def __init__(self, n_structures: int) -> None:
        self.level = 0
        n_levels = max(1, n_structures).bit_length()
        self._seconds: list[deque[float]] = [deque(maxlen=KEPT) for _ in range(n_levels)]
        self._total = self._lost = 0.0
        self._calls = 0
        self._last = 0

    def next_level(self) -> int:
        """The level to evaluate the next batch at."""
        own = self._seconds[self.level]
        if len(own) < SAMPLES or self._last != self.level:
            return self.level
        if statistics.median(own) < WORTHWHILE or self._lost > EXPLORING * self._total:
            return self.level
        for level, seconds in enumerate(self._seconds):
            if len(seconds) < SAMPLES and self._promising(level):
                return level
        return self.level

    def took(self, level: int, seconds: float) -> None:
        """A batch was evaluated at `level`."""
        self._calls += 1
        self._last = level
        if self._calls == 1:  # memory is touched for the first time, kernels are chosen, ...
            return
        self._total += seconds
        if level != self.level:
            self._lost += max(0.0, seconds - self._median(self.level))
        self._seconds[level].append(seconds)
        if self._median(level) < (1.0 - GAIN) * self._median(self.level):
            self.level = level
        if self._calls % AGAIN_AFTER == 0:
            for neighbour in (self.level - 1, self.level + 1):
                if 0 <= neighbour < len(self._seconds):
                    self._seconds[neighbour].clear()

    def _median(self, level: int) -> float:
        """Seconds at a level; infinite before they are known."""
        known = self._seconds[level]
        return statistics.median(known) if len(known) >= SAMPLES else float("inf")

    def _promising(self, level: int) -> bool:
        """Whether the level beside it, nearer to the best, is not much slower than the best."""
        nearer = level - 1 if level > self.level else level + 1
        return self._median(nearer) <= (1.0 + HOPELESS) * self._median(self.level)
