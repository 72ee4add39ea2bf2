"""Heat capacities of exact samples of oscillators' beads, against exact values at P beads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from oscillator_rings import KT, TEMPERATURE, oscillators

from pimd.analysis.estimators import kinetic_tensors, kinetic_thermodynamic
from pimd.analysis.heat_capacity import (
    breathing,
    heat_capacity_mixed,
    heat_capacity_scaled,
    scaled_energy,
    slopes_from_energies,
    slopes_from_forces,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from physics.references import matrix_powers


@pytest.mark.parametrize(
    ("x", "n_beads", "exact"),
    [(2.0, 4, 0.775257), (5.0, 8, 0.383766), (5.0, 16, 0.229789), (2.0, 1, 1.0)],
)
def test_oscillator(x: float, n_beads: int, exact: float) -> None:
    """Three directions are three oscillators; C/k of each by both estimators."""
    q, k = oscillators(x, n_beads, 40_000, 1.5, seed=n_beads)
    potential = 0.5 * k * np.square(q).sum(axis=(2, 3))
    step = 0.05
    plus, minus = breathing(q, 1 + step), breathing(q, 1 - step)
    slope, curvature = slopes_from_forces(q, -k * q, -k * plus, -k * minus, step)
    energies = [0.5 * k * np.square(x).sum(axis=(2, 3)) for x in (q, plus, minus)]
    other = slopes_from_energies(*energies, step)
    np.testing.assert_allclose(slope, other[0], atol=1e-12)
    np.testing.assert_allclose(curvature, other[1], atol=1e-9)
    eps, derivative = scaled_energy(potential.mean(axis=1), slope, curvature, 3, TEMPERATURE)
    kinetic = np.trace(kinetic_tensors(q, -k * q, TEMPERATURE), axis1=-2, axis2=-1)[:, 0]
    np.testing.assert_allclose(eps, potential.mean(axis=1) + kinetic, rtol=1e-12)
    for found in (
        heat_capacity_scaled(eps, derivative, TEMPERATURE),
        heat_capacity_mixed(
            eps,
            potential.mean(axis=1) + kinetic_thermodynamic(q, np.array([1.5]), TEMPERATURE)[:, 0],
            3, TEMPERATURE,
        ),
    ):
        assert abs(found.value / 3 - exact) < 4 * found.error / 3
        assert found.error / 3 < 0.03
        assert found.n_effective > 30_000


def test_curvature_of_a_quartic() -> None:
    """V = x^4/4 of one bead pair: g(l) = <(c + sqrt(l) d)^4>/4, with g'' by hand."""
    rng = np.random.default_rng(0)
    q = rng.normal(size=(5, 2, 1, 1))
    step = 1e-3

    def force(x: np.ndarray) -> np.ndarray:
        return -(x**3)

    beads = [q, breathing(q, 1 + step), breathing(q, 1 - step)]
    _, curvature = slopes_from_forces(q, *(force(x) for x in beads), step)
    by_energies = slopes_from_energies(*(x[..., 0, 0] ** 4 / 4 for x in beads), step)[1]
    d = (q[:, 0] - q[:, 1])[:, 0, 0] / 2
    # beads c +- sqrt(l) d: g = (c^4 + 6 c^2 d^2 l + d^4 l^2)/4
    exact = d**4 / 2
    np.testing.assert_allclose(curvature, exact, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(by_energies, exact, rtol=1e-4, atol=1e-6)


def test_anharmonic_wells() -> None:
    """Exact samples of the paths of a double well on a grid; C/k by differences of exact E(beta).

    hbar = m = k = 1: eV and K are only names here, and the springs are those of the grid.
    """
    beta, n_beads, n = 6.0, 6, 40_000
    grid = np.linspace(-5.0, 5.0, 241)

    def well(x: np.ndarray) -> np.ndarray:
        return -0.5 * x**2 + 0.1 * x**4

    def force(x: np.ndarray) -> np.ndarray:
        return x - 0.4 * x**3

    h = 1e-3 * beta
    energies = [
        matrix_powers(well, 1.0, b, n_beads, np.linspace(-6, 6, 601)).energy
        for b in (beta + h, beta - h)
    ]
    exact = -(beta**2) * (energies[0] - energies[1]) / (2 * h)
    q = paths_on_a_grid(well, beta, n_beads, grid, n)[:, :, None, None]
    step, unit = 0.02, KT * beta  # energies of the well in units in which beta is that of 300 K
    beads = (q, breathing(q, 1 + step), breathing(q, 1 - step))
    slope, curvature = slopes_from_forces(q, *(unit * force(x) for x in beads), step)
    assert np.abs(curvature).mean() > 0.02 * unit  # not harmonic
    potential = unit * well(q).mean(axis=(1, 2, 3))
    eps, derivative = scaled_energy(potential, slope, curvature, 1, TEMPERATURE)
    springs = np.square(q - np.roll(q, 1, axis=1)).sum(axis=(1, 2, 3)) * n_beads / (2 * beta**2)
    total = potential + unit * (n_beads / (2 * beta) - springs)
    for found in (
        heat_capacity_scaled(eps, derivative, TEMPERATURE),
        heat_capacity_mixed(eps, total, 1, TEMPERATURE),
    ):
        assert abs(found.value - exact) < 4 * found.error, (found.value, exact)
        assert found.error < 0.03
    without = scaled_energy(potential, slope, 0 * curvature, 1, TEMPERATURE)
    wrong = heat_capacity_scaled(*without, TEMPERATURE)
    assert abs(wrong.value - exact) > 4 * wrong.error  # g'' matters


def paths_on_a_grid(
    well: Callable[[np.ndarray], np.ndarray], beta: float, n_beads: int, grid: np.ndarray, n: int
) -> np.ndarray:
    """(n, P) positions drawn from the product of short-time density matrices, hbar = m = 1."""
    b, values = beta / n_beads, well(grid)
    kernel = np.exp(
        -((grid[:, None] - grid) ** 2) / (2 * b) - 0.5 * b * (values[:, None] + values)
    )
    kernel /= np.linalg.eigvalsh(kernel)[-1]
    powers = [np.eye(len(grid)), kernel]
    for _ in range(n_beads - 1):
        powers.append(powers[-1] @ kernel)
    rng = np.random.default_rng(11)
    first = rng.choice(len(grid), n, p=np.diag(powers[n_beads]) / np.trace(powers[n_beads]))
    path = [first]
    for bead in range(1, n_beads):
        weights = kernel[path[-1]] * powers[n_beads - bead][:, first].T
        steps = np.cumsum(weights, axis=1)
        drawn = rng.random((n, 1)) * steps[:, -1:]
        path.append((steps < drawn).sum(axis=1))
    return grid[np.stack(path, axis=1)]


def test_coverage_of_the_error_bars() -> None:
    """The exact value lies within one error of 60 to 76 % of 200 short runs."""
    q, k = oscillators(2.0, 4, 200 * 400, 1.5, seed=9)
    potential = 0.5 * k * np.square(q).sum(axis=(1, 2, 3)) / 4
    kinetic = np.trace(kinetic_tensors(q, -k * q, TEMPERATURE), axis1=-2, axis2=-1)[:, 0]
    eps = potential + kinetic
    slope = eps - potential - 1.5 * KT
    derivative = scaled_energy(potential, slope, 0 * slope, 3, TEMPERATURE)[1]
    within = 0
    for run in np.arange(len(q)).reshape(200, 400):
        found = heat_capacity_scaled(eps[run], derivative[run], TEMPERATURE)
        within += abs(found.value / 3 - 0.775257) < found.error / 3
    assert 120 <= within <= 152


def test_short_or_wrong_series() -> None:
    found = heat_capacity_scaled(np.array([1.0, 2.0, 1.5]), np.zeros(3), 300)
    assert np.isnan(found.error)
    assert found.warnings
    with pytest.raises(ValueError, match="two series"):
        heat_capacity_scaled(np.zeros(4), np.zeros(3), 300)
    with pytest.raises(ValueError, match="not finite"):
        heat_capacity_scaled(np.array([1.0, np.nan, 1.0]), np.zeros(3), 300)
