"""Potentials whose energy depends on positions through the vectors of pairs alone.

    E = E({r_ij}),  r_ij = x_j - x_i + S_ij C
    g_ij = dE/dr_ij
    F_i = sum_j (g_ij - g_ji),  W = -sum_ij r_ij (outer) g_ij, symmetrised

so the backward pass ends at the pair vectors, and no strain has to go through the graph.
"""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from pimd.potentials.base import Batch, EnergyPotential, Prediction, Wanted, check_wanted

__all__ = ["PairVectorPotential", "squared_lengths"]


class PairVectorPotential(EnergyPotential):
    """Energies from pair vectors; forces and virials from their gradients."""

    @abc.abstractmethod
    def energies_of_vectors(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Energies (n_structures,) float64, eV, of pair vectors (n_pairs, 3), Å."""

    def check(self, batch: Batch) -> None:
        """Raise PotentialError for a batch that cannot be evaluated."""

    def energies(self, batch: Batch) -> Tensor:
        self.check(batch)
        return self.energies_of_vectors(batch, batch.pair_vectors())

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        check_wanted(self, wanted)
        self.check(batch)
        with torch.no_grad():
            vectors = batch.pair_vectors()
            if not (wanted.forces or wanted.virials):
                return Prediction(self.energies_of_vectors(batch, vectors))
        vectors.requires_grad_(True)
        with torch.enable_grad():
            energies = self.energies_of_vectors(batch, vectors)
            gradients = torch.zeros_like(vectors)
            if energies.requires_grad:  # False where there is no pair at all
                (gradients,) = torch.autograd.grad(energies.sum(), vectors)
        assert batch.pairs is not None
        i, j = batch.pairs
        forces = virials = None
        if wanted.forces:
            # (not index_add_ with alpha=-1, which takes ten times as long)
            forces = torch.zeros_like(batch.positions).index_add_(0, i, gradients)
            forces -= torch.zeros_like(batch.positions).index_add_(0, j, gradients)
        if wanted.virials:
            virials = _virials(batch, vectors.detach(), gradients)
        return Prediction(energies.detach(), forces, virials)


def squared_lengths(vectors: Tensor) -> Tensor:
    """|r|² of vectors (n_pairs, 3), Å²; by columns, which is faster than a sum over rows."""
    x, y, z = vectors.unbind(1)
    return x * x + y * y + z * z


def _virials(batch: Batch, vectors: Tensor, gradients: Tensor) -> Tensor:
    """-sum_ij r_ij (outer) g_ij of each structure, symmetrised, eV, (n_structures, 3, 3).

    Summed over the pairs of each atom first: adding so many numbers to a few sums is slower.
    """
    assert batch.pairs is not None
    r, g = ([column.contiguous() for column in t.unbind(1)] for t in (vectors, gradients))
    virials = vectors.new_empty((batch.n_structures, 3, 3))
    for a in range(3):
        for b in range(a, 3):
            product = r[a] * g[b] if a == b else 0.5 * (r[a] * g[b] + r[b] * g[a])
            per_atom = torch.zeros(batch.n_atoms, dtype=torch.float64, device=product.device)
            per_atom.index_add_(0, batch.pairs[0], product.to(torch.float64))
            virials[:, a, b] = virials[:, b, a] = -batch.sum_over_atoms(per_atom)
    return virials
