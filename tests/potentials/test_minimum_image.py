"""Shortest images against a search among very many."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pimd.potentials.minimum_image import minimum_image

IMAGES = np.array(list(np.ndindex(13, 13, 13))) - 6.0


def nearest(vectors: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Lengths of the shortest images, from all of 13 x 13 x 13 about the rounded one."""
    start = vectors - np.round(vectors @ np.linalg.inv(cell)) @ cell
    return np.linalg.norm(start[:, None] + IMAGES @ cell, axis=2).min(axis=1)


@given(st.integers(0, 10**6), st.floats(0.0, 1.5))
@settings(max_examples=60, deadline=None)
def test_shortest_of_all_images(seed: int, skew: float) -> None:
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(3, 8, 3)) + skew * np.tril(rng.normal(size=(3, 3)), -1) * 3
    cell = cell @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    vectors = rng.normal(size=(20, 3)) * 20
    other = np.diag([4.0, 5.0, 6.0])
    got = minimum_image(
        torch.tensor(np.stack([vectors, vectors, vectors])),
        torch.tensor(np.stack([cell, other, np.zeros((3, 3))])),
        torch.tensor([[True] * 3, [True] * 3, [False] * 3]),
    ).numpy()
    np.testing.assert_allclose(np.linalg.norm(got[0], axis=1), nearest(vectors, cell), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(got[1], axis=1), nearest(vectors, other), atol=1e-9)
    assert np.array_equal(got[2], vectors)
    whole = (got[0] - vectors) @ np.linalg.inv(cell)
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-8)


@pytest.mark.parametrize("reach", [1.0, 1.6, 3.0])
def test_short_images_are_found_though_long_ones_need_not_be(reach: float) -> None:
    rng = np.random.default_rng(1)
    cell = np.array([[3.4, 0, 0], [5.0, 6.0, 0], [-4.0, 7.5, 9.0]])
    short = rng.normal(size=(200, 3))
    short *= reach * rng.uniform(size=(200, 1)) / np.linalg.norm(short, axis=1)[:, None]
    lengths = np.linalg.norm(short, axis=1)
    short = short[lengths <= nearest(short, cell) + 1e-9]  # its own shortest image
    vectors = short + rng.integers(-3, 4, short.shape) @ cell
    got = minimum_image(
        torch.tensor(vectors[None]), torch.tensor(cell[None]), torch.ones(1, 3).bool(), reach
    )
    np.testing.assert_allclose(got[0].norm(dim=1), np.linalg.norm(short, axis=1), atol=1e-9)
