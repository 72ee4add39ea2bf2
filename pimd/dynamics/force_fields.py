"""What the integrators take their forces from: one-dimensional models, and any potential.

A force field is a function of positions, an array of any shape, that returns the energy (a
number) and the forces (an array of that shape), in units that fit each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pimd.structure import PotentialError, Structure

if TYPE_CHECKING:
    from pimd.evaluator import Evaluator

__all__ = ["ForceField", "double_well", "harmonic", "morse", "of_potential", "quartic"]

ForceField = Callable[[np.ndarray], tuple[float, np.ndarray]]


def harmonic(k: float = 1.0) -> ForceField:
    """V = k x^2/2 for every entry of x."""

    def force_field(x: np.ndarray) -> tuple[float, np.ndarray]:
        return 0.5 * k * float(np.vdot(x, x)), -k * x

    return force_field


def quartic(c: float = 1.0) -> ForceField:
    """V = c x^4/4 for every entry of x."""

    def force_field(x: np.ndarray) -> tuple[float, np.ndarray]:
        force = -c * x * x * x
        return -0.25 * float(np.vdot(force, x)), force

    return force_field


def double_well(barrier: float = 1.0, minimum: float = 1.0) -> ForceField:
    """V = barrier ((x/minimum)^2 - 1)^2: minima of 0 at +-minimum, V(0) = barrier."""

    def force_field(x: np.ndarray) -> tuple[float, np.ndarray]:
        u = (x / minimum) ** 2 - 1.0
        return barrier * float(np.vdot(u, u)), -4.0 * barrier / minimum**2 * u * x

    return force_field


def morse(depth: float = 1.0, a: float = 1.0) -> ForceField:
    """V = depth (1 - exp(-a x))^2: a bond, x its extension."""

    def force_field(x: np.ndarray) -> tuple[float, np.ndarray]:
        decay = np.exp(-a * x)
        u = 1.0 - decay
        return depth * float(np.vdot(u, u)), -2.0 * depth * a * decay * u

    return force_field


def of_potential(evaluator: Evaluator, structure: Structure) -> ForceField:
    """One of our potentials: positions in Å, (n_atoms, 3) or (n_beads, n_atoms, 3), energy in eV.

    Beads are evaluated in one batch, and their energies summed.

    Args:
        evaluator: of the potential, `pimd.evaluator.Evaluator`.
        structure: species, cell and periodicity.

    Raises:
        PotentialError: positions of another number of atoms; what the evaluator raises.
    """
    from pimd.potentials.base import Wanted

    wanted = Wanted(virials=False)

    def force_field(positions: np.ndarray) -> tuple[float, np.ndarray]:
        if positions.shape[-2:] != structure.positions.shape:
            raise PotentialError(
                f"expected positions ({len(structure)}, 3), or such of several beads, got "
                f"{positions.shape}"
            )
        beads = positions.reshape(-1, *structure.positions.shape)
        structures = [replace(structure, positions=bead) for bead in beads]
        result = evaluator.evaluate_structures(structures, wanted)
        assert result.forces is not None
        return float(result.energies.sum()), result.forces.reshape(positions.shape)

    return force_field
