"""MACE models: the contract of potentials, mace-torch's own calculator, heads, lone atoms."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch

pytest.importorskip("mace")

import mace_models as models
from water_samples import INPUTS

from pimd.evaluator import Evaluator
from pimd.potentials.base import PotentialError, Wanted
from pimd.potentials.mace import MACE
from pimd.potentials.mace_library import import_mace
from pimd.potentials.registry import make_potential
from pimd.structure import Structure
from pimd.testing import check_potential

Files = Callable[[str], Path]
mace_file = models.mace_file

CASES: dict[str, dict[str, Any]] = {
    "water": {},
    "heads": {"head": "scan"},
    "undecided": {"head": "pbe"},
    "charged": {"total_charge": 1.0, "total_spin": 2.0},
    "EnergyDipolesMACE": {},
}
"""Model -> options."""


def waters(n: int = 64) -> Structure:
    """Liquid water, disordered."""
    atoms = ase.io.read(INPUTS / "water" / "init.xyz", format="extxyz")
    atoms.rattle(0.05, seed=2)
    return Structure.from_ase(atoms)


@pytest.mark.parametrize("name", ["water", "heads", "charged"])
def test_contract(name: str, mace_file: Files) -> None:
    """Finite differences, batch = single, rotations and the rest, in fp64."""
    report = check_potential(MACE(mace_file(name), **CASES[name]), models.structures())
    print(report)
    assert {"forces", "virials", "batch", "one_atom", "lattice"} <= set(report.deviations)


def test_contract_in_fp32(mace_file: Files) -> None:
    """The same in fp32, and agreement with fp64."""
    potential = MACE(mace_file("water"), dtype="float32")
    assert potential.precision == torch.float32
    report = check_potential(potential, models.structures(), reference=MACE(mace_file("water")))
    print(report)
    assert report.noise["energy"] > 0.0  # it did compute in fp32


def calculator(file: Path, dtype: str, head: str | None) -> Any:
    import_mace()
    network = torch.load(file, weights_only=False)
    kind = "EnergyDipoleMACE" if "Dipoles" in type(network).__name__ else "MACE"
    return import_mace("mace.calculators").MACECalculator(
        models=[network], device="cpu", default_dtype=dtype, head=head, model_type=kind
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_calculator_of_mace(name: str, dtype: str, mace_file: Files) -> None:
    """Cells smaller than the cutoff, clusters and slabs in one batch, against one by one.

    The calculator makes its vectors from absolute positions and derivatives by them, and rounds
    the total energy, thousands of eV, to the precision of the network."""
    options = CASES[name]
    structures = models.structures()
    found = Evaluator(MACE(mace_file(name), dtype=dtype, **options)).evaluate_structures(structures)
    theirs = calculator(mace_file(name), dtype, options.get("head"))
    energy_limit, limit = {"float64": (1e-8, 1e-8), "float32": (1e-4, 2e-5)}[dtype]
    limit *= max(1.0, np.abs(found.forces).max(), np.abs(found.virials).max())
    start = 0
    for k, structure in enumerate(structures):
        atoms = structure.to_ase()
        atoms.info["charge"] = options.get("total_charge", 0.0)
        atoms.info["spin"] = options.get("total_spin", 1.0)
        theirs.calculate(atoms)
        n, results = len(structure), theirs.results
        rounding = np.spacing(np.abs(results["energy"]).astype(dtype))
        assert abs(found.energies[k] - results["energy"]) < n * energy_limit + 2 * rounding
        np.testing.assert_allclose(
            found.forces[start : start + n], results["forces"], rtol=0, atol=limit
        )
        if structure.pbc.all():
            virial = -results["stress"] * atoms.get_volume()
            voigt = found.virials[k][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
            np.testing.assert_allclose(voigt, virial, rtol=0, atol=limit)
        start += n
    assert np.abs(found.forces).max() > 0.05


def test_charge_and_spin_matter(mace_file: Files) -> None:
    structure = models.structures()[1]
    energies = {
        Evaluator(MACE(mace_file("charged"), total_charge=charge, total_spin=spin))
        .evaluate_structures([structure])
        .energies[0]
        for charge, spin in ((0, 1), (1, 1), (1, 2))
    }
    assert len(energies) == 3


def test_heads(mace_file: Files) -> None:
    """The one called default, or the one asked for; energies of lone atoms are the head's."""
    structure = Structure([8], [[0.0, 0.0, 0.0]])
    found = {
        head: Evaluator(MACE(mace_file("heads"), head=head)).evaluate_structures([structure])
        for head in (None, "pbe", "Default", "scan")
    }
    energies = {head: float(one.energies[0]) for head, one in found.items()}
    assert energies[None] == energies["Default"]
    assert len(set(energies.values())) == 3
    with pytest.raises(PotentialError, match="no head 'rpbe'; its heads: pbe, Default, scan"):
        MACE(mace_file("heads"), head="rpbe")
    with pytest.raises(PotentialError, match="give one as head: NAME, of pbe, scan"):
        MACE(mace_file("undecided"))


