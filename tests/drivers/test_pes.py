"""The adapter behind drivers/: units, batches, extras, errors; drivers loaded as i-PI does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ipi.pes import load_pes, scan_pes_file

from pimd.evaluator import Evaluator
from pimd.ipi.pes import PES, main
from pimd.potentials.registry import POTENTIALS, make_potential
from pimd.structure import PotentialError, Structure
from pimd.units import BOHR_ANGSTROM, FORCE_AU_EV_PER_ANGSTROM, HARTREE_EV

DRIVERS = Path(__file__).parents[2] / "drivers"
FILES = sorted(DRIVERS.glob("*.py"))


class LennardJonesPES(PES):
    potential = "lennard_jones"


LJ = {"epsilon": 0.0104, "sigma": 3.4, "cutoff": 6.0}


@pytest.fixture
def argon(tmp_path: Path) -> Path:
    """Triclinic and displaced."""
    atoms = bulk("Ar", cubic=True, a=5.3)
    strain = np.array([[1.0, 0.0, 0.0], [0.1, 1.0, 0.0], [0.02, 0.05, 1.0]])
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    path = tmp_path / "argon.extxyz"
    ase.io.write(path, atoms)
    return path


def beads(structure: Structure, number: int) -> list[Structure]:
    rng = np.random.default_rng(5)
    return [
        Structure(
            structure.numbers,
            structure.positions + rng.normal(scale=0.05, size=structure.positions.shape),
            structure.cell * (1.0 + 0.01 * k),
            structure.pbc,
        )
        for k in range(number)
    ]


def sent(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Cell and positions as i-PI gives them."""
    return structure.cell.T / BOHR_ANGSTROM, structure.positions / BOHR_ANGSTROM


def test_numbers_and_units(argon: Path) -> None:
    """The evaluator's numbers in atomic units; the virial transposed."""
    pes = LennardJonesPES(str(argon), **LJ)
    evaluator = Evaluator(make_potential({"potential": "lennard_jones", **LJ}))
    for structure in beads(pes.structure, 2):
        energy, forces, virial, extras = pes(*sent(structure))
        expected = evaluator.evaluate_structures([structure])
        assert energy * HARTREE_EV == pytest.approx(expected.energies[0], rel=1e-12)
        np.testing.assert_allclose(
            forces * FORCE_AU_EV_PER_ANGSTROM, expected.forces, rtol=0, atol=1e-12
        )
        np.testing.assert_allclose(virial.T * HARTREE_EV, expected.virials[0], rtol=0, atol=1e-12)
        assert extras == ""


def test_forces_are_the_derivative_in_atomic_units(argon: Path) -> None:
    """f = -dE/dx and W = -dE/dstrain of columns, by differences of what i-PI would see."""
    pes = LennardJonesPES(str(argon), **LJ)
    cell, pos = sent(beads(pes.structure, 1)[0])
    _, forces, virial, _ = pes(cell, pos)
    h = 1e-4
    for atom, axis in ((0, 0), (2, 1), (3, 2)):
        step = np.zeros_like(pos)
        step[atom, axis] = h
        slope = (pes(cell, pos + step)[0] - pes(cell, pos - step)[0]) / (2 * h)
        assert forces[atom, axis] == pytest.approx(-slope, abs=1e-8)
    for a, b in ((0, 0), (0, 1), (2, 1)):
        strain = np.zeros((3, 3))
        strain[a, b] = h
        plus, minus = np.eye(3) + strain, np.eye(3) - strain
        up = pes(plus @ cell, pos @ plus.T)[0]
        down = pes(minus @ cell, pos @ minus.T)[0]
        assert virial[a, b] == pytest.approx(-(up - down) / (2 * h), abs=1e-7)


