"""A pair potential with an ensemble, and what metatomic models share, in TorchScript."""

# TorchScript and metatomic read the annotations: no deferred ones, and the names of `typing`
# ruff: noqa: UP006, UP035, UP045

from typing import Dict, List, Optional

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import ModelOutput, NeighborListOptions, System

N_MEMBERS = 5


def vectors(systems: List[System], options: NeighborListOptions) -> torch.Tensor:
    """Pair vectors of all systems; (n_pairs, 3)."""
    parts: List[torch.Tensor] = []
    for system in systems:
        parts.append(system.get_neighbor_list(options).values.reshape(-1, 3))
    return torch.cat(parts)


def ends(systems: List[System], options: NeighborListOptions, column: str) -> torch.Tensor:
    """First or second atom of every pair, counted over all systems; (n_pairs,)."""
    parts: List[torch.Tensor] = []
    start = 0
    for system in systems:
        parts.append(system.get_neighbor_list(options).samples.column(column).long() + start)
        start += len(system)
    return torch.cat(parts)


def owners(systems: List[System]) -> torch.Tensor:
    """System of every atom; (n_atoms,)."""
    parts: List[torch.Tensor] = []
    for k, system in enumerate(systems):
        parts.append(torch.full((len(system),), k, dtype=torch.int64, device=system.types.device))
    return torch.cat(parts)


def as_map(
    values: torch.Tensor,
    systems: List[System],
    per_atom: bool,
    components: List[Labels],
    name: str,
) -> TensorMap:
    """Values of atoms or systems, (n, ..., n_properties), as metatomic wants them."""
    system = owners(systems)
    if per_atom:
        atoms: List[torch.Tensor] = []
        for one in systems:
            atoms.append(torch.arange(len(one), device=values.device))
        samples = Labels(["system", "atom"], torch.stack([system, torch.cat(atoms)], 1))
    else:
        samples = Labels(["system"], torch.arange(len(systems), device=values.device)[:, None])
    n_properties = values.size(values.dim() - 1)
    properties = Labels([name], torch.arange(n_properties, device=values.device)[:, None])
    block = TensorBlock(values, samples, components, properties)
    return TensorMap(Labels(["_"], torch.zeros(1, 1, dtype=torch.int64)), [block])


def total(values: torch.Tensor, systems: List[System]) -> torch.Tensor:
    """Sum of atomic values (n_atoms, n) over the atoms of each system."""
    out = torch.zeros(len(systems), values.size(1), dtype=values.dtype, device=values.device)
    return out.index_add(0, owners(systems), values)


class PairEnsemble(torch.nn.Module):
    """E_a = baseline(Z) + 1/2 sum_b A(Z_a) A(Z_b) w(r), w smooth to the cutoff, for each member.

    The head is not the mean of the members. The ensemble comes only with the uncertainty, as
    some models want it. The variant `scaled` is three times as large.
    """

    def __init__(
        self, cutoff: float, dtype: torch.dtype, baseline: float, strict: bool, head: Optional[int]
    ) -> None:
        super().__init__()
        self.options = NeighborListOptions(cutoff, full_list=True, strict=strict)
        self.cutoff = cutoff
        generator = torch.Generator().manual_seed(3)
        amplitudes = 1.0 + 0.2 * torch.randn(
            N_MEMBERS, 100, generator=generator, dtype=torch.float64
        )
        self.register_buffer("members", amplitudes.to(dtype))
        one = 0.1 + amplitudes.mean(0) if head is None else amplitudes[head]
        self.register_buffer("head", one.to(dtype))
        charges = torch.linspace(-1.0, 1.0, 100, dtype=torch.float64)
        self.register_buffer("charges", charges.to(dtype))
        self.register_buffer("baseline", (baseline * torch.arange(100)).to(dtype))

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        return [self.options]

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels] = None,
    ) -> Dict[str, TensorMap]:
        types = torch.cat([s.types for s in systems]).long()
        i = ends(systems, self.options, "first_atom")
        j = ends(systems, self.options, "second_atom")
        v = vectors(systems, self.options)
        r = torch.sqrt((v * v).sum(1))
        u = torch.clamp(1.0 - (r / self.cutoff) ** 2, min=0.0)
        w = 10.0 * u * u * u * torch.exp(-r / (0.3 * self.cutoff))
        baseline = self.baseline[types][:, None]
        head = self.head[types[i]] * self.head[types[j]] * w
        atomic = baseline + torch.zeros_like(baseline).index_add(0, i, head[:, None])
        members = (self.members[:, types[i]] * self.members[:, types[j]] * w[None]).T
        spread = torch.zeros(len(types), members.size(1), dtype=v.dtype, device=v.device)
        spread = baseline + spread.index_add(0, i, members)
        results: Dict[str, TensorMap] = {}
        for name, output in outputs.items():
            per_atom = output.sample_kind == "atom"
            base = name.split("/")[0]
            factor = 3.0 if name.endswith("/scaled") else 1.0
            partner = name.replace("energy_ensemble", "energy_uncertainty")
            if base == "energy_ensemble" and partner not in outputs:
                continue
            values = atomic if base == "energy" else spread
            values = factor * (values if per_atom else total(values, systems))
            if base == "energy_uncertainty":
                values = values.std(1, keepdim=True)
            if base.startswith("energy"):
                none: List[Labels] = []
                results[name] = as_map(values, systems, per_atom, none, "energy")
        self.add_others(results, systems, outputs, atomic, v, w)
        return results

    def add_others(
        self,
        results: Dict[str, TensorMap],
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        atomic: torch.Tensor,
        v: torch.Tensor,
        w: torch.Tensor,
    ) -> None:
        """Outputs that are no energies: `atomic` ones, pair vectors and weights are given."""
        i = ends(systems, self.options, "first_atom")
        j = ends(systems, self.options, "second_atom")
        charges = self.charges[torch.cat([s.types for s in systems]).long()]
        positions = torch.cat([s.positions for s in systems])
        push = torch.zeros_like(positions).index_add(0, i, v * (w * charges[j])[:, None])
        three = torch.arange(3, device=v.device)[:, None]
        xyz = Labels(["xyz"], three)
        for name in outputs:
            if name == "non_conservative_force":
                results[name] = as_map(push[:, :, None], systems, True, [xyz], name)
            elif name == "non_conservative_stress":
                outer = (v[:, :, None] * v[:, None, :] * w[:, None, None]).reshape(-1, 9)
                stress = torch.zeros(len(systems), 9, dtype=v.dtype, device=v.device)
                stress = stress.index_add(0, owners(systems)[i], outer).reshape(-1, 3, 3, 1)
                axes = [Labels(["xyz_1"], three), Labels(["xyz_2"], three)]
                results[name] = as_map(stress, systems, False, axes, name)
            elif name == "test::dipole":
                moments = total(charges[:, None] * positions, systems)
                results[name] = as_map(moments[:, :, None], systems, False, [xyz], "dipole")
            elif name == "test::spherical":
                moments = total(push[:, [1, 2, 0]], systems)  # m = -1, 0, 1
                mu = Labels(["o3_mu"], three - 1)
                one = as_map(moments[:, :, None], systems, False, [mu], "spherical")
                keys = Labels(["o3_lambda", "o3_sigma"], torch.tensor([[1, 1]]))
                results[name] = TensorMap(keys, [one.block().copy()])
            elif name == "feature":
                none: List[Labels] = []
                both = torch.cat([atomic, atomic * atomic], 1)
                results[name] = as_map(both, systems, True, none, "feature")
