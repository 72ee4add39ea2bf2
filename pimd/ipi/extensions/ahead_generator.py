"""A generator of random numbers that has the next ones before it is asked for them."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import numpy as np

__all__ = ["AheadGenerator"]

CYCLES = 2
"""How many cycles are drawn ahead: OBABO asks twice in a row, at the end of a step and at the
start of the next."""

LONGEST = 16
"""Cycles of more calls are not looked for."""

MOST_PATIENT = 64
"""A cycle must have come so often in a row where what was drawn ahead has often been in vain."""

LEAST_FOR_THREAD = 8000
"""Cycles of fewer numbers take less time to draw than to hand over."""

LEAST_OF_CYCLE = 32
"""A cycle ends with a vector of at least so many numbers: those of barostats are shorter."""

N_WORDS = 625
"""A Mersenne twister's state: 624 words of 32 bits and the place of the next."""

Call = tuple[Any, ...]
"""("normal",), ("gamma", shape, scale) or ("vector", length)."""


def _draw(generator: np.random.Generator, call: Call) -> Any:
    if call[0] == "vector":
        numbers = np.empty(call[1])
        generator.standard_normal(out=numbers)
        return numbers
    if call[0] == "gamma":
        return generator.gamma(*call[1:])
    return generator.standard_normal()


def _words(bit_generator: Any) -> np.ndarray | None:
    """A Mersenne twister's state as it lies in memory, or None if it is not where expected.

    `bit_generator.state` copies it word by word, which takes as long as drawing 5000 numbers.
    """
    if type(bit_generator) is not np.random.MT19937:
        return None
    kind = ctypes.c_uint32 * N_WORDS
    words = np.ctypeslib.as_array(kind.from_address(bit_generator.ctypes.state_address))
    state = bit_generator.state["state"]
    known = np.append(state["key"].astype(np.uint32), np.uint32(state["pos"]))
    return words if np.array_equal(words, known) else None


class _Draw:
    """One call that is answered ahead.

    Attributes:
        before: the generator's position before the draw; None: not begun.
        ready: locked until the draw is done.
        dropped: it is not wanted any more.
    """

    __slots__ = ("before", "call", "dropped", "error", "ready", "result")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.before: np.ndarray | None = None
        self.result: Any = None
        self.error: Exception | None = None
        self.dropped = False
        self.ready = threading.Lock()
        self.ready.acquire()

    def carry_out(self, generator: np.random.Generator, words: np.ndarray) -> None:
        """Draw; `ready` is left to the caller."""
        self.before = words.copy()
        try:
            self.result = _draw(generator, self.call)
        except Exception as error:
            self.error = error


def _work(
    orders: SimpleQueue[_Draw | None],
    generator: np.random.Generator,
    words: np.ndarray,
    drawing: threading.Lock,
) -> None:
    """What the second thread does until it gets None."""
    while (order := orders.get()) is not None:
        with drawing:
            if not order.dropped:
                order.carry_out(generator, words)
        order.ready.release()


class _Position:
    """The bit generator as the consumer sees it: its state is where the consumer is."""

    def __init__(self, ahead: AheadGenerator) -> None:
        self._ahead = ahead

    @property
    def state(self) -> dict[str, Any]:
        words = self._ahead.position()
        state = {"key": words[:-1].copy(), "pos": int(words[-1])}
        return {"bit_generator": "MT19937", "state": state}

    @state.setter
    def state(self, value: Any) -> None:
        self._ahead.settled().bit_generator.state = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ahead.settled().bit_generator, name)


