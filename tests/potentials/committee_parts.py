"""Small potentials to build committees of; named in SPECs as `committee_parts.py:Class`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pimd.potentials.base import Batch, Potential, PotentialError, PropertySpec, Wanted
from pimd.potentials.pair_vectors import PairVectorPotential, VectorOutputs


class Born(PairVectorPotential):
    """E = 1/2 sum_ij A exp(-r/rho) (1 - r/rc)³, and a property made of the same sum.

    It refuses pairs beyond its cutoff, as some libraries go wrong with them.
    """

    name = "born"
    properties = {"charge": PropertySpec("e", ()), "bond": PropertySpec("Å", (3,), True)}  # noqa: RUF012

    def __init__(
        self, strength: float = 50.0, range_: float = 0.8, cutoff: float = 5.0,
        dtype: str = "float64",
    ) -> None:
        self.strength, self.range, self.cutoff = strength, range_, cutoff
        self.precision = {"float64": torch.float64, "float32": torch.float32}[dtype]

    def check(self, batch: Batch) -> None:
        distances = batch.pair_vectors().norm(dim=1)
        if bool((distances >= self.cutoff).any()):
            raise PotentialError(f"born got pairs beyond its cutoff of {self.cutoff} Å")

    def shape(self, batch: Batch, vectors: Tensor) -> Tensor:
        """1/2 sum of exp(-r/rho) (1 - r/rc)³ in each structure."""
        r = vectors.to(self.precision).square().sum(1).sqrt()
        return 0.5 * batch.sum_over_pairs(torch.exp(-r / self.range) * (1 - r / self.cutoff) ** 3)

    def outputs_of_vectors(self, batch: Batch, vectors: Tensor, wanted: Wanted) -> VectorOutputs:
        shape = self.shape(batch, vectors)
        values = {"charge": self.strength * shape, "bond": batch.positions * self.strength}
        return VectorOutputs(
            self.strength * shape, properties={name: values[name] for name in wanted.properties}
        )

    @classmethod
    def stacked(cls, members: Sequence[Born]) -> Potential | None:
        if len({(m.cutoff, m.range, m.precision) for m in members}) > 1:
            return None
        first = members[0]
        heads = Heads([m.strength for m in members], None, first.range, first.cutoff)
        heads.precision = first.precision
        return heads


class Heads(Born):
    """Born repulsions with several strengths in one pass, and perhaps a head of its own."""

    name = "heads"
    properties = {}  # noqa: RUF012

    def __init__(
        self, strengths: Sequence[float], head: float | None = None, range_: float = 0.8,
        cutoff: float = 5.0,
    ) -> None:
        mean = sum(strengths) / len(strengths)
        super().__init__(mean if head is None else head, range_, cutoff)
        self.strengths, self.n_members = list(strengths), len(strengths)

    def outputs_of_vectors(self, batch: Batch, vectors: Tensor, wanted: Wanted) -> VectorOutputs:
        shape = self.shape(batch, vectors)
        strengths = torch.tensor(self.strengths, dtype=torch.float64)
        return VectorOutputs(self.strength * shape, strengths[:, None] * shape)


class PerElement(PairVectorPotential):
    """E = sum_i e(Z_i) (1 + sum_j exp(-r_ij)): errors of one element say nothing of another's."""

    name = "per_element"
    cutoff = 6.0

    def __init__(self, energies: dict[int, float]) -> None:
        self.table = torch.zeros(119, dtype=torch.float64)
        for number, energy in energies.items():
            self.table[number] = energy

    def energies_of_vectors(self, batch: Batch, vectors: Tensor) -> Tensor:
        r = vectors.square().sum(1).sqrt()
        own = self.table[batch.numbers]
        pairs = own[batch.pairs[0]] * torch.exp(-r) * (1 - r / self.cutoff) ** 3
        return batch.sum_over_atoms(own) + batch.sum_over_pairs(pairs)
