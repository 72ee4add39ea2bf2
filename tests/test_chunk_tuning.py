"""The fastest number of parts is found, at little cost, from times that are made up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import pimd.batch_splitting as batch_splitting
from pimd.batch_splitting import BatchSplitter
from pimd.chunk_tuning import EXPLORING, SAMPLES, ChunkTuner
from pimd.evaluator import Evaluator
from pimd.potentials.base import Batch
from pimd.potentials.free import Free
from pimd.potentials.registry import make_potential
from pimd.structure import Structure


def run(
    tuner: ChunkTuner, n: int, seconds: Callable[[int], float]
) -> tuple[list[int], float, float]:
    """Levels of n batches, the time they took, and the time at the best level."""
    levels, total, best = [], 0.0, 0.0
    fastest = min(seconds(level) for level in range(6))
    for _ in range(n):
        level = tuner.next_level()
        levels.append(level)
        tuner.took(level, seconds(level))
        total, best = total + seconds(level), best + fastest
    return levels, total, best


@pytest.mark.parametrize("fastest", range(6))
def test_the_fastest_level_is_found_and_kept(fastest: int) -> None:
    """Slower by a tenth at first, then more, for each halving or doubling away from it."""

    def seconds(level: int) -> float:
        return 0.5 * 1.08 ** abs(level - fastest)

    tuner = ChunkTuner(32)
    levels, total, best = run(tuner, 400, seconds)
    assert tuner.level == fastest
    assert levels[-1] == fastest
    assert total < (1.03 + 0.05) * best


def test_trying_costs_little_where_parts_are_slow() -> None:
    """Half the speed in halves: the price of finding out stays below the share allowed, but for
    the trial under way."""

    def seconds(level: int) -> float:
        return 0.1 * 2.0**level

    for n in (10, 50, 200, 1000):
        tuner = ChunkTuner(16)
        levels, total, best = run(tuner, n, seconds)
        assert tuner.level == 0
        assert max(levels) <= 1, "quarters cannot be better where halves are that slow"
        assert total - best <= EXPLORING * total + 0.1
    assert levels.count(1) >= SAMPLES


def test_a_level_hardly_faster_is_not_taken() -> None:
    tuner = ChunkTuner(8)
    run(tuner, 100, lambda level: 0.2 * (1.0 - 0.015 * level))
    assert tuner.level == 0


def test_noise_does_not_move_it() -> None:
    rng = np.random.default_rng(0)
    tuner = ChunkTuner(8)
    levels, _, _ = run(tuner, 2000, lambda level: 0.1 * (1 + 0.1 * level) * rng.uniform(1.0, 1.05))
    assert levels[-1] == 0
    assert sum(level != 0 for level in levels) < 60


def test_what_changes_is_found_out_later() -> None:
    tuner = ChunkTuner(8)
    run(tuner, 300, lambda level: 0.1 * (1 + 0.05 * level))
    assert tuner.level == 0
    run(tuner, 1500, lambda level: 0.1 * (2.0 - 0.3 * level))
    assert tuner.level == 3


def test_fast_batches_and_single_structures_are_left_whole() -> None:
    for tuner, scale in ((ChunkTuner(64), 1e-3), (ChunkTuner(1), 1.0)):
        levels, _, _ = run(tuner, 200, lambda level, scale=scale: scale / (1 + level))  # type: ignore[misc]
        assert set(levels) == {0}


def test_the_first_batch_of_a_kind_does_not_count() -> None:
    tuner = ChunkTuner(8)
    tuner.took(0, 1000.0)
    levels, _, _ = run(tuner, 100, lambda level: 0.1)
    assert tuner.level == 0
    assert levels[:SAMPLES] == [0] * SAMPLES


def test_kinds_of_batches_are_tuned_apart_and_bounded() -> None:
    splitter = BatchSplitter("auto")

    def batch(n: int) -> Batch:
        return Batch.from_structures([Structure([18], [[0.0, 0, 0]])] * n)

    slow, fast = batch(8), batch(4)
    for _ in range(100):
        for one, gain in ((slow, 0.7), (fast, 1.5)):
            parts, level = splitter.parts(one)
            assert len(parts) == 2**level
            splitter.took(one, level, 0.1 * gain**level)
    assert len(splitter.parts(slow)[0]) == 8
    assert len(splitter.parts(fast)[0]) == 1
    for n in range(2, 60):
        splitter.parts(batch(n))
    assert len(splitter._tuners) <= batch_splitting.MAX_KINDS


def test_only_potentials_of_pairs_on_the_cpu_are_tuned() -> None:
    assert Evaluator(make_potential("lennard_jones")).splitter.chunking == "auto"
    assert Evaluator(Free()).splitter.chunking is None
    assert Evaluator(make_potential("qtip4pf")).splitter.chunking is None
    assert Evaluator(make_potential("lennard_jones"), chunking=None).splitter.chunking is None
