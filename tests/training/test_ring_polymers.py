"""The dynamics that samples the structures of inputs/water_committee."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from labelled import ring_polymers

from pimd.potentials.harmonic import Harmonic
from pimd.structure import Structure
from pimd.units import KB_EV_PER_KELVIN

WAVENUMBER, TEMPERATURE = 2000.0, 300.0
HBAR = 0.6582119569509066  # eV fs


MODULE = ring_polymers()


@pytest.mark.parametrize("n_beads", [1, 2, 5, 8])
def test_normal_modes(n_beads: int) -> None:
    """An orthogonal matrix that makes the springs of a ring diagonal."""
    modes, frequencies = MODULE.normal_modes(n_beads, TEMPERATURE)
    one = torch.eye(n_beads, dtype=torch.float64)
    assert torch.allclose(modes @ modes.T, one, atol=1e-12)
    springs = 2 * one - one.roll(1, 0) - one.roll(-1, 0)
    omega = n_beads * KB_EV_PER_KELVIN * TEMPERATURE / HBAR
    diagonal = torch.diag(frequencies**2)
    assert torch.allclose(modes @ springs @ modes.T * omega**2, diagonal, atol=1e-12)


@pytest.mark.parametrize("n_beads", [1, 8])
def test_samples_harmonic_rings(n_beads: int) -> None:
    """<V> of 900 oscillators against 1/2P sum_k W² kT_P / (w_k² + W²), w_k those of the ring."""
    mass = MODULE.MASSES[1]
    atoms = Structure(np.ones(300, dtype=int), np.zeros((300, 3)))
    potential = Harmonic(wavenumber=WAVENUMBER, masses=mass)
    system = MODULE.RingPolymers(potential, [atoms], TEMPERATURE, n_beads, 0.3, 5, tau=20.0)
    omega = 2 * np.pi * 2.99792458e-5 * WAVENUMBER  # rad/fs
    k = mass * MODULE.AMU * omega**2  # eV/Å²
    system.run(200)
    found = []
    for _ in range(40):
        system.run(15)
        found.append(0.5 * k * float(system.x.square().sum(-1).mean()))
    kt = KB_EV_PER_KELVIN * TEMPERATURE
    w = 2 * n_beads * kt / HBAR * np.sin(np.pi * np.arange(n_beads) / n_beads)
    exact = 3 * 0.5 * kt * np.sum(omega**2 / (w**2 + omega**2))
    assert np.mean(found) == pytest.approx(exact, rel=0.03)
