"""Stock i-PI from end to end: same printed trajectories as with i-PI's own potential."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import daemon_ipi as ipi
import pytest
from daemon_child import wait_until
from daemon_potentials import Spring
from daemon_threads import Daemon

from pimd.daemon.serve import ExitReason, Target
from pimd.potentials.base import Structure

CASES: dict[str, dict[str, Any]] = {
    "unix": {"mode": "unix"},
    "unix, whole batch": {"mode": "unix", "batch": ipi.BEADS},
    "unix, batch 4 of 6": {"mode": "unix", "batch": 4},
    "unix, batch larger than the ring": {"mode": "unix", "batch": 8},
    "unix, not consolidated": {"mode": "unix", "consolidate": False},
    "inet": {"mode": "inet"},
    "inet, whole batch": {"mode": "inet", "batch": ipi.BEADS},
    "shm": {"mode": "shm"},
    "shm, batch 4 of 6": {"mode": "shm", "batch": 4},
}


@pytest.mark.parametrize("case", CASES)
def test_same_trajectory_as_i_pis_own_potential(
    case: str, tmp_path: Path, reference: Path
) -> None:
    options = CASES[case]
    forcefield = ipi.ffsocket(**options)
    path = ipi.write_input(tmp_path, forcefield)
    with ipi.IPi(path) as run:
        daemon = Daemon(ipi.harmonic(), [Target(forcefield.address, ipi.template())])
        assert run.wait() == 0, run.text()
    assert daemon.end() is ExitReason.FINISHED
    ipi.assert_same(tmp_path, reference)
    budget = daemon.budget()
    assert budget["structures_evaluated"] == budget["structures_needed"]
    # all beads start from one structure; afterwards they differ
    assert ipi.STEPS * ipi.BEADS < budget["structures_needed"] <= (ipi.STEPS + 1) * ipi.BEADS
    assert daemon.told("warning") == []


@pytest.mark.parametrize("consolidate", [True, False])
def test_one_connection_per_bead_and_a_daemon_that_was_there_first(
    consolidate: bool, tmp_path: Path, reference: Path
) -> None:
    forcefield = ipi.ffsocket("unix", consolidate=consolidate)
    path = ipi.write_input(tmp_path, forcefield)
    target = Target(forcefield.address, ipi.template(), n_connections=ipi.BEADS)
    daemon = Daemon(ipi.harmonic(), [target])
    with ipi.IPi(path) as run:
        assert run.wait() == 0, run.text()
    assert daemon.end() is ExitReason.FINISHED
    ipi.assert_same(tmp_path, reference)
    assert len(daemon.told("connected")) == ipi.BEADS
    assert daemon.budget()["rounds"] <= (ipi.STEPS + 1) * ipi.BEADS


def test_several_servers_at_once(tmp_path: Path, reference: Path) -> None:
    forcefields = [ipi.ffsocket("unix", batch=ipi.BEADS), ipi.ffsocket("shm", batch=4)]
    runs, targets = [], []
    for k, forcefield in enumerate(forcefields):
        path = ipi.write_input(tmp_path / str(k), forcefield)
        runs.append(ipi.IPi(path))
        targets.append(Target(forcefield.address, ipi.template()))
    daemon = Daemon(ipi.harmonic(), targets)
    for run in runs:
        assert run.wait() == 0, run.text()
        ipi.assert_same(run.folder, reference)
    assert daemon.end() is ExitReason.FINISHED


def test_i_pi_is_killed_and_started_again(tmp_path: Path, reference: Path) -> None:
    forcefield = ipi.ffsocket("unix", batch=ipi.BEADS)
    slow = Spring(k=ipi.K_HARTREE * ipi.HARTREE / ipi.BOHR**2, seconds=0.02)
    daemon = Daemon(slow, [Target(forcefield.address, ipi.template())])
    with ipi.IPi(
        ipi.write_input(tmp_path / "killed", forcefield, steps=10_000)
    ) as run:
        wait_until(lambda: len(slow.calls) > 10, "i-PI does not step")
        run.process.kill()
        run.process.wait(10)
    ipi.remove_socket(forcefield)
    with ipi.IPi(ipi.write_input(tmp_path / "again", forcefield)) as run:
        assert run.wait() == 0, run.text()
    assert daemon.end() is ExitReason.FINISHED
    assert len(daemon.told("warning")) == 1
    ipi.assert_same(tmp_path / "again", reference)


def test_a_wrong_template_does_not_stop_i_pi_from_going_on_with_the_right_one(
    tmp_path: Path, reference: Path
) -> None:
    forcefield = ipi.ffsocket("unix", batch=ipi.BEADS)
    right = ipi.template()
    wrong = Structure(right.numbers[:2], right.positions[:2], right.cell)
    with ipi.IPi(ipi.write_input(tmp_path, forcefield)) as run:
        daemon = Daemon(ipi.harmonic(), [Target(forcefield.address, wrong)])
        assert daemon.end() is ExitReason.PROTOCOL_ERROR
        assert "expected structures of 2 atoms" in daemon.told("error")[0]["message"]
        assert run.process.poll() is None
        daemon = Daemon(ipi.harmonic(), [Target(forcefield.address, right)])
        assert run.wait() == 0, run.text()
    assert daemon.end() is ExitReason.FINISHED
    ipi.assert_same(tmp_path, reference)


def test_a_timeout_of_i_pi_is_survived(tmp_path: Path, reference: Path) -> None:
    """i-PI drops a client that computes for longer than its `timeout` and queues again.

    With consolidate_messages false, i-PI 3.3.1 forgets such a request and waits for ever.
    """

    class FirstIsSlow(Spring):
        def energies(self, batch):  # type: ignore[no-untyped-def]
            # the first call is the warm-up, the second the first of i-PI's
            self.seconds = 0.8 if len(self.calls) == 1 else 0.0
            return super().energies(batch)

    forcefield = ipi.ffsocket("unix", more="<timeout>0.3</timeout>")
    potential = FirstIsSlow(k=ipi.K_HARTREE * ipi.HARTREE / ipi.BOHR**2)
    daemon = Daemon(potential, [Target(forcefield.address, ipi.template())])
    with ipi.IPi(ipi.write_input(tmp_path, forcefield)) as run:
        assert run.wait() == 0, run.text()
    assert daemon.end() is ExitReason.FINISHED
    assert len(daemon.told("warning")) >= 1
    ipi.assert_same(tmp_path, reference)


