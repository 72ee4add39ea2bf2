"""Potentials whose energy depends on positions through the vectors of pairs alone.

    E = E({r_ij}),  r_ij = x_j - x_i + S_ij C
    g_ij = dE/dr_ij
    F_i = sum_j (g_ij - g_ji),  W = -sum_ij r_ij (outer) g_ij, symmetrised

so the backward pass ends at the pair vectors, and no strain has to go through the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pimd.potentials.acceleration import Accelerated
from pimd.potentials.base import Batch, EnergyPotential, Prediction, Wanted, check_wanted

__all__ = [
    "PairVectorPotential", "VectorOutputs", "forces_of_gradients", "squared_lengths",
    "virials_of_gradients",
]


@dataclass
class VectorOutputs:
    """What a potential says of a batch of pair vectors.

    Attributes:
        energies: eV, (n_structures,) float64.
        member_energies: eV, (n_members, n_structures) float64, of a committee.
        properties: those wanted, as in `Prediction`.
    """

    energies: Tensor
    member_energies: Tensor | None = None
    properties: dict[str, Tensor] = field(default_factory=dict)


class PairVectorPotential(EnergyPotential):
    """Energies from pair vectors; forces and virials from their gradients.

    A potential defines `energies_of_vectors`, or `outputs_of_vectors` if it has members or
    properties. Vectors come in the dtype of the batch; a potential that computes in another
    `precision` casts them itself, and the gradient comes back in that of the batch.

    Attributes:
        graph_safe: whether everything but `check` can be recorded as a CUDA graph: what is
            launched depends on the shapes of tensors alone, and nothing waits for the device
            (`item`, `any` in a condition, boolean indexing, `repeat_interleave`). Such a
            potential must also take ghosts: structures of atoms in boxes of 1.5 cutoffs, with
            pairs that reach to their images.
        accelerate: one of `pimd.potentials.acceleration.MODES`.
    """

    graph_safe: bool = False
    accelerate: str = "auto"
    _accelerated: Accelerated | None = None

    def energies_of_vectors(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Energies (n_structures,) float64, eV, of pair vectors (n_pairs, 3), Å."""
        raise NotImplementedError

    def outputs_of_vectors(self, batch: Batch, vectors: Tensor, wanted: Wanted) -> VectorOutputs:
        """Energies, and those of members and properties wanted, of pair vectors."""
        return VectorOutputs(self.energies_of_vectors(batch, vectors))

    def check(self, batch: Batch) -> None:
        """Raise PotentialError for a batch that cannot be evaluated."""

    def energies(self, batch: Batch) -> Tensor:
        self.check(batch)
        return self.outputs_of_vectors(batch, batch.pair_vectors(), Wanted(False, False)).energies

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        check_wanted(self, wanted)
        self.check(batch)
        if self._accelerated is None:
            self._accelerated = Accelerated(self, self.accelerate)
        return self._accelerated(batch, wanted)

    def predict(
        self,
        batch: Batch,
        wanted: Wanted,
        outputs: Callable[[Batch, Tensor, Wanted], VectorOutputs] | None = None,
    ) -> Prediction:
        """`compute` without checks; `outputs` takes the place of `outputs_of_vectors`."""
        with torch.no_grad():
            vectors = batch.pair_vectors()
        of_members = self.n_members > 0 and (wanted.member_forces or wanted.member_virials)
        derivatives = wanted.forces or wanted.virials or of_members
        vectors.requires_grad_(derivatives)
        with torch.set_grad_enabled(derivatives):
            found = (outputs or self.outputs_of_vectors)(batch, vectors, wanted)
        prediction = Prediction(
            found.energies.detach(),
            member_energies=_detached(found.member_energies),
            properties={name: value.detach() for name, value in found.properties.items()},
        )
        if wanted.forces or wanted.virials:
            gradients = _gradients(found.energies, vectors, keep=of_members)
            if wanted.forces:
                prediction.forces = forces_of_gradients(batch, gradients)
            if wanted.virials:
                prediction.virials = virials_of_gradients(batch, vectors.detach(), gradients)
        if of_members:
            assert found.member_energies is not None
            self._add_members(batch, vectors, found.member_energies, wanted, prediction)
        return prediction

    def _add_members(
        self, batch: Batch, vectors: Tensor, energies: Tensor, wanted: Wanted, into: Prediction
    ) -> None:
        """Forces and virials of every member, one backward pass each over one forward."""
        n_members = len(energies)
        forces, virials = [], []
        for k, member in enumerate(energies):
            gradients = _gradients(member, vectors, keep=k + 1 < n_members)
            forces.append(forces_of_gradients(batch, gradients))
            if wanted.member_virials:
                virials.append(virials_of_gradients(batch, vectors.detach(), gradients))
        if wanted.member_forces:
            into.member_forces = torch.stack(forces)
        if wanted.member_virials:
            into.member_virials = torch.stack(virials)


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def _gradients(energies: Tensor, vectors: Tensor, *, keep: bool) -> Tensor:
    """d(sum of energies)/d(vectors), (n_pairs, 3); zeros where there is no pair at all."""
    if not energies.requires_grad:
        return torch.zeros_like(vectors)
    (found,) = torch.autograd.grad(
        energies.sum(), vectors, retain_graph=keep, allow_unused=True
    )
    return torch.zeros_like(vectors) if found is None else found


def forces_of_gradients(batch: Batch, gradients: Tensor) -> Tensor:
    """F_i = sum_j (g_ij - g_ji), eV/Å, (n_atoms, 3), of gradients (n_pairs, 3)."""
    assert batch.pairs is not None
    i, j = batch.pairs
    # (not index_add_ with alpha=-1, which takes ten times as long)
    forces = torch.zeros_like(batch.positions).index_add_(0, i, gradients)
    forces -= torch.zeros_like(batch.positions).index_add_(0, j, gradients)
    return forces


def squared_lengths(vectors: Tensor) -> Tensor:
    """|r|² of vectors (n_pairs, 3), Å²; by columns, which is faster than a sum over rows."""
    x, y, z = vectors.unbind(1)
    return x * x + y * y + z * z


def virials_of_gradients(batch: Batch, vectors: Tensor, gradients: Tensor) -> Tensor:
    """-sum_ij r_ij (outer) g_ij of each structure, symmetrised, eV, (n_structures, 3, 3).

    Structure by structure where that is faster; else over the pairs of each atom first: adding
    so many numbers to a few sums is slower.
    """
    assert batch.pairs is not None
    if batch.runs_are_long and vectors.dtype == gradients.dtype == torch.float64:
        sums = vectors.new_zeros((batch.n_structures, 3, 3))
        for k, a, b in batch.pair_ranges():
            sums[k].addmm_(vectors[a:b].T, gradients[a:b], alpha=-1.0)
        return 0.5 * (sums + sums.mT)
    r, g = ([column.contiguous() for column in t.unbind(1)] for t in (vectors, gradients))
    virials = vectors.new_empty((batch.n_structures, 3, 3))
    for a in range(3):
        for b in range(a, 3):
            product = r[a] * g[b] if a == b else 0.5 * (r[a] * g[b] + r[b] * g[a])
            per_atom = torch.zeros(batch.n_atoms, dtype=torch.float64, device=product.device)
            per_atom.index_add_(0, batch.pairs[0], product.to(torch.float64))
            virials[:, a, b] = virials[:, b, a] = -batch.sum_over_atoms(per_atom)
    return virials
