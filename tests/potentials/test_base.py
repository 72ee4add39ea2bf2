"""Structure, Batch and the derivatives of EnergyPotential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import molecule
from torch import Tensor

from pimd.potentials.base import (
    Batch,
    EnergyPotential,
    PotentialError,
    PropertySpec,
    Structure,
    Wanted,
)
from pimd.potentials.neighbours import NeighbourLists
from pimd.testing import check_potential, example_structures

CELL = np.array([[4.0, 0.0, 0.0], [1.0, 3.0, 0.0], [0.5, -0.5, 5.0]])
LEFT = Structure([1, 8], [[0, 0, 0], [1, 2, 3]], CELL, np.ones(3, bool))
RIGHT = Structure([6, 6, 1], [[0, 0, 1], [2, 0, 0], [1, 1, 1]])


class Springs(EnergyPotential):
    """V = sum over pairs of (|r| - 2)²/4 exp(-|r|), by the base class's derivatives."""

    name = "springs"
    cutoff = 6.0
    properties: Mapping[str, PropertySpec] = {"count": PropertySpec("1", (), per_atom=False)}

    def energies(self, batch: Batch) -> Tensor:
        r = batch.pair_vectors().norm(dim=1)
        return batch.sum_over_pairs(0.25 * (r - 2.0) ** 2 * torch.exp(-r) * (6.0 - r) ** 3)

    def property_values(self, batch: Batch, names: tuple[str, ...]) -> dict[str, Tensor]:
        return {"count": batch.n_atoms_per_structure.to(torch.float64)}


def test_structures_are_checked() -> None:
    with pytest.raises(PotentialError, match=r"got \(2,\) and \(3, 3\)"):
        Structure([1, 1], np.zeros((3, 3)))
    with pytest.raises(PotentialError, match="row vectors"):
        Structure([1], [[0, 0, 0]], np.zeros(3))
    with pytest.raises(PotentialError, match="span no volume"):
        Structure([1], [[0, 0, 0]], pbc=np.ones(3, bool))
    flat = np.array([[1.0, 0, 0], [2.0, 0, 0], [0, 0, 1.0]])
    with pytest.raises(PotentialError, match="span no volume"):
        Structure([1], [[0, 0, 0]], flat, np.array([True, True, False]))
    Structure([1], [[0, 0, 0]], flat, np.array([True, False, True]))


def test_structures_own_their_arrays() -> None:
    positions = np.zeros((1, 3))
    structure = Structure([1], positions)
    positions += 1.0
    assert not structure.positions.any()


def test_structures_to_ase_and_back() -> None:
    back = Structure.from_ase(LEFT.to_ase())
    for name in ("numbers", "positions", "cell", "pbc"):
        np.testing.assert_array_equal(getattr(back, name), getattr(LEFT, name))
    assert len(Structure.from_ase(molecule("H2O"))) == 3


def test_a_batch_lays_structures_flat_and_gives_them_back() -> None:
    batch = Batch.from_structures([LEFT, RIGHT, LEFT])
    assert batch.n_structures == 3
    assert batch.n_atoms == 7
    assert batch.structure_index.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert batch.offsets.tolist() == [0, 2, 5, 7]
    for k, structure in enumerate([LEFT, RIGHT, LEFT]):
        for name in ("numbers", "positions", "cell", "pbc"):
            np.testing.assert_array_equal(
                getattr(batch.structure(k), name), getattr(structure, name)
            )
    np.testing.assert_allclose(batch.volumes(), [60.0, 0.0, 60.0])
    part = batch.slice(1, 3)
    assert part.structure_index.tolist() == [0, 0, 0, 1, 1]
    assert part.numbers.tolist() == [6, 6, 1, 1, 8]
    torch.testing.assert_close(part.cells, batch.cells[1:])


def test_beads_of_frames_are_the_structures_one_by_one() -> None:
    rng = np.random.default_rng(2)
    positions = rng.normal(size=(3, 4, 5, 3))  # [frame, bead, atom, xyz]
    cells = 6.0 * np.eye(3) + rng.normal(0.0, 0.3, (3, 3, 3))
    numbers, pbc = np.array([8, 1, 1, 6, 1]), np.array([True, False, True])
    batch = Batch.from_beads(positions, cells, numbers, pbc, dtype=torch.float32)
    single = Batch.from_structures(
        [Structure(numbers, x, cell, pbc) for frame, cell in zip(positions, cells, strict=True)
         for x in frame], dtype=torch.float32,
    )
    for name in ("positions", "cells", "pbc", "numbers", "structure_index",
                 "n_atoms_per_structure", "host_starts"):
        torch.testing.assert_close(getattr(batch, name), getattr(single, name), rtol=0, atol=0)


