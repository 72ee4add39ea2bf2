"""Frames of the viewer: which are chosen, molecules whole, what the members say of forces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import report_runs

from pimd.ipi.uncertainty import Geometry, Members
from pimd.report.frames import chosen, force_spread, shown_frames
from pimd.report.molecules import images_to_show
from pimd.report.spread import spread
from pimd.run.member_file import MemberFile, MemberRecord

CUBE = report_runs.CELL * np.eye(3)
PERIODIC = np.ones(3, dtype=bool)


def test_chosen_frames_are_spread_and_have_the_worst() -> None:
    assert chosen(5, 10, None).tolist() == [0, 1, 2, 3, 4]
    weight = np.zeros(1000)
    weight[[17, 517, 518]] = 1.0, 3.0, 2.0
    weight[3] = np.nan
    found = chosen(1000, 12, weight)
    assert len(found) <= 12
    assert {17, 517, 518, 0, 999} <= set(found.tolist())
    assert (np.diff(found) > 0).all()
    assert np.diff(found).max() < 150
    assert chosen(1000, 1, weight).tolist() == [517]


@pytest.mark.parametrize("shift", [0.0, 4.3, -31.7])
def test_molecules_are_whole_and_in_the_cell(shift: float) -> None:
    numbers = report_runs.setup().numbers
    whole = report_runs.positions(1)[0, 0] + shift
    wrapped = whole - report_runs.CELL * np.floor(whole / report_runs.CELL)
    shown = wrapped + images_to_show(numbers, wrapped, CUBE, PERIODIC) @ CUBE
    for molecule in (slice(0, 3), slice(3, 6)):
        np.testing.assert_allclose(np.diff(shown[molecule], axis=0),
                                   np.diff(whole[molecule], axis=0), atol=1e-12)
        centre = shown[molecule].mean(axis=0)
        assert (centre >= 0.0).all()
        assert (centre < report_runs.CELL).all()


def test_skewed_cell() -> None:
    cell = np.array([[8.0, 0.0, 0.0], [3.0, 7.0, 0.0], [-2.0, 1.0, 9.0]])
    whole = np.array([[0.1, 0.1, 0.1], [-0.6, 0.2, -0.4]])  # O-H across corners
    images = np.array([[2, -1, 0], [0, 3, 1]])
    moved = whole + images @ cell
    shown = moved + images_to_show(np.array([8, 1]), moved, cell, PERIODIC) @ cell
    np.testing.assert_allclose(shown[1] - shown[0], whole[1] - whole[0], atol=1e-12)


def test_network_without_end_comes_into_the_cell_atom_by_atom() -> None:
    chain = np.array([[x, 5.0, 5.0] for x in (-1.0, 1.25, 3.5, 5.75)])  # Si-Si, period 9 Å
    images = images_to_show(np.full(4, 14), chain, CUBE, PERIODIC)
    np.testing.assert_array_equal(images, [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]])


def test_without_a_cell_nothing_moves() -> None:
    q = report_runs.positions(1)[0, 0] + 50.0
    numbers = report_runs.setup().numbers
    assert not images_to_show(numbers, q, np.zeros((3, 3)), np.zeros(3, dtype=bool)).any()


def test_frames_of_a_record() -> None:
    run = report_runs.run()
    found = shown_frames(run, spread(run), 8)
    assert found is not None
    sigma = run.read("member_energies").std(axis=1, ddof=1) / run.n_atoms  # [frame, bead]
    steps = [one.step for one in found.frames]
    assert 10 * int(sigma.max(axis=1).argmax()) in steps
    q = run.read("positions")
    for one in found.frames:
        row = one.step // 10
        assert one.bead == sigma[row].argmax()
        assert one.sigma == pytest.approx(sigma[row].max(), rel=1e-12)
        assert one.energy == run.read("energies")[row, one.bead]
        moved = (one.positions - q[row, one.bead]) / report_runs.CELL
        np.testing.assert_allclose(moved, moved.round(), atol=1e-12)
        rings = np.sqrt(np.square(q[row] - q[row].mean(axis=0)).sum(-1).mean(axis=0))
        np.testing.assert_allclose(one.gyration, rings, rtol=1e-12)
        assert one.force_sigma is None


def test_frames_of_members_h5(tmp_path: Path) -> None:
    """Its beads are wrapped one by one; paths come out whole, and forces tell their spread."""
    rng = np.random.default_rng(2)
    q = report_runs.positions(3)
    forces = rng.normal(size=(3, report_runs.N_MEMBERS, *q.shape[1:]))  # [frame, member, bead, ...]
    energies = rng.normal(size=(3, report_runs.N_MEMBERS, report_runs.N_BEADS))
    file = MemberFile(tmp_path / "members.h5")
    for k in range(3):
        wrapped = q[k] - report_runs.CELL * np.floor(q[k] / report_runs.CELL)
        geometry = Geometry(report_runs.setup().numbers, PERIODIC, CUBE, wrapped)
        members = Members(energies[k].mean(axis=0), energies[k], forces[k])
        file.append([MemberRecord(0, "water", 7 * k, 3.5 * k, geometry, members)])
    file.close()
    run = report_runs.run(tmp_path, members=False)
    sigma = spread(run)
    assert sigma is not None
    assert sigma.n_members == report_runs.N_MEMBERS
    np.testing.assert_allclose(sigma.per_atom, energies.std(axis=1, ddof=1) / report_runs.N_ATOMS)
    found = shown_frames(run, sigma, 10)
    assert found is not None
    assert [one.step for one in found.frames] == [0, 7, 14]
    for k, one in enumerate(found.frames):
        rings = np.sqrt(np.square(q[k] - q[k].mean(axis=0)).sum(-1).mean(axis=0))
        np.testing.assert_allclose(one.gyration, rings, rtol=1e-9)
        of_bead = forces[k, :, one.bead]
        deviations = of_bead - of_bead.mean(axis=0)
        expected = np.sqrt((deviations**2).sum(axis=(0, 2)) / (report_runs.N_MEMBERS - 1))
        np.testing.assert_allclose(one.force_sigma, expected, rtol=1e-12)
        molecule = one.positions[:3]
        np.testing.assert_allclose(molecule[1] - molecule[0],
                                   q[k, one.bead, 1] - q[k, one.bead, 0], atol=1e-9)


def test_force_spread_turns_with_the_atoms() -> None:
    rng = np.random.default_rng(8)
    forces = rng.normal(size=(6, 4, 3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    np.testing.assert_allclose(force_spread(forces @ rotation), force_spread(forces), rtol=1e-12)


def test_large_systems_have_fewer_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pimd.report.frames.MOST_ATOMS", 30)
    found = shown_frames(report_runs.run(members=False), None, 100)
    assert found is not None
    assert len(found.frames) == 5
