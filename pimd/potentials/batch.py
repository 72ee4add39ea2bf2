"""Structures laid flat, one after another: what a potential evaluates in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from pimd.structure import PotentialError, Structure

__all__ = ["Batch"]

LONG_RUN = 1000
"""Pairs of a structure from which one matrix product for it is faster than its share of a
product over all pairs."""


@dataclass
class Batch:
    """Structures laid flat, one after another, on one device.

    Attributes:
        positions: Å, (n_atoms, 3), floating.
        cells: Å, (n_structures, 3, 3), rows are lattice vectors; same dtype as positions.
        pbc: (n_structures, 3) bool.
        numbers: (n_atoms,) int64.
        structure_index: (n_atoms,) int64, non-decreasing: the structure each atom is in.
        n_atoms_per_structure: (n_structures,) int64.
        pairs: (2, n_pairs) int64, a full list (i, j) of global atom indices within the cutoff
            of the potential, with both (i, j) and (j, i); None until the list is attached.
        shifts: (n_pairs, 3), floating, whole numbers: cell translations of j, so that the
            vector from i to j is positions[j] - positions[i] + shifts @ cell.
        pair_runs: (n_runs, n_structures + 1) int64, where the pairs come in runs that list the
            structures in order: those of structure k are runs[r, k] to runs[r, k + 1] of
            each run r. None: in any order.
        host_starts: `starts()`, where known without asking the device.
    """

    positions: Tensor
    cells: Tensor
    pbc: Tensor
    numbers: Tensor
    structure_index: Tensor
    n_atoms_per_structure: Tensor
    pairs: Tensor | None = None
    shifts: Tensor | None = None
    pair_runs: Tensor | None = None
    host_starts: Tensor | None = None

    @property
    def n_structures(self) -> int:
        return self.cells.shape[0]

    @property
    def n_atoms(self) -> int:
        return self.positions.shape[0]

    @property
    def device_type(self) -> str:
        return self.positions.device.type

    @property
    def offsets(self) -> Tensor:
        """Index of the first atom of each structure, and the end: (n_structures + 1,) int64."""
        zero = self.n_atoms_per_structure.new_zeros(1)
        return torch.cat([zero, self.n_atoms_per_structure.cumsum(0)])

    def starts(self) -> Tensor:
        """`offsets` on the host; waits for the device the first time at most."""
        if self.host_starts is None:
            self.host_starts = self.offsets.cpu()
        return self.host_starts

    @classmethod
    def from_structures(
        cls,
        structures: Sequence[Structure],
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> Batch:
        """Lay structures flat. Raises PotentialError for an empty sequence."""
        if not structures:
            raise PotentialError("a batch needs at least one structure")
        sizes = np.array([len(s) for s in structures], dtype=np.int64)
        return cls.from_arrays(
            np.concatenate([s.positions for s in structures]),
            np.stack([s.cell for s in structures]),
            np.stack([s.pbc for s in structures]),
            np.concatenate([s.numbers for s in structures]),
            sizes,
            dtype=dtype,
            device=device,
        )

    @classmethod
    def from_arrays(
        cls,
        positions: np.ndarray,
        cells: np.ndarray,
        pbc: np.ndarray,
        numbers: np.ndarray,
        n_atoms_per_structure: np.ndarray,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> Batch:
        """A batch from flat numpy arrays, shapes as in the class docstring."""
        sizes = np.asarray(n_atoms_per_structure, dtype=np.int64)
        n_structures, n_atoms = len(sizes), int(sizes.sum())
        expected = {
            "positions": (positions.shape, (n_atoms, 3)),
            "cells": (cells.shape, (n_structures, 3, 3)),
            "pbc": (pbc.shape, (n_structures, 3)),
            "numbers": (numbers.shape, (n_atoms,)),
        }
        for name, (got, want) in expected.items():
            if got != want:
                raise PotentialError(f"batch {name}: expected shape {want}, got {got}")
        index = np.repeat(np.arange(n_structures), sizes)
        return cls(
            positions=torch.tensor(positions, dtype=dtype, device=device),
            cells=torch.tensor(cells, dtype=dtype, device=device),
            pbc=torch.tensor(pbc, dtype=torch.bool, device=device),
            numbers=torch.tensor(numbers, dtype=torch.int64, device=device),
            structure_index=torch.tensor(index, dtype=torch.int64, device=device),
            n_atoms_per_structure=torch.tensor(sizes, device=device),
            host_starts=torch.tensor([0, *np.cumsum(sizes).tolist()]),
        )

    @classmethod
    def from_beads(
        cls,
        positions: np.ndarray,
        cells: np.ndarray,
        numbers: np.ndarray,
        pbc: np.ndarray,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> Batch:
        """A batch of all beads of frames, frame by frame.

        Args:
            positions: Å, (n_frames, n_beads, n_atoms, 3).
            cells: Å, (n_frames, 3, 3), rows are lattice vectors.
            numbers: (n_atoms,), of every bead.
            pbc: (3,) bool, of every frame.
        """
        n_frames, n_beads, n_atoms = positions.shape[:3]
        n_structures = n_frames * n_beads
        return cls.from_arrays(
            positions.reshape(-1, 3), np.repeat(cells, n_beads, axis=0),
            np.tile(pbc, (n_structures, 1)), np.tile(numbers, n_structures),
            np.full(n_structures, n_atoms), dtype=dtype, device=device,
        )

    def with_pairs(self, pairs: Tensor, shifts: Tensor, runs: Tensor | None = None) -> Batch:
        """This batch with a neighbour list attached, shapes as in the class docstring."""
        if pairs.ndim != 2 or pairs.shape[0] != 2 or shifts.shape != (pairs.shape[1], 3):
            raise PotentialError(
                f"expected pairs (2, n_pairs) and shifts (n_pairs, 3), "
                f"got {tuple(pairs.shape)} and {tuple(shifts.shape)}"
            )
        return replace(self, pairs=pairs, shifts=shifts, pair_runs=runs)

    def pair_vectors(self) -> Tensor:
        """Vectors from i to j of every pair, Å, (n_pairs, 3).

        r_ij = x_j - x_i + S_ij C, with C the cell of the structure of i.
        """
        if self.pairs is None or self.shifts is None:
            raise PotentialError(
                "this batch has no neighbour list: attach one with pimd.potentials.neighbours"
            )
        i, j = self.pairs
        vectors = self._translations(i)
        vectors = vectors + self.positions.index_select(0, j)
        return vectors - self.positions.index_select(0, i)

    def _translations(self, i: Tensor) -> Tensor:
        """S_ij C of every pair, Å, (n_pairs, 3)."""
        assert self.shifts is not None
        if not (self.runs_are_long and self.shifts.dtype == self.cells.dtype) or (
            self.cells.requires_grad and torch.is_grad_enabled()
        ):
            cells = self.cells.index_select(0, self.structure_index[i])  # [pair, vector, xyz]
            return torch.bmm(self.shifts[:, None, :], cells)[:, 0, :]
        out = torch.empty_like(self.shifts)
        for k, a, b in self.pair_ranges():
            torch.mm(self.shifts[a:b], self.cells[k], out=out[a:b])
        return out

    @property
    def runs_are_long(self) -> bool:
        """Whether sums over pairs are faster structure by structure: on the CPU, with many pairs
        of each, in known places."""
        n_pairs = 0 if self.pairs is None else self.pairs.shape[1]
        return (
            self.pair_runs is not None
            and self.device_type == "cpu"
            and n_pairs > LONG_RUN * self.n_structures
        )

    def pair_ranges(self) -> list[tuple[int, int, int]]:
        """(k, first, end) of the pairs of each structure k in each run, where runs are known."""
        assert self.pair_runs is not None
        return [
            (k, a, b)
            for run in self.pair_runs.tolist()
            for k, (a, b) in enumerate(pairwise(run))
            if b > a
        ]

    def sum_over_atoms(self, values: Tensor) -> Tensor:
        """Sum values (n_atoms, ...) over the atoms of each structure in fp64 where real."""
        out_dtype = torch.float64 if values.is_floating_point() else values.dtype
        out = torch.zeros(
            (self.n_structures, *values.shape[1:]), dtype=out_dtype, device=values.device
        )
        return out.index_add(0, self.structure_index, values.to(out_dtype))

    def sum_over_pairs(self, values: Tensor) -> Tensor:
        """Sum values (n_pairs, ...) over the pairs of each structure in fp64 where real."""
        assert self.pairs is not None
        out_dtype = torch.float64 if values.is_floating_point() else values.dtype
        out = torch.zeros(
            (self.n_structures, *values.shape[1:]), dtype=out_dtype, device=values.device
        )
        return out.index_add(0, self.structure_index[self.pairs[0]], values.to(out_dtype))

    def volumes(self) -> Tensor:
        """|det(cell)| of each structure, Å³, (n_structures,); 0 where there is no cell."""
        return torch.linalg.det(self.cells).abs()

    def structure(self, k: int) -> Structure:
        """Structure k as numpy arrays."""
        start, end = self.starts()[k : k + 2].tolist()
        return Structure(
            self.numbers[start:end].cpu().numpy(),
            self.positions[start:end].detach().cpu().numpy(),
            self.cells[k].detach().cpu().numpy(),
            self.pbc[k].cpu().numpy(),
        )

    def slice(self, start: int, end: int) -> Batch:
        """Structures start..end-1 as a batch of their own, with their pairs where there are any."""
        starts = self.starts()[start : end + 1]
        first, last = int(starts[0]), int(starts[-1])
        part = Batch(
            positions=self.positions[first:last],
            cells=self.cells[start:end],
            pbc=self.pbc[start:end],
            numbers=self.numbers[first:last],
            structure_index=self.structure_index[first:last] - start,
            n_atoms_per_structure=self.n_atoms_per_structure[start:end],
            host_starts=starts - first,
        )
        if self.pairs is None or self.shifts is None:
            return part
        if self.pair_runs is None:
            i = self.pairs[0]
            own = ((i >= first) & (i < last)).nonzero().squeeze(1)
            return part.with_pairs(self.pairs[:, own] - first, self.shifts[own])
        self.pair_runs = self.pair_runs.cpu()  # waits for the device the first time at most
        runs = self.pair_runs[:, start : end + 1]
        ranges = runs[:, [0, -1]].tolist()
        lengths = runs[:, -1:] - runs[:, :1]
        return part.with_pairs(
            torch.cat([self.pairs[:, a:b] for a, b in ranges], dim=1) - first,
            torch.cat([self.shifts[a:b] for a, b in ranges]),
            runs - runs[:, :1] + lengths.cumsum(0) - lengths,
        )
