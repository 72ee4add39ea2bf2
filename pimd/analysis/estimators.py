"""Estimators of ring polymers, one value for each stored frame.

With d_b = q_b - q_c, the mean over P beads written <..>_b, and F_b = -grad V(q_b):

    kinetic, centroid virial    K_xy = kT/2 delta_xy - <d_x F_y + d_y F_x>_b / 4    of each atom
    kinetic, thermodynamic      K = d P kT/2 - S,   S = m omega_P^2/2 <|q_b - q_(b+1)|^2>_b
    radius of gyration          R^2 = <|d|^2>_b
    pressure                    p_xy V = N kT delta_xy + <W_b - sum_i d_x F_y>_b,   W = -dV/dstrain

(M. F. Herman, E. J. Bruskin and B. J. Berne, J. Chem. Phys. 76, 5150 (1982); J. A. Barker, J. Chem.
Phys. 70, 2914 (1979)). omega_P = P kT/hbar. All averages are those of P beads; with P = 1 they are
classical. Positions must not be wrapped into the cell: a path is to be whole. What i-PI writes as
`r_gyration` is the mean of R, which is less than the root of the mean of R^2.
"""

from __future__ import annotations

import numpy as np

from pimd.units import AMU_ANGSTROM2_PER_FS2_EV, HBAR_EV_FS, KB_EV_PER_KELVIN

__all__ = [
    "kinetic_tensors",
    "kinetic_thermodynamic",
    "pressure_tensors",
    "spring_energies",
    "squared_gyration",
]


def kinetic_tensors(positions: np.ndarray, forces: np.ndarray, temperature: float) -> np.ndarray:
    """Centroid-virial kinetic energy tensor of each atom, (n_frames, n_atoms, d, d), eV.

    Symmetric; its trace is the kinetic energy of the atom.

    Args:
        positions: (n_frames, n_beads, n_atoms, d) Å, unwrapped.
        forces: (n_frames, n_beads, n_atoms, d) eV/Å, minus the gradient of the energy of a bead.
        temperature: K, of the quantum system.

    Raises:
        ValueError: arrays that do not belong together, or no temperature.
    """
    q, f = _paths(positions), np.asarray(forces, dtype=float)
    if f.shape != q.shape:
        raise ValueError(f"expected forces on all beads, {q.shape}, got {f.shape}")
    outer = _virial(q, f)
    found: np.ndarray = -0.25 * (outer + outer.swapaxes(-1, -2))
    found += 0.5 * _thermal(temperature) * np.eye(q.shape[-1])
    return found


def kinetic_thermodynamic(
    positions: np.ndarray, masses: np.ndarray, temperature: float
) -> np.ndarray:
    """Thermodynamic ("primitive") kinetic energy of each atom, (n_frames, n_atoms), eV.

    Its variance grows with P, and so does its error from a finite time step: a check of the
    centroid-virial estimator rather than a replacement for it.

    Args:
        positions: (n_frames, n_beads, n_atoms, d) Å, unwrapped.
        masses: (n_atoms,) amu.
        temperature: K.

    Raises:
        ValueError: as `kinetic_tensors`.
    """
    springs = spring_energies(positions, masses, temperature)
    n_beads, d = np.shape(positions)[1], np.shape(positions)[-1]
    found: np.ndarray = 0.5 * d * n_beads * _thermal(temperature) - springs
    return found


def spring_energies(positions: np.ndarray, masses: np.ndarray, temperature: float) -> np.ndarray:
    """S of each atom, the energy of its springs over the number of beads, (n_frames, n_atoms), eV.

    The sum over atoms is what i-PI writes as `spring`. Args and errors as
    `kinetic_thermodynamic`.
    """
    q, m = _paths(positions), np.asarray(masses, dtype=float)
    if m.shape != q.shape[2:3] or not (m > 0).all():
        raise ValueError(f"expected a positive mass for each of {q.shape[2]} atoms, got {m.shape}")
    omega = q.shape[1] * _thermal(temperature) / HBAR_EV_FS  # rad/fs
    steps = np.zeros((q.shape[0], q.shape[2]))
    for b in range(q.shape[1]):
        steps += np.square(q[:, b] - q[:, b - 1]).sum(axis=-1)
    found: np.ndarray = 0.5 * m * AMU_ANGSTROM2_PER_FS2_EV * omega**2 * steps / q.shape[1]
    return found


def squared_gyration(positions: np.ndarray) -> np.ndarray:
    """R^2 of each atom's path, (n_frames, n_atoms), Å^2.

    Args:
        positions: (n_frames, n_beads, n_atoms, d) Å, unwrapped.
    """
    q = _paths(positions)
    centroids = q.mean(axis=1)
    found = np.zeros((q.shape[0], q.shape[2]))
    for b in range(q.shape[1]):
        found += np.square(q[:, b] - centroids).sum(axis=-1)
    return found / q.shape[1]


def pressure_tensors(
    positions: np.ndarray,
    forces: np.ndarray,
    virials: np.ndarray,
    cells: np.ndarray,
    temperature: float,
) -> np.ndarray:
    """Centroid-virial pressure tensor, (n_frames, 3, 3), eV/Å^3, positive in compression.

    All N atoms count in N kT, also where the centre of mass is fixed; i-PI counts the momenta of
    centroids instead, which are those of N - 1 atoms then.

    Args:
        positions, forces: as `kinetic_tensors`.
        virials: (n_frames, n_beads, 3, 3) eV, W = -dV/dstrain of each bead.
        cells: (n_frames, 3, 3) Å.
        temperature: K.

    Raises:
        ValueError: as `kinetic_tensors`, and for cells without a volume.
    """
    q, f = _paths(positions), np.asarray(forces, dtype=float)
    w = np.asarray(virials, dtype=float)
    if f.shape != q.shape or w.shape != (*q.shape[:2], 3, 3):
        raise ValueError(
            f"expected forces {q.shape} and virials {(*q.shape[:2], 3, 3)}, got {f.shape} and "
            f"{w.shape}"
        )
    volumes = np.abs(np.linalg.det(np.asarray(cells, dtype=float)))
    if not (volumes > 0).all():
        raise ValueError("a cell has no volume: there is no pressure")
    inner = _virial(q, f).sum(axis=1)
    total = w.mean(axis=1) - 0.5 * (inner + inner.swapaxes(-1, -2))
    total += q.shape[2] * _thermal(temperature) * np.eye(3)
    found: np.ndarray = total / volumes[:, None, None]
    return found


def _virial(q: np.ndarray, f: np.ndarray) -> np.ndarray:
    """<d_x F_y>_b of each atom, (n_frames, n_atoms, d, d)."""
    centroids = q.mean(axis=1)
    total = np.zeros((q.shape[0], q.shape[2], q.shape[3], q.shape[3]))
    for b in range(q.shape[1]):
        total += (q[:, b] - centroids)[..., :, None] * f[:, b][..., None, :]
    return total / q.shape[1]


def _paths(positions: np.ndarray) -> np.ndarray:
    q = np.asarray(positions, dtype=float)
    if q.ndim != 4 or not q.size:
        raise ValueError(
            f"expected positions of all beads, (n_frames, n_beads, n_atoms, d), got {q.shape}"
        )
    return q


def _thermal(temperature: float) -> float:
    """kT, eV."""
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature} K, expected a positive number")
    return KB_EV_PER_KELVIN * temperature
