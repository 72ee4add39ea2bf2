"""In which parts batches are evaluated, and that the parts give what the whole gives."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from pimd.batch_splitting import BatchSplitter, as_chunking, cost_of, costs_of, cut
from pimd.evaluator import Evaluator
from pimd.potentials.base import Batch, PotentialError, Prediction, Wanted
from pimd.potentials.lennard_jones import LennardJones
from pimd.potentials.neighbours import NeighbourLists
from pimd.structure import Structure


def structures(n: int, seed: int = 0, size: int = 0) -> list[Structure]:
    """Periodic argon of different sizes and densities, or all of one size."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        n_atoms = size or int(rng.integers(2, 20))
        grid = 3.6 * np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)[:n_atoms]
        positions = grid + rng.normal(0, 0.15, (n_atoms, 3))
        made.append(Structure(np.full(n_atoms, 18), positions, np.eye(3) * 10.8, True))
    return made


@pytest.mark.parametrize("most", [1, 7, 50, 300, 10_000])
@pytest.mark.parametrize("n_parts", [1, 2, 4])
def test_parts_are_runs_within_the_limit(most: int, n_parts: int) -> None:
    rng = np.random.default_rng(most)
    for n in (1, 2, 9, 40):
        costs = rng.integers(1, 60, n)
        parts = cut(costs, most, n_parts)
        assert list(itertools.chain.from_iterable(range(a, b) for a, b in parts)) == list(range(n))
        assert all(b - a == 1 or costs[a:b].sum() <= most for a, b in parts)
        assert len(parts) >= min(n, n_parts, math.ceil(costs.sum() / most))


