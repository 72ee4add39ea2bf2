"""Energies of beads in two potentials -> the work of going from one to the other, in kT.

    w = beta/P sum_b [U_1(q_b) - U_0(q_b)]

for a ring polymer of P beads at the temperature 1/(k beta): the mean over its beads, never one bead
alone, and never the sum. With P = 1 that is the classical beta (U_1 - U_0).
"""

from __future__ import annotations

import numpy as np

from pimd.units import KB_EV_PER_KELVIN

__all__ = ["reduced_work"]


def reduced_work(
    energies_from: np.ndarray, energies_to: np.ndarray, temperature: float
) -> np.ndarray:
    """Work of each sample, (n_samples,), in kT.

    Args:
        energies_from, energies_to: (n_samples, n_beads) eV of the same beads in the two
            potentials; or (n_samples,) for classical samples.
        temperature: K, of the quantum system (not P times as much).

    Raises:
        ValueError: shapes that do not belong together, no temperature, or an energy that is not
            finite.
    """
    first = np.asarray(energies_from, dtype=float)
    last = np.asarray(energies_to, dtype=float)
    if first.shape != last.shape or first.ndim not in (1, 2) or not first.size:
        raise ValueError(
            "expected the energies of the same beads in both potentials, (n_samples, n_beads), "
            f"got {first.shape} and {last.shape}"
        )
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature} K, expected a positive number")
    difference = last - first
    if not np.isfinite(difference).all():
        raise ValueError("an energy is not finite")
    if difference.ndim == 2:
        difference = difference.mean(axis=1)
    work: np.ndarray = difference / (KB_EV_PER_KELVIN * temperature)
    return work
