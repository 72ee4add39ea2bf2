"""Momentum widths of oscillators against exact values at finite P, and of free particles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from oscillator_rings import KT, TEMPERATURE, oscillators

from pimd.analysis.estimators import kinetic_tensors
from pimd.analysis.momentum import classical_width, momentum_density, momentum_width
from pimd.units import AMU_ANGSTROM2_PER_FS2_EV, HBAR_EV_FS

MASS = 1.00794


@pytest.mark.parametrize(("n_beads", "energy"), [(1, 0.2), (8, 0.48424396), (32, 0.50527874)])
def test_width_of_an_oscillator(n_beads: int, energy: float) -> None:
    """x = 5: <p^2> = m E, E in units of hbar omega; P = 1 is classical."""
    q, k = oscillators(5.0, n_beads, 4000, MASS, seed=n_beads)
    tensors = kinetic_tensors(q, -k * q, TEMPERATURE)[:, 0]
    found = momentum_width("H", MASS, tensors, TEMPERATURE)
    exact = math.sqrt(MASS * AMU_ANGSTROM2_PER_FS2_EV * energy * 5.0 * KT) / HBAR_EV_FS
    assert found.error <= 0.004 * exact
    assert abs(found.width - exact) <= 4 * found.error + 1e-12
    assert (np.abs(found.directions - exact) <= 4.5 * found.direction_errors + 1e-12).all()
    assert found.classical == pytest.approx(exact * math.sqrt(0.2 / energy))
    trace = momentum_width("H", MASS, np.trace(tensors, axis1=1, axis2=2), TEMPERATURE)
    assert trace.width == pytest.approx(found.width)
    assert np.isnan(trace.directions).all()


def test_proton_of_150_mev() -> None:
    """The scale of a proton in water: 4.9 inverse angstrom; classically 2.5 at 300 K."""
    found = momentum_width("H", MASS, np.full(10, 0.150), TEMPERATURE)
    rest = MASS * 931.49410242e6  # m c^2, eV; hbar c = 1973.2698 eV Å
    assert found.width == pytest.approx(math.sqrt(2 / 3 * rest * 0.150) / 1973.2698)
    assert classical_width(MASS, TEMPERATURE) == pytest.approx(math.sqrt(rest * KT) / 1973.2698)


def test_density_has_its_moments() -> None:
    p = np.linspace(0.0, 60.0, 20_001)
    n = momentum_density(p, 4.9)
    assert np.trapezoid(n, p) == pytest.approx(1.0)
    assert np.trapezoid(n * p**2, p) == pytest.approx(3 * 4.9**2)


def test_a_negative_kinetic_energy_is_refused() -> None:
    with pytest.raises(ValueError, match="unwrapped"):
        momentum_width("H", MASS, np.array([-0.1, 0.05]), TEMPERATURE)
