"""One atomic structure, and the error of a potential that cannot evaluate it; no torch here.

The process that runs i-PI imports this, and starts faster for not importing torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["PotentialError", "Structure", "StructureFailed"]


class PotentialError(ValueError):
    """A potential was given something it cannot evaluate; the message says what to do."""


class StructureFailed(PotentialError):
    """A potential could not evaluate one structure; `index` is its place in the batch."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


@dataclass(frozen=True)
class Structure:
    """One atomic structure.

    Attributes:
        numbers: atomic numbers, (n_atoms,) int64.
        positions: Å, (n_atoms, 3) float64.
        cell: Å, (3, 3) float64, rows are lattice vectors; zeros where there is no cell.
        pbc: (3,) bool, periodic along each lattice vector. A structure may carry a cell and
            still not be periodic.
    """

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray = field(default_factory=lambda: np.zeros((3, 3)))
    pbc: np.ndarray = field(default_factory=lambda: np.zeros(3, dtype=bool))

    def __post_init__(self) -> None:
        numbers = np.array(self.numbers, dtype=np.int64)
        positions = np.array(self.positions, dtype=np.float64)
        cell = np.array(self.cell, dtype=np.float64)
        pbc = np.array(np.broadcast_to(np.asarray(self.pbc, dtype=bool), (3,)))
        if numbers.ndim != 1 or positions.shape != (len(numbers), 3):
            raise PotentialError(
                f"a structure needs numbers (n_atoms,) and positions (n_atoms, 3), "
                f"got {numbers.shape} and {positions.shape}"
            )
        if cell.shape != (3, 3):
            raise PotentialError(f"a cell is a (3, 3) array of row vectors, got {cell.shape}")
        # [axis]; a periodic direction needs a lattice vector, all periodic ones a volume
        if pbc.any() and np.linalg.matrix_rank(cell[pbc]) < pbc.sum():
            raise PotentialError(
                "the structure is periodic along "
                f"{np.flatnonzero(pbc).tolist()} but those cell vectors span no volume: give a "
                "cell, or set pbc to False"
            )
        for name, value in (
            ("numbers", numbers), ("positions", positions), ("cell", cell), ("pbc", pbc)
        ):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def from_ase(cls, atoms: Any) -> Structure:
        """The structure of an `ase.Atoms`."""
        return cls(atoms.numbers, atoms.positions, np.asarray(atoms.cell), atoms.pbc)

    def to_ase(self) -> Any:
        """The structure as `ase.Atoms`."""
        from ase import Atoms

        return Atoms(
            numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc
        )

    def as_lists(self) -> dict[str, Any]:
        """The structure in plain lists, as JSON carries it; keywords of the constructor."""
        return {
            "numbers": self.numbers.tolist(),
            "positions": self.positions.tolist(),
            "cell": self.cell.tolist(),
            "pbc": self.pbc.tolist(),
        }
