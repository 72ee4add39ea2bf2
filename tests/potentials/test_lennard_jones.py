"""Lennard-Jones against lattice sums, ASE's own, and quadrature of the tail."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.calculators.lj import LennardJones as ASELennardJones

from pimd.potentials.base import Batch, PotentialError, Prediction, Structure, Wanted
from pimd.potentials.lennard_jones import ARGON_EPSILON, ARGON_SIGMA, LennardJones
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.registry import make_potential

FCC = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]) / np.sqrt(2.0)


def evaluate(potential: LennardJones, structures: list[Structure]) -> Prediction:
    batch = Batch.from_structures(structures, dtype=potential.dtype)
    return potential.compute(NeighbourLists(potential.cutoff).attach(batch), Wanted())


def dimer(distance: float, numbers: tuple[int, int] = (18, 18)) -> Structure:
    return Structure(numbers, [[0, 0, 0], [0, 0, distance]])


def pair_energy(potential: LennardJones, distances: np.ndarray) -> np.ndarray:
    return evaluate(potential, [dimer(r) for r in distances]).energies.numpy()


def fluid(n: int = 40, length: float = 13.0, number: int = 18, seed: int = 0) -> Structure:
    """Atoms on a disordered grid."""
    rng = np.random.default_rng(seed)
    sites = np.stack(np.meshgrid(*[np.arange(4)] * 3), axis=-1).reshape(-1, 3)[:n]
    x = (sites + 0.5 + rng.uniform(-0.15, 0.15, (n, 3))) * length / 4
    return Structure(np.full(n, number), x, np.eye(3) * length, np.ones(3, bool))


@pytest.mark.parametrize(("exponent", "lattice_sum"), [(12, 12.131880), (6, 14.453921)])
def test_pairs_of_fcc_give_its_lattice_sums(exponent: int, lattice_sum: float) -> None:
    """sum_j (r0/r_j)^n over a crystal of one atom and its images, and the rest as a uniform
    fluid; a check of the neighbour list far beyond the cell too."""
    cutoff = 30.5  # nearest-neighbour distances; fcc has density sqrt(2)
    batch = Batch.from_structures([Structure([18], [[0, 0, 0]], FCC, np.ones(3, bool))])
    r = NeighbourLists(cutoff, skin=0.0).attach(batch).pair_vectors().norm(dim=1)
    rest = 4 * np.pi * np.sqrt(2.0) * cutoff ** (3 - exponent) / (exponent - 3)
    assert float((r**-exponent).sum()) + rest == pytest.approx(lattice_sum, abs=1e-6)


@pytest.mark.parametrize("mode", ["shift", "smooth", "truncate"])
def test_fcc_crystal_in_its_minimum(mode: str) -> None:
    """E = -8.610200 eps and no stress at a neighbour distance of 1.0901730 sigma, with the tail."""
    potential = LennardJones(epsilon=1.0, sigma=1.0, cutoff=25.0, mode=mode, tail=True)
    crystal = Structure([18], [[0, 0, 0]], 1.0901730 * FCC, np.ones(3, bool))
    prediction = evaluate(potential, [crystal])
    assert float(prediction.energies) == pytest.approx(-8.610200, abs=1e-6)
    assert prediction.virials is not None
    largest = float(prediction.virials.abs().max())
    if mode == "truncate":  # pairs that cross the cutoff are not in W
        assert largest > 5e-4
    else:
        assert largest < 5e-5


def test_minimum_of_a_pair() -> None:
    """v = -eps at 2^(1/6) sigma; zero at sigma; argon as the default."""
    potential = LennardJones(mode="truncate")
    r = np.array([2 ** (1 / 6), 1.0]) * ARGON_SIGMA
    np.testing.assert_allclose(
        pair_energy(potential, r), [-ARGON_EPSILON, 0.0], atol=1e-15, rtol=1e-13
    )
    assert abs(ARGON_EPSILON - 0.0103236) < 1e-7
    assert potential.cutoff == pytest.approx(2.5 * 3.405)


def test_energies_and_forces_are_those_of_ase() -> None:
    """ASE's calculator shifts the energy to zero at the cutoff, as `shift` does."""
    potential = LennardJones(epsilon=0.02, sigma=3.0, cutoff=7.0)
    structures = [fluid(), fluid(20, 14.0, seed=1), dimer(3.1)]
    prediction = evaluate(potential, structures)
    start = 0
    for k, structure in enumerate(structures):
        atoms = structure.to_ase()
        atoms.calc = ASELennardJones(sigma=3.0, epsilon=0.02, rc=7.0, smooth=False)
        own = slice(start, start + len(structure))
        start += len(structure)
        assert prediction.forces is not None
        assert prediction.virials is not None
        energy = atoms.get_potential_energy()
        assert float(prediction.energies[k]) == pytest.approx(energy, rel=1e-12)
        np.testing.assert_allclose(prediction.forces[own], atoms.get_forces(), atol=1e-12)
        if structure.pbc.all():
            stress = atoms.get_stress(voigt=False)
            np.testing.assert_allclose(
                prediction.virials[k], -stress * atoms.get_volume(), atol=1e-12
            )


