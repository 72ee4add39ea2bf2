"""Velocity Verlet with its conserved quantities, for one structure and any evaluator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pimd.evaluator import Evaluator
from pimd.potentials.base import Structure, Wanted

AMU_ANGSTROM2_PER_FS2_EV = 103.64269652680505
"""amu Å²/fs² in eV."""
KB_EV = 8.617333262e-5


@dataclass(frozen=True)
class Trajectory:
    """Conserved quantities of one run, per degree of freedom in units of kT.

    Attributes:
        times: ps, (n_steps - 1,).
        energy: H = T + V.
        shadow: H with its error of second order in the time step taken off, see `integrate`.
    """

    times: np.ndarray
    energy: np.ndarray
    shadow: np.ndarray

    def rms(self, name: str) -> float:
        """Root mean square deviation of `energy` or `shadow` from its mean."""
        return float(getattr(self, name).std())

    def drift(self, name: str) -> float:
        """Slope of the straight line through `energy` or `shadow`, kT per ps and dof."""
        return slope(self.times, getattr(self, name))


def slope(times: np.ndarray, values: np.ndarray) -> float:
    """Slope of the least-squares line."""
    return float(np.polyfit(times, values, 1)[0])


def integrate(
    evaluator: Evaluator,
    structure: Structure,
    velocities: np.ndarray,
    masses: np.ndarray,
    time_step: float,
    n_steps: int,
    kt: float,
) -> Trajectory:
    """Kick, drift, kick at fixed energy; Å, fs, amu, eV.

    Velocity Verlet conserves exactly, up to O(h^4), not H but
        H~ = T + V + h^2 (v.V''.v / 12 - F.F/m / 24)
    (E. Hairer, C. Lubich and G. Wanner, Acta Numerica 12, 399 (2003)); V''.v = -dF/dt is taken
    as the difference of the forces one step before and after. H then fluctuates as h^2 and H~ as
    h^4, only if the forces are the gradient of the energy, without jumps.
    """
    mass = masses[:, None] * AMU_ANGSTROM2_PER_FS2_EV  # eV fs^2/Å^2
    wanted = Wanted(virials=False)

    def evaluate(positions: np.ndarray) -> tuple[float, np.ndarray]:
        moved = Structure(structure.numbers, positions, structure.cell, structure.pbc)
        result = evaluator.evaluate_structures([moved], wanted)
        assert result.forces is not None
        return float(result.energies[0]), result.forces

    positions, velocities = structure.positions.copy(), velocities.copy()
    potential, forces = evaluate(positions)
    before = None
    energies, shadows = [], []
    for _ in range(n_steps):
        half = velocities + 0.5 * time_step * forces / mass
        positions = positions + time_step * half
        next_potential, after = evaluate(positions)
        if before is not None:
            energy = potential + 0.5 * (mass * velocities**2).sum()
            curvature = -(velocities * (after - before)).sum() / (2 * time_step)
            correction = curvature / 12 - (forces**2 / mass).sum() / 24
            energies.append(energy)
            shadows.append(energy + time_step**2 * correction)
        before, forces, potential = forces, after, next_potential
        velocities = half + 0.5 * time_step * forces / mass
    unit = kt * structure.positions.size
    times = time_step * np.arange(1, n_steps) / 1000
    return Trajectory(times, np.array(energies) / unit, np.array(shadows) / unit)


def thermal(masses: np.ndarray, kt: float, rng: np.random.Generator) -> np.ndarray:
    """Maxwell velocities at kT (eV), Å/fs, total momentum removed, (n_atoms, 3)."""
    mass = masses[:, None] * AMU_ANGSTROM2_PER_FS2_EV
    velocities = np.sqrt(kt / mass) * rng.standard_normal((len(masses), 3))
    return velocities - (mass * velocities).sum(axis=0) / mass.sum()
