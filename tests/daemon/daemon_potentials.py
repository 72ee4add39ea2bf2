"""Tiny potentials for tests of the daemon."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from pimd.potentials.base import Batch, EnergyPotential, Potential, Prediction, PropertySpec, Wanted


class Spring(EnergyPotential):
    """E = k/2 sum_a |x_a|²."""

    name = "spring"
    invariant = False
    properties: Mapping[str, PropertySpec] = {
        "dipole": PropertySpec("e Å", (3,)),
        "born_charges": PropertySpec("e", (3, 3), per_atom=True),
    }

    def __init__(self, k: float = 1.0, seconds: float = 0.0) -> None:
        self.k, self.seconds = k, seconds
        self.calls: list[int] = []

    def energies(self, batch: Batch) -> Tensor:
        self.calls.append(batch.n_structures)
        if self.seconds:
            time.sleep(self.seconds)
        return batch.sum_over_atoms(0.5 * self.k * (batch.positions**2).sum(1))

    def property_values(self, batch: Batch, names: tuple[str, ...]) -> dict[str, Tensor]:
        charges = torch.arange(9.0, dtype=torch.float64).reshape(1, 3, 3)
        values = {
            "dipole": batch.sum_over_atoms(batch.positions),
            "born_charges": charges.repeat(batch.n_atoms, 1, 1),
        }
        return {name: values[name] for name in names}


class Instant(Potential):
    """Nothing to compute: forces are minus the positions, in no time."""

    name = "instant"

    def __init__(self) -> None:
        self.calls: list[int] = []

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        self.calls.append(batch.n_structures)
        energies = torch.zeros(batch.n_structures, dtype=torch.float64)
        return Prediction(energies, -batch.positions, torch.zeros_like(batch.cells))


class NanAbove(Spring):
    """A spring whose energy is no number where x of atom 0 is above a limit, in Å."""

    def __init__(self, limit: float = 1.0) -> None:
        super().__init__()
        self.limit = limit

    def energies(self, batch: Batch) -> Tensor:
        first = batch.positions[batch.offsets[:-1], 0]
        return torch.where(first > self.limit, torch.nan, super().energies(batch))
