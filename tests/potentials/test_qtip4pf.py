"""q-TIP4P/F: the molecule, the dimer, dipole and charges, the contract, the Lennard-Jones tail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from water_samples import box, cluster, liquid, triclinic

from pimd.potentials import qtip4pf
from pimd.potentials.base import Batch, PotentialError, Prediction, Structure, Wanted
from pimd.potentials.qtip4pf import QTIP4PF
from pimd.potentials.registry import make_potential
from pimd.testing import check_potential
from pimd.units import (
    AMU_ELECTRON_MASS,
    BOHR_ANGSTROM,
    DEBYE_E_ANGSTROM,
    EV_PER_CUBIC_ANGSTROM_GPA,
    HARTREE_EV,
)

HARTREE_WAVENUMBER = 219474.63136320
MOLECULE = [8, 1, 1]


def evaluate(potential: QTIP4PF, *structures: Structure, properties: tuple = ()) -> Prediction:
    return potential.compute(Batch.from_structures(structures), Wanted(properties=properties))


def relaxed(numbers: list[int], start: np.ndarray) -> tuple[float, np.ndarray]:
    """Energy (eV) and positions at the minimum near `start`, without a cell."""
    potential = QTIP4PF()

    def energy_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        prediction = evaluate(potential, Structure(numbers, x.reshape(-1, 3)))
        assert prediction.forces is not None
        return float(prediction.energies), -prediction.forces.numpy().ravel()

    found = minimize(
        energy_and_gradient, start.ravel(), jac=True, method="BFGS", options={"gtol": 1e-7}
    )
    return float(found.fun), found.x.reshape(-1, 3)


def monomer() -> np.ndarray:
    return relaxed(MOLECULE, np.array([[0, 0, 0], [0.9, 0.1, 0], [-0.2, 1.0, 0.1]]))[1]


def test_the_molecule_at_rest() -> None:
    x = monomer()
    arms = x[1:] - x[0]
    r = np.linalg.norm(arms, axis=1)
    prediction = evaluate(QTIP4PF(), Structure(MOLECULE, x), properties=("dipole",))
    dipole = np.linalg.norm(prediction.properties["dipole"][0])
    np.testing.assert_allclose(r, 0.941935, atol=1e-6)
    assert np.degrees(np.arccos(arms[0] @ arms[1] / r.prod())) == pytest.approx(107.4, abs=1e-4)
    assert prediction.energies.item() == pytest.approx(0.0, abs=1e-10)
    assert dipole / DEBYE_E_ANGSTROM == pytest.approx(2.19406, abs=1e-5)


@pytest.mark.parametrize(
    ("hydrogen", "want"),
    [(1.00794, [1580.12, 3852.10, 3919.71]), (2.01410178, [1153.46, 2784.41, 2875.67])],
)
def test_harmonic_frequencies(hydrogen: float, want: list[float]) -> None:
    """H2O and D2O, cm^-1."""
    x, h = monomer(), 1e-4
    moved = [
        Structure(MOLECULE, x + s * h * np.eye(9)[k].reshape(3, 3))
        for k in range(9)
        for s in (1, -1)
    ]
    forces = evaluate(QTIP4PF(), *moved).forces
    assert forces is not None
    forces = forces.numpy().reshape(9, 2, 9)
    hessian = -(forces[:, 0] - forces[:, 1]) / (2 * h) * BOHR_ANGSTROM**2 / HARTREE_EV
    masses = np.repeat([15.9994, hydrogen, hydrogen], 3) * AMU_ELECTRON_MASS
    squares = np.linalg.eigvalsh(0.5 * (hessian + hessian.T) / np.sqrt(np.outer(masses, masses)))
    np.testing.assert_allclose(
        np.sqrt(squares[-3:]) * HARTREE_WAVENUMBER, want, atol=0.05 if hydrogen > 2 else 0.01
    )


def test_the_dimer_at_rest() -> None:
    donor = np.array([[0, 0, 0], [0.95, 0, 0], [-0.3, 0.9, 0]])
    acceptor = np.array([[2.8, 0, 0], [3.2, 0.5, 0.75], [3.2, 0.5, -0.75]])
    energy, x = relaxed(MOLECULE * 2, np.concatenate([donor, acceptor]))
    assert energy / HARTREE_EV == pytest.approx(-0.0104356932, abs=2e-10)
    assert np.linalg.norm(x[3] - x[0]) == pytest.approx(2.77203, abs=1e-5)


def test_born_charges_are_the_slope_of_the_dipole() -> None:
    """-0.819154 e of O and 0.409577 e of H, in every structure; the dipole is linear."""
    structure, h = triclinic(), 1e-3
    wanted = ("dipole", "born_charges")
    given = evaluate(QTIP4PF(), structure, properties=wanted).properties["born_charges"]
    charges = np.where(structure.numbers == 8, -0.819154, 0.409577)
    np.testing.assert_allclose(
        given, charges[:, None, None] * np.eye(3), rtol=0, atol=5e-7
    )  # the numbers above are rounded
    np.testing.assert_allclose(given.sum(0), 0.0, atol=1e-12)  # acoustic sum rule
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = rng.normal(size=structure.positions.shape)
        plus, minus = (
            replace(structure, positions=structure.positions + s * h * direction) for s in (1, -1)
        )
        dipoles = evaluate(QTIP4PF(), plus, minus, properties=wanted).properties["dipole"].numpy()
        slope = (dipoles[0] - dipoles[1]) / (2 * h)
        np.testing.assert_allclose(slope, np.einsum("aij,aj->i", given, direction), atol=1e-10)


def gap(structures: list[Structure], near: float) -> float:
    """A cutoff near `near` that no distance of two oxygens comes close to."""
    images = np.array(list(np.ndindex(7, 7, 7))) - 3.0
    distances = []
    for s in structures:
        x = s.positions[s.numbers == 8]
        vectors = x[:, None] - x + (images @ s.cell)[:, None, None]
        distances.append(np.linalg.norm(vectors, axis=-1).ravel())
    r = np.sort(np.concatenate(distances))
    r = r[(r > near - 0.3) & (r < near + 0.3)]
    widest = np.diff(r).argmax()
    return float(0.5 * (r[widest] + r[widest + 1]))


@pytest.mark.parametrize("tail", ["truncate", "shift", "correction"])
def test_contract(tail: str) -> None:
    """Finite differences, batches, wrapping, renumbering, ... of boxes of several shapes, sizes
    and densities beside a cluster. One atom is no water."""
    periodic = [
        triclinic(),
        box((1, 2, 1), np.array([[4.9, 0, 0], [0.3, 6.2, 0], [0, -0.5, 5.1]]), 1),
        box((2, 2, 1), np.diag([9.0, 8.0, 8.5]), 2),
    ]
    potential = QTIP4PF(cutoff=gap(periodic, 6.0), lj_tail=tail)
    report = check_potential(
        potential,
        [periodic[0], cluster(), *periodic[1:]],
        skip=("one_atom", "two_atoms"),
        step=1e-3,
    )
    print(report)
    checked = {"forces", "virials", "batch", "open", "lattice", "permutation", "properties"}
    assert checked <= set(report.deviations)


def test_batches_of_any_composition() -> None:
    """Energies to 1e-10 Ha, whatever else is in the batch and was evaluated before."""
    structures = [triclinic(1), cluster(5), liquid(), triclinic(2), cluster(1), box((3, 3, 2),
                  np.diag([9.3, 9.4, 6.2])), triclinic(3)]  # fmt: skip
    potential = QTIP4PF()
    singles = [evaluate(QTIP4PF(), s) for s in structures]
    rng = np.random.default_rng(0)
    for order in (range(7), rng.permutation(7), [2, 2, 0], rng.permutation(7)):
        batch = evaluate(potential, *(structures[k] for k in order))
        energies = torch.cat([singles[k].energies for k in order])
        forces = torch.cat([singles[k].forces for k in order])
        virials = torch.cat([singles[k].virials for k in order])
        limit = 1e-10 * HARTREE_EV
        torch.testing.assert_close(batch.energies, energies, rtol=0, atol=limit)
        torch.testing.assert_close(batch.forces, forces, rtol=0, atol=limit)
        torch.testing.assert_close(batch.virials, virials, rtol=0, atol=limit)


def test_lists_survive_wrapping_and_motion() -> None:
    """A run of small moves, atoms wrapped one by one as i-PI does, cells changing."""
    rng = np.random.default_rng(5)
    potential, structure = QTIP4PF(), triclinic()
    for step in range(12):
        deform = np.eye(3) + 0.003 * rng.normal(size=(3, 3))
        x = (structure.positions + rng.normal(size=structure.positions.shape) * 0.05) @ deform
        cell = structure.cell @ deform
        structure = Structure(structure.numbers, x, cell, True)
        fractional = x @ np.linalg.inv(cell)
        wrapped = Structure(structure.numbers, (fractional % 1.0) @ cell, cell, True)
        want = evaluate(QTIP4PF(), structure, properties=("dipole",))
        got = evaluate(potential, wrapped, properties=("dipole",))
        for a, b in (
            (got.energies, want.energies),
            (got.forces, want.forces),
            (got.virials, want.virials),
            (got.properties["dipole"], want.properties["dipole"]),
        ):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-8, msg=f"step {step}")


def test_tail_of_the_pressure() -> None:
    """16 pi/3 rho² eps sigma³ [2/3 (sigma/rc)^9 - (sigma/rc)^3] in all three directions: -327.96
    bar at 1 g/cm³, rho = 0.033428/Å³, and a cutoff of 9 Å."""
    structure = liquid()
    scale = 0.997 ** (1 / 3)  # to 1 g/cm³
    positions, cell = structure.positions * scale, structure.cell * scale
    structure = Structure(structure.numbers, positions, cell, True)
    corrected, shifted, truncated = (
        evaluate(QTIP4PF(lj_tail=tail), structure) for tail in ("correction", "shift", "truncate")
    )
    assert corrected.virials is not None
    tail = (corrected.virials - shifted.virials)[0].numpy()
    bar = tail / np.linalg.det(cell) * EV_PER_CUBIC_ANGSTROM_GPA * 1e4
    np.testing.assert_allclose(bar, np.diag(np.diag(bar)), atol=1e-9)
    np.testing.assert_allclose(np.diag(bar), -327.96, atol=0.02)
    torch.testing.assert_close(corrected.forces, truncated.forces)
    torch.testing.assert_close(shifted.virials, truncated.virials)
    n, volume, s6 = 64, np.linalg.det(cell), (qtip4pf.SIGMA / 9.0) ** 6
    usual = 8 / 3 * np.pi * n**2 / volume * qtip4pf.EPSILON * 9.0**3 * (s6**2 / 3 - s6)
    # of the energy, `correction` differs by the pairs within 9 Å being counted, not averaged
    added = (corrected.energies - truncated.energies).item()
    assert added == pytest.approx(usual, rel=0.05)
    far = evaluate(QTIP4PF(cutoff=18.0), structure)
    assert abs((corrected.energies - far.energies).item()) < 0.02 * abs(usual)
    assert abs((truncated.energies - far.energies).item()) > 0.8 * abs(usual)


def test_only_what_is_wanted() -> None:
    potential, batch = QTIP4PF(), Batch.from_structures([triclinic(), cluster()])
    full = potential.compute(batch, Wanted(properties=("born_charges",)))
    bare = potential.compute(batch, Wanted(forces=False, virials=False))
    assert bare.forces is None
    assert bare.virials is None
    assert bare.properties == {}
    torch.testing.assert_close(bare.energies, full.energies, rtol=0, atol=1e-12)
    assert list(full.properties) == ["born_charges"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("qtip4pf, lj_tail: smooth", "lj_tail is one of truncate, shift, correction"),
        ("qtip4pf, electrostatics: cutoff", "electrostatics is one of auto, ewald, pme"),
        ("qtip4pf, accuracy: 1.0", "accuracy is a relative error of forces"),
        ("qtip4pf, cutoff: -9", "cutoff is a length"),
        ("qtip4pf, gamma: 0.7", "has no option gamma"),
    ],
)
def test_options_are_checked(spec: str, message: str) -> None:
    with pytest.raises(PotentialError, match=message):
        make_potential(spec)
