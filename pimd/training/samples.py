"""What training runs over: features with labels, and the committee's errors on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pimd.potentials.element_networks import ElementNetworks
from pimd.training.data import Labelled
from pimd.training.features import Features

__all__ = ["Sample", "committee_of", "energy_scale", "make_samples", "predict"]


@dataclass
class Sample:
    """A structure's features, energy beyond the baseline (eV, ()) and forces (n_atoms, 3)."""

    features: Features
    energy: Tensor
    forces: Tensor

    @property
    def n_atoms(self) -> int:
        return len(self.forces)


@dataclass
class Predicted:
    """What the members say of some structures laid flat.

    Attributes:
        energies: beyond the baseline, eV, (n_members, n_structures).
        forces: eV/Å, (n_members, n_atoms, 3).
        structure_index: (n_atoms,).
    """

    energies: Tensor
    forces: Tensor
    structure_index: Tensor


def make_samples(
    data: Sequence[Labelled], features: Sequence[Features], baseline: np.ndarray
) -> list[Sample]:
    """Samples in the precision of the features; the baseline is taken off in fp64."""
    found = []
    for one, seen in zip(data, features, strict=True):
        energy = one.energy - baseline[seen.types.cpu().numpy()].sum()
        like = seen.descriptors
        found.append(
            Sample(
                seen,
                torch.tensor(energy, dtype=like.dtype, device=like.device),
                torch.tensor(one.forces, dtype=like.dtype, device=like.device),
            )
        )
    return found


def energy_scale(samples: Sequence[Sample]) -> float:
    """eV per unit of the networks' output: what the forces do over a tenth of an Å, to two digits.

    Networks start with outputs of about one unit, so that they start near the size of what they
    have to learn.
    """
    squares = torch.cat([one.forces.double().square().flatten() for one in samples])
    return float(f"{0.1 * max(float(squares.mean().sqrt()), 1e-3):.1e}")


def predict(
    networks: ElementNetworks, scale: float, batch: Sequence[Sample], *, train: bool
) -> Predicted:
    """Energies and forces of every member; with `train` they can be differentiated.

    Args:
        networks: of all members.
        scale: eV per unit of their output.
        batch: standardised samples.
        train: whether the weights shall get gradients.
    """
    descriptors = torch.cat([one.features.descriptors for one in batch])
    types = torch.cat([one.features.types for one in batch])
    sizes = torch.tensor([one.n_atoms for one in batch], device=types.device)
    index = torch.arange(len(batch), device=types.device).repeat_interleave(sizes)
    # every member its own inputs, so that one backward pass gives the slopes of all
    inputs = descriptors.expand(networks.n_members, -1, -1).clone().requires_grad_()
    with torch.enable_grad():
        atomic = scale * networks(inputs, types)  # [member, atom]
        (slopes,) = torch.autograd.grad(atomic.sum(), inputs, create_graph=train)
    energies = atomic.new_zeros((len(atomic), len(batch))).index_add(1, index, atomic)
    parts = slopes.split(sizes.tolist(), dim=1)
    forces = torch.cat(
        [one.features.forces(part) for one, part in zip(batch, parts, strict=True)], dim=1
    )
    if not train:
        energies, forces = energies.detach(), forces.detach()
    return Predicted(energies, forces, index)


def committee_of(
    networks: ElementNetworks, scale: float, samples: Sequence[Sample], batch: int = 32
) -> tuple[Tensor, Tensor]:
    """Energies (n_members, n_structures) and forces (n_members, n_atoms, 3) of many samples."""
    energies, forces = [], []
    for start in range(0, len(samples), batch):
        found = predict(networks, scale, samples[start : start + batch], train=False)
        energies.append(found.energies.double())
        forces.append(found.forces.double())
    return torch.cat(energies, 1), torch.cat(forces, 1)