def test_a_list_is_one_call(argon: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beads in lists: the numbers of the single calls, in order, from one call."""
    pes = LennardJonesPES(str(argon), **LJ)
    calls = []
    compute = pes.evaluator.potential.compute

    def counting(batch, wanted):
        calls.append(batch.n_structures)
        return compute(batch, wanted)

    monkeypatch.setattr(pes.evaluator.potential, "compute", counting)
    cells, positions = zip(*[sent(s) for s in beads(pes.structure, 4)], strict=True)
    together = pes(list(cells), [x.ravel() for x in positions])
    assert calls == [4]
    assert len(together) == 4
    for k, (energy, forces, virial, extras) in enumerate(together):
        alone = pes(cells[k], positions[k])
        assert energy == pytest.approx(alone[0], abs=1e-15)
        np.testing.assert_allclose(forces, alone[1], rtol=0, atol=1e-15)
        np.testing.assert_allclose(virial, alone[2], rtol=0, atol=1e-15)
        assert (forces.shape, virial.shape, extras) == ((4, 3), (3, 3), "")
    assert together[0][0] != together[1][0]
    with pytest.raises(ValueError, match="as many positions"):
        pes(list(cells), list(positions[:3]))


def test_copies_in_a_list_get_the_same(argon: Path) -> None:
    """i-PI fills a short batch with copies of the last structure."""
    pes = LennardJonesPES(str(argon), **LJ)
    cells, positions = zip(*[sent(s) for s in beads(pes.structure, 2)], strict=True)
    results = pes([cells[k] for k in (0, 1, 1)], [positions[k] for k in (0, 1, 1)])
    assert results[1][0] == results[2][0] != results[0][0]
    np.testing.assert_array_equal(results[1][1], results[2][1])


def test_extras(tmp_path: Path) -> None:
    """Properties come as JSON in atomic units, of each structure its own."""
    water = molecule("H2O")
    ase.io.write(tmp_path / "water.xyz", water)
    pes = load_pes("custom", str(DRIVERS / "qtip4pf_driver.py"))(
        template=str(tmp_path / "water.xyz"), properties="[dipole; born_charges]"
    )
    turned = water.copy()
    turned.rotate(90, "x")
    structures = [Structure.from_ase(a) for a in (water, turned)]
    cell = np.eye(3) * 30.0
    results = pes([cell, cell], [s.positions / BOHR_ANGSTROM for s in structures])
    first, second = (np.array(json.loads(r[3])["dipole"]) for r in results)
    # q_O = gamma q_M, q_H = q_H + (1 - gamma)/2 q_M
    charges = np.array([-0.8191543, 0.40957715, 0.40957715])
    expected = charges @ structures[0].positions / BOHR_ANGSTROM
    np.testing.assert_allclose(first, expected, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(second, [first[0], -first[2], first[1]], atol=1e-9)
    born = np.array(json.loads(results[0][3])["BEC"])
    np.testing.assert_allclose(born, np.kron(charges[:, None], np.eye(3)), atol=1e-6)


def test_periodicity_is_the_templates(argon: Path) -> None:
    """The cell alone, which i-PI always sends, makes nothing periodic."""
    periodic = LennardJonesPES(str(argon), **LJ)
    cluster = LennardJonesPES(str(argon), pbc=False, **LJ)
    cell, pos = sent(periodic.structure)
    assert periodic(cell, pos)[0] < 2.0 * cluster(cell, pos)[0] < 0.0


def test_template_of_ipi(tmp_path: Path) -> None:
    """i-PI's own xyz, in bohr, serves as a template."""
    comment = "# CELL(abcABC): 20 20 20 90 90 90  positions{atomic_unit} cell{atomic_unit}"
    (tmp_path / "init.xyz").write_text(f"2\n{comment}\nAr 0 0 0\nD 7.0 0 0\n")
    pes = LennardJonesPES(tmp_path / "init.xyz", cutoff=5.0, epsilon=0.01, sigma=3.4)
    np.testing.assert_array_equal(pes.structure.numbers, [18, 1])
    assert pes.structure.pbc.all()
    np.testing.assert_allclose(pes.structure.positions[1, 0], 7.0 * BOHR_ANGSTROM)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "parameter `template`"),
        ({"template": "nowhere.xyz"}, "nowhere.xyz: no such file"),
        ({"template": None, "sigma": 1.0}, "parameter `template`"),
    ],
)
def test_template_is_needed(options: dict, message: str) -> None:
    with pytest.raises(PotentialError, match=message):
        LennardJonesPES(**options)


def test_options_are_checked(argon: Path) -> None:
    with pytest.raises(PotentialError, match="has no option colour"):
        LennardJonesPES(argon, colour="red")
    with pytest.raises(PotentialError, match="does not give dipole"):
        LennardJonesPES(argon, properties="dipole", **LJ)
    # what i-PI adds to the parameters of an ffdirect
    LennardJonesPES(argon, verbosity=False, **LJ)


