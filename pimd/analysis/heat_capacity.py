"""Heat capacity of a ring polymer from fluctuations, by two estimators.

Let every path breathe about its centroid, q(l) = q_c + sqrt(l) (q - q_c), and let g(l) be the mean
of V over its beads. In these coordinates the springs do not depend on the temperature, so that

    eps  = dN/(2 beta) + g + g'                        <eps> = E = V + K_cv
    eps' = -dN/(2 beta^2) + (2 g' + g'')/beta
    C/k  = beta^2 [<eps^2> - <eps>^2 - <eps'>]                   all at l = 1, with d N coordinates

(T. M. Yamamoto, J. Chem. Phys. 123, 104101 (2005); the double virial of K. R. Glaesemann and L. E.
Fried, J. Chem. Phys. 117, 3020 (2002)). g' follows from the forces; g'' needs the potential at
l = 1 +- h, two more evaluations of a frame. Without them, from the derivative of <eps> with the
beads held in place of the scaled coordinates,

    C/k  = beta^2 [<eps e> - <eps><e>] + dN/2,         e = V + K_td,

from energies alone. Its noise, and its error from a finite time step, are those of K_td: they grow
with P. For P = 1 both are Var(V)/(kT)^2 + dN/2. At constant pressure, eps + pV and e + pV in place
of eps and e give C_p. Only a canonical ensemble fluctuates like this: no GLE, no PIGLET, no NVE.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pimd.analysis.statistics import TooFewSamples, bootstrap, inefficiency
from pimd.units import KB_EV_PER_KELVIN

__all__ = [
    "HeatCapacity",
    "breathing",
    "heat_capacity_mixed",
    "heat_capacity_scaled",
    "scaled_energy",
    "slopes_from_energies",
    "slopes_from_forces",
]

STEP = 1e-2
"""h; the error of g'' is h^2/6 of the next but one derivative, some 1e-5 of it."""
N_BOOTSTRAP = 200


@dataclass(frozen=True)
class HeatCapacity:
    """C/k of the whole system, and how well it is known.

    Attributes:
        value: C/k.
        error: standard error by a bootstrap over blocks; NaN where there are too few samples.
        fluctuation: beta^2 Var of the energy, the part that converges slowly.
        n_samples: frames.
        n_effective: those that are independent.
        warnings: what should make a reader careful, one line each.
        method: in words.
    """

    value: float
    error: float
    fluctuation: float
    n_samples: int
    n_effective: float
    warnings: tuple[str, ...] = ()
    method: str = ""


def breathing(positions: np.ndarray, factor: float) -> np.ndarray:
    """Beads with every path scaled by sqrt(factor) about its centroid.

    Args:
        positions: (n_frames, n_beads, n_atoms, d) Å, unwrapped.
        factor: l > 0, close to 1.
    """
    if not factor > 0:
        raise ValueError(f"factor is {factor}, expected a positive number")
    q = np.asarray(positions, dtype=float)
    centroids = q.mean(axis=1, keepdims=True)
    found: np.ndarray = centroids + math.sqrt(factor) * (q - centroids)
    return found


def slopes_from_energies(
    energies: np.ndarray, plus: np.ndarray, minus: np.ndarray, step: float = STEP
) -> tuple[np.ndarray, np.ndarray]:
    """g' and g'', (n_frames,), eV, by central differences.

    Args:
        energies, plus, minus: (n_frames, n_beads) eV at l = 1, 1 + step and 1 - step.
        step: h.
    """
    g, up, down = (np.asarray(e, dtype=float).mean(axis=1) for e in (energies, plus, minus))
    return (up - down) / (2 * step), (up - 2 * g + down) / step**2


def slopes_from_forces(
    positions: np.ndarray,
    forces: np.ndarray,
    plus: np.ndarray,
    minus: np.ndarray,
    step: float = STEP,
) -> tuple[np.ndarray, np.ndarray]:
    """g' and g'', (n_frames,), eV, g' from the forces and g'' from those at l = 1 +- step.

    With d = q - q_c, g'(l) = -<d F(l)>_b / (2 sqrt(l)). Better than differences of energies where
    those are large, or in single precision.

    Args:
        positions: (n_frames, n_beads, n_atoms, d) Å, unwrapped, at l = 1.
        forces, plus, minus: of the same shape, eV/Å, at l = 1, 1 + step and 1 - step.
        step: h.
    """
    q = np.asarray(positions, dtype=float)
    d = q - q.mean(axis=1, keepdims=True)

    def slope(f: np.ndarray, factor: float) -> np.ndarray:
        along = np.einsum("tbax,tbax->t", d, np.asarray(f, dtype=float))
        found: np.ndarray = -0.5 * along / (q.shape[1] * math.sqrt(factor))
        return found

    curvature = (slope(plus, 1 + step) - slope(minus, 1 - step)) / (2 * step)
    return slope(forces, 1.0), curvature


def scaled_energy(
    potential: np.ndarray,
    slope: np.ndarray,
    curvature: np.ndarray,
    n_coordinates: int,
    temperature: float,
) -> tuple[np.ndarray, np.ndarray]:
    """eps, eV, and eps', eV^2, of each frame.

    Args:
        potential: (n_frames,) eV, mean over the beads.
        slope, curvature: (n_frames,) g' and g'', eV.
        n_coordinates: d N: 3 for each atom, the centre of mass included.
        temperature: K.
    """
    kt = KB_EV_PER_KELVIN * temperature
    v, first, second = (np.asarray(x, dtype=float) for x in (potential, slope, curvature))
    energy = 0.5 * n_coordinates * kt + v + first
    return energy, kt * (2 * first + second) - 0.5 * n_coordinates * kt**2


def heat_capacity_scaled(
    energy: np.ndarray, derivative: np.ndarray, temperature: float, *, seed: int = 0
) -> HeatCapacity:
    """C/k by scaled coordinates, from eps and eps' (i-PI's `scaledcoords`).

    Args:
        energy: (n_frames,) eps, eV; eps + pV for C_p.
        derivative: (n_frames,) eps', eV^2.
        temperature: K.
        seed: of the bootstrap.

    Raises:
        ValueError: series that do not belong together.
    """
    beta = 1.0 / (KB_EV_PER_KELVIN * temperature)

    def found(eps: np.ndarray, slope: np.ndarray) -> np.ndarray:
        part = beta**2 * eps.var(ddof=1)
        return np.array([part - beta**2 * slope.mean(), part])

    return _with_error(found, energy, derivative, seed)


def heat_capacity_mixed(
    virial: np.ndarray,
    thermodynamic: np.ndarray,
    n_coordinates: int,
    temperature: float,
    *,
    seed: int = 0,
) -> HeatCapacity:
    """C/k from the covariance of two estimators of the energy.

    Args:
        virial: (n_frames,) V + K_cv, eV; + pV for C_p.
        thermodynamic: (n_frames,) V + K_td, eV; + pV for C_p.
        n_coordinates: d N.
        temperature: K.
        seed: of the bootstrap.

    Raises:
        ValueError: series that do not belong together.
    """
    beta = 1.0 / (KB_EV_PER_KELVIN * temperature)

    def found(eps: np.ndarray, total: np.ndarray) -> np.ndarray:
        part = beta**2 * np.cov(eps, total)[0, 1]
        return np.array([part + 0.5 * n_coordinates, part])

    return _with_error(found, virial, thermodynamic, seed)


def _with_error(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    first: np.ndarray,
    second: np.ndarray,
    seed: int,
) -> HeatCapacity:
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 3:
        raise ValueError(
            f"expected two series of at least 3 frames each, got {a.shape} and {b.shape}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("an energy is not finite")
    value, fluctuation = function(a, b)
    products = (a - a.mean()) * (b - b.mean())
    g = max(inefficiency(series) for series in (a, b, products))
    error, careful = math.nan, []
    try:
        drawn = bootstrap(function, a, b, block=2 * g, n=N_BOOTSTRAP, seed=seed)
        error = float(drawn[:, 0].std(ddof=1))
    except TooFewSamples as few:
        careful.append(str(few))
    if error > 0.1 * abs(value):
        careful.append(f"known to {100 * error / abs(value):.0f} % only: sample longer")
    return HeatCapacity(
        float(value), error, float(fluctuation), len(a), len(a) / g, tuple(careful)
    )
