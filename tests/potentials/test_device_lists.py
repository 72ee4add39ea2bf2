"""Lists made on the device, on tensors of the CPU: the toolkit's search and what is around it."""

from __future__ import annotations

import importlib.util
import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ase.neighborlist import primitive_neighbor_list
from torch import Tensor

from pimd.notices import PimdNotice
from pimd.potentials import device_lists
from pimd.potentials.base import Batch, PotentialError, Structure
from pimd.potentials.device_lists import DeviceLists, closed_cells, neighbour_lists
from pimd.potentials.neighbours import NeighbourLists

CUBIC = np.eye(3) * 5.0
CELLS = [
    CUBIC,
    np.array([[6.0, 0.0, 0.0], [2.5, 5.0, 0.0], [-1.5, 2.0, 4.5]]),  # triclinic
    np.array([[0.3, 4.0, 1.0], [3.5, -0.5, 2.0], [1.0, 1.5, -5.0]]),  # left-handed
    np.array([[4.0, 0.0, 0.0], [9.0, 4.0, 0.0], [-7.0, 6.0, 5.0]]),  # skewed
    np.diag([14.0, 3.0, 9.0]),
]
PERIODICITIES = [
    (True, True, True), (True, True, False), (False, True, True), (True, False, True),
    (True, False, False), (False, False, True), (False, False, False),
]  # fmt: skip


