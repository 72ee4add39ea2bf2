"""Independent pieces of work on all cores, one core each.

Torch splits each operation over its threads and lets them spin until all have arrived. Work made
of many short operations gains little by that, and where another process needs one of the cores
it takes ten times as long as on one thread. Here each piece of work runs on a thread of its own
that does not split its operations, and nobody waits but at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["CoreThreads"]

Result = TypeVar("Result")


class CoreThreads:
    """As many threads as torch is set to use, made when first needed."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0

    @property
    def number(self) -> int:
        """How many pieces of work run at once."""
        return torch.get_num_threads()

    def run(self, work: Sequence[Callable[[], Result]]) -> list[Result]:
        """Results of all the work, in its order; what any of it raises is raised here.

        The work must not share what it changes. Gradients are not recorded.
        """
        number = self.number
        torch.set_num_threads(1)
        try:
            if number == 1 or len(work) < 2:
                return [_without_gradients(piece) for piece in work]
            return list(self._threads(number).map(_without_gradients, work))
        finally:
            torch.set_num_threads(number)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _threads(self, number: int) -> ThreadPoolExecutor:
        if self._pool is None or self._size != number:
            self.close()
            self._pool = ThreadPoolExecutor(
                number, "potential", initializer=torch.set_num_threads, initargs=(1,)
            )
            self._size = number
        return self._pool


def _without_gradients(piece: Callable[[], Result]) -> Result:
    with torch.no_grad():
        return piece()
