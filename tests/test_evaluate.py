"""`evaluate_file`: what is written, how it is batched, what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from rich.console import Console
from torch import Tensor

from pimd.evaluate import EvaluateError, evaluate_command, evaluate_file
from pimd.evaluate_progress import LineProgress
from pimd.ipi.structure_files import count_frames, iter_frames
from pimd.potentials.base import Batch, EnergyPotential, PotentialError, PropertySpec
from pimd.units import BOHR_ANGSTROM

LJ = "{potential: lennard_jones, epsilon: 0.0104, sigma: 3.4, cutoff: 6.0}"
EMT = "{potential: ase, calculator: ase.calculators.emt.EMT, workers: 1}"


class Cubes(EnergyPotential):
    """E = sum_i (x_i^3 + y_i^3 + z_i^3) / 3 + V; refuses helium; NaN for lithium."""

    name = "cubes"
    invariant = False

    def __init__(self) -> None:
        self.properties = {
            "dipole": PropertySpec("e Å", (3,)),
            "marks": PropertySpec("", (), per_atom=True),
            "born_charges": PropertySpec("e", (3, 3), per_atom=True),
        }
        self.sizes: list[int] = []

    def energies(self, batch: Batch) -> Tensor:
        self.sizes.append(batch.n_atoms)
        if bool((batch.numbers == 2).any()):
            raise PotentialError("no parameters for helium")
        atomic = batch.positions.pow(3).sum(1) / 3.0
        atomic = torch.where(batch.numbers == 3, float("nan"), atomic)
        return batch.sum_over_atoms(atomic) + torch.linalg.det(batch.cells)

    def property_values(self, batch: Batch, names: tuple[str, ...]) -> dict[str, Tensor]:
        values = {
            "dipole": batch.sum_over_atoms(batch.positions),
            "marks": batch.positions[:, 0],
            "born_charges": batch.positions[:, :, None] * batch.positions[:, None, :],
        }
        return {name: values[name] for name in names}


def frames(*sizes: int, number: int = 1, seed: int = 0) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    return [
        Atoms(numbers=[number] * n, positions=rng.uniform(0, 2, (n, 3)).round(8)) for n in sizes
    ]


def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    strain = np.array([[1.0, 0.1, 0.0], [0.0, 1.0, 0.05], [0.02, 0.0, 1.0]])
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    return atoms


def test_numbers_written(tmp_path: Path) -> None:
    """Forces, energy, properties to the digits of the format; no stress without a cell."""
    source, out = tmp_path / "in.extxyz", tmp_path / "out.extxyz"
    originals = frames(3, 5)
    ase.io.write(source, originals)
    names = ("dipole", "marks", "born_charges")
    evaluate_file(source, Cubes(), out, properties=names)
    for original, written in zip(originals, ase.io.read(out, ":"), strict=True):
        x = original.positions
        assert written.get_potential_energy() == pytest.approx((x**3).sum() / 3, rel=1e-14)
        np.testing.assert_allclose(written.get_forces(), -(x**2), atol=1e-8)
        np.testing.assert_allclose(written.calc.results["dipole"], x.sum(0), rtol=1e-14)
        np.testing.assert_allclose(written.arrays["marks"], x[:, 0], atol=1e-8)
        squares = (x[:, :, None] * x[:, None, :]).reshape(-1, 9)
        np.testing.assert_allclose(written.arrays["born_charges"], squares, atol=1e-8)
        assert "stress" not in written.calc.results
        assert written.info["units"] == (
            "energy eV, forces eV/angstrom, stress eV/angstrom^3, dipole e angstrom, marks, "
            "born_charges e"
        )
        assert written.info["potential"] == "cubes"


def test_stress_has_the_sign_of_ase(tmp_path: Path) -> None:
    """E = V: stress = +1 eV/Å³ times the unit matrix. And EMT's own, triclinic."""
    source, out = tmp_path / "in.extxyz", tmp_path / "out.extxyz"
    box = Atoms("H", positions=[[0, 0, 0]], cell=[2.0, 3.0, 4.0], pbc=True)
    ase.io.write(source, box)
    evaluate_file(source, Cubes(), out)
    np.testing.assert_allclose(ase.io.read(out).get_stress(voigt=False), np.eye(3), atol=1e-14)

    from ase.calculators.emt import EMT as Calculator

    ase.io.write(source, crystal())
    evaluate_file(source, EMT, out, force=True)
    reference = ase.io.read(source)
    reference.calc = Calculator()
    written = ase.io.read(out)
    np.testing.assert_allclose(written.get_stress(), reference.get_stress(), rtol=1e-12)
    np.testing.assert_allclose(written.get_forces(), reference.get_forces(), atol=1e-8)
    assert written.info["potential"].startswith("{potential: ase, calculator: ase.calc")