@pytest.mark.parametrize("mode", ["shift", "smooth"])
def test_energy_is_continuous_at_the_cutoff(mode: str) -> None:
    potential = LennardJones(mode=mode, cutoff=8.0)
    below = pair_energy(potential, np.array([8.0 - 1e-9]))
    assert abs(below[0]) < 1e-12
    truncated = pair_energy(LennardJones(mode="truncate", cutoff=8.0), np.array([8.0 - 1e-9]))
    assert truncated[0] < -1e-5


def test_switch_is_smooth_and_starts_where_it_says() -> None:
    potential = LennardJones(mode="smooth", cutoff=8.0, switch=1.5)
    plain = LennardJones(mode="truncate", cutoff=8.0)
    inner = np.linspace(3.3, 6.5, 9)
    np.testing.assert_array_equal(pair_energy(potential, inner), pair_energy(plain, inner))
    # force from the analytic gradient, on both sides of both ends of the switch
    for edge in (6.5, 8.0):
        distances = edge + np.array([-1e-6, 1e-6])
        forces = evaluate(potential, [dimer(r) for r in distances]).forces
        assert forces is not None
        assert float((forces[1] - forces[3]).abs().max()) < 1e-8
    middle = np.array([7.25])  # t = 1/2, s = 1/2
    np.testing.assert_allclose(
        pair_energy(potential, middle), 0.5 * pair_energy(plain, middle), rtol=1e-13
    )


def test_parameters_by_element_mix_by_lorentz_berthelot() -> None:
    potential = LennardJones(
        epsilon={"Ar": 0.01, "Ne": 0.0025}, sigma={"Ar": 3.4, "Ne": 2.8}, mode="truncate"
    )
    assert potential.cutoff == pytest.approx(2.5 * 3.4)
    minima = 2 ** (1 / 6) * np.array([3.4, 2.8, 3.1, 3.1])
    numbers = [(18, 18), (10, 10), (18, 10), (10, 18)]
    pairs = [dimer(r, z) for r, z in zip(minima, numbers, strict=True)]
    np.testing.assert_allclose(
        evaluate(potential, pairs).energies, [-0.01, -0.0025, -0.005, -0.005], rtol=1e-12
    )


