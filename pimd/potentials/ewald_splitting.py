"""How the Ewald sum of water is split between real and reciprocal space.

For a wanted error of the forces e, root mean square and relative,

    R_cut = R_0 + sqrt(ln(0.37/e))/alpha,   k_max = 2 alpha sqrt(ln(4.7/e)),
    h = (0.7 e)^0.147/alpha, the mesh spacing, for 7-point interpolation.

R_0 and the prefactors were fitted to liquid water at 300 K for errors from 1e-8 to 3e-3 and
alpha from 0.4 to 1/Å: in real space, where molecules are cut by their oxygens with a switch
0.5 Å wide, 0.26 exp(-alpha^2 (R_cut - R_0)^2), to a factor of 1.5; in reciprocal space, with the
taper of `ewald`, less than 3.3 exp(-k_max^2/4 alpha^2) for e < 1e-4; on the mesh less than
1.4 (alpha h)^6.8. Each part is given e/sqrt(2).

alpha is what costs least by the times measured below. It depends on the size and, coarsely, the
density of the structure and on nothing else, so that a structure has the same energy in any
batch and the splitting stays while a cell fluctuates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["Splitting", "density_rungs", "splitting"]

LIQUID_VOLUME = 30.0
"""Å³ per molecule of liquid water."""


@dataclass(frozen=True)
class Splitting:
    """How the Ewald sum is split.

    Attributes:
        alpha: 1/Å.
        cutoff: Å, of pairs of molecules, by their oxygens.
        width: Å, of the switch before the cutoff.
        k_max: 1/Å, of the reciprocal sum; 0 where it is done on a mesh.
        spacing: Å, of the mesh; 0 without one.
    """

    alpha: float
    cutoff: float
    width: float
    k_max: float
    spacing: float = 0.0


R_0 = 1.93
"""Å, what the cutoff between oxygens must exceed that of their sites by."""
SWITCH = 0.5
"""Å, the width of the switch that the fit above is for."""

PAIR_COST = 0.24
"""us per pair of molecules in real space; one core, fp64, 32 structures of 64 molecules."""
VECTOR_COST = 1.2e-3
"""us per charge and pair of vectors k, -k; likewise, between 0.9e-3 and 2e-3."""

MESH_ALPHA = 0.35
"""1/Å, with a mesh."""
MESH_FROM = 30_000
"""Molecules from which the mesh, at 30 to 55 us per atom, is the faster one."""


def density_rungs(cells: Tensor, n_molecules: int) -> Tensor:
    """How dilute each structure is: 0 for liquids, one more for each four times the volume,
    (n_structures,) int64.

    The splitting depends on the size of a structure and this number alone, so that it stays
    the same while a cell fluctuates.
    """
    volumes = torch.linalg.det(cells).abs() / (n_molecules * LIQUID_VOLUME)
    return (volumes.log() / math.log(4.0)).round().clamp(-3, 12).long()


@lru_cache(maxsize=256)
def splitting(n_molecules: int, rung: int, accuracy: float, method: str) -> Splitting:
    """The splitting of a periodic structure.

    Args:
        n_molecules: in the cell.
        rung: of `density_rungs`.
        accuracy: the error e of the module.
        method: ewald, pme or auto.
    """
    s = math.sqrt(math.log(0.37 / accuracy))
    s_k = math.sqrt(math.log(4.7 / accuracy))
    if method == "pme" or (method == "auto" and n_molecules >= MESH_FROM):
        spacing = (0.7 * accuracy / math.sqrt(2.0)) ** 0.147 / MESH_ALPHA
        return Splitting(MESH_ALPHA, R_0 + s / MESH_ALPHA, SWITCH, 0.0, spacing)
    density = 1.0 / (LIQUID_VOLUME * 4.0**rung)  # molecules per Å³

    def cost(alpha: float) -> float:
        pairs = 2.0 / 3.0 * math.pi * density * (R_0 + s / alpha) ** 3
        vectors = (2.0 * alpha * s_k) ** 3 / (12.0 * math.pi**2) * n_molecules / density
        return PAIR_COST * pairs + 3.0 * VECTOR_COST * vectors

    alpha = min((0.01 * k for k in range(5, 101)), key=cost)
    return Splitting(alpha, R_0 + s / alpha, SWITCH, 2.0 * s_k * alpha)