def test_frames_keep_what_they_had(tmp_path: Path) -> None:
    """Cell, info and columns stay; energy, forces and stress that came along do not."""
    source, out = tmp_path / "in.extxyz", tmp_path / "out.extxyz"
    atoms = crystal()
    atoms.info["origin"] = "strained"
    atoms.arrays["layer"] = np.arange(4)
    atoms.calc = SinglePointCalculator(
        atoms, energy=-999.0, forces=np.full((4, 3), 7.0), stress=np.full(6, 5.0)
    )
    ase.io.write(source, atoms)
    evaluate_file(source, LJ, out)
    written = ase.io.read(out)
    assert written.info["origin"] == "strained"
    np.testing.assert_array_equal(written.arrays["layer"], np.arange(4))
    np.testing.assert_allclose(written.cell.array, atoms.cell.array, atol=1e-8)
    assert abs(written.get_potential_energy() + 999.0) > 1.0
    assert abs(written.get_forces() - 7.0).max() > 0.1
    assert abs(written.get_stress() - 5.0).max() > 0.1


def test_batches_are_bounded(tmp_path: Path) -> None:
    """As many frames as fit, in order; a frame too large for any batch goes alone."""
    source = tmp_path / "in.extxyz"
    ase.io.write(source, frames(3, 4, 5, 20, 1, 1))
    potential = Cubes()
    summary = evaluate_file(source, potential, tmp_path / "out.extxyz", batch_atoms=8)
    assert potential.sizes == [7, 5, 20, 2]
    assert (summary.n_structures, summary.n_atoms, summary.n_batches) == (6, 34, 4)
    assert summary.atoms_per_second == pytest.approx(34 / summary.seconds)
    assert 0.0 < summary.model_seconds < summary.seconds
    whole = tmp_path / "whole.extxyz"
    evaluate_file(source, Cubes(), whole)
    assert whole.read_text() == (tmp_path / "out.extxyz").read_text()


def test_frames_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a batch is read ahead of what is evaluated."""
    source = tmp_path / "in.extxyz"
    ase.io.write(source, frames(*[2] * 10))
    log: list[str] = []

    def reading(path):
        for k, atoms in enumerate(iter_frames(path)):
            log.append(f"read {k}")
            yield atoms

    class Noting(Cubes):
        def energies(self, batch: Batch) -> Tensor:
            log.append("evaluate")
            return super().energies(batch)

    monkeypatch.setattr("pimd.evaluate.iter_frames", reading)
    evaluate_file(source, Noting(), tmp_path / "out.extxyz", batch_atoms=4)
    assert log[:4] == ["read 0", "read 1", "read 2", "evaluate"]
    assert log[-1] == "evaluate"
    assert log.count("evaluate") == 5


@pytest.mark.parametrize(
    ("index", "expected"),
    [("@::3", [0, 3, 6]), ("@-1", [6]), ("@2", [2]), ("@1:3", [1, 2]), ("", range(7))],
)
@pytest.mark.parametrize("kind", ["in.extxyz", "in.xyz", "in.traj"])
def test_choice_of_frames(tmp_path: Path, kind: str, index: str, expected) -> None:
    originals = frames(1, 2, 3, 4, 5, 6, 7)
    if kind == "in.xyz":
        write_ipi(tmp_path / kind, originals, "angstrom")
    else:
        ase.io.write(tmp_path / kind, originals)
    source = f"{tmp_path / kind}{index}"
    sizes = [k + 1 for k in expected]
    assert [len(atoms) for atoms in iter_frames(source)] == sizes
    assert count_frames(source) in ([None] if kind == "in.traj" else [len(sizes)])
    summary = evaluate_file(source, Cubes(), tmp_path / "out.extxyz")
    assert summary.n_structures == len(sizes)


def write_ipi(path: Path, images: list[Atoms], unit: str, what: str = "positions") -> None:
    """As i-PI's xyz: cell and units in the comment, here with a cubic box of 5 units."""
    with open(path, "w") as file:
        for step, atoms in enumerate(images):
            file.write(f"{len(atoms)}\n# CELL(abcABC): 5.0 5.0 5.0 90.0 90.0 90.0  ")
            file.write(f"Step: {step}  Bead: 0 {what}{{{unit}}}  cell{{{unit}}}\n")
            for symbol, x in zip(atoms.symbols, atoms.positions, strict=True):
                file.write(f"{symbol} {x[0]:.8f} {x[1]:.8f} {x[2]:.8f}\n")


