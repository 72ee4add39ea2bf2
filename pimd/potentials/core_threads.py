"""Independent pieces of work on several cores, one core each.

Torch splits each operation over its threads and lets them spin until all have arrived. Work made
of many short operations gains little by that, and where another process needs one of the cores
it can take ten times as long as on one thread. Here each piece of work runs on a thread of its
own that does not split its operations, and nobody waits but at the end. Python lets one thread
start an operation at a time, so that pieces of work should be large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

__all__ = ["CoreThreads", "unsplit_operations"]

Result = TypeVar("Result")


@contextmanager
def unsplit_operations() -> Iterator[int]:
    """Operations of this thread are not split within the `with` block; gives the number of
    threads that torch is set to use, and has again afterwards."""
    number = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield number
    finally:
        torch.set_num_threads(number)


class CoreThreads:
    """Threads made when first needed, to be used within `unsplit_operations`."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0

    def run(self, work: Sequence[Callable[[], Result]], number: int) -> list[Result]:
        """Results of all the work, in its order; what any of it raises is raised here.

        The work must not share what it changes. Gradients are not recorded. At most `number`
        pieces run at once; 1: in this thread.
        """
        if min(number, len(work)) < 2:
            return [_without_gradients(piece) for piece in work]
        return list(self._threads(number).map(_without_gradients, work))

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
