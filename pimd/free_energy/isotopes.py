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

import math

import numpy as np

from pimd.analysis.estimators import spring_energies
from pimd.analysis.weights import log_mean_exp
from pimd.units import KB_EV_PER_KELVIN

__all__ = [
    "largest_variance", "one_of_several", "scaled_beads", "spring_energy", "thermodynamic_work",
]


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
    n_beads, d = q.shape[-2:]
    alone = q.reshape(-1, n_beads, 1, d)
    springs = spring_energies(alone, np.array([mass]), temperature)
    return n_beads * springs.reshape(q.shape[:-2])


def one_of_several(work: np.ndarray) -> np.ndarray:
    """Work whose exponential average is that of several substitutions, each alone, of a frame.

    zeta is the average over frames and over atoms that are alike; those of one frame are not
    independent of each other, the average over atoms of frame after frame is a series.

    Args:
        work: (n_samples, n_atoms) kT.

    Returns:
        (n_samples,) -log <exp(-w)> over the atoms.
    """
    found: np.ndarray = -log_mean_exp(-np.asarray(work, dtype=float), axis=1)
    return found


def largest_variance(n_beads: int, alpha: float, dimensions: int = 3) -> float:
    """Relative variance of a sample of the thermodynamic estimator, at most: of a free particle.

    (alpha/(2 alpha - 1)^(1/2))^(d (P-1)) - 1; a potential makes it less, for stiff modes by a good
    part. Infinite for alpha <= 1/2.
    """
    _checked(alpha)
    if alpha <= 0.5:
        return math.inf
    exponent = dimensions * (n_beads - 1) * math.log(alpha / math.sqrt(2.0 * alpha - 1.0))
    return math.expm1(exponent) if exponent < 700.0 else math.inf


def thermodynamic_work(
    springs: np.ndarray, n_beads: int, alpha: float, temperature: float, dimensions: int = 3
) -> np.ndarray:
    """w in kT, with zeta = <exp(-w)>: beta_P (alpha - 1) S - d (P - 1)/2 log(alpha).

    Args:
        springs: of `spring_energy`, eV, any shape.
        n_beads: P.
        alpha: m'/m.
        temperature: K.
        dimensions: d.
    """
    _checked(alpha)
    work = (alpha - 1.0) * np.asarray(springs, dtype=float)
    work /= n_beads * KB_EV_PER_KELVIN * temperature
    return work - 0.5 * dimensions * (n_beads - 1) * math.log(alpha)


def _checked(alpha: float) -> None:
    if not alpha > 0:
        raise ValueError(f"alpha is {alpha}, expected the ratio of two masses")
