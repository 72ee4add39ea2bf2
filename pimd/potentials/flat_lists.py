"""Reference lists of a whole batch laid flat, and their filtering to the cutoff."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pimd.potentials.base import Batch

__all__ = ["FlatLists", "ReferenceList", "times"]


@dataclass(eq=False)
class ReferenceList:
    """The half list of one structure as it was when the list was built.

    Attributes:
        key: species and periodicity.
        positions: Å, (n_atoms, 3) float64.
        cell: Å, (3, 3) float64, rows are lattice vectors, zero where not periodic.
        i, j: (n_pairs,) int32, counted within the structure.
        shifts: (n_pairs, 3) int32.
        used: number of the call in which it last served.
    """

    key: bytes
    positions: Tensor
    cell: Tensor
    i: Tensor
    j: Tensor
    shifts: Tensor
    used: int = 0


class FlatLists:
    """The reference lists of a batch one after another, so that no step loops over structures.

    Arrays are kept by column where they are gathered: a gather of (n,) is several times as fast
    as one of (n, 3).
    """

    def __init__(self, batch: Batch, lists: Sequence[ReferenceList]) -> None:
        # (copies: the caller may fill the same arrays at the next call)
        self.sizes, self.numbers = batch.n_atoms_per_structure.clone(), batch.numbers.clone()
        self.pbc, self.index = batch.pbc.clone(), batch.structure_index.clone()
        self.replace(lists)

    def replace(self, lists: Sequence[ReferenceList]) -> None:
        """Lay other lists of the same structures flat."""
        self.lists = list(lists)
        device, n = self.sizes.device, len(self.lists)
        n_pairs = torch.tensor([len(one.i) for one in self.lists], device=device)
        self.positions = torch.cat([one.positions for one in self.lists])
        self.cells = torch.stack([one.cell for one in self.lists])
        self._structure = torch.arange(n, device=device).repeat_interleave(n_pairs)  # [pair]
        self._starts = torch.cat([n_pairs.new_zeros(1), n_pairs.cumsum(0)])  # [structure]
        first = (self.sizes.cumsum(0) - self.sizes).to(torch.int32)  # [structure]
        first = first.index_select(0, self._structure)  # [pair]
        self._i = torch.cat([one.i for one in self.lists]) + first
        self._j = torch.cat([one.j for one in self.lists]) + first
        self._shifts = torch.cat([one.shifts for one in self.lists])
        self._translations: tuple[Tensor, list[Tensor]] | None = None

    @property
    def n_pairs(self) -> int:
        """Pairs out to cutoff + skin, each counted once."""
        return len(self._i)

    def fits(self, batch: Batch) -> bool:
        """Whether the batch has these structures, but for positions and cells."""
        return (
            self.sizes.device == batch.positions.device
            and torch.equal(self.sizes, batch.n_atoms_per_structure)
            and torch.equal(self.pbc, batch.pbc)
            and torch.equal(self.numbers, batch.numbers)
        )

    def within(
        self, cutoff: float, positions: Tensor, cells: Tensor, wraps: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Full list below the cutoff: pairs (2, n_pairs), shifts (n_pairs, 3) of `dtype` and
        runs (2, n_structures + 1), the pairs and their mirror images, as in `Batch`.

        Args:
            cutoff: Å.
            positions: Å, (n_atoms, 3) float64, as they are now.
            cells: Å, (n_structures, 3, 3) float64, zero rows where not periodic.
            wraps: n of every atom since the reference, (n_atoms, 3) float64: S' = S + n_i - n_j.
        """
        wrapped = bool(wraps.any())
        if wrapped:
            positions = positions - times(wraps, cells, self.index)
        squared = torch.zeros(len(self._i), dtype=positions.dtype, device=positions.device)
        columns = zip(positions.unbind(1), self._translations_for(cells), strict=True)
        for column, translation in columns:  # x, y, z
            column = column.contiguous()
            distance = column.index_select(0, self._j)
            distance -= column.index_select(0, self._i)
            distance += translation
            squared.addcmul_(distance, distance)
        inside = (squared < cutoff**2).nonzero().squeeze(1)
        n = len(inside)
        pairs = torch.empty((2, 2 * n), dtype=torch.int64, device=positions.device)
        pairs[0, :n] = pairs[1, n:] = self._i.index_select(0, inside)
        pairs[1, :n] = pairs[0, n:] = self._j.index_select(0, inside)
        shifts = torch.empty((2 * n, 3), dtype=dtype, device=positions.device)
        shifts[:n] = self._shifts.index_select(0, inside)
        if wrapped:
            shifts[:n] += wraps.index_select(0, pairs[0, :n]).to(dtype)
            shifts[:n] -= wraps.index_select(0, pairs[1, :n]).to(dtype)
        torch.neg(shifts[:n], out=shifts[n:])
        run = torch.searchsorted(inside, self._starts)
        return pairs, shifts, torch.stack([run, run + n])

    def _translations_for(self, cells: Tensor) -> list[Tensor]:
        """x, y and z of S C of every pair, Å, three of (n_pairs,); kept while cells are."""
        if self._translations is None or not torch.equal(self._translations[0], cells):
            s0, s1, s2 = self._shifts.to(cells.dtype).unbind(1)
            columns = []
            for xyz in range(3):
                c0, c1, c2 = (
                    cells[:, vector, xyz].contiguous().index_select(0, self._structure)
                    for vector in range(3)
                )
                columns.append((s0 * c0).addcmul_(s1, c1).addcmul_(s2, c2))
            self._translations = cells, columns
        return self._translations[1]


def times(vectors: Tensor, matrices: Tensor, index: Tensor) -> Tensor:
    """vectors[a] @ matrices[index[a]], (n_atoms, 3)."""
    return torch.bmm(vectors[:, None, :], matrices.index_select(0, index)).squeeze(1)