def test_equal_structures_make_equal_parts() -> None:
    costs = np.full(32, 1000) + np.arange(32) % 3
    for n_parts in (1, 2, 4, 8, 16, 32):
        sizes = {b - a for a, b in cut(costs, 10**9, n_parts)}
        assert sizes == {32 // n_parts}
    assert [b - a for a, b in cut(costs, 10_100)] == [8, 8, 8, 8]  # not 10, 10, 10, 2


def test_one_giant_among_many() -> None:
    costs = np.array([5] * 20 + [1000] + [5] * 20)
    parts = cut(costs, 60)
    assert (20, 21) in parts
    assert len(parts) < 30
    assert all(b - a == 1 or costs[a:b].sum() <= 60 for a, b in parts)


def test_costs_are_pairs_and_atoms() -> None:
    some = structures(5)
    batch = Batch.from_structures(some)
    assert costs_of(batch).tolist() == [len(s) for s in some]
    listed = NeighbourLists(5.0).attach(batch)
    singles = [
        cost_of(NeighbourLists(5.0).attach(Batch.from_structures([one]))) for one in some
    ]
    assert costs_of(listed).tolist() == singles
    assert cost_of(listed) == sum(singles)
    assert listed.pairs is not None
    assert listed.shifts is not None
    mixed = listed.with_pairs(listed.pairs.flip(1), listed.shifts.flip(0))
    assert costs_of(mixed).tolist() == singles


@pytest.mark.parametrize("chunking", [1, 200, 1500])
def test_parts_give_what_the_whole_gives(chunking: int) -> None:
    some = structures(9)
    whole = Evaluator(LennardJones(), chunking=None).evaluate_structures(some)
    potential = Counting()
    parts = Evaluator(potential, chunking=chunking).evaluate_structures(some)
    assert len(potential.costs) > 1
    for name in ("energies", "forces", "virials"):
        np.testing.assert_allclose(
            getattr(parts, name), getattr(whole, name), rtol=1e-13, atol=1e-14
        )


def test_lists_are_made_for_the_whole_and_reused() -> None:
    """Split in whatever way, a batch goes through the lists once, and they hold as before."""
    some = structures(8, size=12)
    evaluator = Evaluator(LennardJones(), chunking=500)
    reference = Evaluator(LennardJones(), chunking=None)
    rng = np.random.default_rng(1)
    for _ in range(6):
        some = [
            Structure(s.numbers, s.positions + rng.normal(0, 0.02, s.positions.shape), s.cell, True)
            for s in some
        ]
        got, want = (e.evaluate_structures(some) for e in (evaluator, reference))
        assert got.forces is not None
        assert want.forces is not None
        np.testing.assert_allclose(got.forces, want.forces, rtol=1e-12, atol=1e-14)
    lists = evaluator.neighbours
    assert isinstance(lists, NeighbourLists)
    assert (lists.structures, lists.rebuilds) == (48, 8)


class Counting(LennardJones):
    """Has room for batches up to a cost, and keeps the cost of every one it was given."""

    def __init__(self, room: float = math.inf) -> None:
        super().__init__()
        self.room, self.costs = room, []  # type: ignore[var-annotated]

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        self.costs.append(cost_of(batch))
        if self.costs[-1] > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().compute(batch, wanted)


def test_memory_that_ran_out_is_remembered_by_cost() -> None:
    small, large = structures(30, size=2), structures(12, size=20)
    room = cost_of(NeighbourLists(LennardJones().cutoff).attach(Batch.from_structures(large))) // 3
    potential = Counting(room)
    evaluator = Evaluator(potential, chunking=None)
    evaluator.evaluate_structures(large)
    assert evaluator.n_splits > 0
    most, splits = evaluator.splitter.most, evaluator.n_splits
    assert most is not None
    for batch in (large, small, large[:2], large):
        potential.costs.clear()
        evaluator.evaluate_structures(batch)
        assert max(potential.costs) <= room
    potential.costs.clear()
    evaluator.evaluate_structures(small)
    assert len(potential.costs) == 1, "small structures cost little, however many they are"
    assert evaluator.n_splits == splits
    assert evaluator.splitter.most == most, "the limit never grows back"


def test_memory_that_runs_out_while_lists_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    some = structures(8, size=10)
    evaluator = Evaluator(LennardJones())
    assert evaluator.neighbours is not None
    attach, seen = evaluator.neighbours.attach, []

    def tight(batch: Batch) -> Batch:
        seen.append(batch.n_structures)
        if batch.n_structures > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return attach(batch)

    monkeypatch.setattr(evaluator.neighbours, "attach", tight)
    want = Evaluator(LennardJones(), chunking=None).evaluate_structures(some)
    for _ in range(2):
        got = evaluator.evaluate_structures(some)
        np.testing.assert_allclose(got.energies, want.energies, rtol=1e-13)
    assert seen[:3] == [8, 4, 2]
    assert max(seen[-4:]) <= 3


class Meter:
    """Memory in proportion to cost, over a constant."""

    def __init__(self, room: int, potential: Counting) -> None:
        self.room, self.potential = room, potential

    def start(self) -> None:
        self.potential.costs.clear()

    def peak(self) -> int:
        return 1000 + 10 * max(self.potential.costs)

    def available(self) -> int:
        return self.room


def test_a_batch_expected_not_to_fit_is_split_before_it_fails() -> None:
    some = structures(16, size=12)
    lists = NeighbourLists(LennardJones().cutoff)
    cost = cost_of(lists.attach(Batch.from_structures(some)))
    room = 1000 + 10 * cost // 3
    potential = Counting((room - 1000) / 10)  # runs out where the meter says
    evaluator = Evaluator(potential, chunking=None, memory=Meter(room, potential))
    evaluator.evaluate_structures(some[:1])  # as the daemon's warm-up does
    want = Evaluator(LennardJones(), chunking=None).evaluate_structures(some)
    for _ in range(2):
        got = evaluator.evaluate_structures(some)
        np.testing.assert_allclose(got.energies, want.energies, rtol=1e-13)
    assert evaluator.n_splits == 0, "memory ran out"


def test_what_a_spec_may_say() -> None:
    assert [as_chunking(v) for v in ("auto", "none", None, 5000)] == ["auto", None, None, 5000]
    for bad in ("some", 0, -3, 2.5, True):
        with pytest.raises(PotentialError, match="chunking is auto, none"):
            as_chunking(bad)


def test_whole_unless_asked_otherwise() -> None:
    batch = NeighbourLists(5.0).attach(Batch.from_structures(structures(6)))
    assert BatchSplitter(None).parts(batch) == ([(0, 6)], 0)
    assert BatchSplitter("auto").parts(batch) == ([(0, 6)], 0)  # to begin with
    assert len(BatchSplitter(1).parts(batch)[0]) == 6
    one = batch.slice(2, 3)
    assert BatchSplitter(1).parts(one) == ([(0, 1)], 0)
