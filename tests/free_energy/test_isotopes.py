"""Isotope estimators on exact samples of an oscillator's beads, against exact values at P beads."""

from __future__ import annotations

import math

import numpy as np
import pytest
from oscillator_beads import oscillator_beads

from pimd.analysis.work import reduced_work
from pimd.free_energy.isotopes import scaled_beads, spring_energy, thermodynamic_work
from pimd.free_energy.perturbation import NoOverlap, one_sided
from pimd.units import AMU_ANGSTROM2_PER_FS2_EV, HBAR_EV_FS, KB_EV_PER_KELVIN

X, TEMPERATURE, MASS = 5.0, 300.0, 2.0
"""beta hbar omega, K, amu."""
KT = KB_EV_PER_KELVIN * TEMPERATURE
OMEGA = X * KT / HBAR_EV_FS  # 1/fs
SPRING = MASS * AMU_ANGSTROM2_PER_FS2_EV * OMEGA**2  # eV/Å^2


def beads(n_beads: int, n: int, seed: int) -> np.ndarray:
    """(n, n_beads, 1 atom, 1 direction) Å, from the exact distribution of P beads."""
    q = oscillator_beads(
        n_beads, n, seed, kt=KT, mass=MASS * AMU_ANGSTROM2_PER_FS2_EV, omega=OMEGA, hbar=HBAR_EV_FS
    )
    return q[:, :, None, None]


def potential(q: np.ndarray) -> np.ndarray:
    """(n, n_beads) eV."""
    return 0.5 * SPRING * np.square(q[..., 0, 0])


def scaled(q: np.ndarray, alpha: float) -> np.ndarray:
    return reduced_work(potential(q), potential(scaled_beads(q, 0, alpha)), TEMPERATURE)


@pytest.mark.parametrize(
    ("n_beads", "alpha", "exact"),
    [(4, 2.0, 1.38158984), (16, 2.0, 1.49491175), (16, 0.5, 0.50820794), (32, 0.5, 0.50143767)],
)
def test_scaled_coordinates(n_beads: int, alpha: float, exact: float) -> None:
    found = one_sided(scaled(beads(n_beads, 60_000, n_beads), alpha))
    assert abs(-found.difference - math.log(exact)) < 4 * found.error
    assert found.error < 2e-3
    assert not found.warnings


@pytest.mark.parametrize(("n_beads", "exact"), [(4, 1.38158984), (8, 1.46794230)])
def test_thermodynamic(n_beads: int, exact: float) -> None:
    q = beads(n_beads, 100_000, 3)
    springs = spring_energy(q[:, :, 0, :], MASS, TEMPERATURE)
    found = one_sided(thermodynamic_work(springs, n_beads, 2.0, TEMPERATURE, dimensions=1))
    assert abs(-found.difference - math.log(exact)) < 4 * found.error
    assert found.error < 6e-3


def test_their_variances_are_what_they_are() -> None:
    """Relative variances of a sample at P = 4, alpha = 2: 0.264 and 0.101."""
    q = beads(4, 200_000, 5)
    springs = spring_energy(q[:, :, 0, :], MASS, TEMPERATURE)
    td = springs / (4 * KT)
    for work, exact in ((td, 0.264), (scaled(q, 2.0), 0.101)):
        weights = np.exp(-work)
        assert weights.var() / weights.mean() ** 2 == pytest.approx(exact, rel=0.05)


def test_where_the_thermodynamic_estimator_fails_it_says_so() -> None:
    q = beads(64, 4000, 7)
    springs = spring_energy(q[:, :, 0, :], MASS, TEMPERATURE)
    with pytest.raises(NoOverlap):
        one_sided(thermodynamic_work(springs, 64, 3.0, TEMPERATURE, dimensions=1))


def test_only_one_atom_moves_and_its_centroid_stays() -> None:
    q = np.random.default_rng(0).normal(size=(5, 8, 3, 3))
    before = q.copy()
    found = scaled_beads(q, 1, 4.0)
    np.testing.assert_array_equal(q, before)
    np.testing.assert_array_equal(found[:, :, [0, 2]], q[:, :, [0, 2]])
    np.testing.assert_allclose(found.mean(axis=1), q.mean(axis=1), atol=1e-15)
    np.testing.assert_allclose(found[:, :, 1].std(axis=1), 0.5 * q[:, :, 1].std(axis=1))
    with pytest.raises(ValueError, match="alpha"):
        scaled_beads(q, 0, 0.0)


def test_springs_of_one_normal_mode() -> None:
    """m omega_k^2 q_k^2/2, omega_k = 2 omega_P sin(k pi/P)."""
    n_beads = 6
    omega = n_beads * KT / HBAR_EV_FS
    q = np.zeros((1, n_beads, 1))
    q[0, :, 0] = np.cos(2 * np.pi * np.arange(n_beads) / n_beads)
    expected = 0.5 * MASS * AMU_ANGSTROM2_PER_FS2_EV * omega**2
    expected *= 4 * math.sin(math.pi / n_beads) ** 2 * n_beads / 2  # one normal mode
    np.testing.assert_allclose(spring_energy(q, MASS, TEMPERATURE), [expected])
