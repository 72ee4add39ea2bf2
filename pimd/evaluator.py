"""From structures to checked numbers: batch -> neighbours -> potential -> numpy.

The daemon, `pimd evaluate` and the programs in drivers/ all evaluate through this. It owns the
neighbour lists and their skin, splits a batch that does not fit into memory, and refuses
numbers that are not finite or absurd, naming the structure.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from pimd.daemon.budget import Budget
from pimd.potentials.base import Batch, Potential, Prediction, Structure, Wanted
from pimd.potentials.neighbours import NeighbourLists
from pimd.structure import StructureFailed

__all__ = ["BadPrediction", "Evaluated", "Evaluator", "OutOfMemory"]

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


@dataclass
class Evaluated:
    """A prediction as numpy arrays, eV and Å; shapes as in `Prediction`."""

    energies: np.ndarray
    forces: np.ndarray | None = None
    virials: np.ndarray | None = None
    member_energies: np.ndarray | None = None
    member_forces: np.ndarray | None = None
    member_virials: np.ndarray | None = None
    properties: dict[str, np.ndarray] = field(default_factory=dict)


class Evaluator:
    """Evaluates batches with one potential.

    Args:
        potential: what evaluates.
        skin: Å added to the cutoff so that a neighbour list serves several rounds.
        max_atoms: split batches with more atoms than this; None: no limit until memory sets one.
        force_limit: eV/Å; larger force components are refused as absurd.
        budget: clocks to book to.
    """

    def __init__(
        self,
        potential: Potential,
        *,
        skin: float = 1.0,
        max_atoms: int | None = None,
        force_limit: float = FORCE_LIMIT,
        budget: Budget | None = None,
    ) -> None:
        self.potential = potential
        self.force_limit = force_limit
        self.max_atoms = max_atoms
        self.budget = budget or Budget()
        self.neighbours = (
            NeighbourLists(potential.cutoff, skin=skin) if potential.cutoff > 0 else None
        )
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
        parts, n_before = [], 0
        for part in self._parts(batch):
            try:
                parts.append(self._evaluate_part(part, wanted))
            except StructureFailed as error:
                raise StructureFailed(error.index + n_before, str(error)) from error
            n_before += part.n_structures
        result = parts[0] if len(parts) == 1 else _concatenate(parts)
        self._check(batch, result)
        return result

    def _parts(self, batch: Batch) -> list[Batch]:
        if self.max_atoms is None or batch.n_atoms <= self.max_atoms or batch.n_structures == 1:
            return [batch]
        bounds, atoms = [0], 0
        for k, size in enumerate(batch.n_atoms_per_structure.tolist()):
            if atoms and atoms + size > self.max_atoms:
                bounds.append(k)
                atoms = 0
            atoms += size
        bounds.append(batch.n_structures)
        return [batch.slice(a, b) for a, b in itertools.pairwise(bounds)]

    def _evaluate_part(self, batch: Batch, wanted: Wanted) -> Evaluated:
        try:
            return self._evaluate_once(batch, wanted)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # outside the except block: the traceback would keep the tensors alive
        if batch.device_type == "cuda":
            torch.cuda.empty_cache()
        if batch.n_structures == 1:
            raise OutOfMemory(
                f"one structure of {batch.n_atoms} atoms does not fit into the memory of "
                f"{self.potential.device}: use float32, a smaller model or a larger device"
            )
        half = batch.n_structures // 2
        self.max_atoms = max(1, batch.n_atoms // 2)
        self.n_splits += 1
        first = self._evaluate_part(batch.slice(0, half), wanted)
        second = self._evaluate_part(batch.slice(half, batch.n_structures), wanted)
        return _concatenate([first, second])

    def _evaluate_once(self, batch: Batch, wanted: Wanted) -> Evaluated:
        if self.neighbours is not None:
            with self.budget.stage("neighbours"):
                batch = self.neighbours.attach(batch)
        with self.budget.stage("model"):
            prediction = self.potential.compute(batch, wanted)
            if batch.device_type == "cuda":
                torch.cuda.synchronize()
        with self.budget.stage("copies"):
            return _to_numpy(prediction)

    def _check(self, batch: Batch, result: Evaluated) -> None:
        """Raise BadPrediction for the first structure whose numbers cannot be used."""
        problem: tuple[int, str] | None = None
        bad = np.flatnonzero(~np.isfinite(result.energies))
        if bad.size:
            problem = int(bad[0]), f"the energy is {result.energies[bad[0]]}"
        elif result.forces is not None and result.forces.size:
            largest = np.abs(result.forces).max()
            if not largest <= self.force_limit:  # also true for NaN
                worst = np.abs(result.forces).max(axis=1)
                atom = int(np.argmax(~(worst <= self.force_limit)))
                index = int(batch.structure_index[atom])
                first = int(batch.offsets[index])
                problem = index, (
                    f"the force on atom {atom - first} is {result.forces[atom]} eV/Å "
                    f"(limit {self.force_limit:g})"
                )
        if problem is None and result.virials is not None:
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


def _to_numpy(prediction: Prediction) -> Evaluated:
    def array(tensor: torch.Tensor | None) -> np.ndarray | None:
        return None if tensor is None else tensor.detach().cpu().double().numpy()

    energies = array(prediction.energies)
    assert energies is not None
    properties = {k: v.detach().cpu().double().numpy() for k, v in prediction.properties.items()}
    return Evaluated(
        energies,
        array(prediction.forces),
        array(prediction.virials),
        array(prediction.member_energies),
        array(prediction.member_forces),
        array(prediction.member_virials),
        properties,
    )


def _concatenate(parts: list[Evaluated]) -> Evaluated:
    def join(name: str, axis: int) -> np.ndarray | None:
        arrays = [getattr(part, name) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays, axis=axis)

    return Evaluated(
        np.concatenate([part.energies for part in parts]),
        join("forces", 0),
        join("virials", 0),
        join("member_energies", 1),
        join("member_forces", 1),
        join("member_virials", 1),
        {k: np.concatenate([p.properties[k] for p in parts]) for k in parts[0].properties},
    )
