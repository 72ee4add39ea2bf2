"""The daemon against servers played by the test: rounds, extras, the long run."""

from __future__ import annotations

import json
import select
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from daemon_potentials import Instant, NanAbove, Spring
from daemon_servers import UnixServer, positions_message, word
from daemon_threads import Daemon, beads, check_spring, structure

from pimd.daemon.address import AddressError
from pimd.daemon.serve import ExitReason, Target, WarmUpFailed, serve, warm_up
from pimd.evaluator import Evaluator
from pimd.potentials.base import PotentialError


@pytest.mark.parametrize("batch_size", [1, 4])
def test_rounds_of_one_simulation(server: UnixServer, batch_size: int) -> None:
    daemon = Daemon(Spring(k=0.7), [Target(server.address, structure(5))])
    peer = server.accept(5, batch_size)
    peer.start()
    for seed in range(3):
        positions, cells = beads(batch_size, 5, seed)
        reply = peer.round(positions, cells)
        check_spring(reply, positions, 0.7)
        assert reply.extras == [""] * batch_size
    peer.exit()
    assert daemon.end() is ExitReason.FINISHED
    kinds = [e["event"] for e in daemon.events]
    assert kinds[:3] == ["warmed_up", "ready", "connected"]
    assert kinds[-3:] == ["finished", "budget", "end"]
    assert daemon.events[-1]["status"] == 0
    budget = daemon.budget()
    assert budget["rounds"] == 3
    assert budget["structures_evaluated"] == budget["structures_needed"] == 3 * batch_size
    assert budget["structures_requested"] == 3 * batch_size
    assert sum(budget["seconds"].values()) == pytest.approx(budget["wall_seconds"], rel=0.1)
    json.dumps(daemon.events)  # all events can travel
    peer.close()


def test_positions_and_getforce_in_separate_messages(server: UnixServer) -> None:
    """As i-PI does it up to 3.1, and later with consolidate_messages false."""
    daemon = Daemon(Spring(), [Target(server.address, structure(3))])
    peer = server.accept(3)
    peer.start()
    for seed in range(3):
        positions, cells = beads(1, 3, seed)
        peer.send(positions, cells, end="STATUS")
        assert peer.read(12) == word("HAVEDATA")
        assert peer.status() == "HAVEDATA"
        peer.sock.sendall(word("GETFORCE"))
        check_spring(peer.receive(), positions)
        assert peer.status() == "READY"
    peer.exit()
    assert daemon.end() is ExitReason.FINISHED
    peer.close()


def test_padding_is_evaluated_once(server: UnixServer) -> None:
    potential = Spring()
    daemon = Daemon(potential, [Target(server.address, structure(3))])
    peer = server.accept(3, batch_size=8)
    peer.start()
    positions, cells = beads(8, 3)
    positions[5:] = positions[4]  # as i-PI fills a short batch
    check_spring(peer.round(positions, cells), positions)
    peer.exit()
    assert daemon.end() is ExitReason.FINISHED
    assert potential.calls == [1, 5]  # the template, then the round
    budget = daemon.budget()
    assert (budget["structures_requested"], budget["structures_needed"]) == (8, 5)
    assert budget["structures_evaluated"] == budget["last_round_structures"] == 5
    peer.close()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_shared_memory(server: UnixServer, batch_size: int) -> None:
    target = Target("shm:" + server.path, structure(4))
    daemon = Daemon(Spring(), [target], properties=["dipole"])
    peer = server.accept(4, batch_size)
    peer.start()
    for seed in range(3):
        positions, cells = beads(batch_size, 4, seed)
        reply = peer.round_shm(positions, cells)
        check_spring(reply, positions)
        found = [json.loads(text)["dipole"] for text in reply.extras]
        np.testing.assert_allclose(found, positions.sum(1), rtol=1e-12)
    peer.exit()
    assert daemon.end() is ExitReason.FINISHED
    for segment in peer.segments.values():  # still there: ours to remove, not the daemon's
        assert Path("/dev/shm", segment.name).exists()
    peer.close()


