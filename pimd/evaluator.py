"""From structures to checked numbers: batch -> neighbours -> parts -> potential -> numpy.

The daemon, `pimd evaluate` and the programs in drivers/ all evaluate through this. It owns the
neighbour lists and their skin, evaluates a batch in the parts that fit into memory and are
fastest, and refuses numbers that are not finite or absurd, naming the structure.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from pimd.batch_splitting import BatchSplitter, Chunking, cost_of
from pimd.daemon.budget import Budget
from pimd.device_memory import CudaMemory, Meter
from pimd.evaluated import Evaluated
from pimd.potentials.base import Batch, Potential, Structure, Wanted
from pimd.potentials.device_lists import neighbour_lists
from pimd.structure import StructureFailed

__all__ = ["BadPrediction", "Evaluated", "Evaluator", "OutOfMemory"]

T = TypeVar("T")

FORCE_LIMIT = 1.0e3
"""eV/Å; a larger force component means overlapping atoms or a model far outside its data."""


class BadPrediction(RuntimeError):
    """A potential returned numbers no dynamics can use.

    Attributes:
        index: the structure in the batch.
        structure: its atoms.
        what: in words.
    """

    def __init__(self, index: int, structure: Structure, what: str) -> None:
        super().__init__(f"structure {index} of the batch: {what}")
        self.index = index
        self.structure = structure
        self.what = what


class OutOfMemory(RuntimeError):
    """One structure alone does not fit into memory."""


class Evaluator:
    """Evaluates batches with one potential.

    Args:
        potential: what evaluates.
        skin: Å added to the cutoff so that a neighbour list serves several rounds.
        max_atoms: split batches with more atoms than this, before their neighbour lists are
            made; None: no limit until memory sets one.
        chunking: parts in which a batch is evaluated once it has its lists; see
            `pimd.batch_splitting`. `auto`: on the CPU, of a potential that takes pairs, in as
            many as is fastest, so that results may differ by rounding from run to run; a
            number: of at most so many pairs and atoms; None: only as memory wants.
        force_limit: eV/Å; larger force components are refused as absurd.
        budget: clocks to book to.
        memory: measures that of the device; None: as torch counts it, on a GPU.

    Attributes:
        n_splits: how often a batch was halved since memory ran out.
    """

    def __init__(
        self,
        potential: Potential,
        *,
        skin: float = 1.0,
        max_atoms: int | None = None,
        chunking: Chunking = "auto",
        force_limit: float = FORCE_LIMIT,
        budget: Budget | None = None,
        memory: Meter | None = None,
    ) -> None:
        self.potential = potential
        self.force_limit = force_limit
        self.max_atoms = max_atoms
        self.budget = budget or Budget()
        self.neighbours = (
            neighbour_lists(potential.cutoff, skin, potential.device)
            if potential.cutoff > 0
            else None
        )
        on_gpu = potential.device.type == "cuda"
        if chunking == "auto" and (on_gpu or self.neighbours is None):
            chunking = None
        if memory is None and on_gpu:
            memory = CudaMemory(potential.device)
        self.splitter = BatchSplitter(chunking, memory)
        self.n_splits = 0

    def evaluate_structures(
        self, structures: Sequence[Structure], wanted: Wanted | None = None
    ) -> Evaluated:
        """Evaluate structures as one batch; see `evaluate`."""
        with self.budget.stage("copies"):
            batch = Batch.from_structures(
                structures, dtype=self.potential.dtype, device=self.potential.device
            )
        return self.evaluate(batch, wanted)

    def evaluate(self, batch: Batch, wanted: Wanted | None = None) -> Evaluated:
        """Evaluate a batch without a neighbour list.

        Raises:
            BadPrediction: energies or forces that are not finite, or forces above the limit.
            OutOfMemory: a single structure does not fit.
            PotentialError: what the potential cannot evaluate.
        """
        wanted = wanted or Wanted()
        result = self._in_parts(batch, self._parts_by_atoms(batch), wanted, self._with_lists)
        self._check(batch, result)
        return result

    def _parts_by_atoms(self, batch: Batch) -> list[tuple[int, int]]:
        """First and end structure of each part of at most `max_atoms`."""
        n_structures = batch.n_structures
        if self.max_atoms is None or batch.n_atoms <= self.max_atoms or n_structures == 1:
            return [(0, n_structures)]
        bounds, atoms = [0], 0
        for k, size in enumerate(batch.starts().diff().tolist()):
            if atoms and atoms + size > self.max_atoms:
                bounds.append(k)
                atoms = 0
            atoms += size
        return list(itertools.pairwise([*bounds, n_structures]))

    def _in_parts(
        self,
        batch: Batch,
        parts: Sequence[tuple[int, int]],
        wanted: Wanted,
        evaluate: Callable[[Batch, Wanted], Evaluated],
    ) -> Evaluated:
        """Evaluate runs of structures one after another."""
        if len(parts) == 1:
            return evaluate(batch, wanted)
        results = []
        for start, end in parts:
            try:
                results.append(evaluate(batch.slice(start, end), wanted))
            except StructureFailed as error:
                raise StructureFailed(error.index + start, str(error)) from error
        return Evaluated.joined(results)

    def _with_lists(self, batch: Batch, wanted: Wanted) -> Evaluated:
        """Make the neighbour lists of a batch, and evaluate it in the parts that are best."""
        if self.neighbours is not None:
            with self.budget.stage("neighbours"):
                attached = self._unless_out_of_memory(self.neighbours.attach, batch)
            if attached is None:
                halves = self._halves(batch)
                self.max_atoms = max(1, batch.n_atoms // 2)
                return self._in_parts(batch, halves, wanted, self._with_lists)
            batch = attached
        parts, level = self.splitter.parts(batch)
        started = time.perf_counter()
        result = self._in_parts(batch, parts, wanted, self._that_fits)
        self.splitter.took(batch, level, time.perf_counter() - started)
        return result

    def _that_fits(self, batch: Batch, wanted: Wanted) -> Evaluated:
        """Evaluate a batch with its lists at once, or in halves if memory runs out."""
        result = self._unless_out_of_memory(self._at_once, batch, wanted)
        if result is not None:
            return result
        halves = self._halves(batch)
        self.splitter.does_not_fit(batch)
        return self._in_parts(batch, halves, wanted, self._that_fits)

    def _halves(self, batch: Batch) -> list[tuple[int, int]]:
        """Halves of a batch that did not fit into memory."""
        if batch.n_structures == 1:
            raise OutOfMemory(
                f"one structure of {batch.n_atoms} atoms does not fit into the memory of "
                f"{self.potential.device}: use float32, a smaller model or a larger device"
            )
        self.n_splits += 1
        half = batch.n_structures // 2
        return [(0, half), (half, batch.n_structures)]

    def _unless_out_of_memory(self, function: Callable[..., T], *arguments: Any) -> T | None:
        """What the function returns; None where memory ran out."""
        try:
            return function(*arguments)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # outside the except block: the traceback would keep the tensors alive
        if self.potential.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _at_once(self, batch: Batch, wanted: Wanted) -> Evaluated:
        self.splitter.memory.start()
        with self.budget.stage("model"):
            prediction = self.potential.compute(batch, wanted)
            if batch.device_type == "cuda":
                torch.cuda.synchronize()
        self.splitter.memory.done(cost_of(batch))
        with self.budget.stage("copies"):
            return Evaluated.of(prediction)

    def _check(self, batch: Batch, result: Evaluated) -> None:
        """Raise BadPrediction for the first structure whose numbers cannot be used."""
        problem: tuple[int, str] | None = None
        bad = np.flatnonzero(~np.isfinite(result.energies))
        if bad.size:
            problem = int(bad[0]), f"the energy is {result.energies[bad[0]]}"
        elif result.forces is not None and result.forces.size:
            largest = max(result.forces.max(), -result.forces.min())
            if not largest <= self.force_limit:  # also true for NaN
                worst = np.abs(result.forces).max(axis=1)
                atom = int(np.argmax(~(worst <= self.force_limit)))
                index = int(batch.structure_index[atom])
                first = int(batch.starts()[index])
                problem = index, (
                    f"the force on atom {atom - first} is {result.forces[atom]} eV/Å "
                    f"(limit {self.force_limit:g})"
                )
        # (a sum is finite only if all its terms are)
        if problem is None and result.virials is not None and not np.isfinite(result.virials.sum()):
            bad = np.flatnonzero(~np.isfinite(result.virials).all(axis=(1, 2)))
            if bad.size:
                problem = int(bad[0]), "the virial is not finite"
        if problem is not None:
            raise BadPrediction(problem[0], batch.structure(problem[0]), problem[1])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the device or the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text
    )
