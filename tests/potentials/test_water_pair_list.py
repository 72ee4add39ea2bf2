"""Lists of pairs of molecules against all images counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from water_samples import cluster, liquid, triclinic

from pimd.potentials.base import Batch, Structure
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.water_pair_list import (
    MoleculePairs,
    _one_of_two,
    all_pairs,
    pair_vectors,
    periodic_pairs,
    square_lengths,
)


class Shuffled(NeighbourLists):
    """The same lists, in an order of no pattern."""

    def attach(self, batch: Batch) -> Batch:
        batch = super().attach(batch)
        assert batch.pairs is not None
        assert batch.shifts is not None
        order = torch.randperm(batch.pairs.shape[1], generator=torch.Generator().manual_seed(0))
        return batch.with_pairs(batch.pairs[:, order], batch.shifts[order])


def distances(pairs: MoleculePairs, oxygens: torch.Tensor) -> np.ndarray:
    columns = oxygens.reshape(-1, 3).T.contiguous()
    return np.sort(square_lengths(pair_vectors(columns, pairs)).sqrt().numpy())


def counted(structure: Structure, cutoff: float) -> np.ndarray:
    """Distances of all pairs of oxygens, each once, images among them."""
    x = structure.positions[::3]
    images = (np.array(list(np.ndindex(9, 9, 9))) - 4.0) @ structure.cell
    r = np.linalg.norm(x[:, None] - x + images[:, None, None], axis=-1).ravel()
    r = np.sort(r[(r > 1e-9) & (r < cutoff)])
    np.testing.assert_allclose(r[::2], r[1::2], atol=1e-10)
    return r[::2]


@pytest.mark.parametrize("kind", [NeighbourLists, Shuffled])
@pytest.mark.parametrize("structure", [triclinic(), liquid()])
def test_every_pair_once(structure: Structure, kind: type[NeighbourLists]) -> None:
    """In cells smaller than twice the cutoff, molecules that see themselves among them."""
    cutoff = 9.0
    oxygens = torch.tensor(np.stack([structure.positions[::3]] * 2))
    oxygens[1] += 0.1
    for stretch in (1.0, 1.02):  # equal cells, and two different ones
        cells = torch.tensor(np.stack([structure.cell, stretch * structure.cell]))
        pairs = periodic_pairs(kind(cutoff), oxygens, cells)
        first = pairs.i < oxygens.shape[1]
        assert torch.equal(first, pairs.j < oxygens.shape[1])
        own = pairs.select(first.nonzero().squeeze(1), cutoff)
        np.testing.assert_allclose(distances(own, oxygens), counted(structure, cutoff), atol=1e-9)
        near = pairs.within(oxygens.reshape(-1, 3).T, 6.0)
        assert (distances(near, oxygens) < 6.0).all()
        assert len(near) == (distances(pairs, oxygens) < 6.0).sum()
        assert sum(map(len, pairs.chunks(100))) == len(pairs)


def test_the_layout_of_neighbour_lists_is_made_use_of() -> None:
    """A full list whose second half mirrors the first is cut in the middle, without a search."""
    batch = NeighbourLists(6.0).attach(Batch.from_structures([triclinic(), liquid()]))
    assert batch.pairs is not None
    assert batch.shifts is not None
    assert _one_of_two(batch.pairs, batch.shifts) == slice(0, batch.pairs.shape[1] // 2)


def test_all_pairs_of_clusters() -> None:
    oxygens = torch.tensor(np.stack([cluster(4).positions[::3], cluster(4, 1).positions[::3]]))
    pairs = all_pairs(oxygens)
    assert sorted(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True)) == [
        (a, b) for s in (0, 4) for a in range(s, s + 4) for b in range(a + 1, s + 4)
    ]
    assert len(all_pairs(oxygens[:, :1])) == 0
