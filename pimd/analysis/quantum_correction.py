"""From the spectrum of a classical or Kubo-transformed correlation function to the quantum one.

    S_q(omega) = Q(omega) S(omega),     x = hbar omega / kT

    kubo        x/(1 - exp(-x))     exact between the Kubo-transformed and the quantum function;
                                    with classical dynamics the "harmonic" correction, exact for
                                    linear observables of oscillators
    standard    2/(1 + exp(-x))     the classical function taken for the real part
    schofield   exp(x/2)            P. Schofield, Phys. Rev. Lett. 4, 239 (1960)
    none        1

All but `none` obey detailed balance, S_q(-omega) = exp(-x) S_q(omega); they differ in the
intensity of bands with hbar omega > kT, not in their positions. RPMD and TRPMD approximate the
Kubo-transformed function, for which only `kubo` is right; for classical dynamics it is the usual
choice (R. Ramírez, T. López-Ciudad, P. Kumar and D. Marx, J. Chem. Phys. 121, 3973 (2004)).
"""

from __future__ import annotations

import numpy as np

from pimd.units import HBAR_EV_FS, KB_EV_PER_KELVIN

__all__ = ["CORRECTIONS", "absorption_factor", "line_shape_factor", "reduced_energy"]

CORRECTIONS = ("kubo", "standard", "schofield", "none")


def reduced_energy(omega: np.ndarray, temperature: float) -> np.ndarray:
    """x = hbar omega/kT of angular frequencies, 1/fs.

    Raises:
        ValueError: no temperature.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature} K, expected a positive number")
    return HBAR_EV_FS * np.asarray(omega, dtype=float) / (KB_EV_PER_KELVIN * temperature)


def line_shape_factor(omega: np.ndarray, temperature: float, correction: str) -> np.ndarray:
    """Q(omega): what a spectrum is multiplied with.

    Args:
        omega: 1/fs, of either sign.
        temperature: K.
        correction: one of `CORRECTIONS`.

    Raises:
        ValueError: an unknown correction.
    """
    x = reduced_energy(omega, temperature)
    if correction == "kubo":
        safe = np.where(x == 0.0, 1.0, x)
        return np.where(x == 0.0, 1.0, safe / -np.expm1(-safe))
    if correction == "standard":
        return 2.0 / (1.0 + np.exp(-x))
    if correction == "schofield":
        return np.exp(0.5 * x)
    if correction == "none":
        return np.ones_like(x)
    raise ValueError(
        f"quantum correction is one of {', '.join(CORRECTIONS)}, got '{correction}'"
    )


def absorption_factor(omega: np.ndarray, temperature: float, correction: str) -> np.ndarray:
    """(1 - exp(-x)) Q(omega): absorption less stimulated emission; x itself for `kubo`."""
    x = reduced_energy(omega, temperature)
    if correction == "kubo":
        return x
    found: np.ndarray = -np.expm1(-x) * line_shape_factor(omega, temperature, correction)
    return found
