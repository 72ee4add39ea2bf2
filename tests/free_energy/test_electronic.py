"""Electrons at a temperature: bands and levels whose free energies are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pimd.free_energy.electronic import electrons_of_dos, electrons_of_levels
from pimd.units import KB_EV_PER_KELVIN

HOT = 0.1 / KB_EV_PER_KELVIN  # kT = 0.1 eV


def free_electrons(n: int = 60_001) -> tuple[np.ndarray, np.ndarray]:
    """One electron, E_F = 5 eV, g = 1.5 N E_F^-1.5 sqrt(e), on a grid that is dense at 0."""
    e = 60.0 * np.linspace(0.0, 1.0, n) ** 2
    return e, 1.5 * 5.0**-1.5 * np.sqrt(e)


@pytest.mark.parametrize("points", [2, 7, 4001])
def test_a_constant_band(points: int) -> None:
    """A = -pi^2/6 g (kT)^2, E = -A, TS = pi^2/3 g (kT)^2, on any grid."""
    e = np.linspace(-6.0, 6.0, points)
    found = electrons_of_dos(e, np.ones(points), 6.0, HOT)
    assert found.free_energy == pytest.approx(-0.01644934, abs=1e-8)
    assert found.energy == pytest.approx(0.01644934, abs=1e-8)
    assert found.entropy_term == pytest.approx(0.03289868, abs=1e-8)
    assert found.chemical_potential == pytest.approx(0.0, abs=1e-12)
    assert found.fermi_level == pytest.approx(0.0, abs=1e-12)


def test_free_electrons() -> None:
    e, g = free_electrons()
    hot = electrons_of_dos(e, g, 1.0, 10_000.0)
    assert hot.chemical_potential == pytest.approx(4.871000, abs=1e-6)
    assert hot.energy == pytest.approx(0.34708199, abs=1e-6)
    assert hot.entropy_term == pytest.approx(0.70746992, abs=1e-6)
    assert hot.free_energy == pytest.approx(-0.36038793, abs=1e-6)
    hotter = electrons_of_dos(e, g, 1.0, 20_000.0)
    assert hotter.chemical_potential == pytest.approx(4.421794, abs=1e-6)
    assert hotter.free_energy == pytest.approx(-1.36438149, abs=1e-6)
    assert electrons_of_dos(e, g, 1.0, 5000.0).free_energy == pytest.approx(-0.09126775, abs=1e-6)


def test_two_levels() -> None:
    """A = -4 kT log(1 + exp(-D/2kT)) for two electrons in two levels D apart, two states each."""
    found = electrons_of_levels(np.array([1.0, 0.0]), np.array([2.0, 2.0]), 2.0, HOT)
    assert found.free_energy == pytest.approx(-4 * 0.1 * math.log1p(math.exp(-5.0)), abs=1e-15)
    assert found.free_energy == pytest.approx(-0.00268613940, abs=1e-11)
    assert found.fermi_level == found.chemical_potential == pytest.approx(0.5)


def test_entropy_is_the_slope_and_energy_the_sum() -> None:
    e, g = free_electrons(6001)
    for temperature in (300.0, 10_000.0):
        h = 1e-3 * temperature
        low, high = (electrons_of_dos(e, g, 1.0, temperature + s * h) for s in (-1, 1))
        found = electrons_of_dos(e, g, 1.0, temperature)
        slope = (high.free_energy - low.free_energy) / (2 * h)
        assert -temperature * slope == pytest.approx(found.entropy_term, rel=1e-5)
        assert found.energy == pytest.approx(found.free_energy + found.entropy_term, abs=1e-15)


def test_a_change_of_the_density_of_states_needs_no_change_of_mu() -> None:
    """dA = -kT int dg log(1 + exp(-(e - mu)/kT)) at fixed N, against finite differences."""
    e = np.linspace(-5.0, 15.0, 20_001)
    g = 1.0 + 0.3 * np.sin(e)
    bump = np.exp(-((e - 1.0) ** 2))
    n, kt = 6.0, 0.1
    h = 1e-4
    # A(0) changes too: compare A(T) - A(0) with the same expression for both
    low, high = (electrons_of_dos(e, g + s * h * bump, n, HOT) for s in (-1, 1))
    found = electrons_of_dos(e, g, n, HOT)
    x = (e - found.chemical_potential) / kt
    hot = -kt * np.trapezoid(bump * np.logaddexp(0.0, -x), e)
    cold = np.trapezoid(bump * np.minimum(e - found.fermi_level, 0.0), e)
    slope = (high.free_energy - low.free_energy) / (2 * h)
    assert slope == pytest.approx(hot - cold, rel=1e-5)


def test_a_gap_has_its_fermi_level_in_the_middle_and_hardly_any_free_energy() -> None:
    e = np.array([-3.0, -2.0, -1.0, -1.0 + 1e-9, 1.0 - 1e-9, 1.0, 2.0, 3.0, 3.0 + 1e-9, 9.0])
    g = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    found = electrons_of_dos(e, g, 2.0 + 0.5e-9, HOT)  # with what the edge of the band holds
    assert found.fermi_level == pytest.approx(0.0, abs=1e-6)
    assert found.chemical_potential == pytest.approx(0.0, abs=1e-6)
    # two bands of one state per eV, 1 eV from mu: A = -2 kT^2 int_10^30 log(1 + exp(-x)) dx
    x = np.linspace(10.0, 30.0, 200_001)
    exact = -2 * 0.01 * np.trapezoid(np.log1p(np.exp(-x)), x)
    assert found.free_energy == pytest.approx(exact, rel=1e-6)


def test_cold_electrons_have_no_free_energy() -> None:
    e, g = free_electrons(6001)
    found = electrons_of_dos(e, g, 1.0, 1.0)
    exact = -(math.pi**2) / 6 * 1.5 / 5.0 * KB_EV_PER_KELVIN**2  # Sommerfeld, g(E_F) = 1.5/E_F
    assert found.free_energy == pytest.approx(exact, abs=1e-13)
    assert found.free_energy < 0 < found.entropy_term


@pytest.mark.parametrize(
    ("energies", "dos", "n", "temperature", "match"),
    [
        ([0.0, 1.0], [1.0, 1.0], 2.0, 300.0, "holds 1 electrons"),
        ([0.0, 1.0], [1.0, 1.0], 0.0, 300.0, "holds 1 electrons"),
        ([1.0, 0.0], [1.0, 1.0], 0.5, 300.0, "ascending"),
        ([0.0, 1.0], [1.0], 0.5, 300.0, "ascending"),
        ([0.0, 1.0], [1.0, -1.0], 0.1, 300.0, "negative"),
        ([0.0, 1.0], [1.0, math.nan], 0.1, 300.0, "negative or not finite"),
        ([0.0, 1.0], [1.0, 1.0], 0.5, -1.0, "temperature"),
        ([0.0, 1.0], [1.0, 1.0], 0.5, 3000.0, "extend the grid"),
    ],
)
def test_what_cannot_be_is_refused(
    energies: list[float], dos: list[float], n: float, temperature: float, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        electrons_of_dos(np.array(energies), np.array(dos), n, temperature)


def test_levels_that_cannot_hold_the_electrons_are_refused() -> None:
    with pytest.raises(ValueError, match="4 states"):
        electrons_of_levels(np.array([0.0, 1.0]), np.array([2.0, 2.0]), 4.0, 300.0)
    with pytest.raises(ValueError, match="degeneracies"):
        electrons_of_levels(np.array([0.0, 1.0]), np.array([2.0]), 1.0, 300.0)