@pytest.mark.parametrize("mode", ["truncate", "shift", "smooth"])
def test_tail_is_the_integral_of_what_is_missing(mode: str) -> None:
    """Of a mixture, against quadrature of r² (v_LJ - v), with v as the potential gives it."""
    structure = fluid()
    structure.numbers[:15] = 10
    options = {
        "epsilon": {"Ar": 0.01, "Ne": 0.0025}, "sigma": {"Ar": 3.4, "Ne": 2.8},
        "cutoff": 6.0, "mode": mode,
    }  # fmt: skip
    without, with_tail = LennardJones(**options), LennardJones(**options, tail=True)
    n = 4000
    inner = 6.0 * (np.arange(n) + 0.5) / n  # r in (0, 6)
    u = (np.arange(n) + 0.5) / n  # r = 6/u in (6, inf), dr = 6/u² du
    expected = 0.0
    for n_a, z_a, eps_a, sig_a in ((25, 18, 0.01, 3.4), (15, 10, 0.0025, 2.8)):
        for n_b, z_b, eps_b, sig_b in ((25, 18, 0.01, 3.4), (15, 10, 0.0025, 2.8)):

            def plain(r: np.ndarray) -> np.ndarray:
                x = ((sig_a + sig_b) / 2 / r) ** 6  # noqa: B023
                return 4 * np.sqrt(eps_a * eps_b) * (x * x - x)  # noqa: B023

            # the core is left out: there both are equal but for the shift, to 1e16 of it
            shift = plain(np.array([6.0])) if mode == "shift" else 0.0
            core = inner < 2.0
            given = evaluate(without, [dimer(r, (z_a, z_b)) for r in inner[~core]]).energies
            missing = np.full(n, shift)
            missing[~core] = plain(inner[~core]) - given.numpy()
            integral = np.mean(inner**2 * missing) * 6.0
            integral += np.mean((6.0 / u) ** 2 * plain(6.0 / u) * 6.0 / u**2)
            expected += 2 * np.pi * n_a * n_b / 13.0**3 * integral
    a, b = evaluate(with_tail, [structure]), evaluate(without, [structure])
    assert float(a.energies - b.energies) == pytest.approx(expected, rel=1e-6)
    assert a.virials is not None
    assert b.virials is not None
    torch.testing.assert_close(
        a.virials - b.virials, expected * torch.eye(3, dtype=torch.float64)[None], rtol=1e-6,
        atol=1e-15,
    )  # fmt: skip


def test_tail_is_for_fully_periodic_structures_only() -> None:
    bulk = fluid()
    slab = Structure(bulk.numbers, bulk.positions, bulk.cell, np.array([True, True, False]))
    open_ = Structure(bulk.numbers, bulk.positions)
    options = {"cutoff": 6.0, "mode": "truncate"}
    a = evaluate(LennardJones(**options, tail=True), [slab, open_, bulk])
    b = evaluate(LennardJones(**options), [slab, open_, bulk])
    difference = a.energies - b.energies
    assert difference[:2].abs().max() == 0.0
    assert difference[2] < -1e-3


@pytest.mark.parametrize(("options", "message"), [
    ({"mode": "cut"}, "mode is one of shift, truncate, smooth"),
    ({"switch": 1.0}, "belongs to mode: smooth"),
    ({"mode": "smooth", "switch": 9.0}, "shorter than the cutoff"),
    ({"cutoff": -1.0}, "cutoff is a length"),
    ({"cutoff": "long"}, "cutoff is a finite number"),
    ({"sigma": 0.0}, "sigma is a length"),
    ({"epsilon": -1.0}, "epsilon is an energy"),
    ({"epsilon": {"Ar": 1.0}, "sigma": {"Ne": 1.0}}, "different elements"),
    ({"epsilon": {"Xx": 1.0}}, "Xx is none"),
    ({"dtype": "float16"}, "float64 or float32"),
])  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(PotentialError, match=message):
        LennardJones(**options)


def test_elements_without_parameters_are_named() -> None:
    potential = make_potential("{potential: lennard_jones, epsilon: {Ar: 0.01}, sigma: {Ar: 3.4}}")
    with pytest.raises(PotentialError, match="epsilon and sigma for Ne"):
        evaluate(potential, [dimer(3.0, (18, 10))])  # type: ignore[arg-type]
