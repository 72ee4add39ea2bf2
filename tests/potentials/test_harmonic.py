"""Free and harmonic particles."""

from __future__ import annotations

import ase.units
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write

from pimd.potentials.base import Batch, PotentialError, Prediction, Structure, Wanted
from pimd.potentials.free import Free
from pimd.potentials.harmonic import Harmonic, force_constant
from pimd.potentials.registry import make_potential

WATER = Structure([8, 1, 1], [[0.1, 0.2, 0.3], [0.9, -0.2, 0.1], [-0.5, 0.7, 0.0]])


def evaluate(potential: Harmonic, structures: list[Structure]) -> Prediction:
    return potential.compute(Batch.from_structures(structures), Wanted())


def test_free_particles_feel_nothing() -> None:
    batch = Batch.from_structures([WATER, WATER])
    prediction = Free().compute(batch, Wanted())
    assert prediction.energies.tolist() == [0.0, 0.0]
    assert prediction.forces is not None
    assert prediction.virials is not None
    assert prediction.forces.shape == (6, 3)
    assert prediction.virials.shape == (2, 3, 3)
    assert not prediction.forces.any()
    assert not prediction.virials.any()


def test_energy_force_and_virial_about_the_origin() -> None:
    """V = k/2 sum x², F = -k x, W = -k sum x (outer) x."""
    prediction = evaluate(Harmonic(k=0.7), [WATER])
    x = WATER.positions
    assert float(prediction.energies) == pytest.approx(0.35 * (x**2).sum(), rel=1e-14)
    np.testing.assert_allclose(prediction.forces, -0.7 * x, rtol=1e-14)
    np.testing.assert_allclose(prediction.virials, [-0.7 * x.T @ x], rtol=1e-14)


def test_force_constant_of_a_wavenumber() -> None:
    """k = m (2 pi c nu)², by ASE's units."""
    omega = 2 * np.pi * ase.units._c * 100 * 3700.0 / ase.units.second  # 1/s in ASE's time
    assert force_constant(1.008, 3700.0) == pytest.approx(1.008 * omega**2, rel=1e-7)
    # a proton's 3700 cm^-1: 8.1e2 N/m
    newton_per_metre = force_constant(1.00794, 3700.0) * ase.units._e * 1e20
    assert newton_per_metre == pytest.approx(813.0, rel=1e-3)


def test_one_frequency_for_all_masses() -> None:
    deuterium = Harmonic(wavenumber=1000.0, masses={"H": 2.014})
    forces = evaluate(deuterium, [WATER]).forces
    assert forces is not None
    k = -forces / torch.tensor(WATER.positions)
    masses = torch.tensor([15.999, 2.014, 2.014], dtype=torch.float64)
    torch.testing.assert_close(k[:, 1], masses * force_constant(1.0, 1000.0), rtol=1e-12, atol=0.0)
    equal = evaluate(Harmonic(wavenumber=1000.0, masses=3.0), [WATER])
    np.testing.assert_allclose(
        equal.forces, -force_constant(3.0, 1000.0) * WATER.positions, rtol=1e-12
    )


def test_template_gives_the_points(tmp_path: object) -> None:
    file = f"{tmp_path}/points.xyz"
    points = WATER.positions.round(2) + 0.25
    write(file, Atoms("OH2", positions=points))
    potential = make_potential(f"{{potential: harmonic, k: 2.0, template: {file}}}")
    assert isinstance(potential, Harmonic)
    moved = Structure(WATER.numbers, WATER.positions - 0.3)
    prediction = evaluate(potential, [WATER, moved])
    away = np.concatenate([WATER.positions - points, moved.positions - points])
    np.testing.assert_allclose(prediction.forces, -2.0 * away, atol=1e-12)
    np.testing.assert_allclose(prediction.energies, (away**2).reshape(2, -1).sum(1), rtol=1e-12)
    with pytest.raises(PotentialError, match="3 atoms of the template"):
        evaluate(potential, [Structure([8, 1], [[0, 0, 0], [1, 0, 0]])])
    with pytest.raises(PotentialError, match="3 atoms of the template"):
        evaluate(potential, [Structure([1, 8, 1], WATER.positions)])


@pytest.mark.parametrize(("options", "message"), [
    ({}, "either k"),
    ({"k": 1.0, "wavenumber": 1.0}, "either k"),
    ({"k": "stiff"}, "k is a finite number"),
    ({"k": 1.0, "masses": 2.0}, "only matter with wavenumber"),
    ({"wavenumber": 1.0, "masses": {"Hh": 2.0}}, "Hh, which is no element"),
    ({"wavenumber": 1.0, "masses": {"H": "heavy"}}, "the mass of H is a finite number"),
    ({"k": 1.0, "template": "/nowhere/points.xyz"}, "no such file"),
    ({"k": 1.0, "device": "abacus"}, "is no device"),
])  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(PotentialError, match=message):
        Harmonic(**options)
