"""Dipoles, polarizabilities and Born charges of MACE models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("mace")

import mace_models as models

from pimd.daemon.extras import ExtrasWriter
from pimd.evaluator import Evaluated, Evaluator
from pimd.potentials.base import PotentialError, Wanted
from pimd.potentials.mace import MACE
from pimd.potentials.mace_library import import_mace
from pimd.structure import Structure
from pimd.testing import check_potential

Files = Callable[[str], Path]
mace_file = models.mace_file

DEBYE = 0.20819434
"""e Å."""
KINDS: dict[str, dict[str, Any]] = {
    "AtomicDielectricMACE": {"energy": "zero", "total_charge": 1.0},
    "AtomicDipolesMACE": {"energy": "zero", "fixed_charges": {"O": -0.8, "H": 0.4}},
    "EnergyDipolesMACE": {"fixed_charges": {"O": -0.8, "H": 0.5}},
}
"""Model -> options."""
FORCES = Wanted(properties=("dipole",))


def evaluate(potential: MACE, structures: list[Structure], *names: str) -> Evaluated:
    wanted = Wanted(False, False, names or tuple(potential.properties))
    return Evaluator(potential).evaluate_structures(structures, wanted)


@pytest.mark.parametrize("name", KINDS)
def test_contract(name: str, mace_file: Files) -> None:
    """Properties rotate, and come the same from a batch; energies where there are any."""
    potential = MACE(mace_file(name), **KINDS[name])
    report = check_potential(potential, models.structures())
    assert {"rotation", "properties"} <= set(report.deviations)


@pytest.mark.parametrize("name", KINDS)
def test_agrees_with_the_network(name: str, mace_file: Files) -> None:
    """What mace-torch says of a cluster, called as its calculator does."""
    structure = models.structures()[1]
    found = evaluate(MACE(mace_file(name), **KINDS[name]), [structure])
    network = torch.load(mace_file(name), weights_only=False)
    numbers, positions = structure.numbers, torch.tensor(structure.positions)
    n, fixed = len(numbers), KINDS[name].get("fixed_charges", {"O": 0.0, "H": 0.0})
    distances = (positions[:, None] - positions[None]).norm(dim=2)
    output = network(
        {
            "positions": positions,
            "node_attrs": torch.tensor(numbers[:, None] == np.array([[1, 8]])).double(),
            "edge_index": ((distances < 3.5) & (distances > 0)).nonzero().T,
            "shifts": torch.tensor(0.0),
            "cell": torch.zeros(3, 3),
            "batch": torch.zeros(n, dtype=torch.int64),
            "ptr": torch.tensor([0, n]),
            "head": torch.tensor([0]),
            "charges": torch.tensor([fixed["O" if z == 8 else "H"] for z in numbers]),
            "total_charge": torch.tensor([1.0]).double(),
        }
    )
    unit = 1.0 if name == "AtomicDielectricMACE" else DEBYE
    expected = {
        "dipole": unit * output["dipole"],
        "atomic_dipoles": unit * output["atomic_dipoles"],
        "charges": output.get("charges"),
        "polarizability": output.get("polarizability"),
    }
    for key, value in found.properties.items():
        if key != "born_charges":
            want = expected[key].detach().numpy().reshape(value.shape)
            # mace-torch's factor comes from other digits of the constants
            np.testing.assert_allclose(value, want, rtol=0, atol=1e-7)
    assert np.abs(found.properties["dipole"]).max() > 0.1


def test_which_properties(mace_file: Files) -> None:
    common = {"dipole", "atomic_dipoles", "born_charges"}
    for name, options in KINDS.items():
        extra = {"charges", "polarizability"} if name == "AtomicDielectricMACE" else set()
        assert set(MACE(mace_file(name), **options).properties) == common | extra
    assert not MACE(mace_file("water")).properties


@pytest.mark.parametrize("name", KINDS)
def test_born_charges_are_the_derivative(name: str, mace_file: Files) -> None:
    """Z[a, j, i] = d mu_j / d x_ai by finite differences, in a cell and a cluster at once; they
    add up to the charge of the structure."""
    potential = MACE(mace_file(name), **KINDS[name])
    structures = models.structures()[:3]
    born = evaluate(potential, structures, "born_charges").properties["born_charges"]
    h, starts = 2e-5, np.cumsum([0] + [len(s) for s in structures])
    for k, atom, i in ((0, 1, 0), (1, 4, 2), (2, 3, 1)):
        moved = []
        for sign in (1, -1):
            positions = structures[k].positions.copy()
            positions[atom, i] += sign * h
            s = structures[k]
            moved.append(Structure(s.numbers, positions, s.cell, s.pbc))
        plus, minus = evaluate(potential, moved, "dipole").properties["dipole"]
        np.testing.assert_allclose(
            born[starts[k] + atom, :, i], (plus - minus) / (2 * h), rtol=0, atol=1e-7
        )
    fixed = {"AtomicDipolesMACE": 0.0, "EnergyDipolesMACE": 0.2, "AtomicDielectricMACE": 1.0}
    for k, structure in enumerate(structures):
        charge = fixed[name] * (len(structure) / 3 if name == "EnergyDipolesMACE" else 1)
        total = born[starts[k] : starts[k + 1]].sum(0)
        np.testing.assert_allclose(total, charge * np.eye(3), rtol=0, atol=1e-12)


def test_born_charges_with_forces(mace_file: Files) -> None:
    """One forward pass serves both; asking for more changes nothing."""
    potential = Evaluator(MACE(mace_file("EnergyDipolesMACE")))
    structures = models.structures()
    both = potential.evaluate_structures(structures, Wanted(properties=("born_charges", "dipole")))
    forces = potential.evaluate_structures(structures)
    born = evaluate(MACE(mace_file("EnergyDipolesMACE")), structures, "born_charges")
    np.testing.assert_allclose(both.forces, forces.forces, rtol=0, atol=1e-13)
    np.testing.assert_allclose(
        both.properties["born_charges"], born.properties["born_charges"], rtol=0, atol=1e-13
    )


def test_the_origin_does_not_matter_in_fp32(mace_file: Files) -> None:
    """A neutral structure 1000 Å away: predicted charges add up to zero exactly."""
    potential = MACE(mace_file("AtomicDielectricMACE"), dtype="float32", energy="zero")
    near = models.structures()[1]
    far = Structure(near.numbers, near.positions + 1000.0, near.cell, near.pbc)
    a, b = evaluate(potential, [near, far], "dipole").properties["dipole"]
    np.testing.assert_allclose(a, b, rtol=0, atol=5e-6)


def test_an_atom_in_another_cell_moves_its_charge(mace_file: Files) -> None:
    """The dipole takes positions as they come; charges and polarizabilities do not notice."""
    potential = MACE(mace_file("AtomicDielectricMACE"), energy="zero")
    structure = models.structures()[3]
    positions = structure.positions.copy()
    positions[5] += structure.cell[0]
    moved = Structure(structure.numbers, positions, structure.cell, structure.pbc)
    found = evaluate(potential, [structure, moved]).properties
    charge = found["charges"][5]
    np.testing.assert_allclose(
        found["dipole"][1] - found["dipole"][0], charge * structure.cell[0], rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(found["charges"][:24], found["charges"][24:], rtol=0, atol=1e-12)
    a, b = found["polarizability"]
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_a_lone_atom(mace_file: Files) -> None:
    """No pairs at all: its Born charge is its charge."""
    atom = Structure([8], [[0.3, -0.2, 0.9]])
    options = {"fixed_charges": {"O": -2.0}, "energy": "zero"}
    found = evaluate(MACE(mace_file("AtomicDipolesMACE"), **options), [atom]).properties
    np.testing.assert_allclose(found["born_charges"], [-2.0 * np.eye(3)])
    np.testing.assert_allclose(found["dipole"], -2.0 * atom.positions, atol=1e-12)


def test_units_of_the_dipole(mace_file: Files) -> None:
    structures = models.structures()[1:2]
    by_unit = [
        evaluate(MACE(mace_file("EnergyDipolesMACE"), dipole_unit=unit), structures, "dipole")
        for unit in (None, "debye", "eA")
    ]
    default, debye, e_angstrom = (one.properties["dipole"] for one in by_unit)
    np.testing.assert_array_equal(default, debye)
    np.testing.assert_allclose(debye, DEBYE * e_angstrom, rtol=1e-7)


def test_as_extras(mace_file: Files) -> None:
    """Every unit has its factor to atomic units."""
    for name, options in KINDS.items():
        potential = MACE(mace_file(name), **options)
        structures = models.structures()[:2]
        names = tuple(potential.properties)
        found = Evaluator(potential).evaluate_structures(structures, Wanted(properties=names))
        written = ExtrasWriter(potential, names).write(found, np.array([0, 3, 12]))
        assert written is not None
        assert all(key in written[1].decode() for key in ("dipole", "BEC", "atomic_dipoles"))


@pytest.mark.parametrize("name", ["AtomicDipolesMACE", "AtomicDielectricMACE"])
def test_models_without_energies(name: str, mace_file: Files) -> None:
    """Refused as a potential; with energy: zero they serve for their properties."""
    with pytest.raises(PotentialError, match=r"predicts dipoles but no energies.* energy: zero"):
        MACE(mace_file(name))
    found = Evaluator(MACE(mace_file(name), energy="zero")).evaluate_structures(
        models.structures(), FORCES
    )
    assert not found.energies.any()
    assert not found.forces.any()
    assert not found.virials.any()
    assert found.properties["dipole"].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fixed_charges": {"C": 1.0}}, "by element"),
        ({"fixed_charges": 0.4}, "by element"),
        ({"fixed_charges": {"O": "many"}}, "fixed_charges of O is a finite number"),
        ({"dipole_unit": "C m"}, "dipole_unit is one of debye, eA"),
        ({"energy": "none"}, "energy is one of model, zero"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str, mace_file: Files) -> None:
    with pytest.raises(PotentialError, match=message):
        MACE(mace_file("AtomicDipolesMACE"), **{"energy": "zero", **options})


def test_calculator_gives_the_same_dipole(mace_file: Files) -> None:
    """mace-torch's calculator, in debye; of a periodic cell."""
    structure = models.structures()[3]
    import_mace()
    network = torch.load(mace_file("EnergyDipolesMACE"), weights_only=False)
    theirs = import_mace("mace.calculators").MACECalculator(
        models=[network], device="cpu", default_dtype="float64", model_type="EnergyDipoleMACE"
    )
    theirs.calculate(structure.to_ase())
    found = evaluate(MACE(mace_file("EnergyDipolesMACE")), [structure], "dipole")
    np.testing.assert_allclose(
        found.properties["dipole"][0], DEBYE * theirs.results["dipole"], rtol=0, atol=1e-7
    )
