"""Beads kept as extxyz: what is too close to be kept, and files cut back frame by frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from pimd.ipi.uncertainty import BeadFrame
from pimd.run.frames import FrameFile, FramePlace, too_close
from pimd.run.rundir import RunDirectoryError
from pimd.structure import Structure


def water(bond: float = 0.96, cell: float = 10.0) -> Structure:
    positions = [[0.0, 0.0, 0.0], [bond, 0.0, 0.0], [-0.24, 0.93, 0.0]]
    return Structure(np.array([8, 1, 1]), np.array(positions), cell * np.eye(3), True)


def append(file: FrameFile, step: int, system: int = 0, members: int = 3) -> None:
    energies = np.linspace(-1.0, 1.0, members)
    frame = BeadFrame(water(), -0.5, np.ones((3, 3)), energies.std(ddof=1), energies)
    file.append(frame, FramePlace(step, 0.5 * step, system, 2, "nn"))


def test_molecules_are_far_enough_apart() -> None:
    assert too_close(water()) is None
    assert too_close(water(0.55)) is None  # a bead of a quantum hydrogen
    hydrogen = Structure(np.array([1, 1]), np.array([[0.0, 0, 0], [0.45, 0, 0]]))
    assert too_close(hydrogen) is None
    assert too_close(Structure(np.array([18]), np.zeros((1, 3)))) is None


def test_the_worst_pair_is_named() -> None:
    found = too_close(water(0.4))
    assert found is not None
    assert {found.first, found.second} == {0, 1}
    assert str(found).endswith("0.40 Å apart")


def test_periodic_images_and_atoms_on_atoms_count() -> None:
    ends = np.array([[0.1, 0.0, 0.0], [9.9, 0.0, 0.0]])
    periodic = Structure(np.array([6, 6]), ends, 10.0 * np.eye(3), [True, False, False])
    found = too_close(periodic)
    assert found is not None
    assert found.distance == pytest.approx(0.2)
    assert too_close(Structure(np.array([6, 6]), ends, 10.0 * np.eye(3))) is None
    same = Structure(np.array([6, 6]), np.zeros((2, 3)))
    assert too_close(same) is not None


@pytest.mark.parametrize("members", [2, 3, 9])
def test_a_frame_comes_back_as_it_was(tmp_path: Path, members: int) -> None:
    """Nine numbers would be read as a matrix if they were written as numbers."""
    file = FrameFile(tmp_path / "u.extxyz")
    append(file, 7, members=members)
    atoms = read(file.path)
    energies = np.linspace(-1.0, 1.0, members)
    np.testing.assert_allclose(atoms.info["member_energies"], energies)
    assert atoms.info["sigma_per_atom"] == pytest.approx(energies.std(ddof=1) / 3)
    assert atoms.get_potential_energy() == -0.5
    np.testing.assert_array_equal(atoms.get_forces(), np.ones((3, 3)))
    assert atoms.pbc.all()


def test_cutting_drops_later_frames_and_halves(tmp_path: Path) -> None:
    path = tmp_path / "uncertain.extxyz"
    file = FrameFile(path)
    for step, system in ((3, 0), (3, 1), (8, 0), (12, 1)):
        append(file, step, system)
    whole = path.read_bytes()
    assert FrameFile.cut(path, 12) == []
    (said,) = FrameFile.cut(path, 8)
    assert "after step 8; 3 frames are left" in said
    found = FrameFile.opened(path)
    assert (found.count, found.last_steps) == (3, {0: 8, 1: 3})
    assert [a.info["step"] for a in read(path, ":")] == [3, 3, 8]
    for end in (1, 40, 200, len(whole) // 4 - 1):  # killed while the last was written
        path.write_bytes(whole[: 3 * len(whole) // 4 + end])
        FrameFile.cut(path, 100)
        assert path.read_bytes() in (whole[:n] for n in range(len(whole)))
        assert FrameFile.opened(path).count == 3
    FrameFile.cut(path, 0)
    assert path.read_bytes() == b""
    assert FrameFile.cut(tmp_path / "nothing.extxyz", 3) == []


def test_a_file_of_somebody_else_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "uncertain.extxyz"
    text = "1\na comment\nH 0 0 0\n"
    path.write_text(text)
    with pytest.raises(RunDirectoryError, match="not a file that pimd wrote"):
        FrameFile.cut(path, 3)
    assert path.read_text() == text