def test_a_batch_needs_structures_of_the_right_shapes() -> None:
    with pytest.raises(PotentialError, match="at least one"):
        Batch.from_structures([])
    arrays = [np.zeros((3, 3)), np.zeros((1, 3, 3)), np.zeros((1, 3), bool), np.ones(3)]
    Batch.from_arrays(*arrays, np.array([3]))
    for k, name in enumerate(("positions", "cells", "pbc", "numbers")):
        wrong = list(arrays)
        wrong[k] = wrong[k][None]
        with pytest.raises(PotentialError, match=f"batch {name}: expected shape"):
            Batch.from_arrays(*wrong, np.array([3]))


def test_pairs_are_checked() -> None:
    batch = Batch.from_structures([LEFT])
    with pytest.raises(PotentialError, match="has no neighbour list"):
        batch.pair_vectors()
    pairs = torch.tensor([[0], [1]])
    with pytest.raises(PotentialError, match="expected pairs"):
        batch.with_pairs(pairs.T, torch.zeros((1, 3)))
    with pytest.raises(PotentialError, match="expected pairs"):
        batch.with_pairs(pairs, torch.zeros((2, 3)))


def test_pair_vectors_point_from_i_to_the_image_of_j() -> None:
    batch = Batch.from_structures([RIGHT, LEFT])
    pairs, shifts = torch.tensor([[3, 4], [4, 4]]), torch.tensor([[0.0, 0, 0], [-1.0, 2, 1]])
    vectors = batch.with_pairs(pairs, shifts.to(torch.float64)).pair_vectors()
    np.testing.assert_allclose(vectors, [[1, 2, 3], -CELL[0] + 2 * CELL[1] + CELL[2]])


def test_sums_are_taken_in_float64() -> None:
    batch = Batch.from_structures([LEFT, RIGHT], dtype=torch.float32)
    total = batch.sum_over_atoms(torch.tensor([1e8, 1.0, 1e8, 1.0, -1e8], dtype=torch.float32))
    assert total.dtype == torch.float64
    assert total.tolist() == [1e8 + 1, 1.0]
    per_axis = batch.sum_over_atoms(torch.ones((5, 3)))
    assert per_axis.tolist() == [[2.0] * 3, [3.0] * 3]
    assert batch.sum_over_atoms(torch.ones(5, dtype=torch.int64)).tolist() == [2, 3]
    paired = batch.with_pairs(torch.tensor([[0, 2, 3], [1, 3, 2]]), torch.zeros((3, 3)))
    assert paired.sum_over_pairs(torch.tensor([1.0, 2.0, 4.0])).tolist() == [1.0, 6.0]


def test_derivatives_of_an_energy_alone_keep_the_whole_contract() -> None:
    print(check_potential(Springs(), example_structures(Springs.cutoff, spacing=2.4)))


def test_only_what_is_wanted_is_differentiated() -> None:
    calls = []

    class Watched(Springs):
        def energies(self, batch: Batch) -> Tensor:
            calls.append((batch.positions.requires_grad, batch.cells.requires_grad))
            return super().energies(batch)

    batch = NeighbourLists(6.0).attach(Batch.from_structures([LEFT]))
    for forces in (False, True):
        for virials in (False, True):
            prediction = Watched().compute(batch, Wanted(forces=forces, virials=virials))
            assert (prediction.forces is not None) == forces
            assert (prediction.virials is not None) == virials
            assert prediction.properties == {}
            assert calls.pop() == (forces or virials, virials)
    assert not calls


def test_atoms_without_pairs_have_no_forces() -> None:
    batch = NeighbourLists(6.0).attach(Batch.from_structures([Structure([1], [[0, 0, 0]])]))
    prediction = Springs().compute(batch, Wanted())
    assert prediction.energies.tolist() == [0.0]
    assert prediction.forces is not None
    assert prediction.virials is not None
    assert not prediction.forces.any()
    assert not prediction.virials.any()


