"""Pieces of work on threads that do not split torch's operations."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch
from water_samples import cluster, liquid, triclinic

from pimd.potentials import qtip4pf
from pimd.potentials.base import Batch, Wanted
from pimd.potentials.core_threads import CoreThreads, unsplit_operations
from pimd.potentials.qtip4pf import QTIP4PF
from pimd.units import HARTREE_EV


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_threads_of_one_core() -> None:
    threads = CoreThreads()
    together = threading.Barrier(3, timeout=20)

    def piece(k: int) -> tuple[int, int, bool]:
        together.wait()  # only passes if three run at once
        time.sleep(0.02 * (3 - k))
        return k, torch.get_num_threads(), torch.is_grad_enabled()

    with unsplit_operations() as cores:
        assert cores == 3
        assert torch.get_num_threads() == 1
        for _ in range(2):
            results = threads.run([lambda k=k: piece(k) for k in range(3)], 3)
            assert results == [(k, 1, False) for k in range(3)]
    assert torch.get_num_threads() == 3
    threads.close()


@pytest.mark.parametrize("number", [1, 2])
def test_failures_are_raised_and_settings_restored(number: int) -> None:
    threads = CoreThreads()

    def fail() -> int:
        raise ValueError("no such piece")

    with pytest.raises(ValueError, match="no such piece"), unsplit_operations():
        threads.run([lambda: 1, fail, lambda: 2], number)
    assert torch.get_num_threads() == 3
    assert threads.run([lambda: 1, lambda: 2], number) == [1, 2]
    threads.close()


def test_water_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of several kinds of structure, on threads and without."""
    structures = [triclinic(k) for k in range(7)] + [cluster(3), liquid(), cluster(3, 1)]
    batch = Batch.from_structures(structures)
    wanted = Wanted(properties=("dipole", "born_charges"))
    want = QTIP4PF().compute(batch, wanted)
    monkeypatch.setattr(qtip4pf, "ATOMS_PER_THREAD", 1)
    potential = QTIP4PF()
    for _ in range(3):
        got = potential.compute(batch, wanted)
        for a, b in (
            (got.energies, want.energies),
            (got.forces, want.forces),
            (got.virials, want.virials),
            (got.properties["dipole"], want.properties["dipole"]),
        ):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10 * HARTREE_EV)
    potential.close()
