"""Matrix products give i-PI's normal modes, and nothing else takes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pimd.ipi.extensions import disable_all, normal_modes
from pimd.ipi.extensions.normal_modes import NormalModeProducts, to_beads, to_modes

nmtransform: Any = pytest.importorskip("ipi.utils.nmtransform")

N_ATOMS = 5


@pytest.fixture(autouse=True)
def extension() -> Iterator[NormalModeProducts]:
    disable_all()
    made = NormalModeProducts()
    assert made.self_check() is None
    made.enable()
    yield made
    made.disable()


def transforms(n_beads: int, **options: Any) -> list[Any]:
    return [nmtransform.nm_fft(n_beads, N_ATOMS, **options), nmtransform.nm_trans(n_beads)]


@pytest.mark.parametrize("n_beads", [2, 3, 4, 5, 6, 7, 8, 16, 31, 32, 64, 128])
def test_the_modes_are_those_of_i_pi(extension: NormalModeProducts, n_beads: int) -> None:
    beads = np.random.default_rng(n_beads).normal(size=(n_beads, 3 * N_ATOMS))
    extension.disable()
    expected = [transform.b2nm(beads) for transform in transforms(n_beads)]
    extension.enable()
    for modes, transform in zip(expected, transforms(n_beads), strict=True):
        out = np.empty_like(beads)
        np.testing.assert_allclose(transform.b2nm(beads), modes, atol=1e-13)
        np.testing.assert_allclose(transform.nm2b(modes), beads, atol=1e-13)
        to_modes(transform, beads, out)
        np.testing.assert_allclose(out, modes, atol=1e-13)
        to_beads(transform, modes, out)
        np.testing.assert_allclose(out, beads, atol=1e-13)
        by_product = n_beads <= normal_modes.MOST_BEADS or type(transform) is nmtransform.nm_trans
        assert (transform._pimd_matrix is not None) == by_product


def test_open_paths_and_single_precision_are_left_to_i_pi() -> None:
    beads = np.random.default_rng(1).normal(size=(8, 3 * N_ATOMS))
    open_path = nmtransform.nm_fft(8, N_ATOMS, open_paths=[1])
    closed, single = nmtransform.nm_fft(8, N_ATOMS), nmtransform.nm_fft(
        8, N_ATOMS, single_precision=True
    )
    difference = np.abs(open_path.b2nm(beads) - closed.b2nm(beads)).max(axis=0)
    assert (difference[3:6] > 0.1).all()
    assert difference[:3].max() < 1e-13
    assert open_path._pimd_matrix is None
    single.b2nm(beads)
    assert single._pimd_matrix is None
    out = np.empty_like(beads)
    to_modes(open_path, beads, out)
    np.testing.assert_array_equal(out, open_path.b2nm(beads))


def test_one_bead() -> None:
    transform = nmtransform.nm_noop(1)
    beads = np.arange(6.0).reshape(1, 6)
    out = np.zeros_like(beads)
    to_modes(transform, beads, out)
    np.testing.assert_array_equal(out, beads)
