"""Radial distribution functions: perfect lattices, the ideal gas, every pair once, any cell."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from pimd.analysis.arrays import best_library, place
from pimd.analysis.rdf import Bins, density, largest_distance, normalise, pair_counts

TRICLINIC = np.array([[9.0, 0.0, 0.0], [3.5, 8.0, 0.0], [-2.0, 2.5, 9.5]])
CUBIC = 9.0 * np.eye(3)


def by_hand(a: np.ndarray, b: np.ndarray | None, cell: np.ndarray | None, bins: Bins) -> np.ndarray:
    """Counts of one structure by the shortest of 125 images of every pair."""
    images = np.zeros((1, 3))
    if cell is not None:
        images = np.array(list(product(range(-2, 3), repeat=3))) @ cell
    d = (a if b is None else b)[None] - a[:, None]
    if cell is not None:
        d = d - np.round(d @ np.linalg.inv(cell)) @ cell
    r = np.linalg.norm(d[:, :, None] + images, axis=3).min(axis=2)
    r = r[np.triu_indices(len(a), 1)] if b is None else r.ravel()
    return np.histogram(r, bins.edges)[0]


def positions(seed: int, *shape: int) -> np.ndarray:
    """Scattered over several cells."""
    return np.random.default_rng(seed).uniform(-15.0, 25.0, (*shape, 3))


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("cell", [CUBIC, TRICLINIC, None], ids=["cubic", "triclinic", "none"])
@pytest.mark.parametrize(("n_a", "n_b"), [(7, None), (8, None), (2, None), (3, 8), (8, 3), (1, 1)])
def test_every_pair_is_counted_once(
    cell: np.ndarray | None, n_a: int, n_b: int | None, library: str
) -> None:
    to = place(library)
    a = positions(1, 3, 4, n_a)  # 3 frames of 4 beads
    b = None if n_b is None else positions(2, 3, 4, n_b)
    bins = Bins(0.0, 30.0 if cell is None else largest_distance(cell), 17)
    cells = None if cell is None else np.stack([cell, 1.1 * cell, 1.2 * cell])
    found = pair_counts(
        to(a), None if b is None else to(b), None if cells is None else to(cells), bins
    )
    expected = [
        sum(
            by_hand(
                a[t, k], None if b is None else b[t, k], None if cells is None else cells[t], bins
            )
            for k in range(4)
        )
        for t in range(3)
    ]
    np.testing.assert_array_equal(found, expected)


def test_chunks_do_not_change_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    import pimd.analysis.rdf as module

    a, cells = positions(4, 10, 2, 9), np.stack([TRICLINIC] * 10)
    bins = Bins(0.0, 3.5, 30)
    whole = pair_counts(a, None, cells, bins)
    monkeypatch.setattr(module, "chunk_elements", lambda _: 1)
    np.testing.assert_array_equal(pair_counts(a, None, cells, bins), whole)
    assert whole.sum() > 100


def test_ideal_gas_is_one_also_for_few_atoms() -> None:
    """20,000 frames of 4 + 3 atoms: within 4 standard errors, which are below 3 %."""
    rng = np.random.default_rng(3)
    cells = np.stack([TRICLINIC] * 20_000)
    a, b = (rng.uniform(size=(20_000, 1, n, 3)) @ TRICLINIC for n in (4, 3))
    bins = Bins(0.0, largest_distance(TRICLINIC), 8)
    volumes = np.linalg.det(cells)
    for second, n_second in ((None, None), (b, 3)):
        counts = pair_counts(a, second, cells, bins)
        g = normalise(counts, volumes, 4, n_second, bins)
        error = g.std(axis=0) / math.sqrt(len(g))
        assert (np.abs(g.mean(axis=0) - 1.0) < 4 * error).all()
        assert (error[2:] < 0.03).all()


def test_perfect_lattice_has_its_shells() -> None:
    """Simple cubic, 4 x 4 x 4 of 2 Å: 6, 12, 8 neighbours at 2, 2 sqrt 2, 2 sqrt 3 Å."""
    x = 2.0 * np.array(list(product(range(4), repeat=3)), dtype=float)
    cell = 8.0 * np.eye(3)
    bins = Bins(0.0, 3.99, 399)
    counts = pair_counts(x[None, None], None, cell[None], bins)
    g = normalise(counts, np.array([512.0]), 64, None, bins)
    neighbours = g[0] * 63 / 512.0 * 4 / 3 * math.pi * np.diff(bins.edges**3)
    where = np.flatnonzero(neighbours)
    np.testing.assert_allclose(neighbours[where], [6.0, 12.0, 8.0])
    for edge, shell in zip(bins.edges[where], (2.0, 8**0.5, 12**0.5), strict=True):
        assert edge - 1e-9 <= shell < edge + bins.width + 1e-9


def test_rotation_and_whole_vectors_change_nothing() -> None:
    rng = np.random.default_rng(5)
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    a = positions(6, 1, 1, 12)
    bins = Bins(0.0, largest_distance(TRICLINIC), 40)
    moved = (a + rng.integers(-3, 4, a.shape) @ TRICLINIC) @ q
    np.testing.assert_array_equal(
        pair_counts(moved, None, (TRICLINIC @ q)[None], bins),
        pair_counts(a, None, TRICLINIC[None], bins),
    )


def test_density_of_a_pair_without_cell_integrates_to_one() -> None:
    a = positions(7, 5, 2, 6)
    bins = Bins(0.0, 80.0, 50)
    found = density(pair_counts(a, None, None, bins), 2 * 15, bins)
    np.testing.assert_allclose(found.sum(axis=1) * bins.width, 1.0)


def test_beyond_nearest_images_is_refused() -> None:
    half = largest_distance(TRICLINIC)
    normals = np.linalg.inv(TRICLINIC)
    assert half == pytest.approx(0.5 / np.linalg.norm(normals, axis=0).max())
    with pytest.raises(ValueError, match="half of its smallest width"):
        pair_counts(positions(0, 1, 1, 4), None, TRICLINIC[None], Bins(0.0, 1.01 * half, 10))
    with pytest.raises(ValueError, match="begin at 0"):
        pair_counts(positions(0, 1, 1, 4), None, None, Bins(1.0, 2.0, 10))


@pytest.mark.parametrize("make", [lambda: Bins(0.0, 0.0, 5), lambda: Bins(0.0, 1.0, 0),
                                  lambda: Bins(0.0, math.inf, 3)])  # fmt: skip
def test_bins_that_are_none_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="at least one bin"):
        make()


def test_libraries() -> None:
    with pytest.raises(ValueError, match="got 'matlab'"):
        place("matlab")
    assert isinstance(place("numpy")([1.0]), np.ndarray)


def test_a_library_that_is_missing_is_named() -> None:
    if importlib.util.find_spec("cupy") is not None:
        pytest.skip("cupy is installed")
    with pytest.raises(ValueError, match=r"pimd\[cuda\]"):
        place("cupy")
    assert best_library() in ("numpy", "torch")
