"""In which parts a batch is evaluated: what fits into memory, and what is fastest.

The cost of a structure is the number of its pairs and atoms, to which both memory and time are
about proportional in every potential of short range.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from typing import Any, Literal

import numpy as np
import torch

from pimd.chunk_tuning import ChunkTuner
from pimd.device_memory import MemoryUse, Meter
from pimd.potentials.base import Batch, PotentialError

__all__ = ["BatchSplitter", "Chunking", "as_chunking", "cost_of", "costs_of", "cut"]

Chunking = Literal["auto"] | int | None
"""Parts by time: found out, of at most so many pairs and atoms, or none."""

MAX_KINDS = 16


class BatchSplitter:
    """Says in which parts to evaluate batches that have their neighbour lists.

    Args:
        chunking: `auto`: in as many parts as is fastest; a number: in parts of at most so many
            pairs and atoms; None: whole. A part has one structure at least.
        meter: of the device's memory; None: only memory that ran out sets a limit.

    Attributes:
        most: pairs and atoms that were found to fit when more did not; None: all fitted so far.
    """

    def __init__(self, chunking: Chunking, meter: Meter | None = None) -> None:
        self.chunking = chunking
        self.most: int | None = None
        self.memory = MemoryUse(meter)
        self._tuners: OrderedDict[tuple[int, int], ChunkTuner] = OrderedDict()

    def parts(self, batch: Batch) -> tuple[list[tuple[int, int]], int]:
        """First and end structure of each part, and the level of `ChunkTuner` they are of."""
        whole = [(0, batch.n_structures)]
        if batch.n_structures == 1:
            return whole, 0
        level, cost = 0, cost_of(batch)
        limits = [self.most, self.memory.most(cost)]
        if isinstance(self.chunking, int):
            limits.append(self.chunking)
        elif self.chunking == "auto":
            level = self._tuner(batch).next_level()
        most = min((limit for limit in limits if limit is not None), default=cost)
        if level == 0 and cost <= most:
            return whole, 0
        return cut(costs_of(batch), most, 2**level), level

    def took(self, batch: Batch, level: int, seconds: float) -> None:
        """A batch was evaluated in the parts of a level, without fail."""
        if self.chunking == "auto" and batch.n_structures > 1:
            self._tuner(batch).took(level, seconds)

    def does_not_fit(self, batch: Batch) -> None:
        """Memory ran out: nothing of more than half this cost is evaluated at once again."""
        half = max(1, cost_of(batch) // 2)
        self.most = half if self.most is None else min(self.most, half)

    def _tuner(self, batch: Batch) -> ChunkTuner:
        key = batch.n_structures, batch.n_atoms
        tuner = self._tuners.pop(key, None) or ChunkTuner(batch.n_structures)
        self._tuners[key] = tuner
        while len(self._tuners) > MAX_KINDS:
            self._tuners.popitem(last=False)
        return tuner


def as_chunking(value: Any) -> Chunking:
    """`auto`, `none` or a number > 0, as in a SPEC. Raises PotentialError for anything else."""
    if value is None or value == "none":
        return None
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise PotentialError(
        f"chunking is auto, none, or the most pairs and atoms evaluated at once; got '{value}'"
    )


def cost_of(batch: Batch) -> int:
    """Pairs and atoms of a batch."""
    return batch.n_atoms + (0 if batch.pairs is None else batch.pairs.shape[1])


def costs_of(batch: Batch) -> np.ndarray:
    """Pairs and atoms of each structure, (n_structures,) int64; waits for the device."""
    n_atoms = np.diff(batch.starts().numpy())
    if batch.pairs is None:
        return n_atoms
    if batch.pair_runs is not None:
        n_pairs = batch.pair_runs.cpu().diff(dim=1).sum(0)
    else:
        structure = batch.structure_index.index_select(0, batch.pairs[0])
        n_pairs = torch.bincount(structure, minlength=batch.n_structures).cpu()
    return n_atoms + n_pairs.numpy()


def cut(costs: np.ndarray, most: int, n_parts: int = 1) -> list[tuple[int, int]]:
    """Runs of structures of about equal cost, first and end of each.

    Args:
        costs: of each structure, (n_structures,).
        most: > 0, cost of a part that has more than one structure.
        n_parts: as few as there may be, if there are as many structures.
    """
    n_structures, ends = len(costs), np.cumsum(costs)
    n_parts = max(n_parts, math.ceil(ends[-1] / most))
    while n_parts < n_structures:
        wanted = ends[-1] * np.arange(1, n_parts) / n_parts
        # a structure in which a part should end goes to the side of its larger half
        inner = np.searchsorted(ends - 0.5 * costs, wanted)
        parts = list(itertools.pairwise(np.unique([0, *inner.tolist(), n_structures]).tolist()))
        if not any(b - a > 1 and costs[a:b].sum() > most for a, b in parts):
            return parts
        n_parts += 1
    return [(k, k + 1) for k in range(n_structures)]
