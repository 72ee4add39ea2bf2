"""Batches of few different sizes, by padding with ghosts that change nothing.

A recorded CUDA graph serves batches of one shape only, and a compiled model is compiled anew for
another one; yet the number of pairs changes at every step. So a batch is padded to the next of a
few sizes: with structures of ghost atoms, far from their own images, and with pairs between a
ghost and its image that are longer than the cutoff. No real atom has a ghost as neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from pimd.potentials.base import Batch, Potential, Prediction

__all__ = ["PaddedBatch", "Sizes", "next_size", "without_padding"]

FINE, COARSE = 32, 16
"""Sizes between n and 2n: of atoms and structures, whose numbers stay the same in a simulation,
and of pairs, whose number changes by a percent or so."""
GHOST_BOX = 1.5
"""Edge of a ghost's box, and length of its pairs, over the cutoff."""


def next_size(n: int, steps: int) -> int:
    """The smallest size >= n of those in use, `steps` (a power of two) between one power of two
    and the next; at most n / steps is added."""
    step = max(1, 2 ** max(0, (n - 1).bit_length() - 1) // steps)
    return max(1, -(-n // step)) * step


@dataclass(frozen=True)
class Sizes:
    """Numbers of structures, atoms and pairs, ghosts included."""

    n_structures: int
    n_atoms: int
    n_pairs: int

    @classmethod
    def of(cls, batch: Batch) -> Self:
        """The sizes a batch with its pairs is padded to: room for at least one ghost."""
        assert batch.pairs is not None
        n_structures = next_size(batch.n_structures + 1, FINE)
        n_ghost_structures = n_structures - batch.n_structures
        return cls(
            n_structures,
            next_size(batch.n_atoms + n_ghost_structures, FINE),
            next_size(batch.pairs.shape[1], COARSE),
        )


class PaddedBatch:
    """Tensors of fixed sizes that batches are copied into.

    Args:
        batch: the first; its dtypes and device are those of all.
        sizes: at least one ghost atom for each ghost structure.
        cutoff: Å, > 0; no pair of ghosts is within it.

    Attributes:
        batch: what was filled in last, with its ghosts; always the same tensors.
    """

    def __init__(self, batch: Batch, sizes: Sizes, cutoff: float) -> None:
        assert batch.pairs is not None
        assert batch.shifts is not None
        n_structures, n_atoms, n_pairs = sizes.n_structures, sizes.n_atoms, sizes.n_pairs
        self._box = GHOST_BOX * cutoff * torch.eye(3).to(batch.cells)
        self._layout: tuple[object, ...] | None = None
        self._filled_pairs = n_pairs
        self.batch = Batch(
            positions=batch.positions.new_zeros((n_atoms, 3)),
            cells=self._box.repeat(n_structures, 1, 1),
            pbc=batch.pbc.new_ones((n_structures, 3)),
            numbers=batch.numbers.new_zeros(n_atoms),
            structure_index=batch.structure_index.new_zeros(n_atoms),
            n_atoms_per_structure=batch.n_atoms_per_structure.new_zeros(n_structures),
            pairs=batch.pairs.new_zeros((2, n_pairs)),
            shifts=batch.shifts.new_zeros((n_pairs, 3)),
        )

    def fill(self, batch: Batch) -> Batch:
        """Copy a batch in; returns `self.batch`."""
        own, n_structures, n_atoms = self.batch, batch.n_structures, batch.n_atoms
        assert batch.pairs is not None
        assert batch.shifts is not None
        assert own.pairs is not None
        assert own.shifts is not None
        self._lay_out(batch)
        own.positions[:n_atoms].copy_(batch.positions)
        own.cells[:n_structures].copy_(batch.cells)
        n_pairs = batch.pairs.shape[1]
        own.pairs[:, :n_pairs].copy_(batch.pairs)
        own.shifts[:n_pairs].copy_(batch.shifts)
        if n_pairs < self._filled_pairs:
            between = slice(n_pairs, self._filled_pairs)
            own.pairs[:, between] = self._ghost_of_pair[between]
            own.shifts[between] = self._ghost_shift
        self._filled_pairs = n_pairs
        return own

    def _lay_out(self, batch: Batch) -> None:
        """Copy what stays the same in a simulation, unless it was copied last, and the ghosts."""
        tensors = (batch.numbers, batch.structure_index, batch.pbc)
        layout = (*map(id, tensors), *(one._version for one in tensors))
        if layout == self._layout:
            return
        own, n_structures, n_atoms = self.batch, batch.n_structures, batch.n_atoms
        n_ghost_structures = own.n_structures - n_structures
        n_ghosts = own.n_atoms - n_atoms
        own.numbers[:n_atoms].copy_(batch.numbers)
        own.numbers[n_atoms:] = batch.numbers[:1]  # an element that the potential knows
        own.structure_index[:n_atoms].copy_(batch.structure_index)
        ghosts = torch.arange(n_ghosts, device=own.positions.device)
        own.structure_index[n_atoms:] = n_structures + ghosts.clamp(max=n_ghost_structures - 1)
        own.n_atoms_per_structure[:n_structures].copy_(batch.n_atoms_per_structure)
        own.n_atoms_per_structure[n_structures:] = 1
        own.n_atoms_per_structure[-1] = n_ghosts - n_ghost_structures + 1
        own.pbc[:n_structures].copy_(batch.pbc)
        own.pbc[n_structures:] = True
        own.cells[n_structures:] = self._box
        own.positions[n_atoms:] = 0.0
        assert own.pairs is not None
        # pairs to and from the image along the first vector, spread over the ghosts in order
        n_slots = own.pairs.shape[1]
        slots = torch.arange(n_slots, device=own.positions.device)
        self._ghost_of_pair = n_atoms + slots * n_ghosts // n_slots
        self._ghost_shift = torch.tensor([1.0, 0.0, 0.0]).to(own.positions)
        self._layout, self._kept = layout, tensors
        self._filled_pairs = n_slots


def without_padding(
    prediction: Prediction, n_structures: int, n_atoms: int, potential: Potential
) -> Prediction:
    """The first structures and atoms of a prediction, as tensors of their own."""

    def first(tensor: Tensor | None, n: int, axis: int = 0) -> Tensor | None:
        return None if tensor is None else tensor.narrow(axis, 0, n).clone()

    energies = first(prediction.energies, n_structures)
    assert energies is not None
    properties = {
        name: value[: n_atoms if potential.properties[name].per_atom else n_structures].clone()
        for name, value in prediction.properties.items()
    }
    return Prediction(
        energies,
        first(prediction.forces, n_atoms),
        first(prediction.virials, n_structures),
        first(prediction.member_energies, n_structures, 1),
        first(prediction.member_forces, n_atoms, 1),
        first(prediction.member_virials, n_structures, 1),
        properties,
    )
