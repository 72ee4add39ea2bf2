"""Estimators on exact samples of oscillators' beads, against exact values at P beads."""

from __future__ import annotations

import numpy as np
import pytest
from oscillator_rings import KT, TEMPERATURE, oscillators

from pimd.analysis.estimators import (
    kinetic_tensors,
    kinetic_thermodynamic,
    pressure_tensors,
    spring_energies,
    squared_gyration,
)
from pimd.dynamics.ring_polymer import mode_frequencies, mode_matrix
from pimd.potentials.base import Structure, Wanted
from pimd.units import AMU_ANGSTROM2_PER_FS2_EV, HBAR_EV_FS


def assert_mean(samples: np.ndarray, exact: float, ceiling: float) -> None:
    error = samples.std(ddof=1) / np.sqrt(len(samples))
    assert error < ceiling * abs(exact)
    assert abs(samples.mean() - exact) < 4 * error, (samples.mean(), error, exact)


@pytest.mark.parametrize(
    ("x", "n_beads", "energy", "gyration"),
    [(2.0, 4, 0.64052288, 0.14052288), (5.0, 8, 0.48424396, 0.28424396),
     (5.0, 32, 0.50527874, 0.30527874)],
)  # fmt: skip
def test_oscillator(x: float, n_beads: int, energy: float, gyration: float) -> None:
    """K = E/2 by both estimators, R^2 in units of hbar/(m omega)."""
    q, k = oscillators(x, n_beads, 20_000, 1.5, seed=n_beads)
    kinetic = np.trace(kinetic_tensors(q, -k * q, TEMPERATURE), axis1=-2, axis2=-1)[:, 0]
    exact = 0.5 * energy * x * KT  # hbar omega = x kT; per direction
    assert_mean(kinetic / 3, exact, 3e-3)
    assert_mean(kinetic_thermodynamic(q, np.array([1.5]), TEMPERATURE)[:, 0] / 3, exact, 3e-2)
    length2 = x * KT / k  # hbar/(m omega) = hbar omega/k
    assert_mean(squared_gyration(q)[:, 0] / 3, gyration * length2, 5e-3)


def test_free_rings() -> None:
    """Without forces K is 3/2 kT in every frame, and R^2 = beta hbar^2 (1 - 1/P^2)/(12 m) each."""
    n_beads, mass = 16, 1.00794
    ring = mode_frequencies(n_beads, KT, HBAR_EV_FS)[1:]
    width = np.sqrt(n_beads * KT / (mass * AMU_ANGSTROM2_PER_FS2_EV)) / ring
    modes = np.random.default_rng(1).normal(size=(20_000, n_beads, 3))
    modes[:, 1:] *= width[:, None]
    q = np.einsum("kb,tkx->tbx", mode_matrix(n_beads), modes)[:, :, None]
    tensors = kinetic_tensors(q, np.zeros_like(q), TEMPERATURE)
    np.testing.assert_allclose(
        tensors, np.broadcast_to(0.5 * KT * np.eye(3), tensors.shape), rtol=1e-12, atol=1e-18
    )
    assert np.sqrt(squared_gyration(q).mean()) == pytest.approx(0.199872, rel=5e-3)
    assert_mean(kinetic_thermodynamic(q, np.array([mass]), TEMPERATURE)[:, 0], 1.5 * KT, 2.5e-2)


def test_tensor_is_that_of_the_directions() -> None:
    """Of an anisotropic oscillator rotated at random: R K R^T, and symmetric."""
    rng = np.random.default_rng(2)
    q, _ = oscillators(4.0, 6, 4, 2.0, seed=3)
    stiff = np.diag([1.0, 2.5, 7.0])
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    straight = kinetic_tensors(q, -q @ stiff, TEMPERATURE)
    turned = kinetic_tensors(q @ rotation.T, -q @ stiff @ rotation.T, TEMPERATURE)
    np.testing.assert_allclose(turned, rotation @ straight @ rotation.T, atol=1e-12)
    np.testing.assert_allclose(turned, turned.swapaxes(-1, -2), atol=1e-15)
    assert np.abs(straight - 0.5 * KT * np.eye(3)).max() > 1e-3


def test_springs_are_the_rings() -> None:
    """Against the quadratic form of the modes: S = m/2P sum_k omega_k^2 q_k^2."""
    rng = np.random.default_rng(4)
    q, masses = rng.normal(size=(3, 5, 2, 3)), np.array([1.0, 16.0])
    modes = np.einsum("kb,tbax->tkax", mode_matrix(5), q)
    squares = np.square(mode_frequencies(5, KT, HBAR_EV_FS))
    exact = 0.5 / 5 * np.einsum("k,tkax->ta", squares, modes**2)
    np.testing.assert_allclose(
        spring_energies(q, masses, TEMPERATURE), exact * masses * AMU_ANGSTROM2_PER_FS2_EV
    )
    one = spring_energies(q[:, :1], masses, TEMPERATURE)
    np.testing.assert_array_equal(one, 0.0)  # a classical particle has no springs


def test_pressure_is_the_slope_of_the_scaled_free_energy() -> None:
    """Scaling cell and centroids, not the paths, of a Lennard-Jones cluster in a cell: by finite
    differences of the energy. The kinetic part is N kT."""
    from pimd.evaluator import Evaluator
    from pimd.potentials.registry import make_potential

    rng = np.random.default_rng(5)
    lattice = np.array(np.meshgrid(*3 * [[0.0, 4.0]])).reshape(3, -1).T
    cell = np.diag([8.0, 8.2, 8.4]) + 0.2
    potential = make_potential("lennard_jones, epsilon: 0.01, sigma: 3.4, cutoff: 3.9, tail: shift")
    evaluator = Evaluator(potential)
    paths = lattice + rng.normal(scale=0.15, size=(1, 4, 8, 3))

    def evaluate(q: np.ndarray, cell: np.ndarray):  # type: ignore[no-untyped-def]
        beads = [Structure(np.full(8, 18), x, cell, True) for x in q]
        return evaluator.evaluate_structures(beads, Wanted(forces=True, virials=True))

    found = evaluate(paths[0], cell)
    tensor = pressure_tensors(
        paths, np.asarray(found.forces).reshape(1, 4, 8, 3), np.asarray(found.virials)[None],
        cell[None], TEMPERATURE,
    )[0]
    volume, h = abs(np.linalg.det(cell)), 1e-4
    for x, y in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2)):
        energies = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[x, y] += 0.5 * sign * h
            strain[y, x] += 0.5 * sign * h
            moved = paths[0] + paths[0].mean(axis=0) @ strain
            energies.append(np.mean(evaluate(moved, cell @ (np.eye(3) + strain)).energies))
        slope = -(energies[0] - energies[1]) / (2 * h) / volume
        assert tensor[x, y] == pytest.approx(slope + (8 * KT / volume if x == y else 0.0), rel=1e-6)


def test_wrong_arrays_are_refused() -> None:
    q = np.zeros((2, 4, 3, 3))
    with pytest.raises(ValueError, match="forces on all beads"):
        kinetic_tensors(q, q[:, :1], 300)
    with pytest.raises(ValueError, match="all beads"):
        squared_gyration(q[0])
    with pytest.raises(ValueError, match="temperature"):
        kinetic_tensors(q, q, 0.0)
    with pytest.raises(ValueError, match="mass for each of 3"):
        spring_energies(q, np.ones(2), 300)
    with pytest.raises(ValueError, match="no volume"):
        pressure_tensors(q, q, np.zeros((2, 4, 3, 3)), np.zeros((2, 3, 3)), 300)