@pytest.mark.parametrize(("unit", "factor"), [("angstrom", 1.0), ("atomic_unit", BOHR_ANGSTROM)])
def test_ipi_trajectory(tmp_path: Path, unit: str, factor: float) -> None:
    """i-PI's own xyz is read with its cell and units, which ASE would not see."""
    source, out = tmp_path / "simulation.pos_0.xyz", tmp_path / "out.extxyz"
    originals = frames(3)
    write_ipi(source, originals, unit)
    evaluate_file(source, Cubes(), out)
    written = ase.io.read(out)
    assert written.pbc.all()
    np.testing.assert_allclose(written.positions, originals[0].positions * factor, atol=2e-8)
    np.testing.assert_allclose(written.cell.array, 5.0 * factor * np.eye(3), atol=2e-8)
    evaluate_file(source, {"potential": "harmonic", "k": 1.0, "pbc": False}, out, force=True)
    assert not ase.io.read(out).pbc.any()


def test_ipi_forces_are_no_positions(tmp_path: Path) -> None:
    write_ipi(tmp_path / "f.xyz", frames(3), "atomic_unit", what="forces")
    with pytest.raises(EvaluateError, match="holds forces, not positions"):
        evaluate_file(tmp_path / "f.xyz", Cubes(), tmp_path / "out.extxyz")


def test_plain_xyz_stays_ases_business(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "plain.xyz", molecule("H2O"), format="xyz")
    (atoms,) = iter_frames(tmp_path / "plain.xyz")
    assert not atoms.pbc.any()
    assert len(atoms) == 3


@pytest.mark.parametrize(
    ("number", "message"), [(2, "no parameters for helium"), (3, "the energy is nan")]
)
def test_the_frame_is_named(tmp_path: Path, number: int, message: str) -> None:
    """Whatever the batches; and no output is left behind."""
    source, out = tmp_path / "in.extxyz", tmp_path / "out.extxyz"
    images = frames(2, 2, 2, 2, 2)
    images[3].numbers[1] = number
    ase.io.write(source, images)
    for batch_atoms in (1, 4, 100):
        with pytest.raises(EvaluateError, match=rf"frame 3 of those chosen .*{message}"):
            evaluate_file(source, Cubes(), out, batch_atoms=batch_atoms)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["in.extxyz"]


def test_the_frame_of_a_calculator(tmp_path: Path) -> None:
    source = tmp_path / "in.extxyz"
    images = [crystal() for _ in range(3)]
    images[1].symbols[0] = "Mo"
    ase.io.write(source, images)
    with pytest.raises(EvaluateError, match=r"frame 1 .*NotImplementedError: No EMT-potential"):
        evaluate_file(source, EMT, tmp_path / "out.extxyz")