def test_shared_segments_that_are_too_small_or_missing_are_refused(server: UnixServer) -> None:
    for wrong in ("small", "missing"):
        daemon = Daemon(Spring(), [Target("shm:" + server.path, structure(4))])
        peer = server.accept(4)
        peer.start()
        if wrong == "small":
            peer.n_atoms = 3
        names = peer.make_segments()
        peer.n_atoms = 4
        if wrong == "missing":
            peer.segments.pop("vir").unlink()
        peer.sock.sendall(word("POSDATA") + np.int32(4).tobytes() + names + word("GETFORCE"))
        assert daemon.end() is ExitReason.PROTOCOL_ERROR
        error = daemon.told("error")[0]["message"]
        assert ("has 72 bytes, expected 96" if wrong == "small" else "cannot attach") in error
        peer.close()


def test_properties_are_sent_as_extras(server: UnixServer) -> None:
    target = Target(server.address, structure(2))
    daemon = Daemon(Spring(), [target], properties=["dipole", "born_charges"])
    peer = server.accept(2, batch_size=2)
    peer.start()
    positions, cells = beads(2, 2)
    reply = peer.round(positions, cells)
    for k, text in enumerate(reply.extras):
        extra = json.loads(text)
        np.testing.assert_allclose(extra["dipole"], positions[k].sum(0), rtol=1e-12)
        assert np.array(extra["BEC"]).shape == (6, 3)
    peer.exit()
    assert daemon.end() is ExitReason.FINISHED
    peer.close()


def test_one_connection_per_bead_is_evaluated_in_one_call(server: UnixServer) -> None:
    potential = Spring(seconds=0.03)
    target = Target(server.address, structure(3), n_connections=4)
    daemon = Daemon(potential, [target])
    peers = [server.accept(3) for _ in range(4)]
    for peer in peers:
        peer.start()
    for seed in range(10):
        positions, cells = beads(4, 3, seed)
        for k, peer in enumerate(peers):
            peer.send(positions[k : k + 1], cells[k : k + 1])
        for k, peer in enumerate(peers):
            check_spring(peer.receive(), positions[k : k + 1])
        for peer in peers:
            assert peer.status() == "READY"
    for peer in peers:
        peer.exit()
    assert daemon.end() is ExitReason.FINISHED
    budget = daemon.budget()
    assert budget["structures_needed"] == budget["structures_evaluated"] == 40
    assert budget["rounds"] <= 15  # 20 or more without waiting for each other
    for peer in peers:
        peer.close()


def test_several_simulations_of_different_size_share_calls() -> None:
    servers = [UnixServer(), UnixServer()]
    potential = Spring(seconds=0.02)
    targets = [Target(s.address, structure(n)) for s, n in zip(servers, (2, 5), strict=True)]
    daemon = Daemon(potential, targets)
    peers = [servers[0].accept(2, batch_size=3), servers[1].accept(5)]
    for peer in peers:
        peer.start()
    for seed in range(6):
        data = [beads(3, 2, seed), beads(1, 5, seed + 100)]
        for peer, (positions, cells) in zip(peers, data, strict=True):
            peer.send(positions, cells)
        for peer, (positions, _) in zip(peers, data, strict=True):
            check_spring(peer.receive(), positions)
            assert peer.status() == "READY"
    assert max(potential.calls) == 4  # both in one call
    peers[0].exit()
    positions, cells = beads(1, 5)
    check_spring(peers[1].round(positions, cells), positions)  # the other goes on
    peers[1].exit()
    assert daemon.end() is ExitReason.FINISHED
    for peer in peers:
        peer.close()
    for server in servers:
        server.close()


def test_other_servers_are_read_while_the_model_computes() -> None:
    """i-PI gives a client up that takes no bytes for 0.1 s."""
    servers = [UnixServer(), UnixServer()]
    n_atoms, batch_size = 2000, 16  # 768 kB, more than a socket holds
    sizes = 1, n_atoms
    targets = [Target(s.address, structure(n)) for s, n in zip(servers, sizes, strict=True)]
    daemon = Daemon(Spring(seconds=0.8), targets)
    small, large = servers[0].accept(1), servers[1].accept(n_atoms, batch_size)
    for peer in (small, large):
        peer.start()
    small.send(*beads(1, 1))
    time.sleep(0.1)  # it is being computed now
    positions, cells = beads(batch_size, n_atoms)
    large.send(positions, cells)  # waits until the daemon has read all but what a socket holds
    assert not select.select([small.sock], [], [], 0)[0], "read only after the call"
    small.receive()
    check_spring(large.receive(), positions)
    for peer in (small, large):
        peer.exit()
    assert daemon.end() is ExitReason.FINISHED
    for peer in (small, large):
        peer.close()
    for server in servers:
        server.close()


