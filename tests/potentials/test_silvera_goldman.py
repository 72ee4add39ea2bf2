"""Silvera-Goldman para-hydrogen against independently computed values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pimd.potentials.base import Batch, PotentialError, Structure, Wanted
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.silvera_goldman import SilveraGoldman
from pimd.units import BOHR_ANGSTROM, HARTREE_EV, KB_HARTREE_PER_KELVIN


def pair(bohr: float, number: int = 1) -> Structure:
    return Structure([number] * 2, [[0, 0, 0], [0, bohr * BOHR_ANGSTROM, 0]])


def energies_hartree(distances_bohr: np.ndarray, **options: object) -> np.ndarray:
    potential = SilveraGoldman(**{"cutoff": 8.0, **options})  # type: ignore[arg-type]
    batch = Batch.from_structures([pair(r) for r in distances_bohr])
    attached = NeighbourLists(potential.cutoff).attach(batch)
    return potential.compute(attached, Wanted()).energies.numpy() / HARTREE_EV


@pytest.mark.parametrize(("bohr", "hartree"), [
    (6.0, -7.06937980e-5), (7.0, -8.99452956e-5), (10.0, -1.43090252e-5),
])  # fmt: skip
def test_values(bohr: float, hartree: float) -> None:
    assert energies_hartree(np.array([bohr]))[0] == pytest.approx(hartree, abs=6e-14)


def test_minimum() -> None:
    """-31.76341 K at 6.521312 bohr (3.450929 Å), where the force changes sign."""
    r = 6.521312
    assert r * BOHR_ANGSTROM == pytest.approx(3.450929, abs=1e-6)
    depth = energies_hartree(np.array([r]))[0] / KB_HARTREE_PER_KELVIN
    assert depth == pytest.approx(-31.76341, abs=1e-5)
    potential = SilveraGoldman()
    batch = Batch.from_structures([pair(r - 1e-6), pair(r + 1e-6)])
    forces = potential.compute(NeighbourLists(potential.cutoff).attach(batch), Wanted()).forces
    assert forces is not None
    assert forces[1, 1] > 0 > forces[3, 1]  # the second atom is pushed out, then pulled in


def test_zero() -> None:
    inner, outer = energies_hartree(np.array([5.694008 - 1e-6, 5.694008 + 1e-6]))
    assert inner > 0.0 > outer


def test_damping_joins_smoothly() -> None:
    """f is 1 with no slope at 8.32 bohr: the slope of v does not jump there."""
    h = 1e-3
    slope = np.diff(energies_hartree(8.32 + h * np.arange(-20, 21))) / h
    steps = np.abs(np.diff(slope))
    assert steps.max() < 1.2 * steps.min()
    assert slope.min() > 1e-5


def test_truncated_at_half_the_reference_box_by_default() -> None:
    potential = SilveraGoldman()
    assert potential.cutoff == pytest.approx(11.896 / 2)
    inside, outside = energies_hartree(
        np.array([5.9479, 5.9481]) / BOHR_ANGSTROM, cutoff=potential.cutoff
    )
    assert inside < -6e-6
    assert outside == 0.0


def test_shift_takes_the_step_away() -> None:
    r = np.array([5.0, 5.9479999]) / BOHR_ANGSTROM
    plain = energies_hartree(r, cutoff=5.948)
    shifted = energies_hartree(r, cutoff=5.948, shift=True)
    assert abs(shifted[1]) < 1e-11
    np.testing.assert_allclose(plain - shifted, plain[1], rtol=1e-6)


def test_particles_far_inside_the_core_repel_and_stay_finite() -> None:
    for dtype in ("float64", "float32"):
        potential = SilveraGoldman(dtype=dtype)
        batch = Batch.from_structures(
            [pair(r) for r in (0.01, 0.1, 0.5, 1.0, 2.0)], dtype=potential.dtype
        )
        attached = NeighbourLists(potential.cutoff).attach(batch)
        prediction = potential.compute(attached, Wanted())
        assert prediction.forces is not None
        assert torch.isfinite(prediction.forces).all()
        assert (prediction.forces[1::2, 1] > 0).all()
        assert (prediction.energies.diff() < 0).all()


def test_the_element_is_a_label() -> None:
    potential = SilveraGoldman()
    structures = [pair(7.0, 1), pair(7.0, 2), pair(7.0, 10)]
    batch = NeighbourLists(potential.cutoff).attach(Batch.from_structures(structures))
    energies = potential.compute(batch, Wanted()).energies
    assert energies.unique().numel() == 1
    mixed = Structure([1, 2], [[0, 0, 0], [0, 0, 3]])
    with pytest.raises(PotentialError, match="one particle per H2 molecule"):
        potential.compute(
            NeighbourLists(5.0).attach(Batch.from_structures([pair(7.0), mixed])), Wanted()
        )