def test_output_is_not_overwritten(tmp_path: Path) -> None:
    source, out = tmp_path / "in.extxyz", tmp_path / "out.extxyz"
    ase.io.write(source, frames(2))
    out.write_text("precious")
    with pytest.raises(EvaluateError, match="--force"):
        evaluate_file(source, Cubes(), out)
    assert out.read_text() == "precious"
    images = frames(2, number=2)
    ase.io.write(source, images)
    with pytest.raises(EvaluateError, match="helium"):
        evaluate_file(source, Cubes(), out, force=True)
    assert out.read_text() == "precious"  # a failure leaves what was there
    ase.io.write(source, frames(2))
    evaluate_file(source, Cubes(), out, force=True)
    assert len(ase.io.read(out)) == 2


@pytest.mark.parametrize(
    ("source", "out", "properties", "message"),
    [
        ("none.extxyz", "out.extxyz", (), "no such file"),
        ("in.extxyz", "out.cif", (), "extended xyz"),
        ("in.extxyz", "in.extxyz", (), "the file to read from"),
        ("in.extxyz", "nowhere/out.extxyz", (), "no such folder"),
        ("in.extxyz", "out.extxyz", ("colour",), "does not give colour; its properties: born"),
        ("in.extxyz@1:x", "out.extxyz", (), "no choice of frames"),
        ("in.extxyz@5:", "out.extxyz", (), "no structures"),
        ("broken.extxyz", "out.extxyz", (), "cannot read frame 1"),
    ],
)
def test_what_is_refused(tmp_path: Path, source: str, out: str, properties, message) -> None:
    ase.io.write(tmp_path / "in.extxyz", frames(2))
    whole = (tmp_path / "in.extxyz").read_text()
    (tmp_path / "broken.extxyz").write_text(whole + whole.replace("H ", "H x"))
    with pytest.raises((EvaluateError, PotentialError), match=message):
        evaluate_file(tmp_path / source, Cubes(), tmp_path / out, properties=properties)


def test_properties_in_the_spec(tmp_path: Path) -> None:
    """Asked for in the SPEC as for the daemon, and on top of it."""
    source, out = tmp_path / "in.extxyz", tmp_path / "out.extxyz"
    ase.io.write(source, molecule("H2O"))
    spec = {"potential": "qtip4pf", "properties": "dipole"}
    evaluate_file(source, spec, out, properties=("born_charges",))
    written = ase.io.read(out)
    assert written.calc.results["dipole"].shape == (3,)
    assert written.arrays["born_charges"].shape == (3, 9)


def test_command(tmp_path: Path) -> None:
    """Status 0 and a summary, or status 2 and what is wrong; plain text outside a terminal."""
    source, out = tmp_path / "in.extxyz", tmp_path / "out.extxyz"
    ase.io.write(source, [crystal()])
    text = io.StringIO()
    console = Console(file=text)
    assert evaluate_command(source, LJ, out, console=console) == 0
    assert f"1 structures (4 atoms) in" in text.getvalue()  # noqa: F541
    assert f"written to {out}\n" in text.getvalue()
    assert evaluate_command(source, LJ, out, console=console) == 2
    assert "--force" in text.getvalue()
    assert evaluate_command(source, "no_such", tmp_path / "b.xyz", console=console) == 2
    assert "unknown potential" in text.getvalue()
    assert "\x1b" not in text.getvalue()


def test_progress_on_a_terminal_and_in_a_log(tmp_path: Path) -> None:
    source = tmp_path / "in.extxyz"
    ase.io.write(source, frames(*[2] * 6))
    bar = io.StringIO()
    terminal = Console(file=bar, force_terminal=True, width=100)
    status = evaluate_command(
        source, "{potential: harmonic, k: 1.0}", tmp_path / "a.extxyz", batch_atoms=4,
        console=terminal,
    )  # fmt: skip
    assert status == 0
    assert "6/6" in bar.getvalue()
    assert "atoms/s" in bar.getvalue()

    lines = io.StringIO()
    evaluate_file(
        source, Cubes(), tmp_path / "b.extxyz", batch_atoms=4,
        progress=lambda total: LineProgress(Console(file=lines), total, interval=0.0),
    )  # fmt: skip
    said = lines.getvalue().splitlines()
    assert [line.split(",")[0] for line in said] == [f"{n}/6 structures" for n in (2, 4, 6)]
    assert said[-1].endswith(" 0 s left")
