"""How much memory of a GPU a batch takes, learned from those before it."""

from __future__ import annotations

from typing import Protocol

import torch

__all__ = ["CudaMemory", "MemoryUse", "Meter"]

SHARE = 0.85
"""Of the memory that is free, what a batch is expected to take at most: the prediction is not
exact, and free memory comes in pieces."""


class Meter(Protocol):
    """Measures memory, in bytes."""

    def start(self) -> None:
        """Measure from now on."""

    def peak(self) -> int:
        """The most taken at once since `start`, beyond what was taken then."""

    def available(self) -> int:
        """What could be taken now."""


class CudaMemory:
    """Memory of a CUDA device, as torch counts it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before = 0

    def start(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)
        self._before = torch.cuda.memory_allocated(self.device)

    def peak(self) -> int:
        return torch.cuda.max_memory_allocated(self.device) - self._before

    def available(self) -> int:
        free, _ = torch.cuda.mem_get_info(self.device)
        cached = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return free + cached


class MemoryUse:
    """Predicts memory as proportional to cost (`pimd.batch_splitting.cost_of`), from the
    costliest batch so far. What does not grow with cost makes the prediction too high, which
    the next costlier batch mends.

    Args:
        meter: measures; None: nothing is learned, and nothing limited.
    """

    def __init__(self, meter: Meter | None) -> None:
        self._meter = meter
        self._cost, self._bytes = 0, 0

    def start(self) -> None:
        """A batch is about to be evaluated."""
        if self._meter is not None:
            self._meter.start()

    def done(self, cost: int) -> None:
        """A batch of some cost was evaluated."""
        if self._meter is None or cost < self._cost:
            return
        before = self._bytes if cost == self._cost else 0
        self._cost, self._bytes = cost, max(before, self._meter.peak())

    def most(self, cost: int) -> int | None:
        """The cost up to which a batch should be evaluated at once; None: that of this one."""
        if self._meter is None or cost <= self._cost or not self._bytes:
            return None
        fits = SHARE * self._meter.available() * self._cost / self._bytes
        return None if cost <= fits else max(self._cost, int(fits))
