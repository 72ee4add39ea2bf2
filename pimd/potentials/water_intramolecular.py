"""Bonds and angle of a q-TIP4P/F molecule.

    E = sum_{OH} D [z^2 - z^3 + 7/12 z^4] + k/2 (theta - theta_0)^2,   z = a (r - r_0),

a Morse bond to fourth order and a harmonic angle. With the bonds d_1, d_2 from O to H,

    dE/dd_h = D a (2 z - 3 z^2 + 7/3 z^3) u_h + k (theta - theta_0) dtheta/dd_h,
    dtheta/dd_1 = -(u_2 - cos(theta) u_1) / (r_1 sin(theta)),   u = d/r.

Source: S. Habershon, T. E. Markland, D. E. Manolopoulos, J. Chem. Phys. 131, 024501 (2009),
eqs. 3 and 4; the parameters in atomic units, rounded as in the authors' program, which i-PI's
Fortran driver holds: the bond is 0.941935 Å, D is 0.185 Ha, k is 0.14 Ha/rad².
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pimd.units import BOHR_ANGSTROM, HARTREE_EV

__all__ = ["intramolecular"]

DEPTH = 0.185 * HARTREE_EV
"""D, eV."""
WIDTH = 1.21 / BOHR_ANGSTROM
"""a, 1/Å."""
BOND = 1.78 * BOHR_ANGSTROM
"""r_0, Å."""
BEND = 0.14 * HARTREE_EV
"""k, eV/rad²."""
ANGLE = math.radians(107.4)
"""theta_0."""

LEAST_SINE = 1e-10
"""A straight molecule has no plane to bend in; its slope is divided by this instead of zero."""


def intramolecular(bonds: Tensor) -> tuple[Tensor, Tensor]:
    """Energies of molecules and their gradients by the bonds.

    Args:
        bonds: from O to its H, Å, (..., 2, 3).

    Returns:
        eV, (...,), and dE/dbond, eV/Å, (..., 2, 3).
    """
    r = bonds.norm(dim=-1)  # [..., hydrogen]
    u = bonds / r.unsqueeze(-1)
    z = WIDTH * (r - BOND)
    stretch = DEPTH * z * z * (1.0 - z + (7.0 / 12.0) * z * z)
    slope = DEPTH * WIDTH * z * (2.0 - 3.0 * z + (7.0 / 3.0) * z * z)

    cosine = (u[..., 0, :] * u[..., 1, :]).sum(-1)
    sine = torch.linalg.cross(u[..., 0, :], u[..., 1, :]).norm(dim=-1)
    off = torch.atan2(sine, cosine) - ANGLE
    energies = stretch.sum(-1) + 0.5 * BEND * off * off

    torque = (BEND * off / sine.clamp(min=LEAST_SINE))[..., None, None]
    across = u.flip(-2) - cosine[..., None, None] * u  # [..., hydrogen, xyz]
    gradients = slope.unsqueeze(-1) * u - torque * across / r.unsqueeze(-1)
    return energies, gradients
