"""Stillinger-Weber silicon against its published crystal and a plain triple loop."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from pimd.potentials.base import Batch, PotentialError, Structure, Wanted
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.stillinger_weber import StillingerWeber, triplets
from pimd.units import EV_PER_CUBIC_ANGSTROM_GPA

EPSILON = 2.1683  # eV
LATTICE_CONSTANT = 5.430950  # Å, where the pair function has its minimum at the bond length


def diamond(a: float, strain: np.ndarray | None = None) -> Structure:
    """The 8 atoms of the cubic cell of diamond."""
    face = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    deform = np.eye(3) if strain is None else np.eye(3) + strain
    fractional = np.concatenate([face, face + 0.25])
    return Structure(np.full(8, 14), a * fractional @ deform, a * deform, np.ones(3, bool))


def evaluate(structures: list[Structure]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energies (eV), forces (eV/Å) and virials (eV)."""
    potential = StillingerWeber()
    batch = NeighbourLists(potential.cutoff).attach(Batch.from_structures(structures))
    prediction = potential.compute(batch, Wanted())
    assert prediction.forces is not None
    assert prediction.virials is not None
    return prediction.energies.numpy(), prediction.forces.numpy(), prediction.virials.numpy()


def stress(structures: list[Structure]) -> np.ndarray:
    """-W/V, GPa, tensile positive, (n_structures, 3, 3)."""
    volumes = np.array([abs(np.linalg.det(s.cell)) for s in structures])
    return -evaluate(structures)[2] / volumes[:, None, None] * EV_PER_CUBIC_ANGSTROM_GPA


def by_loops(x: np.ndarray) -> float:
    """Energy of a cluster, eV, by the formulas of the paper, one term after another."""
    sigma, a = 2.0951, 1.80
    n, energy = len(x), 0.0
    r = np.linalg.norm(x[:, None] - x[None], axis=2) / sigma
    for i, j in itertools.combinations(range(n), 2):
        if r[i, j] < a:
            pair = 7.049556277 * (0.6022245584 * r[i, j] ** -4 - 1.0)
            energy += pair * np.exp(1.0 / (r[i, j] - a))
    for i in range(n):
        for j, k in itertools.combinations([m for m in range(n) if m != i], 2):
            if r[i, j] < a and r[i, k] < a:
                cosine = np.dot(x[j] - x[i], x[k] - x[i]) / (r[i, j] * r[i, k] * sigma**2)
                screening = np.exp(1.20 / (r[i, j] - a) + 1.20 / (r[i, k] - a))
                energy += 21.0 * screening * (cosine + 1.0 / 3.0) ** 2
    return EPSILON * energy


def test_crystal_has_minus_two_epsilon_per_atom_at_its_lattice_constant() -> None:
    # diamond's four bonds are at the minimum of v2, -1, and its angles at that of v3, 0
    energies, forces, virials = evaluate([diamond(LATTICE_CONSTANT)])
    np.testing.assert_allclose(energies / 8, -2.0 * EPSILON, rtol=0, atol=1e-6)
    np.testing.assert_allclose(forces, 0.0, atol=1e-12)
    pressure = np.trace(virials[0]) / 3 / LATTICE_CONSTANT**3 * EV_PER_CUBIC_ANGSTROM_GPA
    assert abs(pressure) < 1e-3  # of a lattice constant of seven digits: B 3 da/a = 3e-5 GPa


def test_minimum_over_lattice_constants() -> None:
    a = LATTICE_CONSTANT + np.array([-2e-3, -1e-3, 0.0, 1e-3, 2e-3])
    energies, _, _ = evaluate([diamond(value) for value in a])
    curve = np.polyfit(a - LATTICE_CONSTANT, energies, 2)
    assert LATTICE_CONSTANT - curve[1] / (2 * curve[0]) == pytest.approx(5.430950, abs=2e-6)


