"""Exact samples of the beads of a harmonic oscillator."""

from __future__ import annotations

import numpy as np

from pimd.dynamics.ring_polymer import mode_frequencies, mode_matrix


def oscillator_beads(
    n_beads: int, n: int, seed: int, *, kt: float, mass: float, omega: float, hbar: float
) -> np.ndarray:
    """(n, n_beads) positions from exp(-H_P/P kT), in units that fit each other."""
    ring = mode_frequencies(n_beads, kt, hbar)
    width = np.sqrt(n_beads * kt / (mass * (ring**2 + omega**2)))  # [mode]
    modes = np.random.default_rng(seed).normal(size=(n, n_beads)) * width
    return modes @ mode_matrix(n_beads)