def make(cell: np.ndarray, pbc: object, n: int = 12, seed: int = 0) -> Structure:
    """n atoms anywhere in and around the cell."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-0.7, 1.8, (n, 3)) @ cell
    return Structure(rng.choice([1, 8], n), positions, cell, np.array(pbc))


def all_kinds() -> list[Structure]:
    """Every cell in every periodicity, own images, clusters, lone atoms, no atoms."""
    structures = [make(cell, pbc) for cell in CELLS for pbc in PERIODICITIES]
    return [
        *structures,
        Structure([1], [[9.0, -3.0, 2.0]], CUBIC, True),
        Structure(np.zeros(0), np.zeros((0, 3)), CUBIC, True),
        Structure([1], [[9.0, -3.0, 2.0]], CUBIC, False),
        Structure([1, 1, 8], [[0, 0, 0], [0, 0, 0.8], [30, -20, 1.1]]),
    ]


def listed(batch: Batch) -> list[tuple[int, ...]]:
    """(i, j, S) of every pair, sorted."""
    assert batch.pairs is not None
    assert batch.shifts is not None
    assert batch.pairs.dtype == torch.int64
    assert batch.shifts.dtype == batch.positions.dtype
    rows = torch.cat([batch.pairs.T.double(), batch.shifts.double()], dim=1)
    return sorted(tuple(map(int, row)) for row in rows.tolist())


def check(lists: DeviceLists, structures: list[Structure]) -> Batch:
    """The same pairs, each once, as the lists on the CPU, in the order that is promised."""
    batch = Batch.from_structures(structures)
    found = lists.attach(batch)
    assert batch.pairs is None
    assert listed(found) == listed(NeighbourLists(lists.cutoff, threads=1).attach(batch))
    assert found.pairs is not None
    assert bool((found.pairs[0].diff() >= 0).all())
    counts = torch.bincount(found.structure_index[found.pairs[0]], minlength=len(structures))
    assert found.pair_runs is not None
    assert torch.equal(found.pair_runs[0].diff(), counts)
    return found


class Toolkit:
    """Stands in for the toolkit: ASE's list in rows of fixed length, cut where they are full.

    `stops`: whether the counts stop at the length of a row.
    """

    def __init__(self, stops: bool = False) -> None:
        self.stops, self.rows = stops, []  # type: ignore[var-annotated]

    def suggest_neighbor_list_method(self, *_: Any, **__: Any) -> str:
        return "batch_naive"

    def neighbor_list(
        self, positions: Tensor, cutoff: float, *, cell: Tensor, pbc: Tensor,
        batch_idx: Tensor, batch_ptr: Tensor, method: str, max_neighbors: int,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        assert batch_idx.dtype == batch_ptr.dtype == torch.int32
        assert bool((torch.linalg.det(cell).abs() > 0).all())
        self.rows.append(max_neighbors)
        n_atoms = len(positions)
        matrix = torch.full((n_atoms, max_neighbors), n_atoms, dtype=torch.int32)
        shifts = torch.zeros((n_atoms, max_neighbors, 3), dtype=torch.int32)
        counts = torch.zeros(n_atoms, dtype=torch.int32)
        for k, (a, b) in enumerate(itertools.pairwise(batch_ptr.tolist())):
            own = primitive_neighbor_list(
                "ijS", pbc[k].numpy(), cell[k].numpy(), positions[a:b].numpy(), cutoff
            )
            for i, j, shift in zip(*own, strict=True):
                place = int(counts[a + i])
                if place < max_neighbors:
                    matrix[a + i, place] = int(a + j)
                    shifts[a + i, place] = torch.tensor(shift)
                if place < max_neighbors or not self.stops:
                    counts[a + i] += 1
        return matrix, counts, shifts


def with_toolkit(
    monkeypatch: pytest.MonkeyPatch, toolkit: object, cutoff: float = 4.0
) -> DeviceLists:
    monkeypatch.setattr(device_lists, "require", lambda module, extra: toolkit)
    return DeviceLists(cutoff)


@pytest.mark.skipif(
    importlib.util.find_spec("nvalchemiops") is None, reason="needs nvalchemi-toolkit-ops"
)
def test_the_toolkit_lists_every_kind_of_structure() -> None:
    """(Compiles the search when it runs for the first time on a machine, some 10 s.)"""
    structures = all_kinds()
    for method in (None, "batch_cell_list"):
        for cutoff in (1.5, 7.0):
            lists = DeviceLists(cutoff, method=method)
            check(lists, structures)
            assert lists.searches == 1, "the lists on the CPU took over"
    lists = DeviceLists(7.0)
    lists._row = 16
    check(lists, structures)
    assert lists.redone > 0
    at_cutoff = Structure([1, 1, 1], [[0, 0, 0], [2.0, 0, 0], [0, 0, 1.999999999]])
    assert listed(check(DeviceLists(2.0), [at_cutoff])) == [(0, 2, 0, 0, 0), (2, 0, 0, 0, 0)]
    check(DeviceLists(3.0), [Structure([18], [[0, 0, 0]])])  # no pair at all


def test_rows_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = with_toolkit(monkeypatch, Toolkit())
    found = check(lists, all_kinds())
    vectors = found.pair_vectors()
    assert float(vectors.norm(dim=1).max()) < 4.0


@pytest.mark.parametrize("stops", [False, True])
def test_rows_that_are_too_short_are_made_longer(
    monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    """Nothing is lost, also if the counts do not tell how much was."""
    toolkit = Toolkit(stops)
    lists = with_toolkit(monkeypatch, toolkit, 4.5)
    lists._row = 16
    dense = [make(CUBIC, True, 20), make(CUBIC, True, 3)]
    check(lists, dense)
    assert lists.redone >= 1
    rows = list(toolkit.rows)
    assert rows == sorted(set(rows))
    check(lists, dense)
    assert toolkit.rows[len(rows) :] == rows[-1:], "what was learned is kept"


def test_single_precision_is_searched_in_double(monkeypatch: pytest.MonkeyPatch) -> None:
    structure = make(CELLS[1], True, 20)
    lists = with_toolkit(monkeypatch, Toolkit())
    batch = Batch.from_structures([structure], dtype=torch.float32)
    found = lists.attach(batch)
    assert listed(found) == listed(NeighbourLists(4.0).attach(batch))


@pytest.mark.parametrize(("structure", "words"), [
    (Structure([1, 1], [[0, 0, 0], [np.nan, 0, 0]], CUBIC, True), "not finite"),
    (Structure([1, 1], [[0, 0, 0], [np.inf, 0, 0]]), "not finite"),
    (Structure([1], [[0, 0, 0]], np.eye(3) * 1e-4, True), "collapsed"),
])  # fmt: skip
def test_what_cannot_be_listed_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, structure: Structure, words: str
) -> None:
    lists = with_toolkit(monkeypatch, Toolkit())
    check(lists, [make(CUBIC, True)])
    with pytest.raises(PotentialError, match=words):
        lists.attach(Batch.from_structures([make(CUBIC, True), structure]))
    check(lists, [make(CUBIC, True)])


def test_layouts_are_kept_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = with_toolkit(monkeypatch, Toolkit())
    batch = Batch.from_structures([make(CUBIC, True, 3)])
    for _ in range(3):
        lists.attach(batch)
    assert len(lists._layouts) == 1
    batch.pbc[0, 2] = False  # in place: another layout
    assert listed(lists.attach(batch)) == listed(NeighbourLists(4.0).attach(batch))
    for seed in range(40):
        lists.attach(Batch.from_structures([make(CUBIC, True, 2, seed)]))
    assert len(lists._layouts) <= device_lists.MAX_LAYOUTS


def test_a_toolkit_that_does_not_work_is_said_once_and_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no kernel image")

    toolkit = SimpleNamespace(
        neighbor_list=broken, suggest_neighbor_list_method=lambda *_, **__: "batch_naive"
    )
    lists = with_toolkit(monkeypatch, toolkit)
    batch = Batch.from_structures([make(CUBIC, True)])
    with pytest.warns(PimdNotice, match="no kernel image"):
        found = lists.attach(batch)
    assert listed(found) == listed(NeighbourLists(4.0).attach(batch))
    lists.attach(batch)  # without another word


def test_memory_that_runs_out_in_the_search_is_not_taken_for_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    toolkit = SimpleNamespace(
        neighbor_list=full, suggest_neighbor_list_method=lambda *_, **__: "batch_naive"
    )
    with pytest.raises(torch.OutOfMemoryError):
        with_toolkit(monkeypatch, toolkit).attach(Batch.from_structures([make(CUBIC, True)]))


def test_cells_are_closed_across_what_is_periodic() -> None:
    pbc = torch.tensor(PERIODICITIES)
    for cell in CELLS:
        cells = torch.tensor(cell).repeat(len(pbc), 1, 1)
        closed = closed_cells(cells * pbc[:, :, None], pbc)
        assert torch.equal(closed[pbc], cells[pbc])
        for one, periodic in zip(closed, pbc, strict=True):
            lengths = one[~periodic].norm(dim=1)
            torch.testing.assert_close(lengths, torch.ones_like(lengths))
            assert float((one[~periodic] @ one[periodic].T).abs().sum()) < 1e-12
            assert abs(float(torch.linalg.det(one))) > 0.1


def test_which_lists_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    assert isinstance(neighbour_lists(4.0, 1.0, torch.device("cpu")), NeighbourLists)
    monkeypatch.setattr(device_lists, "require", lambda module, extra: Toolkit())
    assert isinstance(neighbour_lists(4.0, 1.0, cuda), DeviceLists)

    def missing(module: str, extra: str) -> None:
        raise PotentialError("nvalchemiops is not installed: pip install 'pimd[cuda]'")

    monkeypatch.setattr(device_lists, "require", missing)
    with pytest.warns(PimdNotice, match="on the CPU: nvalchemiops is not installed"):
        assert isinstance(neighbour_lists(4.0, 1.0, cuda), NeighbourLists)
