"""Tiny Behler–Parrinello models, and structures of O and H for them."""

from __future__ import annotations

import numpy as np
import torch

from pimd.potentials.base import Batch, Structure
from pimd.potentials.bp_model import BPModel
from pimd.potentials.contract_evaluator import pairs_near
from pimd.potentials.element_networks import ElementNetworks
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.symmetry_functions import Settings, SymmetryFunctions, default_settings

CELL = np.array([[4.4, 0.0, 0.0], [0.5, 4.7, 0.0], [-0.3, 0.4, 4.9]])
SITES = np.array([[0, 0, 0], [0.1, 1, 0], [0, 0.05, 1], [1, 0, 0.1], [1, 1, 1.05]])
CUTOFFS = (5.0, 3.5)
"""Å, radial and angular."""
NUMBERS = np.array([8, 1, 1, 8, 1])


def settings(kind: str = "G5") -> Settings:
    return default_settings((1, 8), *CUTOFFS, n_radial=4, n_angular=2, kind=kind)


def structures(seed: int = 0) -> list[Structure]:
    """Two triclinic crystals smaller than the cutoff, a cluster and a slab.

    No pair is within 0.01 Å of a cutoff, where the second derivative jumps, so that finite
    differences are as exact as elsewhere.
    """
    rng = np.random.default_rng(seed)

    def one(n: int, cell: np.ndarray, pbc: tuple[bool, bool, bool]) -> Structure:
        while True:
            positions = 2.1 * SITES[:n] + rng.uniform(-0.2, 0.2, (n, 3))
            found = Structure(NUMBERS[:n], positions, cell, np.array(pbc))
            if not any(pairs_near(found, cutoff, 0.01) for cutoff in CUTOFFS):
                return found

    none = np.zeros((3, 3))
    return [
        one(5, CELL, (True, True, True)),
        one(4, 0.95 * CELL.T, (True, True, True)),
        one(5, none, (False, False, False)),
        one(3, CELL, (True, True, False)),
    ]


def batch_of(given: list[Structure], cutoff: float) -> Batch:
    return NeighbourLists(cutoff, skin=0.0).attach(Batch.from_structures(given))


def types_of(batch: Batch) -> torch.Tensor:
    """0 for H, 1 for O."""
    return (batch.numbers == 8).to(torch.int64)


def make_model(
    n_members: int = 3,
    dtype: torch.dtype = torch.float64,
    kind: str = "G5",
    seed: int = 0,
    hidden: tuple[int, ...] = (9, 7),
    alpha: float = 1.7,
) -> BPModel:
    """A model with random weights and biases, its descriptors scaled as after training."""
    chosen = settings(kind)
    generator = torch.Generator().manual_seed(seed)
    networks = ElementNetworks(n_members, 2, chosen.n_descriptors, hidden, dtype, generator)
    with torch.no_grad():
        for bias in networks.biases:
            bias += 0.3 * torch.randn(bias.shape, generator=generator, dtype=torch.float64)
    batch = batch_of([s for k in range(6) for s in structures(100 + k)], chosen.range)
    symmetry, types = SymmetryFunctions(chosen, torch.float64), types_of(batch)
    assert batch.pairs is not None
    found = symmetry(types, batch.pairs, batch.pair_vectors())
    own = [found[types == k] for k in range(2)]
    return BPModel(
        chosen,
        networks,
        mean=torch.stack([one.mean(0) for one in own]),
        std=torch.stack([one.std(0) + 0.05 for one in own]),
        baseline=torch.tensor([-13.6, -2041.3]),
        energy_scale=0.4,
        alpha=alpha,
        low=torch.stack([one.amin(0) for one in own]),
        high=torch.stack([one.amax(0) for one in own]),
    )
