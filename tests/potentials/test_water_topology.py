"""Finding molecules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from water_samples import box, cluster, liquid, triclinic

from pimd.potentials.base import Batch, PotentialError, Structure
from pimd.potentials.water_topology import MoleculeFinder, find_molecules


def molecules(structure: Structure) -> np.ndarray:
    batch = Batch.from_structures([structure])
    found = find_molecules(batch.numbers, batch.positions, batch.cells[0], batch.pbc[0])
    return found.numpy()


def mixed(structure: Structure, order: np.ndarray) -> Structure:
    return Structure(
        structure.numbers[order], structure.positions[order], structure.cell, structure.pbc
    )


SKEWED = np.array([[3.4, 0, 0], [5.0, 6.0, 0], [-4.0, 7.5, 9.0]])
"""Rows far from the shortest vectors of their lattice."""


@pytest.mark.parametrize(
    "structure",
    [
        triclinic(),
        liquid(),
        cluster(4),
        box((1, 1, 1), 3.0 * np.eye(3)),
        box((1, 2, 3), np.array([[3.4, 0, 0], [1.6, 6.0, 0], [-1.0, 1.5, 9.0]])),
    ],
)
def test_any_order_and_wrapping(structure: Structure) -> None:
    rng = np.random.default_rng(0)
    n = len(structure)
    want = {(3 * k, frozenset({3 * k + 1, 3 * k + 2})) for k in range(n // 3)}
    for _ in range(3):
        order = rng.permutation(n)
        shifts = rng.integers(-2, 3, (n, 3)) * structure.pbc
        moved = Structure(
            structure.numbers, structure.positions + shifts @ structure.cell, structure.cell,
            structure.pbc,
        )  # fmt: skip
        found = order[molecules(mixed(moved, order))]
        assert {(o, frozenset({a, b})) for o, a, b in found.tolist()} == want


def test_bonds_are_whole_in_a_badly_chosen_cell() -> None:
    """The same lattice, its cell written with long vectors."""
    good = box((1, 2, 3), np.array([[3.4, 0, 0], [1.6, 6.0, 0], [-1.0, 1.5, 9.0]]))
    change = np.array([[1, 0, 0], [3, 1, 0], [-2, 4, 1]])  # determinant 1
    bad = Structure(good.numbers, good.positions, change @ good.cell, True)
    groups = [MoleculeFinder().groups(Batch.from_structures([s]))[0] for s in (good, bad)]
    torch.testing.assert_close(groups[0].bonds, groups[1].bonds, rtol=0, atol=1e-12)
    x = good.positions.reshape(-1, 3, 3)
    np.testing.assert_allclose(groups[0].bonds[0], x[:, 1:] - x[:, :1], atol=1e-12)


def test_groups_hold_each_structure_once() -> None:
    structures = [triclinic(), cluster(2), triclinic(1), cluster(3), box((1, 1, 2), 6 * np.eye(3))]
    groups = MoleculeFinder().groups(Batch.from_structures(structures))
    assert sorted(k for g in groups for k in g.structures.tolist()) == [0, 1, 2, 3, 4]
    assert sorted(a for g in groups for a in g.atoms.ravel().tolist()) == list(
        range(sum(map(len, structures)))
    )
    for group in groups:
        for k in group.structures.tolist():
            assert len(structures[k]) == 3 * group.n_molecules
            assert bool(structures[k].pbc.all()) == group.periodic


def test_remembered_molecules_are_dropped_where_they_do_not_fit() -> None:
    """Two structures of the same species in the same order, whose H belong to other O."""
    one = mixed(triclinic(), np.argsort(-triclinic().numbers, kind="stable"))
    hydrogens = np.flatnonzero(one.numbers == 1)
    swapped = np.arange(len(one))
    swapped[hydrogens] = np.roll(hydrogens, 3)
    two = mixed(one, swapped)
    finder = MoleculeFinder()
    for batch in ([one], [two], [one, two], [two, one, one]):
        (group,) = finder.groups(Batch.from_structures(batch))
        assert float(group.bonds.norm(dim=-1).max()) < 1.3


def test_a_hydrogen_near_the_next_oxygen_stays_with_its_own() -> None:
    """Halfway through a hydrogen bond and beyond, as beads of a quantum water go."""
    pair = np.array([[0, 0, 0], [0.95, 0, 0], [-0.3, 0.9, 0],
                     [2.45, 0, 0], [2.9, 0.6, 0.6], [2.9, 0.6, -0.6]])  # fmt: skip
    finder = MoleculeFinder()
    (before,) = finder.groups(Batch.from_structures([Structure([8, 1, 1] * 2, pair)]))
    stretched = pair.copy()
    stretched[1, 0] = 1.35
    (after,) = finder.groups(Batch.from_structures([Structure([8, 1, 1] * 2, stretched)]))
    assert torch.equal(before.atoms, after.atoms)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("foreign", r"structure 1 of the batch: .*atom 4 has atomic number 6; .*O \(8\)"),
        ("count", "8 O and 15 H"),
        ("torn", r"atom 4 \(H\) is 6\.\d+ Å from the nearest O, atom \d"),
        ("shared", r"atom \d+ \(O\) is the nearest oxygen of \d hydrogens, expected 2"),
        ("slab", r"structure 1: .*pbc \[True, True, False\]"),
        ("open", r"has the molecule been torn, or is a periodic structure without its cell"),
    ],
)
def test_what_is_not_water_is_named(change: str, message: str) -> None:
    structure = triclinic()
    numbers, x = structure.numbers.copy(), structure.positions.copy()
    pbc: bool | list[bool] = True
    if change == "foreign":
        numbers[4] = 6
    elif change == "count":
        numbers, x = numbers[:-1], x[:-1]
    elif change == "torn":
        numbers, x, pbc = cluster().numbers, cluster().positions.copy(), False
        x[4] = x[3] + [1.0, 0.5, -6.0]
    elif change == "shared":
        x[4] = x[0] - 0.9 * (x[1] - x[0])
    elif change == "slab":
        pbc = [True, True, False]
    elif change == "open":
        x, pbc = (x @ np.linalg.inv(structure.cell) % 1.0) @ structure.cell, False
    bad = Structure(numbers, x, structure.cell, pbc)
    with pytest.raises(PotentialError, match=message):
        MoleculeFinder().groups(Batch.from_structures([triclinic(), bad]))
