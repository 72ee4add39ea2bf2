"""How a batch is laid out for a frozen DeePMD model, and what is read from its answer.

A model takes frames of local atoms followed by ghosts, and a table of the neighbours of each
local atom. Every pair i -> j gets a ghost of j of its own, which atom i alone sees, so that minus
the force on it is the gradient of the pair, g_ij = dE/dr_ij.

Each atom a frame. The energy of an atom depends on its neighbours alone in most models; then atom
i is a frame, at the origin, with its ghosts at r_ij. Models that tell types apart build tables of
the size (frames, local atoms, all atoms), which are small that way and grow as the square of the
batch in one frame.

One frame. Models that pass messages need the whole batch, where ghosts take over the messages
of the atoms they are ghosts of.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Frames", "atoms_as_frames", "nearest", "one_frame"]


@dataclass
class Frames:
    """Arguments of a model, and where each pair's ghost is.

    Attributes:
        coordinates: Å, (n_frames, n_all, 3).
        types: (n_frames, n_all) int64.
        neighbours: (n_frames, n_local, n_neighbours) int64, indices of ghosts, -1 for none.
        mapping: (n_frames, n_all) int64, local atom that each is, or is a ghost of.
        ghost_pairs: (n_frames, n_all - n_local) int64, pair of each ghost; the number of pairs
            for one that is not used.
    """

    coordinates: Tensor
    types: Tensor
    neighbours: Tensor
    mapping: Tensor
    ghost_pairs: Tensor

    def pair_gradients(self, forces: Tensor, n_pairs: int) -> Tensor:
        """dE/dr of every pair, eV/Å, (n_pairs, 3), of forces (n_frames, n_all, 3)."""
        n_local = self.neighbours.shape[1]
        gradients = forces.new_zeros((n_pairs + 1, 3))
        gradients[self.ghost_pairs.reshape(-1)] = -forces[:, n_local:].reshape(-1, 3)
        return gradients[:n_pairs]


def nearest(i: Tensor, vectors: Tensor, n_atoms: int, width: int) -> Tensor:
    """The nearest pairs of each atom, nearest first, then n_pairs: (n_atoms, width) int64.

    Args:
        i: first atom of each pair, (n_pairs,).
        vectors: Å, (n_pairs, 3).
        n_atoms: atoms.
        width: pairs kept of each.
    """
    order = torch.argsort(vectors.square().sum(1))
    order = order.index_select(0, torch.argsort(i.index_select(0, order), stable=True))
    centre = i.index_select(0, order)
    counts = torch.bincount(i, minlength=n_atoms)
    first = counts.cumsum(0) - counts
    rank = torch.arange(len(i), device=i.device) - first.index_select(0, centre)
    table = i.new_full((n_atoms, width + 1), len(i))
    table[centre, rank.clamp_(max=width)] = order  # those beyond go into a column that is cut off
    return table[:, :width]


def atoms_as_frames(types: Tensor, pairs: Tensor, vectors: Tensor, width: int) -> Frames:
    """Each atom a frame, with its ghosts around it.

    Args:
        types: (n_atoms,) int64.
        pairs: (2, n_pairs) int64.
        vectors: Å, (n_pairs, 3).
        width: neighbours of each atom.
    """
    i, j = pairs
    n_atoms, n_pairs = len(types), len(i)
    table = nearest(i, vectors, n_atoms, width)
    ghosts = torch.cat([vectors, vectors.new_zeros(1, 3)])[table]
    kinds = torch.cat([types.index_select(0, j), types.new_zeros(1)])[table]
    places = torch.arange(1, width + 1, device=i.device).expand(n_atoms, -1)
    return Frames(
        coordinates=torch.cat([vectors.new_zeros(n_atoms, 1, 3), ghosts], dim=1),
        types=torch.cat([types[:, None], kinds], dim=1),
        neighbours=torch.where(table < n_pairs, places, -1)[:, None],
        mapping=i.new_zeros((n_atoms, width + 1)),
        ghost_pairs=table,
    )


def one_frame(
    positions: Tensor, types: Tensor, pairs: Tensor, vectors: Tensor, width: int
) -> Frames:
    """The whole batch a frame; arguments as above, and positions in Å, (n_atoms, 3)."""
    i, j = pairs
    n_atoms, n_pairs = len(types), len(i)
    table = nearest(i, vectors, n_atoms, width)
    atoms = torch.arange(n_atoms, device=i.device)
    return Frames(
        coordinates=torch.cat([positions, positions.index_select(0, i) + vectors])[None],
        types=torch.cat([types, types.index_select(0, j)])[None],
        neighbours=torch.where(table < n_pairs, table + n_atoms, -1)[None],
        mapping=torch.cat([atoms, j])[None],
        ghost_pairs=torch.arange(n_pairs, device=i.device)[None],
    )
