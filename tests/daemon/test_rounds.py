"""Which structures make up one call, and where each finds its results."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pimd.daemon.rounds import BadPositions, Request, RoundBuilder, Template
from pimd.units import BOHR_ANGSTROM

WATER = Template(np.array([8, 1, 1]), np.array([True, True, False]))
ARGON = Template(np.array([18, 18]), np.array([False, False, False]))


def request(template: Template, n: int, seed: int = 0) -> Request:
    rng = np.random.default_rng(seed)
    return Request(
        template, rng.normal(size=(n, 3, 3)), rng.normal(size=(n, len(template.numbers), 3))
    )


def with_positions(old: Request, positions: np.ndarray, cells: np.ndarray | None = None) -> Request:
    return Request(old.template, old.cells_bohr if cells is None else cells, positions)


def test_one_request_is_laid_flat_in_angstrom_with_row_cells() -> None:
    asked = request(WATER, 4)
    built = RoundBuilder().build([asked])
    batch = built.batch
    np.testing.assert_allclose(
        batch.positions.numpy(), asked.positions_bohr.reshape(-1, 3) * BOHR_ANGSTROM, rtol=1e-15
    )
    for k in range(4):
        # column v of the cell on the wire is row v of ours
        for v in range(3):
            np.testing.assert_allclose(
                batch.cells[k, v].numpy(), asked.cells_bohr[k][:, v] * BOHR_ANGSTROM, rtol=1e-15
            )
    assert batch.cells.is_contiguous()
    assert batch.numbers.tolist() == [8, 1, 1] * 4
    assert batch.structure_index.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert batch.n_atoms_per_structure.tolist() == [3] * 4
    assert batch.pbc.tolist() == [[True, True, False]] * 4
    assert built.n_requested == 4


def test_requests_of_different_simulations_make_one_batch() -> None:
    asked = [request(WATER, 2), request(ARGON, 3, seed=1), request(WATER, 1, seed=2)]
    built = RoundBuilder().build(asked)
    assert built.batch.numbers.tolist() == [8, 1, 1] * 2 + [18, 18] * 3 + [8, 1, 1]
    assert built.starts.tolist() == [0, 3, 6, 8, 10, 12, 15]
    per_atom = built.batch.positions.numpy() / BOHR_ANGSTROM
    per_structure = np.arange(6)
    expected = [[0, 1], [2, 3, 4], [5]]
    for share, own, where in zip(built.shares, asked, expected, strict=True):
        np.testing.assert_allclose(share.per_atom(per_atom), own.positions_bohr, rtol=1e-14)
        assert share.per_structure(per_structure).tolist() == where
    assert built.find(3) == (1, 1)
    assert built.find(5) == (2, 0)
    with pytest.raises(IndexError):
        built.find(6)


@pytest.mark.parametrize(
    "order",
    [
        [0, 1, 1, 1],  # a short batch, filled by i-PI
        [0, 0, 0, 0],  # beads that start from one structure
        [2, 0, 2, 1, 0],
        [0, 1, 2, 3],
    ],
)
def test_identical_structures_are_evaluated_once(order: list[int]) -> None:
    pool = request(WATER, 4)
    asked = Request(WATER, pool.cells_bohr[order], pool.positions_bohr[order])
    built = RoundBuilder().build([asked])
    n_distinct = len(set(order))
    assert built.batch.n_structures == n_distinct
    assert built.n_requested == len(order)
    assert built.shares[0].n_new == n_distinct
    share = built.shares[0]
    found = share.per_atom(built.batch.positions.numpy()) / BOHR_ANGSTROM
    np.testing.assert_allclose(found, asked.positions_bohr, rtol=1e-14)
    cells = share.per_structure(built.batch.cells.numpy().transpose(0, 2, 1)) / BOHR_ANGSTROM
    np.testing.assert_allclose(cells, asked.cells_bohr, rtol=1e-14)


def test_copies_are_found_across_requests_of_a_simulation_but_not_across_simulations() -> None:
    pool = request(WATER, 2)
    first = Request(WATER, pool.cells_bohr[:1], pool.positions_bohr[:1])
    again = Request(WATER, pool.cells_bohr[[0, 1, 0]], pool.positions_bohr[[0, 1, 0]])
    ozone = Template(np.array([8, 8, 8]), WATER.pbc)
    other = Request(ozone, first.cells_bohr, first.positions_bohr)
    built = RoundBuilder().build([first, again, other, first])
    assert built.batch.n_structures == 3
    assert [share.n_new for share in built.shares] == [1, 1, 1, 0]
    assert [share.slots.tolist() for share in built.shares] == [[0], [0, 1, 0], [2], [0]]
    for share in built.shares:
        found = share.per_atom(built.batch.positions.numpy()) / BOHR_ANGSTROM
        np.testing.assert_allclose(found, share.request.positions_bohr, rtol=1e-14)


def test_equal_positions_in_different_cells_are_different() -> None:
    pool = request(WATER, 2)
    asked = with_positions(pool, pool.positions_bohr[[0, 0]])
    assert RoundBuilder().build([asked]).batch.n_structures == 2


def test_one_moved_coordinate_among_fixed_atoms_is_seen() -> None:
    n_atoms = 500
    template = Template(np.ones(n_atoms, int), np.zeros(3, bool))
    positions = np.tile(np.random.default_rng(0).normal(size=(1, n_atoms, 3)), (3, 1, 1))
    positions[1, 7, 1] += 1e-9
    asked = Request(template, np.zeros((3, 3, 3)), positions)
    built = RoundBuilder().build([asked])
    assert built.batch.n_structures == 2
    assert built.shares[0].slots.tolist() == [0, 1, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_positions_that_are_not_finite_are_named(bad: float) -> None:
    asked = request(WATER, 3)
    asked.positions_bohr[1, 2, 0] = bad
    with pytest.raises(BadPositions, match="not finite") as caught:
        RoundBuilder().build([request(ARGON, 2), asked])
    assert caught.value.round.find(caught.value.index) == (1, 1)
    assert caught.value.structure.numbers.tolist() == [8, 1, 1]
    cells = asked.cells_bohr.copy()
    cells[2, 0, 0] = bad
    with pytest.raises(BadPositions):
        RoundBuilder().build([Request(WATER, cells, np.zeros((3, 3, 3)))])


def test_tensors_that_never_change_are_kept_and_the_others_are_new() -> None:
    builder = RoundBuilder()
    first = builder.build([request(WATER, 3, seed=1)]).batch
    before = first.positions.clone()
    second = builder.build([request(WATER, 3, seed=2)]).batch
    for name in ("numbers", "pbc", "structure_index", "n_atoms_per_structure"):
        assert getattr(first, name) is getattr(second, name)
    assert torch.equal(first.positions, before)  # a potential may keep what it was given
    for n in range(1, 200):
        builder.build([request(WATER, n)])
    assert len(builder._layouts) <= 64


def test_single_precision_potentials_get_single_precision() -> None:
    batch = RoundBuilder(torch.float32).build([request(WATER, 2)]).batch
    assert batch.positions.dtype == batch.cells.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_round_laid_into_one_buffer_is_the_same_bit_for_bit(dtype: torch.dtype) -> None:
    """The way to a GPU, on tensors of the CPU; structures twice in a round included."""
    pool = request(WATER, 3)
    asked = [
        Request(WATER, pool.cells_bohr[[0, 1, 1]], pool.positions_bohr[[0, 1, 1]]),
        request(ARGON, 2, seed=1),
    ]
    builders = [RoundBuilder(dtype, packed=packed) for packed in (True, None)]
    for _ in range(2):
        packed, plain = (builder.build(asked) for builder in builders)
        for name in ("positions", "cells", "numbers", "structure_index", "pbc", "host_starts"):
            assert torch.equal(getattr(packed.batch, name), getattr(plain.batch, name)), name
    first = packed.batch.positions.clone()
    builders[0].build([request(WATER, 2), request(ARGON, 2)])
    assert torch.equal(packed.batch.positions, first)  # a potential may keep what it was given
    asked[1].positions_bohr[0, 0, 0] = np.nan
    with pytest.raises(BadPositions):
        builders[0].build(asked)


def test_rounds_know_where_their_structures_begin() -> None:
    batch = RoundBuilder().build([request(WATER, 2), request(ARGON, 2)]).batch
    assert batch.starts().tolist() == batch.offsets.tolist() == [0, 3, 6, 8, 10]
