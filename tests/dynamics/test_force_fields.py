"""Force fields: forces are the derivative of the energy; potentials of ours are what they are."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from pimd.dynamics.force_fields import (
    ForceField,
    double_well,
    harmonic,
    morse,
    of_potential,
    quartic,
)
from pimd.dynamics.ring_polymer import in_modes, mode_frequencies, mode_matrix, mode_times
from pimd.evaluator import Evaluator
from pimd.potentials.base import PotentialError, Structure, Wanted
from pimd.potentials.registry import make_potential

MODELS = {
    "harmonic": (harmonic(1.7), lambda x: 0.85 * x**2),
    "quartic": (quartic(0.6), lambda x: 0.15 * x**4),
    "double well": (double_well(2.0, 1.5), lambda x: 2.0 * ((x / 1.5) ** 2 - 1) ** 2),
    "morse": (morse(3.0, 0.7), lambda x: 3.0 * (1 - np.exp(-0.7 * x)) ** 2),
}


def difference(force_field: ForceField, x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """-dV/dx by central differences."""
    forces = np.empty(x.size)
    for k in range(x.size):
        shift = np.zeros(x.size)
        shift[k] = h
        up, down = (force_field(x + s * shift.reshape(x.shape))[0] for s in (1, -1))
        forces[k] = (down - up) / (2 * h)
    return forces.reshape(x.shape)


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    force_field, energy = MODELS[name]
    x = np.random.default_rng(0).standard_normal((3, 2))
    value, forces = force_field(x)
    assert abs(value - energy(x).sum()) < 1e-13
    np.testing.assert_allclose(forces, difference(force_field, x), atol=1e-8)


def test_a_potential_of_ours_and_its_beads() -> None:
    atoms = bulk("Si", "diamond", a=5.431, cubic=True)
    atoms.rattle(0.1, seed=1)
    structure = Structure.from_ase(atoms)
    evaluator = Evaluator(make_potential("stillinger_weber"))
    force_field = of_potential(evaluator, structure)
    result = evaluator.evaluate_structures([structure], Wanted(virials=False))
    energy, forces = force_field(structure.positions)
    assert energy == float(result.energies[0])
    assert np.array_equal(forces, result.forces)
    beads = structure.positions + 0.05 * np.random.default_rng(2).standard_normal((3, 8, 3))
    energy, forces = force_field(beads)
    single = [force_field(bead) for bead in beads]
    assert abs(energy - sum(e for e, _ in single)) < 1e-12
    np.testing.assert_allclose(forces, [f for _, f in single], rtol=0, atol=1e-12)
    with pytest.raises(PotentialError, match=r"expected positions \(8, 3\)"):
        force_field(beads[:, :4])


@pytest.mark.parametrize("n_beads", [1, 2, 5, 8])
def test_normal_modes_diagonalise_the_springs(n_beads: int) -> None:
    matrix = mode_matrix(n_beads)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(n_beads), atol=1e-14)
    kT, hbar = 0.4, 1.3
    omega_ring = n_beads * kT / hbar
    identity = np.eye(n_beads)
    next_bead = np.roll(identity, 1, axis=1)
    springs = omega_ring**2 * (identity - next_bead).T @ (identity - next_bead)
    frequencies = mode_frequencies(n_beads, kT, hbar)
    np.testing.assert_allclose(
        matrix @ springs @ matrix.T, np.diag(frequencies**2), atol=1e-12 * omega_ring**2 * 10
    )
    times = mode_times(frequencies, 2.5)
    assert times[0] == 2.5
    np.testing.assert_allclose(times[1:] * frequencies[1:], 1.0)


def test_forces_on_normal_modes() -> None:
    modes = np.random.default_rng(4).standard_normal((5, 2))
    force_field = in_modes(quartic())
    beads = mode_matrix(5).T @ modes
    assert abs(force_field(modes)[0] - quartic()(beads)[0]) < 1e-12
    np.testing.assert_allclose(
        force_field(modes)[1], difference(force_field, modes), atol=1e-8
    )
