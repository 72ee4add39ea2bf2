"""Silvera-Goldman potential of para-hydrogen: one particle is one molecule."""

from __future__ import annotations

import torch
from torch import Tensor

from pimd.potentials.base import Batch, PotentialError
from pimd.potentials.options import length, torch_device, torch_dtype
from pimd.potentials.pair_vectors import PairVectorPotential, squared_lengths
from pimd.units import BOHR_ANGSTROM, HARTREE_EV

__all__ = ["SilveraGoldman"]

ALPHA, BETA, GAMMA = 1.713, 1.5671, 0.00993  # repulsion, atomic units
C6, C8, C9, C10 = 12.14, 215.2, 143.1, 4813.9  # dispersion, atomic units
DAMPING = 8.32  # bohr, 1.28 times the distance of the minimum of the isolated pair

HALF_BOX = 5.948
"""Å, half of the box of 32 molecules at 25 K and the reference density."""


class SilveraGoldman(PairVectorPotential):
    """v(r) = exp(alpha - beta r - gamma r²) - (C6/r⁶ + C8/r⁸ - C9/r⁹ + C10/r¹⁰) f(r).

    f(r) = exp[-(8.32/r - 1)²] for r < 8.32 and 1 beyond, all in atomic units. The C9 term is the
    mean effect of a third molecule. Particles are spherical H2 molecules: the element of the
    structure is only a label, the mass (2 u) comes from the simulation's input.

    Args:
        cutoff: Å; pairs beyond have no energy, and no tail is added. The default is half of
            11.896 Å, the box of 32 molecules at 25 K.
        shift: whether to subtract v(cutoff) from each pair, so that the energy does not jump.
        dtype: float64 or float32.
        device: cpu, cuda, ...

    Raises:
        PotentialError: for structures of more than one element.

    Source: I. F. Silvera, V. V. Goldman, J. Chem. Phys. 69, 4209 (1978).
    """

    name = "silvera_goldman"
    graph_safe = True

    def __init__(
        self,
        cutoff: float = HALF_BOX,
        shift: bool = False,
        dtype: str = "float64",
        device: str = "cpu",
    ) -> None:
        self.dtype, self.device = torch_dtype(dtype), torch_device(device)
        self.cutoff = length("cutoff", cutoff)
        self.shift = bool(shift)
        at_cutoff = torch.tensor([self.cutoff], dtype=torch.float64)
        self._at_cutoff = float(pair_energy(at_cutoff)) if shift else 0.0

    def check(self, batch: Batch) -> None:
        first = batch.offsets[:-1].clamp(max=max(batch.n_atoms - 1, 0))
        element = batch.numbers[first][batch.structure_index]  # [atom]
        if bool((batch.numbers != element).any()):
            raise PotentialError(
                "silvera_goldman takes one particle per H2 molecule, all of one element; a "
                "structure has several. Molecules of two atoms each are not meant"
            )

    def energies_of_vectors(self, batch: Batch, vectors: Tensor) -> Tensor:
        return batch.sum_over_pairs(
            0.5 * (pair_energy(squared_lengths(vectors).sqrt()) - self._at_cutoff)
        )


def pair_energy(distances: Tensor) -> Tensor:
    """v(r), eV, of distances in Å; any shape."""
    r = distances / BOHR_ANGSTROM
    damping = torch.exp(-((DAMPING / r - 1.0).clamp(min=0.0) ** 2))
    inverse2 = 1.0 / (r * r)
    inverse6 = inverse2**3
    dispersion = inverse6 * (C6 + inverse2 * (C8 - C9 / r + C10 * inverse2))
    return HARTREE_EV * (torch.exp(ALPHA - r * (BETA + GAMMA * r)) - dispersion * damping)
