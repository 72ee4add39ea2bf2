"""The MACE driver against i-PI's own, and in the ways it can be used."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms

pytest.importorskip("mace")

sys.path.insert(0, str(Path(__file__).parents[1] / "potentials"))
import mace_models as models
from ipi.pes import load_pes
from test_driver_runs import Case, Runs, outputs

from pimd.potentials.mace_library import import_mace
from pimd.units import BOHR_ANGSTROM

Files = Callable[[str], Path]
mace_file = models.mace_file
DRIVER = Path(__file__).parents[2] / "drivers" / "mace_driver.py"


def sent(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Cell and positions as i-PI gives them."""
    return atoms.cell.array.T / BOHR_ANGSTROM, atoms.positions / BOHR_ANGSTROM


@pytest.fixture
def waters() -> list[Atoms]:
    """Two beads of a triclinic cell with an upper triangle of zeros, as i-PI has."""
    atoms = models.structures()[3].to_ase()
    atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    other = atoms.copy()
    other.rattle(0.05, seed=1)
    return [atoms, other]


def test_agrees_with_the_driver_of_ipi(
    waters: list[Atoms], mace_file: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Energies, forces and virials in atomic units, of a batch."""
    ase.io.write(tmp_path / "init.xyz", waters[0], format="extxyz")
    (tmp_path / "options.json").write_text(json.dumps({"default_dtype": "float64"}))
    file = mace_file("water")
    ours = load_pes("custom", str(DRIVER))(template=str(tmp_path / "init.xyz"), model=str(file))
    cells, positions = zip(*[sent(atoms) for atoms in waters], strict=True)
    found = ours(list(cells), list(positions))
    import_mace()
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # it loads without saying how
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = load_pes("mace", None)(
            template=str(tmp_path / "init.xyz"),
            model=str(file),
            mace_kwargs=str(tmp_path / "options.json"),
        )
        expected: Any = theirs(list(cells), list(positions))
    for a, b in zip(found, expected, strict=True):
        # i-PI's factors from eV and Å have eight digits, that of the energy is 1.04e-7 too large
        np.testing.assert_allclose(a[0] * (1 + 1.04e-7), b[0], rtol=2e-9)
        np.testing.assert_allclose(a[1], np.reshape(b[1], (-1, 3)), rtol=0, atol=1e-7)
        np.testing.assert_allclose(a[2], b[2], rtol=0, atol=1e-6)
        assert np.abs(a[1]).max() > 1e-3


def test_dipoles_as_extras(waters: list[Atoms], mace_file: Files, tmp_path: Path) -> None:
    ase.io.write(tmp_path / "init.xyz", waters[0], format="extxyz")
    pes = load_pes("custom", str(DRIVER))(
        template=str(tmp_path / "init.xyz"),
        model=str(mace_file("AtomicDielectricMACE")),
        energy="zero",
        properties="[dipole; polarizability; born_charges]",
    )
    energy, forces, _, extras = pes(*sent(waters[0]))
    assert energy == 0.0
    assert not forces.any()
    values = json.loads(extras)
    assert np.shape(values["dipole"]) == (3,)
    assert np.shape(values["polarizability"]) == (3, 3)
    assert np.shape(values["BEC"]) == (72, 3)


@pytest.mark.physics
@pytest.mark.parametrize("way", ["direct", "ipi_client"])
def test_as_a_program_and_otherwise(way: str, mace_file: Files, tmp_path: Path) -> None:
    """A short run of stock i-PI with the program, and the same in i-PI's process or client."""
    atoms = models.structures()[1].to_ase()
    atoms.set_cell([9.0] * 3)
    options = {"model": str(mace_file("water")), "dtype": "float64", "device": "cpu"}
    runs = Runs(Case("mace_driver.py", options, atoms), tmp_path)
    program, other = outputs(runs.program()), outputs(getattr(runs, way)())
    assert program == other
    table = np.loadtxt(tmp_path / "program" / "run.out")
    assert np.ptp(table[:, 3]) > 0.0  # it moved

