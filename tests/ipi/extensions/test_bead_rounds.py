"""Forces of beads and rounds in this process: one forcefield, drivers in threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ipi.interfaces.sockets import Status
from ipi.utils.softexit import softexit
from scripted_driver import STIFFNESS
from served_field import N_ATOMS, N_BEADS, Field, assert_right, copied, move

from pimd.ipi.extensions.direct_rounds import DirectRounds
from pimd.ipi.extensions.round_forces import RoundForces
from pimd.ipi.extensions.socket_faults import SocketFaults
from pimd.ipi.extensions.whole_rounds import WholeRounds


@pytest.fixture(autouse=True)
def rounds_on(extensions_off: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("pimd.ipi.extensions.interface_faults.SERVERTIMEOUT", 0.05)
    monkeypatch.setattr(softexit, "flist", [])
    monkeypatch.setattr(softexit, "tlist", [])
    enabled = [WholeRounds(), SocketFaults(), RoundForces(), DirectRounds()]
    for extension in enabled:
        extension.enable()
    yield
    for extension in enabled:
        extension.disable()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Field]:
    """With one driver, which has done a round."""
    field = Field(tmp_path)
    field.driver()
    assert_right(field)
    yield field
    field.close()


def test_one_exchange_whatever_is_read(served: Field) -> None:
    for n in range(2, 6):
        move(served)
        assert_right(served)
        _ = served.forces.virs, served.forces.extras, served.component._forces[1].pot
        assert served.counts == (n, n - 1)  # the first greets and initialises the driver


def test_reading_the_copy_of_the_positions_changes_nothing(served: Field) -> None:
    """As whoever writes down positions and forces does."""
    move(served)
    assert_right(served)
    before = served.counts
    np.testing.assert_array_equal(served.component.beads.q, served.beads.q)
    assert_right(served)
    assert served.counts == before
    move(served)
    assert_right(served)


def test_positions_that_change_after_they_were_sent_are_sent_again(served: Field) -> None:
    move(served)
    assert served.forces.queue()
    move(served)
    assert_right(served)
    assert served.counts == (3, 2)
    assert not served.forces.queue()


def test_queue_sends_once(served: Field) -> None:
    move(served)
    assert all(served.forces.queue() for _ in range(3))
    assert_right(served)
    assert served.counts == (2, 1)


def test_beads_are_those_of_the_round(served: Field) -> None:
    move(served)
    forces, q = served.component._forces, copied(served.beads.q)
    assert len(forces) == N_BEADS
    assert len({bead.uid for bead in forces}) == N_BEADS
    assert forces[1]._ufvx.tainted()
    for bead, force in enumerate(forces):
        np.testing.assert_array_equal(force.f, -STIFFNESS * q[bead])
        assert force.pot == pytest.approx(0.5 * STIFFNESS * (q[bead] ** 2).sum())
        np.testing.assert_array_equal(force.vir, np.zeros((3, 3)))
        np.testing.assert_array_equal(force.atoms.q, q[bead])
        assert force.extra == {}
        assert force.request is None
        assert force.ufvx[0] == force.pot
    assert [force.uid for force in forces[1:3]] == [forces[1].uid, forces[2].uid]
    assert forces[-1].uid == forces[N_BEADS - 1].uid
    with pytest.raises(IndexError):
        forces[N_BEADS]
    with pytest.raises(NameError, match="cannot be set by hand"):
        forces[0]._ufvx.set(forces[0].ufvx, manual=True)


def test_forces_are_dumped_and_loaded(served: Field) -> None:
    """As Monte Carlo moves do: back to the old positions without a driver's help."""
    assert_right(served)
    q, state = copied(served.beads.q), served.forces.dump_state()
    move(served)
    assert_right(served)
    before = served.counts
    served.beads.q[:] = q
    served.forces.load_state(state)
    assert_right(served)
    assert served.counts == before
    move(served)
    assert_right(served)
    assert served.counts[0] == before[0] + 1


def test_forces_are_transferred(served: Field) -> None:
    """As optimisers do, from forces at a trial position."""
    beads, trial = served.polymer()
    beads.q[:] = copied(beads.q) * 1.1
    assert_right(served, beads, trial)
    before = served.counts
    served.beads.q[:] = copied(beads.q)
    served.forces.transfer_forces(trial)
    assert_right(served)
    assert served.counts == before


def test_results_are_given_by_hand(served: Field) -> None:
    q = copied(served.beads.q)
    served.forces.transfer_forces_manual(
        [q], [np.arange(N_BEADS) * 1.0], [q * 2], [{"raw": ["x"] * N_BEADS}]
    )
    np.testing.assert_array_equal(served.component.f, 2 * q)
    np.testing.assert_array_equal(served.component.pots, np.arange(N_BEADS))
    assert served.component.extras == {"raw": ["x"] * N_BEADS}
    move(served)
    assert_right(served)
    assert served.component.extras == {}


def test_results_loaded_in_part_are_not_taken_for_the_whole(served: Field) -> None:
    state = served.forces.dump_state()
    move(served)
    bead = served.component._forces[0]
    bead._ufvx.set(state[0][1][0], manual=False)
    bead._ufvx.taint(taintme=False)
    assert not bead._ufvx.tainted()
    assert served.component._forces[1]._ufvx.tainted()
    assert_right(served)


