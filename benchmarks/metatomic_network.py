"""A message-passing network as a metatomic model, in the part of Python that TorchScript reads.

    m_i = sum_j f_c(r_ij) W(r_ij) * h_j,   h_i <- h_i + MLP(m_i),   E_i = e_i + MLP(h_i)

with Gaussians of the distance, a cosine cutoff and invariant features h. The filter W is one linear
layer, or two of them with a nonlinearity between (`deep`), which costs far more: it is evaluated
for every pair.
"""

import math
from typing import Dict, List, Optional  # noqa: UP035  (TorchScript knows these only)

import metatomic.torch as mta
import torch
from metatensor.torch import Labels, TensorBlock, TensorMap

__all__ = ["Network"]


class Layer(torch.nn.Module):
    def __init__(self, channels: int, n_basis: int, deep: bool) -> None:
        super().__init__()
        self.filter = torch.nn.Sequential(torch.nn.Linear(n_basis, channels))
        if deep:
            self.filter.append(torch.nn.SiLU())
            self.filter.append(torch.nn.Linear(channels, channels))
        self.update = torch.nn.Sequential(
            torch.nn.Linear(channels, channels), torch.nn.SiLU(),
            torch.nn.Linear(channels, channels),
        )

    def forward(self, h: torch.Tensor, i: torch.Tensor, j: torch.Tensor, basis: torch.Tensor,
                inside: torch.Tensor) -> torch.Tensor:
        message = torch.zeros_like(h).index_add(0, i, self.filter(basis) * inside * h[j])
        return h + self.update(message)


class Network(torch.nn.Module):
    """Energies of systems of H and O."""

    def __init__(
        self, cutoff: float, channels: int, n_layers: int = 2, deep: bool = False,
        n_basis: int = 16,
    ) -> None:
        super().__init__()
        self.wish = mta.NeighborListOptions(cutoff, True, True)
        self.cutoff = cutoff
        self.embedding = torch.nn.Embedding(119, channels)
        self.layers = torch.nn.ModuleList(
            Layer(channels, n_basis, deep) for _ in range(n_layers)
        )
        self.readout = torch.nn.Linear(channels, 1)
        self.register_buffer("centres", torch.linspace(0.5, cutoff, n_basis))
        energies = torch.zeros(119)
        energies[1], energies[8] = -13.6, -2041.0
        self.register_buffer("energies", energies)

    def requested_neighbor_lists(self) -> List[mta.NeighborListOptions]:  # noqa: UP006
        return [self.wish]

    def forward(
        self,
        systems: List[mta.System],  # noqa: UP006
        outputs: Dict[str, mta.ModelOutput],  # noqa: UP006
        selected_atoms: Optional[Labels] = None,  # noqa: UP045
    ) -> Dict[str, TensorMap]:  # noqa: UP006
        types: List[torch.Tensor] = []  # noqa: UP006
        firsts: List[torch.Tensor] = []  # noqa: UP006
        seconds: List[torch.Tensor] = []  # noqa: UP006
        vectors: List[torch.Tensor] = []  # noqa: UP006
        owners: List[torch.Tensor] = []  # noqa: UP006
        n_atoms = 0
        for k, system in enumerate(systems):
            block = system.get_neighbor_list(self.wish)
            firsts.append(block.samples.column("first_atom").to(torch.int64) + n_atoms)
            seconds.append(block.samples.column("second_atom").to(torch.int64) + n_atoms)
            vectors.append(block.values.reshape(-1, 3))
            own = system.types.to(torch.int64)
            types.append(own)
            owners.append(torch.full_like(own, k))
            n_atoms += len(own)
        z, i, j, owner = torch.cat(types), torch.cat(firsts), torch.cat(seconds), torch.cat(owners)
        r = torch.cat(vectors).square().sum(1).sqrt()
        inside = 0.5 * (torch.cos(math.pi * r / self.cutoff) + 1.0) * (r < self.cutoff)
        basis = torch.exp(-4.0 * (r[:, None] - self.centres).square())
        h = self.embedding(z)
        for layer in self.layers:
            h = layer(h, i, j, basis, inside[:, None])
        atomic = self.readout(h)[:, 0] + self.energies[z]
        total = torch.zeros(len(systems), dtype=atomic.dtype, device=atomic.device)
        total = total.index_add(0, owner, atomic)
        samples = Labels("system", torch.arange(len(systems), device=atomic.device)[:, None])
        energy = Labels("energy", torch.zeros(1, 1, dtype=torch.int64, device=atomic.device))
        key = Labels("_", torch.zeros(1, 1, dtype=torch.int64, device=atomic.device))
        found: Dict[str, TensorMap] = {}  # noqa: UP006
        if "energy" in outputs:
            block = TensorBlock(total[:, None], samples, [], energy)
            found["energy"] = TensorMap(key, [block])
        return found
