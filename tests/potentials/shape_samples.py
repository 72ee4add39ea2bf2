"""Batches and potentials to be padded, recorded and compiled."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pimd.potentials.base import Batch, Prediction, PropertySpec, Structure, Wanted
from pimd.potentials.lennard_jones import LennardJones
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.pair_vectors import PairVectorPotential, VectorOutputs, squared_lengths
from pimd.potentials.silvera_goldman import SilveraGoldman
from pimd.potentials.stillinger_weber import StillingerWeber

TRICLINIC = np.array([[11.0, 0.0, 0.0], [2.5, 10.0, 0.0], [-1.5, 2.0, 12.0]])


class Family(PairVectorPotential):
    """Three members and two properties, to see that everything is cut back to size."""

    name = "family"
    cutoff = 5.0
    n_members = 3
    graph_safe = True
    properties = {  # noqa: RUF012
        "pairs": PropertySpec("1", ()),
        "neighbours": PropertySpec("1", (), per_atom=True),
    }

    def outputs_of_vectors(self, batch: Batch, vectors: Tensor, wanted: Wanted) -> VectorOutputs:
        assert batch.pairs is not None
        r2 = squared_lengths(vectors)
        one = torch.where(r2 < 25.0, torch.exp(-0.3 * r2) * (25.0 - r2) ** 2, 0.0)
        inside = (r2 < 25.0).to(torch.float64).detach()
        members = torch.stack([batch.sum_over_pairs(k * one) for k in (1.0, 2.0, 4.5)])
        per_atom = torch.zeros_like(batch.positions[:, 0]).index_add(0, batch.pairs[0], inside)
        given = {"pairs": batch.sum_over_pairs(inside), "neighbours": per_atom}
        return VectorOutputs(
            members.mean(0), members, {name: given[name] for name in wanted.properties}
        )


def potentials() -> list[PairVectorPotential]:
    return [
        LennardJones(),
        LennardJones(epsilon={"Ar": 0.01, "Ne": 0.003}, sigma=3.0, mode="smooth"),
        SilveraGoldman(),
        StillingerWeber(),
        Family(),
    ]


def number_for(potential: PairVectorPotential) -> int:
    return 14 if isinstance(potential, StillingerWeber) else 18


def structures(seed: int = 0, number: int = 18) -> list[Structure]:
    """A crystal, a cluster, a slab, a lone atom; every seed moves the atoms a little."""
    rng = np.random.default_rng(seed)
    grid = 3.4 * np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)
    made = []
    for n, cell, pbc in (
        (27, TRICLINIC, True),
        (8, np.zeros((3, 3)), False),
        (27, TRICLINIC, np.array([True, True, False])),
        (1, np.zeros((3, 3)), False),
    ):
        positions = grid[:n] + rng.normal(0, 0.1, (n, 3))
        made.append(Structure(np.full(n, number), positions, cell, pbc))
    return made


def listed(cutoff: float, seed: int = 0, number: int = 18) -> Batch:
    batch = Batch.from_structures(structures(seed, number))
    return NeighbourLists(cutoff, threads=1).attach(batch)


def everything(potential: PairVectorPotential) -> Wanted:
    members = potential.n_members > 0
    return Wanted(True, True, tuple(potential.properties), members, members)


def assert_same(got: Prediction, want: Prediction, atol: float = 1e-12) -> None:
    for name, value in vars(want).items():
        if name == "properties":
            assert got.properties.keys() == value.keys()
            for key, one in value.items():
                torch.testing.assert_close(got.properties[key], one, rtol=1e-12, atol=atol)
        elif value is None:
            assert getattr(got, name) is None, name
        else:
            torch.testing.assert_close(getattr(got, name), value, rtol=1e-12, atol=atol)