def test_what_cannot_be_served_is_said_before_connecting(tmp_path: Path) -> None:
    evaluator = Evaluator(Spring())
    with pytest.raises(ValueError, match="nothing to serve"):
        serve(evaluator, [])
    for address in ("water", "unix:", "inet:here", "inet:h:0", "tcp:a:1", "unix:" + "x" * 200):
        with pytest.raises(AddressError):
            serve(evaluator, [Target(address, structure(3))])
    with pytest.raises(ValueError, match="given twice"):
        serve(evaluator, [Target("unix:a", structure(3)), Target("shm:a", structure(3))])
    with pytest.raises(PotentialError, match="does not give spin"):
        serve(evaluator, [Target("unix:a", structure(3))], properties=["spin"])
    bad = Evaluator(NanAbove(limit=-1.0))
    events: list[dict] = []
    targets = [Target("unix:a", structure(3))]
    reason = serve(bad, targets, report=events.append, dump_dir=tmp_path)
    assert reason is ExitReason.EVALUATION_FAILED
    assert [e["event"] for e in events] == ["error", "end"]
    assert "template of unix:a" in events[0]["message"]
    assert len(list(tmp_path.glob("*.extxyz"))) == 1
    with pytest.raises(WarmUpFailed, match="the energy is nan"):
        warm_up(bad, targets, dump_dir=tmp_path)


def test_warm_up_tells_energy_and_time() -> None:
    told = warm_up(Evaluator(Spring(k=2.0)), [Target("unix:a", structure(3), name="x")])
    assert told[0]["simulation"] == "x"
    assert told[0]["energy_ev"] == pytest.approx(0.1**2 + 0.2**2, rel=1e-12)
    assert told[0]["largest_force"] == pytest.approx(0.4, rel=1e-12)
    assert told[0]["seconds"] > 0




def test_memory_is_flat_over_ten_thousand_rounds(server: UnixServer) -> None:
    n_atoms, batch_size, n_rounds = 4, 4, 10_000
    marks: list[int] = []
    daemon = Daemon(Instant(), [Target(server.address, structure(n_atoms))])
    peer = server.accept(n_atoms, batch_size)
    peer.start()
    positions, cells = beads(batch_size, n_atoms)
    message = positions_message(positions, cells, batched=True) + word("GETFORCE")
    size = 12 + 8 * batch_size + 4 + (24 * n_atoms + 72) * batch_size + 4 * batch_size
    for k in range(n_rounds):
        peer.sock.sendall(message)
        peer.read(size)
        assert peer.status() == "READY"
        if k == n_rounds // 2:
            tracemalloc.start()
        if k in (n_rounds // 2 + 500, n_rounds - 1):
            marks.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    peer.exit()
    assert daemon.end() is ExitReason.FINISHED
    assert daemon.budget()["rounds"] == n_rounds
    assert marks[1] - marks[0] < 100_000  # bytes, over 4,500 rounds; events add some
    peer.close()


def test_init_may_carry_text_of_any_kind(server: UnixServer) -> None:
    daemon = Daemon(Spring(), [Target(server.address, structure(3))])
    peer = server.accept(3, batch_size=2)
    text = " model : w\u00e4ter , ".encode() + b"\xff\xfe , , batch_size:2"
    counts = np.array([0, len(text)], np.int32).tobytes()
    peer.sock.sendall(word("INIT") + counts + text)
    assert peer.status() == "READY"
    positions, cells = beads(2, 3)
    check_spring(peer.round(positions, cells), positions)
    peer.exit()
    assert daemon.end() is ExitReason.FINISHED
    peer.close()