def test_properties_are_given_when_asked_for_by_name() -> None:
    batch = NeighbourLists(6.0).attach(Batch.from_structures([LEFT, RIGHT]))
    prediction = Springs().compute(batch, Wanted(properties=("count",)))
    assert prediction.properties["count"].tolist() == [2.0, 3.0]
    with pytest.raises(PotentialError, match=r"does not give dipole; its properties: count"):
        Springs().compute(batch, Wanted(properties=("dipole",)))


def random_batch(n_structures: int = 6) -> Batch:
    """Structures of different sizes with lists of different lengths, one without pairs."""
    rng = np.random.default_rng(4)
    structures = [
        Structure(np.full(n, 18), rng.uniform(0, 6, (n, 3)), np.eye(3) * 6.0, True)
        for n in rng.integers(1, 9, n_structures)
    ]
    structures[2] = Structure([18], [[0, 0, 0]])
    return NeighbourLists(3.0).attach(Batch.from_structures(structures))


def same_pairs(got: Batch, want: Batch) -> None:
    assert got.pairs is not None
    assert want.pairs is not None
    assert torch.equal(got.pairs, want.pairs)
    assert torch.equal(got.shifts, want.shifts)  # type: ignore[arg-type]


def bare(batch: Batch) -> Batch:
    return replace(batch, pairs=None, shifts=None, pair_runs=None)


@pytest.mark.parametrize(("start", "end"), [(0, 6), (0, 2), (1, 4), (2, 3), (5, 6)])
def test_a_slice_has_the_pairs_of_its_structures(start: int, end: int) -> None:
    """In the order in which they would be listed for it alone."""
    batch = random_batch()
    part = batch.slice(start, end)
    alone = NeighbourLists(3.0).attach(bare(batch.slice(start, end)))
    same_pairs(part, alone)
    assert torch.equal(part.pair_runs, alone.pair_runs)  # type: ignore[arg-type]
    assert part.starts().tolist() == part.offsets.tolist()
    assert torch.equal(part.pair_vectors(), alone.pair_vectors())
    for k in range(part.n_structures):  # slices of slices
        same_pairs(part.slice(k, k + 1), batch.slice(start + k, start + k + 1))


def test_a_slice_of_pairs_in_any_order() -> None:
    batch = random_batch()
    assert batch.pairs is not None
    assert batch.shifts is not None
    order = torch.randperm(batch.pairs.shape[1], generator=torch.Generator().manual_seed(0))
    mixed = batch.with_pairs(batch.pairs[:, order], batch.shifts[order])
    assert mixed.pair_runs is None

    def listed(part: Batch) -> set[tuple[float, ...]]:
        assert part.pairs is not None
        rows = torch.cat([part.pairs.T.double(), part.shifts], dim=1)  # type: ignore[list-item]
        return set(map(tuple, rows.tolist()))

    for k in range(batch.n_structures):
        assert listed(mixed.slice(k, k + 1)) == listed(batch.slice(k, k + 1))


def test_pairs_in_known_places_give_the_same_vectors_and_virials() -> None:
    """Structure by structure, and over all pairs at once."""
    from pimd.potentials.pair_vectors import virials_of_gradients

    rng = np.random.default_rng(3)
    structures = [
        Structure(np.full(n, 18), rng.uniform(0, 9, (n, 3)), np.diag(box) + 0.3, pbc)
        for n, box, pbc in (
            (40, (9.0, 9.5, 10.0), True), (1, (30.0, 30.0, 30.0), True),
            (55, (9.0, 9.0, 9.0), True),
            (30, (9.0, 9.0, 9.0), False),
        )
    ]
    batch = NeighbourLists(7.5, skin=0.5).attach(Batch.from_structures(structures))
    unknown = replace(batch, pair_runs=None)
    assert batch.runs_are_long
    assert not unknown.runs_are_long
    vectors = batch.pair_vectors()
    assert torch.allclose(vectors, unknown.pair_vectors(), rtol=0, atol=1e-13)
    gradients = torch.from_numpy(rng.normal(size=tuple(vectors.shape)))
    found = virials_of_gradients(batch, vectors, gradients)
    assert torch.allclose(found, virials_of_gradients(unknown, vectors, gradients), rtol=1e-12)
