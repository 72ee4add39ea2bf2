"""Widths of the momentum distributions of nuclei, as neutron Compton scattering sees them.

    sigma_x^2 = <p_x^2> = 2 m K_xx,     sigma^2 = 2 m K/3,     p in hbar/Å

K: kinetic energy of a nucleus by the centroid-virial estimator. Of the distribution itself, closed
paths give this second moment only; in a liquid, where it is averaged over all orientations, it is
close to a Gaussian of this width (G. Reiter and R. Silver, Phys. Rev. Lett. 54, 1047 (1985)).
Classically sigma^2 = m kT. The velocities of the beads are not those of the nuclei and say nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pimd.analysis.statistics import Average, average
from pimd.units import AMU_ANGSTROM2_PER_FS2_EV, HBAR_EV_FS, KB_EV_PER_KELVIN

__all__ = ["MomentumWidth", "classical_width", "momentum_density", "momentum_width"]


@dataclass(frozen=True)
class MomentumWidth:
    """Width of the momentum distribution of one kind of nucleus.

    Attributes:
        symbol: of the element.
        mass: amu.
        width: sigma, Å^-1, the mean over directions.
        error: of it.
        directions: (3,) sigma along x, y, z; NaN where only the trace is known.
        direction_errors: (3,).
        kinetic: K of one nucleus, eV, and its statistics.
        classical: sqrt(m kT), Å^-1.
    """

    symbol: str
    mass: float
    width: float
    error: float
    directions: np.ndarray
    direction_errors: np.ndarray
    kinetic: Average
    classical: float


def momentum_width(
    symbol: str, mass: float, kinetic: np.ndarray, temperature: float
) -> MomentumWidth:
    """The width of one kind of nucleus.

    Args:
        symbol: of it.
        mass: amu.
        kinetic: eV, of one nucleus: (n_frames, 3, 3) tensors, averaged over the nuclei of this
            kind, or (n_frames,) their traces.
        temperature: K.

    Raises:
        ValueError: a mean kinetic energy that is not positive.
    """
    k = np.asarray(kinetic, dtype=float)
    trace = average(k if k.ndim == 1 else np.trace(k, axis1=1, axis2=2), start=0)
    width, error = _root(mass, trace, 3.0)
    directions, errors = np.full(3, math.nan), np.full(3, math.nan)
    if k.ndim == 3:
        found = [_root(mass, average(k[:, x, x], start=0), 1.0) for x in range(3)]
        directions, errors = (np.array(values) for values in zip(*found, strict=True))
    return MomentumWidth(
        symbol, mass, width, error, directions, errors, trace, classical_width(mass, temperature)
    )


def classical_width(mass: float, temperature: float) -> float:
    """sqrt(m kT), Å^-1."""
    kt = KB_EV_PER_KELVIN * temperature
    return math.sqrt(mass * AMU_ANGSTROM2_PER_FS2_EV * kt) / HBAR_EV_FS


def momentum_density(p: np.ndarray, width: float) -> np.ndarray:
    """4 pi p^2 n(p) of an isotropic Gaussian, Å; integrates to 1 over p >= 0."""
    x = np.asarray(p, dtype=float) / width
    found: np.ndarray = math.sqrt(2.0 / math.pi) * x**2 * np.exp(-0.5 * x**2) / width
    return found


def _root(mass: float, kinetic: Average, directions: float) -> tuple[float, float]:
    """sqrt(2 m K/directions)/hbar and its error."""
    if not kinetic.mean > 0:
        raise ValueError(
            f"a mean kinetic energy of {kinetic.mean:.3g} eV has no width: are positions unwrapped "
            "and forces those of the potential?"
        )
    scale = 2.0 * mass * AMU_ANGSTROM2_PER_FS2_EV / directions / HBAR_EV_FS**2
    width = math.sqrt(scale * kinetic.mean)
    return width, 0.5 * width * kinetic.error / kinetic.mean
