"""One task: some frames of a ring polymer through one potential, here or in another process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pimd.evaluated import Evaluated
from pimd.evaluator import BadPrediction, Evaluator
from pimd.potentials.base import Batch, Potential, Wanted
from pimd.potentials.registry import make_potential, parse_spec
from pimd.record.labels import checksum
from pimd.relabel.errors import RelabelError
from pimd.structure import PotentialError

__all__ = ["Outcome", "Task", "evaluate", "evaluate_here", "evaluator_for"]


@dataclass(frozen=True)
class Task:
    """Some frames.

    Attributes:
        where: the run, in words.
        step: (B,), of the frames.
        positions: Å, (B, P, n, 3).
        cells: Å, (B, 3, 3), rows are vectors.
        numbers: (n,).
        pbc: (3,) bool.
        forces: whether forces are wanted.
        batch_atoms: atoms of one batch, at most.
    """

    where: str
    step: np.ndarray
    positions: np.ndarray
    cells: np.ndarray
    numbers: np.ndarray
    pbc: np.ndarray
    forces: bool
    batch_atoms: int


@dataclass(frozen=True)
class Outcome:
    """What came of a task: energies (B, P) eV, forces (B, P, n, 3) eV/Å or None, energies of
    members (B, M, P) eV or None, and checksums (B,) of the positions."""

    step: np.ndarray
    energies: np.ndarray
    forces: np.ndarray | None
    member_energies: np.ndarray | None
    checksums: np.ndarray

    @property
    def n_bytes(self) -> int:
        """Of the numbers."""
        return self.energies.nbytes + (0 if self.forces is None else self.forces.nbytes)


_evaluators: dict[str, Evaluator] = {}
"""Of this process, by SPEC: a worker makes its potential once."""


def evaluate(task: Task, spec: str) -> Outcome:
    """A task under the potential of a SPEC; for processes that do many.

    Raises:
        RelabelError: a bead cannot be evaluated.
        PotentialError: what is wrong with the SPEC.
    """
    if spec not in _evaluators:
        _evaluators[spec] = evaluator_for(make_potential(parse_spec(spec)), task.batch_atoms)
    return evaluate_here(task, _evaluators[spec])


def evaluator_for(potential: Potential, batch_atoms: int) -> Evaluator:
    """Frames lie far apart: no skin, and no limit on forces that a potential may find."""
    return Evaluator(potential, skin=0.0, max_atoms=batch_atoms, force_limit=float("inf"))


def evaluate_here(task: Task, evaluator: Evaluator) -> Outcome:
    """A task under a potential that is ready."""
    potential = evaluator.potential
    batch = Batch.from_beads(
        task.positions, task.cells, task.numbers, task.pbc,
        dtype=potential.dtype, device=potential.device,
    )
    wanted = Wanted(forces=task.forces, virials=False)
    try:
        found = evaluator.evaluate(batch, wanted)
    except BadPrediction as error:
        raise _of_bead(task, error.index, error.what) from error
    except PotentialError as error:
        index = getattr(error, "index", None)
        if index is None:
            raise RelabelError(
                f"{task.where}, steps {task.step[0]} to {task.step[-1]}: {error}"
            ) from error
        raise _of_bead(task, index, error) from error
    return _outcome(task, found)


def _outcome(task: Task, found: Evaluated) -> Outcome:
    n_frames, n_beads = task.positions.shape[:2]
    members = found.member_energies
    if members is not None:
        # (M, B P) -> (B, M, P)
        members = members.reshape(len(members), n_frames, n_beads).transpose(1, 0, 2)
    return Outcome(
        step=task.step,
        energies=np.asarray(found.energies, dtype=float).reshape(n_frames, n_beads),
        forces=None if not task.forces or found.forces is None
        else np.asarray(found.forces, dtype=float).reshape(task.positions.shape),
        member_energies=None if members is None else np.array(members, dtype=float),
        checksums=np.array([checksum(one) for one in task.positions], dtype=np.uint32),
    )


def _of_bead(task: Task, index: int, problem: object) -> RelabelError:
    frame, bead = divmod(index, task.positions.shape[1])
    return RelabelError(f"{task.where}, step {task.step[frame]}, bead {bead}: {problem}")
