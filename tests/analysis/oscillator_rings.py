"""Exact samples of three-dimensional oscillators' beads, in Å, amu and K."""

from __future__ import annotations

import numpy as np

from pimd.dynamics.ring_polymer import mode_frequencies, mode_matrix
from pimd.units import AMU_ANGSTROM2_PER_FS2_EV, HBAR_EV_FS, KB_EV_PER_KELVIN

TEMPERATURE = 300.0
KT = KB_EV_PER_KELVIN * TEMPERATURE


def oscillators(
    x: float, n_beads: int, n: int, mass: float, seed: int, temperature: float = TEMPERATURE
) -> tuple[np.ndarray, float]:
    """(n, n_beads, 1 atom, 3) Å from the exact distribution, and the force constant, eV/Å^2.

    x = beta hbar omega at 300 K, whatever the temperature.
    """
    kt = KB_EV_PER_KELVIN * temperature
    m, omega = mass * AMU_ANGSTROM2_PER_FS2_EV, x * KT / HBAR_EV_FS
    ring = mode_frequencies(n_beads, kt, HBAR_EV_FS)
    width = np.sqrt(n_beads * kt / (m * (ring**2 + omega**2)))  # [mode]
    modes = np.random.default_rng(seed).normal(size=(n, n_beads, 3)) * width[:, None]
    q = np.einsum("kb,tkx->tbx", mode_matrix(n_beads), modes)[:, :, None]
    return q, m * omega**2