def test_compressed_crystal() -> None:
    energies, _, virials = evaluate([diamond(5.30)])
    np.testing.assert_allclose(energies / 8, -4.30183676, rtol=0, atol=1e-8)
    pressure = np.trace(virials[0]) / 3 / 5.30**3 * EV_PER_CUBIC_ANGSTROM_GPA
    assert pressure == pytest.approx(8.26914, abs=1e-5)  # positive: W = -dE/dstrain


def test_elastic_constants() -> None:
    h = 1e-4
    tension, shear = np.zeros((3, 3)), np.zeros((3, 3))
    tension[0, 0], shear[1, 2], shear[2, 1] = h, h / 2, h / 2  # e_1 and e_4 = 2 e_yz
    structures = [
        diamond(LATTICE_CONSTANT, sign * strain) for strain in (tension, shear) for sign in (1, -1)
    ]
    up, down, sheared, back = stress(structures)
    c11, c12 = ((up - down)[k, k] / (2 * h) for k in (0, 1))
    c44 = (sheared - back)[1, 2] / (2 * h)  # atoms unrelaxed
    np.testing.assert_allclose(
        [c11, c12, (c11 + 2 * c12) / 3, c44], [151.42, 76.42, 101.42, 109.76], atol=6e-3
    )


def test_clusters_equal_a_triple_loop() -> None:
    rng = np.random.default_rng(2)
    clusters = [rng.uniform(0, 4.5, (n, 3)) for n in (2, 3, 3, 5, 9)]
    structures = [Structure(np.full(len(x), 14), x) for x in clusters]
    energies, _, _ = evaluate(structures)
    expected = [by_loops(x) for x in clusters]
    np.testing.assert_allclose(energies, expected, rtol=1e-12)
    assert len(set(np.round(expected, 3))) == len(clusters)


def test_nothing_jumps_at_the_cutoff() -> None:
    """Energy and forces go to zero from below a sigma, in fp32 too, without NaN."""
    cutoff = StillingerWeber.cutoff
    gaps = np.array([0.3, 0.1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-6, 1e-9, 1e-15, -1e-9])
    structures = [
        Structure([14, 14, 14], [[0, 0, 0], [cutoff - gap, 0, 0], [0, cutoff - gap, 0]])
        for gap in gaps
    ]
    for dtype in ("float64", "float32"):
        potential = StillingerWeber(dtype=dtype)
        batch = Batch.from_structures(structures, dtype=potential.dtype)
        # a list longer than the cutoff, so that pairs at it are seen
        prediction = potential.compute(NeighbourLists(cutoff + 0.1).attach(batch), Wanted())
        assert prediction.forces is not None
        energies = prediction.energies.abs()
        assert torch.isfinite(prediction.forces).all()
        assert (energies[1:] <= energies[:-1]).all()
        assert energies[0] > 1e-3
        assert energies[-3:].max() == 0.0
        assert prediction.forces[-9:].abs().max() == 0.0


def test_triplets_are_all_pairs_of_pairs_with_one_centre() -> None:
    rng = np.random.default_rng(0)
    centre = torch.tensor(rng.integers(0, 7, 40))
    first, second = triplets(centre, 9)
    found = {frozenset(t) for t in zip(first.tolist(), second.tolist(), strict=True)}
    expected = {
        frozenset(t) for t in itertools.combinations(range(40), 2) if centre[t[0]] == centre[t[1]]
    }
    assert found == expected
    assert len(first) == len(expected)
    assert len(triplets(centre[:0], 3)[0]) == 0


def test_other_elements_are_refused() -> None:
    structure = Structure([14, 6], [[0, 0, 0], [2, 0, 0]])
    batch = NeighbourLists(StillingerWeber.cutoff).attach(Batch.from_structures([structure]))
    with pytest.raises(PotentialError, match=r"silicon.*\[6\]"):
        StillingerWeber().compute(batch, Wanted())
