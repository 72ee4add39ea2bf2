"""Lists of pairs of water molecules, by their oxygens.

Oxygens move little even in quantum water, so that one list of them serves many calls; a list of
all atoms would have nine times the pairs, and be outdated by each swing of a hydrogen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pimd.potentials.base import Batch
from pimd.potentials.neighbours import NeighbourLists

__all__ = ["MoleculePairs", "all_pairs", "pair_vectors", "periodic_pairs", "square_lengths"]


@dataclass
class MoleculePairs:
    """Pairs of molecules, each once.

    Attributes:
        i, j: which molecules, (n_pairs,) int64.
        translation: what the cell adds to the vectors from i to j: x, y and z, Å, (n_pairs,).
        cutoff: Å, between oxygens; all pairs within it are there, none beyond.
    """

    i: Tensor
    j: Tensor
    translation: tuple[Tensor, Tensor, Tensor]
    cutoff: float

    def __len__(self) -> int:
        return len(self.i)

    def select(self, which: Tensor, cutoff: float) -> MoleculePairs:
        """The pairs whose indices are given."""
        columns = (self.i, self.j, *self.translation)
        i, j, x, y, z = (c.index_select(0, which) for c in columns)
        return MoleculePairs(i, j, (x, y, z), cutoff)

    def within(self, oxygens: Tensor, cutoff: float) -> MoleculePairs:
        """The pairs with R < cutoff; oxygens (3, n_molecules), Å."""
        if len(self) == 0 or self.cutoff <= cutoff:
            return self
        near = square_lengths(pair_vectors(oxygens, self)) < cutoff * cutoff
        return self.select(near.nonzero().squeeze(1), cutoff)

    def chunks(self, size: int) -> list[MoleculePairs]:
        """The pairs in parts of at most so many."""
        columns = (self.i, self.j, *self.translation)
        parts = zip(*(c.split(size) for c in columns), strict=True)
        return [MoleculePairs(i, j, (x, y, z), self.cutoff) for i, j, x, y, z in parts]


def periodic_pairs(lists: NeighbourLists, oxygens: Tensor, cells: Tensor) -> MoleculePairs:
    """All pairs of molecules whose oxygens are within the cutoff of `lists`.

    Args:
        lists: for the oxygens.
        oxygens: Å, (n_structures, n_molecules, 3).
        cells: Å, (n_structures, 3, 3), of structures periodic along all vectors.
    """
    n_structures, n_molecules = oxygens.shape[:2]
    batch = lists.attach(
        Batch(
            positions=oxygens.reshape(-1, 3),
            cells=cells,
            pbc=torch.ones((n_structures, 3), dtype=torch.bool, device=cells.device),
            numbers=torch.full((n_structures * n_molecules,), 8, device=cells.device),
            structure_index=torch.arange(n_structures, device=cells.device).repeat_interleave(
                n_molecules
            ),
            n_atoms_per_structure=torch.full((n_structures,), n_molecules, device=cells.device),
        )
    )
    assert batch.pairs is not None
    assert batch.shifts is not None
    keep = _one_of_two(batch.pairs, batch.shifts)
    i, j = batch.pairs[:, keep]
    shifts = batch.shifts[keep]
    if bool((cells == cells[0]).all()):
        x, y, z = (shifts @ cells[0]).unbind(1)
    else:
        structure = i // n_molecules
        x, y, z = torch.einsum("pv,pvx->xp", shifts, cells.index_select(0, structure))
    return MoleculePairs(i, j, (x, y, z), lists.cutoff)


def _one_of_two(pairs: Tensor, shifts: Tensor) -> slice | Tensor:
    """Which pairs of a full list to keep so that of (i, j, S) and (j, i, -S) one is left."""
    half = pairs.shape[1] // 2
    if torch.equal(pairs[:, :half], pairs[:, half:].flip(0)) and torch.equal(
        shifts[:half], -shifts[half:]
    ):
        return slice(0, half)  # the second half repeats the first, as NeighbourLists lays it out
    sign = torch.sign(shifts) @ shifts.new_tensor([4.0, 2.0, 1.0])
    return (pairs[0] < pairs[1]) | ((pairs[0] == pairs[1]) & (sign > 0))


def all_pairs(oxygens: Tensor) -> MoleculePairs:
    """All pairs of molecules of each structure, (n_structures, n_molecules, 3), no images."""
    n_structures, n_molecules = oxygens.shape[:2]
    inner = torch.triu_indices(n_molecules, n_molecules, 1, device=oxygens.device)
    first = torch.arange(n_structures, device=oxygens.device) * n_molecules  # [structure]
    i, j = (inner[:, None, :] + first[:, None]).reshape(2, -1)
    none = oxygens.new_zeros(len(i))
    return MoleculePairs(i, j, (none, none, none), float("inf"))


def pair_vectors(points: Tensor, pairs: MoleculePairs) -> list[Tensor]:
    """x, y and z of the vectors from i to j, each (n_pairs,)."""
    return [
        x.index_select(0, pairs.j) - x.index_select(0, pairs.i) + t
        for x, t in zip(points, pairs.translation, strict=True)
    ]


def square_lengths(vectors: list[Tensor]) -> Tensor:
    """x² + y² + z², shaped like each of x, y and z."""
    x, y, z = vectors
    return (x * x).addcmul_(y, y).addcmul_(z, z)
