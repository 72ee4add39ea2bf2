"""Exact references for path-integral sampling; NumPy only, nothing of the package.

Every closed form here has a second way to the same number in `test_references.py`: normal-mode
sums for the closed forms, the covariance of the integrator's own linear map for the time-step
errors, Gauss-Hermite integrals for the grid. Symbols: P beads, beta = 1/kT, hbar = 1 unless
given, x = beta hbar Omega, omega_P = P/(beta hbar).

References: D. Chandler and P. G. Wolynes, J. Chem. Phys. 74, 4078 (1981) (ring polymers);
D. Thirumalai, E. J. Bruskin and B. J. Berne, J. Chem. Phys. 79, 5063 (1983) (matrix powers);
M. Ceriotti et al., J. Chem. Phys. 133, 124104 (2010) (PILE, ring propagation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

HARTREE_MEV = 27211.386245988
BOHR_ANGSTROM = 0.529177210903
DALTON_ELECTRON_MASS = 1822.888486209
KB_HARTREE = 3.1668115634556e-6
ATOMIC_TIME_FS = 0.024188843265857
HARTREE_WAVENUMBER = 219474.6313632
"""One hartree as hc times this many cm^-1."""


# --- harmonic oscillator, P beads, no time-step error -------------------------------------------


@dataclass(frozen=True)
class Oscillator:
    """Averages of one harmonic degree of freedom, in units of hbar Omega, k and hbar/(m Omega).

    Attributes:
        energy: <E>/(hbar Omega); potential and kinetic energy are half of it each.
        heat_capacity: C/k.
        gyration: mean square radius of gyration of the ring in one direction.
        free_energy: beta F.
        free_energy_excess: beta (F - F_classical).
    """

    energy: float
    heat_capacity: float
    gyration: float
    free_energy: float
    free_energy_excess: float


def oscillator(x: float, n_beads: float) -> Oscillator:
    """Harmonic oscillator with P beads (primitive Trotter), or exactly for P = inf.

    eta = 2 asinh(x/2P), E = (1/2) coth(P eta/2) / cosh(eta/2), <q^2> = E,
    Rg^2 = E - 1/x, beta F = P eta/2 + ln(1 - exp(-P eta)), beta F_classical = ln x.
    """
    if np.isinf(n_beads):
        energy = 0.5 / np.tanh(x / 2)
        heat = (x / 2) ** 2 / np.sinh(x / 2) ** 2
        free = x / 2 + np.log1p(-np.exp(-x))
    else:
        eta = 2 * np.arcsinh(x / (2 * n_beads))
        half = n_beads * eta / 2
        cosh = np.cosh(eta / 2)
        energy = 0.5 / np.tanh(half) / cosh
        curvature = n_beads / (2 * np.sinh(half) ** 2 * cosh)
        curvature += np.tanh(eta / 2) / (2 * np.tanh(half) * cosh)
        heat = x**2 / (2 * n_beads * cosh) * curvature
        free = half + np.log1p(-np.exp(-2 * half))
    return Oscillator(energy, heat, energy - 1 / x, free, free - np.log(x))


# --- harmonic oscillator, P beads, finite time step ---------------------------------------------


def ring_frequencies(n_beads: int, beta: float) -> np.ndarray:
    """omega_k = 2 omega_P sin(k pi/P) of the free ring, k = 0..P-1, hbar = 1."""
    k = np.arange(n_beads)
    return 2 * n_beads / beta * np.sin(k * np.pi / n_beads)


@dataclass(frozen=True)
class Averages:
    """Stationary averages of one harmonic degree of freedom sampled with a time step.

    Attributes:
        potential, kinetic_cv, kinetic_td: energies (centroid-virial, thermodynamic estimator).
        temperature: kinetic temperature of all modes over P times the target temperature.
    """

    potential: float
    kinetic_cv: float
    kinetic_td: float
    temperature: float


def sampled_oscillator(
    n_beads: int, beta: float, frequency: float, time_step: float, scheme: str
) -> Averages:
    """What a P-bead harmonic oscillator (m = hbar = 1) averages to under a splitting.

    For mode k, with T_P = P T and the ring propagated exactly:
        obabo: <q_k^2> = kT_P / [w_k^2 + W^2 (w_k h) cot(w_k h) - h^2 W^4/4],  <p_k^2> = kT_P
        baoab: <q_k^2> = kT_P / [w_k^2 + W^2 (w_k h/2) cot(w_k h/2)],
               <p_k^2> = kT_P [1 - (h^2 W^2/4) tan(w_k h/2)/(w_k h/2)]
    with W the physical frequency and h the time step; h = 0 gives the canonical averages.
    V = W^2 sum_k <q_k^2>/2P, K_cv = 1/2beta + W^2 sum_{k>0} <q_k^2>/2P,
    K_td = P/2beta - sum_k w_k^2 <q_k^2>/2P.
    """
    w = ring_frequencies(n_beads, beta)
    w2 = frequency**2
    kt_ring = n_beads / beta

    def cot(angle: np.ndarray) -> np.ndarray:  # angle * cot(angle), 1 at 0
        return np.divide(angle, np.tan(angle), out=np.ones_like(angle), where=angle > 0)

    if time_step == 0:
        q2 = kt_ring / (w**2 + w2)
        p2 = np.full(n_beads, kt_ring)
    elif scheme == "obabo":
        q2 = kt_ring / (w**2 + w2 * cot(w * time_step) - time_step**2 * w2**2 / 4)
        p2 = np.full(n_beads, kt_ring)
    elif scheme == "baoab":
        q2 = kt_ring / (w**2 + w2 * cot(w * time_step / 2))
        # p is canonical in the middle of the step, after O; A(h/2) and B(h/2) cool it
        p2 = kt_ring * (1 - time_step**2 * w2 / 4 / cot(w * time_step / 2))
    else:
        raise ValueError(f"scheme must be obabo or baoab, got {scheme}")
    potential = w2 * q2.sum() / (2 * n_beads)
    kinetic_cv = 1 / (2 * beta) + w2 * q2[1:].sum() / (2 * n_beads)
    kinetic_td = n_beads / (2 * beta) - (w**2 * q2).sum() / (2 * n_beads)
    return Averages(potential, kinetic_cv, kinetic_td, p2.mean() / kt_ring)


# --- free ring polymers, ideal gas --------------------------------------------------------------


def free_gyration(n_beads: int, beta: float, mass: float, hbar: float = 1.0) -> float:
    """Rg^2 of a free ring in one direction: beta hbar^2/(12 m) (1 - 1/P^2)."""
    return beta * hbar**2 / (12 * mass) * (1 - 1 / n_beads**2)


def ideal_gas_volume(n_atoms: int, kt: float, pressure: float, fixed_com: bool) -> tuple:
    """Mean and variance of V at constant pressure with the measure dV.

    p(V) ~ V^n exp(-pV/kT), n = N (N - 1 with the centre of mass fixed), a gamma law:
    <V> = (n + 1) kT/p, Var V = (n + 1) (kT/p)^2.
    """
    shape = n_atoms if fixed_com else n_atoms + 1
    return shape * kt / pressure, shape * (kt / pressure) ** 2


# --- any potential in one dimension, P beads ----------------------------------------------------


@dataclass(frozen=True)
class Bead1D:
    """Averages of a one-dimensional P-bead system, in the units of its input.

    Attributes:
        energy: <E> = -d ln Z/d beta (thermodynamic).
        potential, kinetic: <V> and <E> - <V>.
        mean, mean_square: <q> and <q^2>.
        free_energy_excess: A - A_classical.
    """

    energy: float
    potential: float
    kinetic: float
    mean: float
    mean_square: float
    free_energy_excess: float


def matrix_powers(
    potential: Callable[[np.ndarray], np.ndarray],
    mass: float,
    beta: float,
    n_beads: int,
    grid: np.ndarray,
) -> Bead1D:
    """P-bead averages from the P-th power of the short-time density matrix on a grid, hbar = 1.

    rho(x, y) = sqrt(m/2 pi b) exp(-b V(x)/2 - m (x-y)^2/2b - b V(y)/2),  b = beta/P,
    Z_P = trace (rho dx)^P. Averages of functions of q from the diagonal; the energy as
    -d ln Z_P/d beta by a symmetric difference. The grid must be finer than the bead spacing
    sqrt(b/m) and reach to where the density has vanished.
    """
    values = potential(grid)
    spacing = grid[1] - grid[0]
    distance2 = (grid[:, None] - grid) ** 2

    def log_partition(beta: float) -> tuple[float, np.ndarray]:
        b = beta / n_beads
        if spacing > 0.5 * np.sqrt(b / mass):
            raise ValueError(f"grid spacing {spacing} does not resolve sqrt(b/m)")
        boltzmann = np.exp(-0.5 * b * values)
        kernel = np.sqrt(mass / (2 * np.pi * b)) * np.exp(-mass * distance2 / (2 * b)) * spacing
        levels, vectors = np.linalg.eigh(boltzmann[:, None] * kernel * boltzmann)
        logs = np.log(np.clip(levels, 1e-300, None))
        weights = np.exp(n_beads * (logs - logs.max()))
        density = (vectors**2 * weights).sum(axis=1) / weights.sum()
        return float(np.log(weights.sum()) + n_beads * logs.max()), density

    log_z, density = log_partition(beta)
    if max(density[0], density[-1]) > 1e-12 * density.max():
        raise ValueError("the density does not vanish at the ends of the grid")
    step = 1e-4 * beta
    energy = -(log_partition(beta + step)[0] - log_partition(beta - step)[0]) / (2 * step)
    classical = np.log(np.sqrt(mass / (2 * np.pi * beta)) * np.exp(-beta * values).sum() * spacing)
    mean_potential = float(density @ values)
    return Bead1D(
        energy,
        mean_potential,
        energy - mean_potential,
        float(density @ grid),
        float(density @ grid**2),
        float(classical - log_z) / beta,
    )
