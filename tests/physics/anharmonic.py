"""Particles in one-dimensional wells: each coordinate of each atom is one.

In units of 0.01 hartree and bohr, so that with hbar = 1 the mass is 100 electron masses, the time
unit 100 atomic ones, and beta = 8 is 395 K.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pimd.potentials.base import Batch, EnergyPotential
from pimd.units import AMU_ELECTRON_MASS, ATOMIC_TIME_FS, BOHR_ANGSTROM, HARTREE_EV

WELLS: dict[str, tuple[float, float, float]] = {
    "quartic": (0.0, 0.0, 0.25),
    "mild": (0.5, 0.1, 0.01),
    "double": (-0.5, 0.0, 0.1),
}
"""Coefficients of x^2, x^3 and x^4."""
ENERGY = 0.01
"""The unit, hartree."""
ENERGY_EV = ENERGY * HARTREE_EV
MASS = 1 / ENERGY / AMU_ELECTRON_MASS
"""The unit, amu."""
TIME_FS = ATOMIC_TIME_FS / ENERGY


class Well(EnergyPotential):
    """V = sum over atoms and x, y, z of a polynomial of that coordinate."""

    name = "well"
    invariant = False

    def __init__(self, shape: str = "quartic") -> None:
        self.coefficients = WELLS[shape]

    def energies(self, batch: Batch) -> Tensor:
        x = batch.positions / BOHR_ANGSTROM
        second, third, fourth = self.coefficients
        values = torch.square(x) * (second + third * x + fourth * torch.square(x))
        return batch.sum_over_atoms(values.sum(1)) * ENERGY_EV
