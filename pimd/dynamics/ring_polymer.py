"""Ring polymers in their normal modes.

P beads of one particle, each bound to the next, are P independent oscillators

    q~_k = sum_j C_kj q_j,    omega_k = 2 omega_P sin(k pi/P),    omega_P = P kT/hbar

once the potential is left aside. The masses are the physical ones, and the temperature of the P
oscillators is P T (M. Ceriotti, M. Parrinello, T. E. Markland and D. E. Manolopoulos, J. Chem.
Phys. 133, 124104 (2010)).
"""

from __future__ import annotations

import numpy as np

from pimd.dynamics.force_fields import ForceField

__all__ = ["in_modes", "mode_frequencies", "mode_matrix", "mode_times"]


def mode_matrix(n_beads: int) -> np.ndarray:
    """C, orthogonal, (mode, bead): the centroid first, then cosines, then sines."""
    k, j = np.ogrid[:n_beads, :n_beads]  # [mode, bead]
    angle = 2.0 * np.pi * j * k / n_beads
    matrix = np.where(2 * k <= n_beads, np.cos(angle), np.sin(angle)) * np.sqrt(2.0 / n_beads)
    matrix[0] /= np.sqrt(2.0)
    if n_beads % 2 == 0:
        matrix[n_beads // 2] /= np.sqrt(2.0)
    return matrix


def mode_frequencies(n_beads: int, kT: float, hbar: float) -> np.ndarray:
    """omega_k, rad per time, (n_beads,); kT is that of the physical temperature."""
    return 2.0 * n_beads * kT / hbar * np.sin(np.pi * np.arange(n_beads) / n_beads)


def mode_times(frequencies: np.ndarray, tau: float) -> np.ndarray:
    """The time scale of the chains of each mode, (n_beads,): 1/omega_k, of the centroid tau."""
    times = np.full(len(frequencies), float(tau))
    np.divide(1.0, frequencies, out=times, where=frequencies > 0)
    return times


def in_modes(force_field: ForceField) -> ForceField:
    """A force field of beads, first axis the bead, as one of normal modes, first axis the mode."""

    def of_modes(modes: np.ndarray) -> tuple[float, np.ndarray]:
        matrix = mode_matrix(len(modes))
        energy, forces = force_field(np.tensordot(matrix.T, modes, axes=1))
        return energy, np.tensordot(matrix, forces, axes=1)

    return of_modes
