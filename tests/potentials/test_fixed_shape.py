"""Padding changes the shape of a batch and nothing else."""

from __future__ import annotations

import pytest
import torch
from shape_samples import assert_same, everything, listed, number_for, potentials, structures

from pimd.potentials.base import Batch
from pimd.potentials.fixed_shape import (
    COARSE,
    FINE,
    PaddedBatch,
    Sizes,
    next_size,
    without_padding,
)
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.pair_vectors import PairVectorPotential


@pytest.mark.parametrize("steps", [COARSE, FINE])
def test_sizes_are_few_and_not_much_larger(steps: int) -> None:
    sizes = [next_size(n, steps) for n in range(100_000)]
    assert sizes[0] == 1
    for n, size in enumerate(sizes[1:], 1):
        assert n <= size <= n * (1 + 1 / steps)
    assert sizes == sorted(sizes)
    for n in (1000, 20_000, 49_999):
        assert len(set(sizes[n : 2 * n])) <= steps + 1
    assert all(next_size(size, steps) == size for size in set(sizes[1:]))


@pytest.mark.parametrize("potential", potentials(), ids=lambda p: p.name)
def test_ghosts_change_nothing(potential: PairVectorPotential) -> None:
    batch = listed(potential.cutoff, number=number_for(potential))
    wanted = everything(potential)
    padded = PaddedBatch(batch, Sizes.of(batch), potential.cutoff).fill(batch)
    found = potential.predict(padded, wanted)
    assert bool(found.energies.isfinite().all())
    got = without_padding(found, batch.n_structures, batch.n_atoms, potential)
    assert_same(got, potential.predict(batch, wanted))


def check_ghosts(padded: Batch, batch: Batch, cutoff: float) -> None:
    """A whole batch: structures in order, each with an atom, real pairs first, the rest long
    and among ghosts."""
    assert padded.pairs is not None
    assert batch.pairs is not None
    n = batch.pairs.shape[1]
    assert torch.equal(padded.pairs[:, :n], batch.pairs)
    assert torch.equal(padded.pair_vectors()[:n], batch.pair_vectors())
    index = padded.structure_index
    assert bool((index.diff() >= 0).all())
    counts = torch.bincount(index, minlength=padded.n_structures)
    assert torch.equal(counts, padded.n_atoms_per_structure)
    assert int(counts[batch.n_structures :].min()) >= 1
    ghosts = padded.pairs[:, n:]
    assert torch.equal(ghosts[0], ghosts[1])
    assert bool((ghosts >= batch.n_atoms).all())
    assert bool((ghosts[0].diff() >= 0).all())
    lengths = padded.pair_vectors()[n:].norm(dim=1)
    assert bool((lengths > cutoff).all())


def test_one_set_of_tensors_serves_batches_of_all_kinds() -> None:
    """Fewer pairs, fewer atoms, other structures, and back: nothing of before is left."""
    cutoff = 6.0
    batches = [listed(cutoff, seed) for seed in range(3)]
    lists = NeighbourLists(cutoff, threads=1)
    few = structures(5)
    batches += [
        lists.attach(Batch.from_structures(chosen))
        for chosen in (few[:2], [few[3]], few[2:], few[::-1])
    ]
    batches += batches[::-1]
    all_sizes = [Sizes.of(batch) for batch in batches]
    sizes = Sizes(
        max(s.n_structures for s in all_sizes),
        max(s.n_atoms for s in all_sizes),
        max(s.n_pairs for s in all_sizes),
    )
    padded = PaddedBatch(batches[0], sizes, cutoff)
    pointers = {k: v.data_ptr() for k, v in vars(padded.batch).items() if v is not None}
    for batch in batches:
        before = {k: v.clone() for k, v in vars(batch).items() if v is not None}
        check_ghosts(padded.fill(batch), batch, cutoff)
        for name, value in before.items():
            assert torch.equal(getattr(batch, name), value), f"{name} of the batch was changed"
    assert pointers == {k: getattr(padded.batch, k).data_ptr() for k in pointers}


def test_cells_that_change_and_layouts_changed_in_place_are_copied() -> None:
    batch = listed(6.0)
    padded = PaddedBatch(batch, Sizes.of(batch), 6.0)
    padded.fill(batch)
    batch.cells *= 1.01
    check_ghosts(padded.fill(batch), batch, 6.0)
    batch.numbers[:] = 10
    assert bool((padded.fill(batch).numbers == 10).all())


def test_a_trajectory_has_few_shapes() -> None:
    batch = Batch.from_structures(structures())
    lists = NeighbourLists(6.0, threads=1)
    random = torch.Generator().manual_seed(0)
    shapes, numbers = set(), set()
    for _ in range(60):
        step = torch.randn(batch.positions.shape, generator=random, dtype=torch.float64)
        batch.positions += 0.03 * step
        attached = lists.attach(batch)
        assert attached.pairs is not None
        numbers.add(attached.pairs.shape[1])
        shapes.add(Sizes.of(attached))
    assert len(numbers) > 10
    assert len(shapes) <= 4
