"""Bonds and angles of known molecules, in any cell and orientation, and their histograms."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, molecule

from pimd.analysis.arrays import place, to_numpy
from pimd.analysis.geometry import angles, bond_lengths, find_topology, histogram
from pimd.analysis.rdf import Bins

CELL = np.array([[8.0, 0.0, 0.0], [3.0, 7.5, 0.0], [-2.0, 1.0, 8.5]])


def torn_waters(seed: int) -> tuple[np.ndarray, list[str]]:
    """Two waters in CELL, each atom moved by whole lattice vectors."""
    rng = np.random.default_rng(seed)
    one = molecule("H2O")
    x = np.concatenate([one.positions, one.positions @ rotation(rng) + [3.0, 2.5, 4.0]])
    return x + rng.integers(-2, 3, x.shape) @ CELL, list(one.symbols) * 2


def rotation(rng: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(3, 3)))[0]


def test_topology_of_water_across_the_faces_of_a_cell() -> None:
    x, symbols = torn_waters(0)
    found = find_topology(x, symbols, CELL)
    assert set(found.bonds) == {"H-O"}
    assert set(found.angles) == {"H-O-H"}
    np.testing.assert_array_equal(
        np.sort(found.bonds["H-O"], axis=0), [[1, 0], [2, 0], [4, 3], [5, 3]]
    )
    np.testing.assert_array_equal(found.angles["H-O-H"], [[1, 0, 2], [4, 3, 5]])
    assert not find_topology(x, symbols).bonds  # without the cell they are torn


def test_topology_of_ethanol_and_silicon() -> None:
    ethanol = molecule("CH3CH2OH")
    found = find_topology(ethanol.positions, list(ethanol.symbols))
    assert {k: len(v) for k, v in found.bonds.items()} == {"C-C": 1, "C-H": 5, "C-O": 1, "H-O": 1}
    assert {k: len(v) for k, v in found.angles.items()} == {
        "C-C-H": 5, "C-C-O": 1, "C-O-H": 1, "H-C-H": 4, "H-C-O": 2,
    }  # fmt: skip
    silicon = bulk("Si", cubic=True) * (2, 2, 2)
    found = find_topology(silicon.positions, ["Si"] * 64, silicon.cell[:])
    assert len(found.bonds["Si-Si"]) == 128
    assert len(found.angles["Si-Si-Si"]) == 64 * 6
    tetrahedral = angles(
        silicon.positions[None, None], silicon.cell[:][None], found.angles["Si-Si-Si"]
    )
    np.testing.assert_allclose(tetrahedral, np.degrees(np.arccos(-1 / 3)), atol=1e-9)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_lengths_and_angles_of_water(library: str) -> None:
    to = place(library)
    x, symbols = torn_waters(1)
    found = find_topology(x, symbols, CELL)
    one = molecule("H2O")
    q = rotation(np.random.default_rng(2))
    frames = to(np.stack([[x, x + 5.0], [x @ q, x @ q]]))  # 2 frames of 2 beads
    cells = to(np.stack([CELL, CELL @ q]))
    lengths = to_numpy(bond_lengths(frames, cells, found.bonds["H-O"]))
    assert lengths.shape == (2, 2, 4)
    np.testing.assert_allclose(lengths, one.get_distance(0, 1), atol=1e-12)
    corners = to_numpy(angles(frames, cells, found.angles["H-O-H"]))
    assert corners.shape == (2, 2, 2)
    np.testing.assert_allclose(corners, one.get_angle(1, 0, 2), atol=1e-10)


def test_straight_and_folded_angles_are_exact() -> None:
    x = np.array([[1.0, 0, 0], [0, 0, 0], [-1.0, 1e-9, 0], [1.0, 1e-9, 0]])[None, None]
    found = angles(x, None, np.array([[0, 1, 2], [0, 1, 3]]))[0, 0]
    np.testing.assert_allclose(
        found, [180.0 - np.degrees(1e-9), np.degrees(1e-9)], rtol=1e-15, atol=1e-12
    )


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_histogram_is_that_of_numpy(library: str) -> None:
    values = np.random.default_rng(0).normal(1.0, 0.5, (4, 3, 50))
    bins = Bins(0.25, 1.75, 7)
    values[0, 0, :3] = [0.25, 1.75, 0.24999]
    found = histogram(place(library)(values), bins)
    expected = [np.histogram(frame, bins.edges)[0] for frame in values]
    np.testing.assert_array_equal(found, expected)


def test_topology_wants_positions_of_its_symbols() -> None:
    with pytest.raises(ValueError, match=r"expected positions \(3, 3\)"):
        find_topology(np.zeros((2, 3)), ["H", "O", "H"])
