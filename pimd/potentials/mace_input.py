"""What MACE networks are called with, made of a flat batch and its pair vectors.

A network makes its vectors as x_j - x_i + shift. With x = 0 and the shifts our vectors, taken in
fp64 and cast last, the geometry is exact in fp32 too, and gradients end at the vectors.

Energies: every atom is a graph of its own. Graphs are only what a network sums over at its end
and what it takes heads and features of, so the sums come out for each atom, and are added in
fp64 here. The energies of lone atoms are read in fp64 and then set to zero in the network, so
that they never round what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pimd.potentials.base import Batch

__all__ = ["Network", "NetworkInput", "take_lone_atom_energies"]

Network = Callable[..., dict[str, Tensor]]
"""Called with the mapping of tensors that MACE networks take."""


@dataclass(frozen=True)
class NetworkInput:
    """Makes the mapping of tensors that a network takes.

    Attributes:
        n_types: elements that the network knows.
        dtype: of the network.
        head: index of the head to use.
        features: name -> value, of every structure.
    """

    n_types: int
    dtype: torch.dtype
    head: int = 0
    features: Mapping[str, float] = field(default_factory=dict)

    def of_atoms(self, types: Tensor, pairs: Tensor, vectors: Tensor) -> dict[str, Tensor]:
        """Every atom a graph of its own.

        Args:
            types: (n_atoms,) int64, of the network.
            pairs: (2, n_pairs) int64.
            vectors: Å, (n_pairs, 3), of any dtype.
        """
        graphs = torch.arange(len(types), device=types.device)
        ends = torch.arange(len(types) + 1, device=types.device)
        return self._input(types, pairs, vectors, graphs, ends)

    def of_structures(self, batch: Batch, types: Tensor, vectors: Tensor) -> dict[str, Tensor]:
        """Every structure a graph, for networks that couple the atoms of one."""
        assert batch.pairs is not None
        return self._input(types, batch.pairs, vectors, batch.structure_index, batch.offsets)

    def _input(
        self, types: Tensor, pairs: Tensor, vectors: Tensor, graphs: Tensor, ends: Tensor
    ) -> dict[str, Tensor]:
        """graphs [atom]: index of its graph; ends [graph + 1]: where each begins and ends."""
        n_graphs, device = len(ends) - 1, types.device
        zeros = torch.zeros((len(types), 3), dtype=self.dtype, device=device)
        kinds, shifts = torch.arange(self.n_types, device=device), vectors.to(self.dtype)
        given = {
            name: torch.full((n_graphs,), value, dtype=self.dtype, device=device)
            for name, value in self.features.items()
        }
        return {
            "positions": zeros,
            "node_attrs": (types[:, None] == kinds).to(self.dtype),
            "edge_index": pairs,
            "shifts": shifts,
            "unit_shifts": torch.zeros_like(shifts),
            "cell": torch.zeros((3 * n_graphs, 3), dtype=self.dtype, device=device),
            "batch": graphs,
            "ptr": ends,
            "head": torch.full((n_graphs,), self.head, dtype=torch.int64, device=device),
            "charges": torch.zeros(len(types), dtype=self.dtype, device=device),
            **given,
        }

    def atomic_energies(
        self, network: Network, types: Tensor, pairs: Tensor, vectors: Tensor
    ) -> Tensor:
        """eV, (n_atoms,), without those of lone atoms, in the dtype of the network."""
        return network(self.of_atoms(types, pairs, vectors), compute_force=False)["energy"]


def take_lone_atom_energies(network: torch.nn.Module, n_types: int, head: int) -> Tensor:
    """Energies of lone atoms of each type, eV, (n_types,) float64; zero in the network then."""
    block: Any = network.atomic_energies_fn  # (TorchScript has no get_submodule)
    energies: Tensor = block.atomic_energies
    taken = energies.detach().to(torch.float64).reshape(-1, n_types)[head].clone()
    energies.zero_()
    return taken