def test_energies_are_changed_in_place(served: Field) -> None:
    """As metadynamics does, by hand, when a hill is added."""
    energies = copied(served.component.pots)
    total = float(served.forces.pot)
    for bead in served.component._forces:
        bead._ufvx._value[0] -= 0.25
        bead._ufvx.taint(taintme=False)
    np.testing.assert_allclose(copied(served.component.pots), energies - 0.25)
    assert float(served.forces.pot) == pytest.approx(total - 0.25 * N_BEADS)


def test_a_copy_of_results_is_independent(served: Field) -> None:
    kept = deepcopy(served.component._forces[2].ufvx)
    before = [np.copy(kept[1]), kept[0]]
    kept[0] = 17.0
    move(served)
    assert_right(served)
    np.testing.assert_array_equal(kept[1], before[0])
    assert served.component._forces[2].pot != 17.0


# other drivers, other rounds, other threads ---------------------------------------------------


def test_a_driver_that_comes_is_let_in_and_the_round_goes_on(served: Field) -> None:
    """While the first computes: its round goes over to i-PI's own way, the answer counts."""
    served.drivers[0].options.delay = 0.4
    move(served)
    served.forces.queue()
    assert len(served.line.flights) == 1
    other = served.driver()
    assert_right(served)
    assert served.line.flights == []
    assert served.counts == (2, 1)
    assert other.statuses > 0  # greeted
    for _ in range(3):
        move(served)
        assert_right(served)
    assert served.counts[1] >= 2  # direct again


def test_requests_of_others_take_the_round_over(served: Field) -> None:
    served.drivers[0].options.delay = 0.2
    move(served)
    served.forces.queue()
    atoms, cell = served.beads[0], served.forces.cell
    request = served.forcefield.queue(atoms, cell, reqid=10_000)
    assert_right(served)
    assert request._event_done.wait(5.0)
    np.testing.assert_array_equal(request["result"][1], -STIFFNESS * copied(atoms.q))
    served.forcefield.release(request)
    assert served.forcefield.requests == []
    assert served.counts[1] == 1


@pytest.mark.parametrize("n_drivers", [1, 2])
def test_threads_with_rounds_of_their_own(served: Field, n_drivers: int) -> None:
    """Three ring polymers, each in a thread, with fewer drivers: all direct, none mixed up."""
    for _ in range(n_drivers - 1):
        served.driver()
    polymers = [served.polymer() for _ in range(3)]
    failures: list[BaseException] = []

    def steps(beads: Any, forces: Any, seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            for _ in range(30):
                beads.q[:] = rng.normal(size=(N_BEADS, 3 * N_ATOMS))
                assert_right(served, beads, forces)
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=steps, args=(*polymer, k)) for k, polymer in enumerate(polymers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
        assert not thread.is_alive()
    assert failures == []
    exchanges, direct = served.counts
    assert exchanges == 91
    assert direct >= 80
    busy = [driver for driver in served.drivers if driver.exchanges > 10]
    assert len(busy) == n_drivers


def test_a_driver_that_is_lost_costs_no_round(served: Field) -> None:
    """It closes while it computes; another one comes; the forces are right."""
    served.drivers[0].options.fault, served.drivers[0].options.at = "close", 1
    move(served)
    served.forces.queue()
    served.driver()
    assert_right(served)
    move(served)
    assert_right(served)
    assert served.forcefield.socket.n_lost == 1


def test_a_driver_that_went_away_between_rounds(served: Field) -> None:
    served.drivers[0].socket.shutdown(2)
    served.drivers[0].thread.join(5.0)
    served.driver()
    for _ in range(3):
        move(served)
        assert_right(served)
    assert len(served.forcefield.socket.clients) == 1


def test_components_that_share_a_forcefield_make_requests(tmp_path: Path) -> None:
    field = Field(tmp_path, components=2)
    field.driver()
    for _ in range(3):
        move(field)
        assert_right(field)
    assert field.counts == (6, 0)
    field.close()


def test_the_status_is_asked_for_except_at_a_private_socket(
    served: Field, tmp_path: Path
) -> None:
    (tmp_path / "private").mkdir()
    private = Field(tmp_path / "private", private=True)
    private.driver()
    asked = []
    for field in (served, private):
        before = field.drivers[0].statuses
        for _ in range(10):
            move(field)
            assert_right(field)
        asked.append(field.drivers[0].statuses - before)
    assert 9 <= asked[0] <= 11
    assert asked[1] <= 4  # the first greeting
    assert private.forcefield.socket.clients[0].status & Status.Up
    private.close()


def test_the_polling_thread_sleeps_meanwhile(served: Field) -> None:
    """Nothing is queued, so that it has nothing to do."""
    polls = []
    stock = served.forcefield.poll
    served.forcefield.poll = lambda: (polls.append(time.monotonic()), stock())
    for _ in range(20):
        move(served)
        assert_right(served)
    assert polls == []
