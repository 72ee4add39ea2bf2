"""The q-TIP4P/F molecule on its own: energy, forces, harmonic reference and a small PIMD.

NumPy only, nothing of the package. Hartree, bohr, electron masses, hbar = 1. A molecule is
(3, 3): O, H, H by xyz.

V = sum_OH D (z^2 - z^3 + 7/12 z^4) + k/2 (theta - theta_0)^2,  z = a (r - r_0): the Morse bond of
S. Habershon, T. E. Markland and D. E. Manolopoulos, J. Chem. Phys. 131, 024501 (2009), to
fourth order. Charges of one molecule do not interact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .references import (
    ATOMIC_TIME_FS,
    DALTON_ELECTRON_MASS,
    HARTREE_WAVENUMBER,
    oscillator,
    ring_frequencies,
)

MASS_H, MASS_O = 1.00794 * DALTON_ELECTRON_MASS, 15.9994 * DALTON_ELECTRON_MASS
MASSES = np.array([MASS_O, MASS_H, MASS_H])


@dataclass(frozen=True)
class Monomer:
    """Parameters of the molecule in hartree, bohr, radian."""

    depth: float = 0.185
    width: float = 1.21
    bond: float = 1.78
    angle: float = np.deg2rad(107.4)
    bend: float = 0.14

    def stretch(self, r: np.ndarray) -> np.ndarray:
        """Energy of one O-H bond of length r."""
        z = self.width * (r - self.bond)
        return self.depth * (z**2 - z**3 + 7 / 12 * z**4)

    def stretch_slope(self, r: np.ndarray) -> np.ndarray:
        """Derivative of `stretch`."""
        z = self.width * (r - self.bond)
        return self.depth * self.width * (2 * z - 3 * z**2 + 7 / 3 * z**3)

    def minimum(self) -> np.ndarray:
        """Positions of the relaxed molecule, (3, 3)."""
        x, y = self.bond * np.sin(self.angle / 2), self.bond * np.cos(self.angle / 2)
        return np.array([[0.0, 0.0, 0.0], [x, y, 0.0], [-x, y, 0.0]])

    def evaluate(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (...,) and forces (..., 3, 3) of molecules (..., 3, 3)."""
        arms = q[..., 1:, :] - q[..., :1, :]  # [..., hydrogen, xyz]
        r = np.linalg.norm(arms, axis=-1)
        units = arms / r[..., None]
        cos = np.clip((units[..., 0, :] * units[..., 1, :]).sum(-1), -1, 1)
        theta = np.arccos(cos)
        energy = self.stretch(r).sum(-1) + 0.5 * self.bend * (theta - self.angle) ** 2
        # dtheta/d(arm 1) = -(u2 - cos u1)/(r1 sin), and with 1 and 2 exchanged
        slope = self.bend * (theta - self.angle) / np.sqrt(1 - cos**2)
        across = units[..., ::-1, :] - cos[..., None, None] * units
        on_hydrogens = slope[..., None, None] * across / r[..., None]
        on_hydrogens -= self.stretch_slope(r)[..., None] * units
        forces = np.concatenate([-on_hydrogens.sum(-2, keepdims=True), on_hydrogens], axis=-2)
        return energy, forces


