"""Isotope fractionation from the beads of one isotope, by substituting one atom.

    zeta = [Q(alpha m)/Q(m)] alpha^(-d/2),   alpha = m'/m,  d = 3: the classical factor is left out

Two estimators (B. Cheng and M. Ceriotti, J. Chem. Phys. 141, 244112 (2014)), both exponential
averages over stored beads of P:

    scaled coordinates   zeta = <exp(-beta_P sum_b [V(q'_b) - V(q_b)])>,
                         q' = q_c + (q - q_c)/sqrt(alpha) for the one atom
    thermodynamic        zeta = alpha^(d (P-1)/2) <exp(-beta_P (alpha - 1) S)>,
                         S = m omega_P^2/2 sum_b |q_b - q_(b+1)|^2

The variance of the second grows exponentially with P and is infinite for alpha <= 1/2 (D -> H is
0.5004): it is for heavy atoms. The first needs the potential once more, at the scaled beads.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from pimd.free_energy.perturbation import OneSided, one_sided
from pimd.units import AMU_ANGSTROM2_PER_FS2_EV, HBAR_EV_FS, KB_EV_PER_KELVIN

__all__ = ["scaled_beads", "spring_energy", "zeta_scaled", "zeta_thermodynamic"]

NARROW = 2.0
"""alpha or 1/alpha beyond which the thermodynamic estimator is not to be trusted."""


def scaled_beads(positions: np.ndarray, atom: int, alpha: float) -> np.ndarray:
    """Beads with one atom's path drawn together (alpha > 1) or apart about its centroid.

    Args:
        positions: (..., n_beads, n_atoms, d); unwrapped, so that a path is whole.
        atom: whose mass becomes alpha times as much.
        alpha: > 0.

    Returns:
        A copy.
    """
    _checked(alpha)
    scaled = np.array(positions, dtype=float)
    path = scaled[..., :, atom, :]
    centroid = path.mean(axis=-2, keepdims=True)
    scaled[..., :, atom, :] = centroid + (path - centroid) / math.sqrt(alpha)
    return scaled


def spring_energy(path: np.ndarray, mass: float, temperature: float) -> np.ndarray:
    """S of one atom, eV: the springs of the whole ring, not divided by P.

    Args:
        path: (..., n_beads, d) Å, unwrapped.
        mass: amu, of the isotope that was simulated.
        temperature: K.
    """
    q = np.asarray(path, dtype=float)
    omega = q.shape[-2] * KB_EV_PER_KELVIN * temperature / HBAR_EV_FS  # omega_P, 1/fs
    steps = q - np.roll(q, -1, axis=-2)
    constant = 0.5 * mass * AMU_ANGSTROM2_PER_FS2_EV * omega**2
    found: np.ndarray = constant * np.square(steps).sum(axis=(-2, -1))
    return found


def zeta_scaled(work: np.ndarray) -> OneSided:
    """-log zeta by scaled coordinates, as a free-energy difference in kT.

    Args:
        work: (n_samples,) beta/P sum_b [V(q'_b) - V(q_b)], as `reduced_work` gives it.

    Raises:
        NoOverlap: it would rest on a few samples.
    """
    return one_sided(work)


def zeta_thermodynamic(
    springs: np.ndarray, n_beads: int, alpha: float, temperature: float, dimensions: int = 3
) -> OneSided:
    """-log zeta by the thermodynamic estimator, as a free-energy difference in kT.

    Args:
        springs: (n_samples,) of `spring_energy`, eV.
        n_beads: P.
        alpha: m'/m.
        temperature: K.
        dimensions: d.

    Raises:
        ValueError: alpha <= 1/2, where the variance is infinite.
        NoOverlap: it would rest on a few samples.
    """
    _checked(alpha)
    if alpha <= 0.5:
        raise ValueError(
            f"the thermodynamic estimator has infinite variance at alpha = {alpha:g} (at most "
            "1/2): use scaled coordinates"
        )
    work = (alpha - 1.0) * np.asarray(springs, dtype=float)
    work /= n_beads * KB_EV_PER_KELVIN * temperature
    found = one_sided(work)
    shift = 0.5 * dimensions * (n_beads - 1) * math.log(alpha)
    careful = found.warnings
    if not 1 / NARROW < alpha < NARROW:
        careful += (
            f"the thermodynamic estimator at alpha = {alpha:g}: its variance grows exponentially "
            "with the number of beads; compare with scaled coordinates",
        )
    return dataclasses.replace(
        found, difference=found.difference - shift, cumulant=found.cumulant - shift,
        warnings=careful,
    )


def _checked(alpha: float) -> None:
    if not alpha > 0:
        raise ValueError(f"alpha is {alpha}, expected the ratio of two masses")