def test_wrong_number_of_atoms(argon: Path) -> None:
    pes = LennardJonesPES(argon, **LJ)
    with pytest.raises(ValueError, match="template has 4 atoms, i-PI sent 5"):
        pes(np.eye(3), np.zeros((5, 3)))


def test_failure_is_named_and_kept(
    argon: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Atoms on top of each other: which bead, and its structure in a file."""
    monkeypatch.chdir(tmp_path)
    pes = LennardJonesPES(argon, **LJ)
    cells, positions = zip(*[sent(s) for s in beads(pes.structure, 3)], strict=True)
    positions[1][1] = positions[1][0] + 0.2
    with pytest.raises(RuntimeError, match=r"lennard_jones, bead 1: the force on atom") as caught:
        pes(list(cells), list(positions))
    (file,) = re.findall(r"structure is in (\S+\.extxyz)", str(caught.value))
    kept = ase.io.read(file)
    np.testing.assert_allclose(kept.positions, positions[1] * BOHR_ANGSTROM, atol=1e-7)


def test_drivers_are_what_ipi_loads() -> None:
    named = {path.stem.removesuffix("_driver") for path in FILES}
    assert {"ase", "committee", "harmonic", "qtip4pf"} <= named <= set(POTENTIALS)
    for path in FILES:
        class_name, driver_name = scan_pes_file(str(path))
        assert class_name
        assert driver_name == f"pimd_{path.stem.removesuffix('_driver')}"
        loaded = load_pes("custom", str(path))
        assert issubclass(loaded, PES)
        assert loaded.__name__ == class_name


def test_drivers_clash_with_nothing() -> None:
    """A file called like a library would import itself; and nobody imports a driver."""
    assert all(path.stem.endswith("_driver") for path in FILES)
    package = Path(__file__).parents[2] / "pimd"
    for source in package.rglob("*.py"):
        assert not re.search(r"^\s*(from|import) drivers", source.read_text(), re.MULTILINE)


def test_harmonic_anchors(tmp_path: Path) -> None:
    """`template` is the driver's own; the points of the springs have another name."""
    hydrogen = molecule("H2")
    ase.io.write(tmp_path / "start.xyz", hydrogen)
    pes = load_pes("custom", str(DRIVERS / "harmonic_driver.py"))(
        template=tmp_path / "start.xyz", anchors=str(tmp_path / "start.xyz"), k=2.0
    )
    moved = (hydrogen.positions + np.array([0.0, 0.3, 0.0])) / BOHR_ANGSTROM
    energy, forces, _, _ = pes(np.eye(3) * 20, moved)
    assert energy * HARTREE_EV == pytest.approx(2 * 0.5 * 2.0 * 0.09, rel=1e-9)
    np.testing.assert_allclose(
        forces * FORCE_AU_EV_PER_ANGSTROM, [[0, -0.6, 0]] * 2, atol=1e-9
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--template", "nowhere.xyz"], "nowhere.xyz: no such file"),
        (["--template", "{argon}", "-o", "colour=red"], "no option colour"),
        (["--template", "{argon}", "-o", "red"], "expected KEY=VALUE, got 'red'"),
        (["--template", "{argon}", "--connect", "carrier:pigeon"], "cannot read the address"),
    ],
)
def test_program_refuses(argon: Path, capsys, arguments: list[str], message: str) -> None:
    """Status 2 and one message."""
    filled = [text.format(argon=argon) for text in arguments]
    assert main(LennardJonesPES, ["--connect", "unix:pimd_test_none", *filled]) == 2
    said = capsys.readouterr().out.splitlines()
    assert message in said[-1]
    assert len([line for line in said if line.startswith("error")]) == 1


def test_program_gives_up(argon: Path, capsys) -> None:
    """A server that never appears ends the program with its own status."""
    arguments = ["--connect", "unix:pimd_test_none", "--template", str(argon)]
    status = main(LennardJonesPES, [*arguments, "--connect-timeout", "0.2"])
    assert status == 12
    assert "no server appeared" in capsys.readouterr().out