def harmonic_modes(monomer: Monomer) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (9,), hartree, and mass-weighted modes (9, 3, 3), [mode, atom, xyz].

    Hessian by central differences of the forces at the minimum; translations and rotations
    come first with frequency 0.
    """
    origin, step = monomer.minimum(), 1e-4
    hessian = np.empty((9, 9))
    for i in range(9):
        shift = np.zeros(9)
        shift[i] = step
        plus = monomer.evaluate(origin + shift.reshape(3, 3))[1]
        minus = monomer.evaluate(origin - shift.reshape(3, 3))[1]
        hessian[i] = -(plus - minus).ravel() / (2 * step)
    weight = 1 / np.sqrt(np.repeat(MASSES, 3))
    squares, modes = np.linalg.eigh(0.5 * (hessian + hessian.T) * np.outer(weight, weight))
    frequencies = np.sqrt(np.clip(squares, 0, None))
    frequencies[:6] = 0.0
    return frequencies, modes.T.reshape(9, 3, 3)


def harmonic_kinetic(monomer: Monomer, kt: float, n_beads: float) -> np.ndarray:
    """Kinetic energy of each atom, hartree, (3,), all modes harmonic with P beads.

    K_a = sum_j |e_ja|^2 K_j,  K_j = E_P(beta omega_j)/2, kT/2 for the six of frequency 0.
    """
    frequencies, modes = harmonic_modes(monomer)  # [mode, atom, xyz]
    per_mode = np.full(9, kt / 2)
    for j in range(6, 9):
        w = frequencies[j]
        per_mode[j] = w * oscillator(w / kt, n_beads).energy / 2
    return np.einsum("jax,j->a", modes**2, per_mode)


class HarmonicMonomer:
    """The molecule's energy to second order in the displacements from its minimum."""

    def __init__(self, monomer: Monomer) -> None:
        self.origin = monomer.minimum()
        self.frequencies, self.modes = harmonic_modes(monomer)

    def minimum(self) -> np.ndarray:
        """As `Monomer.minimum`."""
        return self.origin

    def evaluate(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Monomer.evaluate`; V = sum_j w_j^2 Q_j^2/2, Q_j = sum_a sqrt(m_a) e_ja.(q - q_0)."""
        weighted = np.sqrt(MASSES)[:, None] * self.modes[6:]  # [mode, atom, xyz]
        normal = np.einsum("...ax,jax->...j", q - self.origin, weighted)
        slope = self.frequencies[6:] ** 2 * normal
        return 0.5 * (slope * normal).sum(-1), -np.einsum("...j,jax->...ax", slope, weighted)


def wavenumbers(monomer: Monomer) -> np.ndarray:
    """The three vibrations in cm^-1."""
    return harmonic_modes(monomer)[0][6:] * HARTREE_WAVENUMBER


def sample_molecules(
    monomer: Monomer | HarmonicMonomer,
    kt: float,
    *,
    n_beads: int,
    n_molecules: int,
    time_step: float,
    n_steps: int,
    n_equilibration: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """PIMD of independent molecules; series of K_H, K_O (per atom) and V (per molecule), hartree.

    BAOAB with exact propagation of the free ring in its normal modes and a Langevin friction of
    omega_k on mode k (PILE-L with lambda = 1/2), 1/(10 fs) on the centroid. K is the
    centroid-virial estimator, 3kT/2 - sum_b (q_b - q_c).F_b/2P. Each entry of a series is the
    mean over all molecules at one step.
    """
    rng = np.random.default_rng(seed)
    modes = _mode_matrix(n_beads)  # [mode, bead], orthogonal
    w = np.sort(ring_frequencies(n_beads, 1 / kt))
    w[0] = 0.0
    cos, sin = np.cos(w * time_step / 2), np.sin(w * time_step / 2)
    over_w = np.divide(sin, w, out=np.full(n_beads, time_step / 2), where=w > 0)
    friction = np.where(w > 0, w, ATOMIC_TIME_FS / 10)
    damp = np.exp(-friction * time_step)[:, None, None, None]
    masses = MASSES[:, None]
    noise = np.sqrt(n_beads * kt * masses) * np.sqrt(1 - damp**2)
    cos, sin_w, over_w = (v[:, None, None, None] for v in (cos, sin * w, over_w))

    q = np.zeros((n_beads, n_molecules, 3, 3))  # [mode, molecule, atom, xyz]
    q[0] = np.sqrt(n_beads) * monomer.minimum()
    p = np.sqrt(n_beads * kt * masses) * rng.standard_normal(q.shape)
    series: dict[str, list[float]] = {"kinetic_h": [], "kinetic_o": [], "potential": []}

    def to_modes(beads: np.ndarray) -> np.ndarray:
        return (modes @ beads.reshape(n_beads, -1)).reshape(beads.shape)

    def to_beads(of_modes: np.ndarray) -> np.ndarray:
        return (modes.T @ of_modes.reshape(n_beads, -1)).reshape(of_modes.shape)

    def drift(q: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return cos * q + over_w * p / masses, cos * p - sin_w * masses * q

    forces = to_modes(monomer.evaluate(to_beads(q))[1])
    for step in range(n_equilibration + n_steps):
        p += 0.5 * time_step * forces
        q, p = drift(q, p)
        p = damp * p + noise * rng.standard_normal(p.shape)
        q, p = drift(q, p)
        beads = to_beads(q)
        energy, bead_forces = monomer.evaluate(beads)
        forces = to_modes(bead_forces)
        p += 0.5 * time_step * forces
        if step >= n_equilibration:
            # the modes are orthogonal: sum over beads = sum over modes; mode 0 is the centroid
            virial = (q[1:] * forces[1:]).sum(axis=(0, 3)).mean(axis=0)  # [atom]
            kinetic = 1.5 * kt - 0.5 * virial / n_beads
            series["kinetic_o"].append(kinetic[0])
            series["kinetic_h"].append(kinetic[1:].mean())
            series["potential"].append(energy.mean())
    return {name: np.array(values) for name, values in series.items()}


def _mode_matrix(n_beads: int) -> np.ndarray:
    """Orthogonal (mode, bead), ordered by frequency: eigenvectors of the free ring."""
    spring = 2 * np.eye(n_beads) - np.roll(np.eye(n_beads), 1, 0) - np.roll(np.eye(n_beads), -1, 0)
    _, vectors = np.linalg.eigh(spring)
    vectors[:, 0] = 1 / np.sqrt(n_beads)
    return vectors.T


__all__ = [
    "MASSES",
    "HarmonicMonomer",
    "Monomer",
    "harmonic_kinetic",
    "harmonic_modes",
    "sample_molecules",
    "wavenumbers",
]