class AheadGenerator:
    """Stands for a `numpy.random.Generator` of a Mersenne twister; see the module.

    Anything but normal and gamma numbers is answered by the generator itself, put back to where
    the consumer is.
    """

    def __init__(self, generator: np.random.Generator, words: np.ndarray) -> None:
        self._generator, self._at = generator, words
        self._lock = threading.RLock()  # one consumer at a time
        self._drawing = threading.Lock()  # held while the thread draws
        self._orders: SimpleQueue[_Draw | None] = SimpleQueue()
        self._queue: deque[_Draw] = deque()
        self._since: list[Call] = []  # the calls after the last long vector
        self._cycle: tuple[Call, ...] = ()
        self._times = 0  # that the cycle has come in a row
        self._patience = 2
        self._started = False
        self.bit_generator = _Position(self)

    @classmethod
    def of(cls, generator: Any) -> AheadGenerator | None:
        """For a generator, or None where it is not one that this was written for."""
        if type(generator) is not np.random.Generator:
            return None
        words = _words(generator.bit_generator)
        return None if words is None else cls(generator, words)

    def vector(self, length: int) -> np.ndarray:
        """So many normal numbers; the array is the caller's."""
        numbers: np.ndarray = self._take(("vector", length))
        return numbers

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        """As of a Generator."""
        if size is None and dtype is np.float64:
            if out is None:
                return self._take(("normal",))
            if type(out) is np.ndarray and out.dtype == np.float64 and out.flags.c_contiguous:
                out.reshape(-1)[:] = self._take(("vector", out.size))
                return out
        return self.settled().standard_normal(size, dtype, out)

    def gamma(self, shape: Any, scale: Any = 1.0, size: Any = None) -> Any:
        """As of a Generator."""
        if size is None and np.isscalar(shape) and np.isscalar(scale):
            return self._take(("gamma", float(shape), float(scale)))  # type: ignore[arg-type]
        return self.settled().gamma(shape, scale, size)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.settled(), name)

    def __reduce__(self) -> Any:
        return self.settled().__reduce__()

    def position(self) -> np.ndarray:
        """The words of the state before the next number that the consumer gets."""
        with self._lock:
            if self._queue:
                before = self._queue[0].before
                if before is not None:
                    return before
            with self._drawing:
                if self._queue and self._queue[0].before is not None:
                    return self._queue[0].before
                return self._at.copy()

    def settled(self) -> np.random.Generator:
        """The generator itself, where the consumer is; nothing is drawn ahead."""
        with self._lock:
            with self._drawing:
                for order in self._queue:
                    order.dropped = True
                if self._queue and self._queue[0].before is not None:
                    self._at[:] = self._queue[0].before
            if self._queue:
                self._patience = min(2 * self._patience, MOST_PATIENT)
            self._queue.clear()
            self._since.clear()
            self._cycle = ()
            return self._generator

    def close(self) -> np.random.Generator:
        """End the thread; returns the generator where the consumer is."""
        with self._lock:
            generator = self.settled()
            self._orders.put(None)
            self._started = False
            return generator

    def _take(self, call: Call) -> Any:
        with self._lock:
            if self._queue and self._queue[0].call == call:
                order = self._queue.popleft()
                order.ready.acquire()
                if order.error is not None:
                    raise order.error
                result = order.result
            else:
                if self._queue:
                    self.settled()
                result = _draw(self._generator, call)
            self._learn(call)
            return result

    def _learn(self, call: Call) -> None:
        """Note a call; at the end of a long cycle that has come before, order the next ones."""
        self._since.append(call)
        if call[0] != "vector" or call[1] < LEAST_OF_CYCLE:
            del self._since[: -LONGEST - 1]
            return
        cycle = tuple(self._since)
        self._since.clear()
        self._times = self._times + 1 if cycle == self._cycle else 1
        self._cycle = cycle
        if call[1] >= LEAST_FOR_THREAD and self._lacking():
            self._start()
            for order in self._ordered():
                self._orders.put(order)

    def _lacking(self) -> bool:
        """Whether what comes next is known and not drawn or ordered yet."""
        return (
            self._times >= self._patience
            and not self._since
            and len(self._queue) < CYCLES * len(self._cycle)
            and len(self._cycle) <= LONGEST
        )

    def _ordered(self) -> Iterator[_Draw]:
        """The draws that are lacking, appended to the queue one by one."""
        while len(self._queue) < CYCLES * len(self._cycle):
            for call in self._cycle:
                order = _Draw(call)
                self._queue.append(order)
                yield order

    def prepare(self, before: Callable[[], object]) -> None:
        """Draw short cycles ahead here and now, after a call of `before` if there are any."""
        with self._lock:
            if not self._lacking() or self._cycle[-1][1] >= LEAST_FOR_THREAD:
                return
            before()
            for order in self._ordered():
                order.carry_out(self._generator, self._at)
                order.ready.release()

    def _start(self) -> None:
        if not self._started:
            threading.Thread(
                target=_work,
                args=(self._orders, self._generator, self._at, self._drawing),
                name="random numbers",
                daemon=True,
            ).start()
            weakref.finalize(self, self._orders.put, None)
            self._started = True
