"""Neighbour lists against ASE's, fresh and reused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.neighborlist import primitive_neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

import pimd.potentials.neighbours as neighbours
from pimd.potentials.base import Batch, PotentialError, Structure
from pimd.potentials.neighbours import NeighbourLists

CUBIC = np.eye(3) * 5.0
TRICLINIC = np.array([[6.0, 0.0, 0.0], [2.5, 5.0, 0.0], [-1.5, 2.0, 4.5]])
ROTATED = np.array([[0.3, 4.0, 1.0], [3.5, -0.5, 2.0], [1.0, 1.5, -5.0]])  # left-handed
SKEWED = np.array([[4.0, 0.0, 0.0], [9.0, 4.0, 0.0], [-7.0, 6.0, 5.0]])
FLAT = np.diag([14.0, 3.0, 9.0])
CELLS = {
    "cubic": CUBIC, "triclinic": TRICLINIC, "rotated": ROTATED, "skewed": SKEWED, "flat": FLAT
}  # fmt: skip
PERIODICITIES = [
    (True, True, True), (True, True, False), (False, True, True), (True, False, True),
    (True, False, False), (False, False, True), (False, False, False),
]  # fmt: skip


def make(cell: np.ndarray, pbc: object, n: int = 12, seed: int = 0) -> Structure:
    """n atoms anywhere in and around the cell."""
    rng = np.random.default_rng(seed)
    fractional = rng.uniform(-0.7, 1.8, (n, 3))
    return Structure(rng.choice([1, 8], n), fractional @ cell, cell, np.array(pbc))


def by_ase(structure: Structure, cutoff: float, offset: int = 0) -> set[tuple[int, ...]]:
    """The exact list {(i, j, S1, S2, S3)}."""
    i, j, shifts = primitive_neighbor_list(
        "ijS", structure.pbc, structure.cell, structure.positions, cutoff
    )
    return set(map(tuple, np.column_stack([i + offset, j + offset, shifts]).astype(int).tolist()))


def as_set(batch: Batch) -> set[tuple[int, ...]]:
    """The list of a batch in the same form; fails if a pair is listed twice."""
    assert batch.pairs is not None
    assert batch.shifts is not None
    assert batch.pairs.dtype == torch.int64
    assert batch.shifts.dtype == batch.positions.dtype
    rows = torch.cat([batch.pairs.T.to(torch.float64), batch.shifts.to(torch.float64)], dim=1)
    listed = [tuple(map(int, row)) for row in rows.tolist()]
    assert len(listed) == len(set(listed))
    return set(listed)


def exact(structures: list[Structure], cutoff: float) -> set[tuple[int, ...]]:
    """The exact list of a whole batch."""
    pairs: set[tuple[int, ...]] = set()
    offset = 0
    for structure in structures:
        pairs |= by_ase(structure, cutoff, offset)
        offset += len(structure)
    return pairs


def attach(lists: NeighbourLists, structures: list[Structure]) -> set[tuple[int, ...]]:
    return as_set(lists.attach(Batch.from_structures(structures)))


@pytest.mark.parametrize("cutoff", [1.5, 2.6, 7.0])
@pytest.mark.parametrize("pbc", PERIODICITIES)
@pytest.mark.parametrize("name", CELLS)
def test_list_is_that_of_ase(name: str, pbc: tuple[bool, ...], cutoff: float) -> None:
    structure = make(CELLS[name], pbc)
    assert attach(NeighbourLists(cutoff, threads=1), [structure]) == by_ase(structure, cutoff)


def test_one_batch_of_all_kinds() -> None:
    structures = [make(cell, pbc) for cell in CELLS.values() for pbc in PERIODICITIES]
    structures.append(Structure([1], [[9.0, -3.0, 2.0]], CUBIC, True))  # own images only
    structures.append(Structure([1], [[9.0, -3.0, 2.0]], CUBIC, False))
    structures.append(Structure([1, 1], [[0, 0, 0], [0, 0, 0.8]]))
    lists = NeighbourLists(5.5, threads=2)
    wanted = exact(structures, 5.5)
    for _ in range(2):
        assert attach(lists, structures) == wanted
    n = len(structures)
    assert (lists.structures, lists.rebuilds, lists.reuses) == (2 * n, n, n)


def test_pair_at_the_cutoff_is_not_listed() -> None:
    structure = Structure([1, 1, 1], [[0, 0, 0], [2.0, 0, 0], [0, 0, 1.999999999]])
    assert attach(NeighbourLists(2.0), [structure]) == {(0, 2, 0, 0, 0), (2, 0, 0, 0, 0)}


@pytest.mark.parametrize("structure", [
    Structure([1], [[0, 0, 0]]),
    Structure([1], [[0, 0, 0]], CUBIC, True),
    Structure([1, 1], [[0, 0, 0], [4.0, 0, 0]], CUBIC, False),
])  # fmt: skip
def test_empty_lists_have_their_shapes(structure: Structure) -> None:
    for cutoff in (0.0, 3.5):
        batch = NeighbourLists(cutoff).attach(Batch.from_structures([structure]))
        assert batch.pairs is not None
        assert batch.shifts is not None
        assert batch.pairs.shape == (2, 0)
        assert batch.shifts.shape == (0, 3)
        assert len(batch.pair_vectors()) == 0


def test_a_batch_without_atoms_in_one_structure() -> None:
    nothing = Structure(np.zeros(0), np.zeros((0, 3)), CUBIC, True)
    structures = [nothing, make(CUBIC, True, 3), nothing]
    lists = NeighbourLists(4.0)
    for _ in range(2):
        assert attach(lists, structures) == exact(structures, 4.0)
    assert lists.rebuilds == 3


@pytest.mark.parametrize("pbc", PERIODICITIES)
@pytest.mark.parametrize("wrap", [False, True])
def test_random_walk_with_wrapping(pbc: tuple[bool, ...], wrap: bool) -> None:
    """At every step the list of fresh ASE lists, wrapped as i-PI wraps, and built seldom."""
    rng = np.random.default_rng(3)
    cells = [TRICLINIC, SKEWED, CUBIC]
    numbers = [rng.choice([1, 8], n) for n in (7, 5, 9)]
    x = [rng.uniform(0, 1, (len(z), 3)) @ cell for z, cell in zip(numbers, cells, strict=True)]
    lists = NeighbourLists(3.1, skin=1.2, threads=1)
    steps, wrapped = 200, 0
    for _ in range(steps):
        structures = []
        for k, (z, cell) in enumerate(zip(numbers, cells, strict=True)):
            # a common drift, which needs no new list, and each atom's own walk
            x[k] = x[k] + 0.05 + rng.normal(0.0, 0.03, x[k].shape)
            shown = x[k]
            if wrap:
                cells_off = np.floor(x[k] @ np.linalg.inv(cell)) * np.array(pbc)
                wrapped += np.count_nonzero(cells_off)
                shown = x[k] - cells_off @ cell
            structures.append(Structure(z, shown, cell, np.array(pbc)))
        assert attach(lists, structures) == exact(structures, 3.1)
    assert lists.rebuilds + lists.reuses == lists.structures == 3 * steps
    assert 3 < lists.rebuilds < 3 * steps / 4
    assert wrapped > 0 or not wrap or not any(pbc)


@pytest.mark.parametrize("pbc", PERIODICITIES)
def test_changing_cells(pbc: tuple[bool, ...]) -> None:
    """A breathing, shearing cell with atoms that move along with it."""
    rng = np.random.default_rng(5)
    fractional = rng.uniform(0, 1, (8, 3))
    lists = NeighbourLists(3.0, skin=1.0, threads=1)
    for step in range(120):
        shear = np.array([[1, 0.5, 0], [0, -0.6, 0.4], [0.2, 0, 1]])
        strain = 0.25 * np.sin(0.08 * step) * shear
        cell = TRICLINIC @ (np.eye(3) + strain)
        fractional = fractional + rng.normal(0, 0.004, fractional.shape)
        structure = Structure(np.ones(8), fractional @ cell, cell, np.array(pbc))
        assert attach(lists, [structure]) == by_ase(structure, 3.0)
    assert 1 < lists.rebuilds < 60


def test_cell_that_shrinks_at_fixed_positions_is_seen() -> None:
    """Nothing moves but an image: 6.9 Å away at first, then inside the cutoff."""
    lists = NeighbourLists(4.0, skin=1.0)
    for length in (6.9, 5.5, 4.5, 3.9, 3.0):
        structure = Structure([1], [[0, 0, 0]], np.diag([length, 20.0, 20.0]), True)
        assert attach(lists, [structure]) == by_ase(structure, 4.0)


def test_two_atoms_that_meet_head_on_are_listed_in_time() -> None:
    """Each moves through half the skin: the shortest way a list goes stale."""
    lists = NeighbourLists(3.0, skin=1.0)
    for step in range(80):
        x = 2.02 - 0.02 * step
        structure = Structure([1, 1, 1], [[-x, 0, 0], [x, 0, 0], [0, 9.0, 0]])
        assert attach(lists, [structure]) == by_ase(structure, 3.0)
    assert 2 <= lists.rebuilds <= 5


def test_a_turned_cell_keeps_its_lists() -> None:
    """A rigid rotation of atoms and cell is a strain F with s_min = 1: nothing to build."""
    turn = np.array([[0.6, 0.8, 0.0], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
    structure = make(TRICLINIC, True)
    turned = Structure(structure.numbers, structure.positions @ turn, TRICLINIC @ turn, True)
    lists = NeighbourLists(4.0)
    attach(lists, [structure])
    assert attach(lists, [turned]) == by_ase(turned, 4.0)
    assert lists.rebuilds == 1


def test_other_orders_and_numbers_of_structures_reuse_what_holds() -> None:
    rng = np.random.default_rng(1)
    structures = [make(cell, True, seed=k) for k, cell in enumerate(CELLS.values())]
    structures += [make(CUBIC, False, n, seed=n) for n in (1, 4, 12)]
    lists = NeighbourLists(3.0, threads=1)
    attach(lists, structures)
    built = lists.rebuilds
    for _ in range(40):
        chosen = [
            structures[k]
            for k in rng.integers(len(structures), size=rng.integers(1, 2 * len(structures)))
        ]
        moved = [
            Structure(s.numbers, s.positions + rng.uniform(-0.1, 0.1, (len(s), 3)), s.cell, s.pbc)
            for s in chosen
        ]
        assert attach(lists, moved) == exact(moved, 3.0)
    assert lists.rebuilds == built == len(structures)


def test_same_positions_of_other_species_or_periodicity_are_told_apart() -> None:
    one = make(CUBIC, True)
    other = Structure(one.numbers, one.positions, one.cell, (True, True, False))
    open_ = Structure(one.numbers, one.positions, one.cell, False)
    lists = NeighbourLists(3.0)
    for structures in ([one, other, open_], [open_, one, other], [other, open_, one]):
        assert attach(lists, structures) == exact(structures, 3.0)


def test_no_skin_builds_at_every_call() -> None:
    structure = make(TRICLINIC, True)
    lists = NeighbourLists(3.0, skin=0.0)
    for _ in range(3):
        assert attach(lists, [structure]) == by_ase(structure, 3.0)
    assert lists.rebuilds == 3


def test_the_store_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MAX_STORED_LISTS", 5)
    lists = NeighbourLists(3.0)
    for seed in range(30):
        structures = [make(CUBIC, True, 4, 2 * seed), make(CUBIC, True, 6, 2 * seed + 1)]
        attach(lists, structures)
        assert sum(map(len, lists._stored.values())) <= 5 + 2


def test_float32_positions_are_taken_as_they_are() -> None:
    structure = make(TRICLINIC, True, 30)
    batch = Batch.from_structures([structure], dtype=torch.float32)
    attached = NeighbourLists(3.0).attach(batch)
    seen = Structure(
        structure.numbers, batch.positions.double().numpy(), batch.cells[0].double().numpy(), True
    )
    assert as_set(attached) == by_ase(seen, 3.0)


def test_the_batch_is_not_changed() -> None:
    batch = Batch.from_structures([make(CUBIC, True)])
    before = [batch.positions.clone(), batch.cells.clone()]
    lists = NeighbourLists(3.0)
    first = lists.attach(batch)
    kept = first.pairs.clone() if first.pairs is not None else None
    lists.attach(Batch.from_structures([make(CUBIC, True, seed=9)]))
    assert batch.pairs is None
    assert torch.equal(batch.positions, before[0])
    assert torch.equal(batch.cells, before[1])
    assert kept is not None
    assert first.pairs is not None
    assert torch.equal(first.pairs, kept)  # a list given out is never written again


def test_positions_overwritten_in_place_by_the_caller_are_noticed() -> None:
    """The daemon may fill one buffer at every round: references must be copies."""
    structure = make(CUBIC, True)
    batch = Batch.from_structures([structure])
    lists = NeighbourLists(3.0)
    lists.attach(batch)
    batch.positions += torch.rand_like(batch.positions) * 4.0
    assert as_set(lists.attach(batch)) == by_ase(batch.structure(0), 3.0)
    batch.pbc[0, 1] = False
    assert as_set(lists.attach(batch)) == by_ase(batch.structure(0), 3.0)
    batch.cells *= 1.1
    assert as_set(lists.attach(batch)) == by_ase(batch.structure(0), 3.0)


@pytest.mark.parametrize(("positions", "cell", "pbc"), [
    ([[0, 0, 0], [1e7, 0, 0]], np.zeros((3, 3)), False),
    ([[0, 0, 0], [0, 0, 1e9], [0.5, 0, 1e9]], np.eye(3) * 10, (True, True, False)),
    ([[0, 0, 0], [1, 1, 1], [2999, 1, 1]], np.diag([3000.0, 3000.0, 5.0]), True),
])  # fmt: skip
def test_extreme_shapes_are_listed(positions: list, cell: np.ndarray, pbc: object) -> None:
    """Grids of so many cells along one direction and one along another end vesin's process."""
    structure = Structure(np.ones(len(positions)), positions, cell, np.array(pbc))
    assert attach(NeighbourLists(6.0), [structure]) == by_ase(structure, 7.0) & by_ase(
        structure, 6.0
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_positions_that_are_not_finite_are_refused(bad: float) -> None:
    lists = NeighbourLists(3.0)
    good = make(CUBIC, True, 3)
    attach(lists, [good, good])
    blown = Structure(good.numbers, [[0, 0, 0], [bad, 0, 0], [1, 1, 1]], CUBIC, True)
    with pytest.raises(PotentialError, match="not finite"):
        attach(lists, [good, blown])
    assert attach(lists, [good, good]) == exact([good, good], 3.0)


def test_a_collapsed_cell_is_refused_in_words() -> None:
    structure = Structure([1], [[0, 0, 0]], np.eye(3) * 1e-4, True)
    with pytest.raises(PotentialError, match="collapsed"):
        attach(NeighbourLists(3.0), [structure])


@pytest.mark.parametrize(
    ("cutoff", "skin"), [(-1.0, 1.0), (1.0, -0.1), (np.nan, 1.0), (3.0, np.inf)]
)
def test_lengths_that_make_no_sense_are_refused(cutoff: float, skin: float) -> None:
    with pytest.raises(PotentialError, match="lengths in Å"):
        NeighbourLists(cutoff, skin)


def test_a_step_without_rebuilds_loops_over_no_structures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The way of the same structures, moved a little, touches neither vesin nor the store."""
    structures = [make(CUBIC, True, 6, k) for k in range(8)]
    lists = NeighbourLists(3.0)
    attach(lists, structures)
    monkeypatch.setattr(lists, "_choose", None)
    moved = [Structure(s.numbers, s.positions + 0.05, s.cell, s.pbc) for s in structures]
    assert attach(lists, moved) == exact(moved, 3.0)


def test_batches_by_turns_go_through_without_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two simulations of the same system, or two halves of a batch that was split."""
    simulations = [[make(CUBIC, True, 6, 10 * a + b) for b in range(3)] for a in range(2)]
    lists = NeighbourLists(3.0)
    for structures in simulations:
        attach(lists, structures)
    monkeypatch.setattr(lists, "_choose", None)
    for structures in simulations * 2:
        assert attach(lists, structures) == exact(structures, 3.0)


def test_batches_kept_are_bounded() -> None:
    lists = NeighbourLists(3.0)
    for n in range(1, 12):
        attach(lists, [make(CUBIC, True, n, n)])
        assert len(lists._flats) <= 1 + neighbours.MAX_STORED_BATCHES


@st.composite
def awkward(draw: st.DrawFn) -> tuple[list[Structure], float, int]:
    """Structures of random shape, a cutoff, and a seed for how they go on."""
    seed = draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    structures = []
    for _ in range(draw(st.integers(1, 3))):
        cell = rng.normal(0, 3, (3, 3))
        pbc = np.array(draw(st.tuples(st.booleans(), st.booleans(), st.booleans())))
        # keep image counts modest: heights of at least 1 Å
        while pbc.any() and (1 / np.linalg.norm(np.linalg.pinv(cell[pbc]), axis=0)).min() < 1.0:
            cell = rng.normal(0, 3, (3, 3))
        n = draw(st.integers(1, 6))
        structures.append(Structure(np.ones(n), rng.uniform(-6, 6, (n, 3)), cell, pbc))
    return structures, draw(st.sampled_from([0.7, 2.0, 4.0])), seed


@settings(max_examples=60, deadline=None, derandomize=True)
@given(awkward())
def test_any_box_at_any_step(case: tuple[list[Structure], float, int]) -> None:
    """Random boxes, strained, moved and wrapped by random lattice vectors at each step."""
    structures, cutoff, seed = case
    rng = np.random.default_rng(seed)
    lists = NeighbourLists(cutoff, skin=0.8, threads=1)
    for _ in range(5):
        assert attach(lists, structures) == exact(structures, cutoff)
        after = []
        for s in structures:
            strain = np.eye(3) + rng.normal(0, 0.01, (3, 3))
            cell = s.cell @ strain
            jumps = rng.integers(-2, 3, (len(s), 3)) * s.pbc
            x = s.positions @ strain + rng.normal(0, 0.08, (len(s), 3)) + jumps @ cell
            after.append(Structure(s.numbers, x, cell, s.pbc))
        structures = after