def test_lone_atoms_are_not_rounded(mace_file: Files) -> None:
    """64 waters, -132,000 eV: fp32 keeps what the network says, not 7 digits of the total."""
    structure = waters()
    single = Evaluator(MACE(mace_file("water"), dtype="float32")).evaluate_structures([structure])
    double = Evaluator(MACE(mace_file("water"))).evaluate_structures([structure])
    energy = double.energies[0]
    assert abs(np.float32(energy) - energy) > 1e-4  # what is lost by rounding the total once
    assert abs(single.energies[0] - energy) < 192 * 2e-7
    assert np.abs(single.forces - double.forces).max() < 2e-5 * np.abs(double.forces).max()


def test_geometry_is_exact_in_fp32(mace_file: Files) -> None:
    """Far from the origin, where fp32 positions have steps of 1e-3 Å."""
    potential = Evaluator(MACE(mace_file("water"), dtype="float32"))
    near = models.structures()[3]
    far = Structure(near.numbers, near.positions + 10_000.0, near.cell, near.pbc)
    a, b = (potential.evaluate_structures([s]) for s in (near, far))
    np.testing.assert_allclose(a.forces, b.forces, rtol=0, atol=2e-5)
    assert abs(a.energies[0] - b.energies[0]) < 24 * 2e-7


def test_only_what_is_wanted(mace_file: Files) -> None:
    potential = Evaluator(MACE(mace_file("water")))
    energies = potential.evaluate_structures(models.structures(), Wanted(False, False))
    assert energies.forces is None
    assert energies.virials is None
    everything = potential.evaluate_structures(models.structures())
    np.testing.assert_allclose(energies.energies, everything.energies, rtol=1e-14)


def test_torchscript(mace_file: Files, tmp_path: Path) -> None:
    """`_compiled.model` files, which training writes beside the others."""
    network = torch.load(mace_file("water"), weights_only=False)
    file = models.save_scripted(network, tmp_path / "water_compiled.model")
    found, expected = (
        Evaluator(MACE(one, dtype="float64")).evaluate_structures(models.structures())
        for one in (file, mace_file("water"))
    )
    np.testing.assert_allclose(found.energies, expected.energies, rtol=1e-13)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-12)


def test_by_its_file_name(mace_file: Files) -> None:
    potential = make_potential(f"{mace_file('water')}, dtype: float32, device: cpu")
    assert isinstance(potential, MACE)
    assert potential.precision == torch.float32
    assert potential.cutoff == 3.5
    assert potential.name == "mace water.model"


def test_unknown_element(mace_file: Files) -> None:
    with pytest.raises(PotentialError, match="knows H, O; got Ar: use a model trained for them"):
        Evaluator(MACE(mace_file("water"))).evaluate_structures([Structure([18], [[0, 0, 0.0]])])


def test_missing_library(mace_file: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    file = mace_file("water")
    monkeypatch.setitem(sys.modules, "mace", None)
    with pytest.raises(PotentialError, match=r"pip install 'pimd\[mace\]'"):
        MACE(file)


class MACELES(torch.nn.Module):
    """Named like a class with long-range energies."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no MACE model file"),
        (b"nothing", "cannot be read as a MACE model"),
        ({"epoch": 1}, "holds a dict, not a MACE model"),
        (MACELES(), "is a MACELES, which .* long-range energy"),
        (torch.nn.Linear(1, 1), "is a Linear, which this potential does not evaluate: known are"),
    ],
)
def test_other_files(content: object, message: str, tmp_path: Path) -> None:
    file = tmp_path / "x.model"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    with pytest.raises(PotentialError, match=message):
        MACE(file)


class NeedsModule:
    """Unpickling it imports a module that is not there."""

    def __reduce__(self) -> tuple:
        return __import__, ("cuequivariance_torch_that_is_not_there",)


def test_file_of_a_missing_module(tmp_path: Path) -> None:
    file = tmp_path / "x.model"
    torch.save(NeedsModule(), file, pickle_module=pickle)
    with pytest.raises(PotentialError, match="needs the Python module cuequivariance_torch_that"):
        MACE(file)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float16"}, "dtype is one of"),
        ({"device": "abacus"}, "is no device"),
        ({"energy": "zero"}, "has energies: leave out energy"),
        ({"dipole_unit": "debye"}, "gives no dipoles"),
        ({"fixed_charges": {"O": -0.8}}, "gives no dipoles"),
        ({"compile": True, "cuequivariance": True}, "not both"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str, mace_file: Files) -> None:
    with pytest.raises(PotentialError, match=message):
        MACE(mace_file("water"), **options)
