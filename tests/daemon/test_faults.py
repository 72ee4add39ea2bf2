"""What goes wrong is named, and i-PI is left able to go on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from daemon_potentials import NanAbove, Spring
from daemon_servers import UnixServer, word
from daemon_threads import BOHR, Daemon, assert_orderly_end, beads, check_spring, structure

from pimd.daemon.serve import ExitReason, Target
from pimd.potentials.base import Batch, PotentialError, Prediction, Wanted


@pytest.mark.parametrize("end", ["GETFORCE", "STATUS"])
def test_a_bad_bead_is_named_and_dumped_and_the_server_can_go_on(
    server: UnixServer, tmp_path: Path, end: str
) -> None:
    target = Target(server.address, structure(3), name="water")
    daemon = Daemon(NanAbove(limit=1.0), [target], tmp_path)
    peer = server.accept(3, batch_size=4)
    peer.start()
    positions, cells = beads(4, 3)
    positions[:, 0, 0] = 0.1
    positions[2, 0, 0] = 2.5  # bohr
    peer.send(positions, cells, end)
    assert_orderly_end(peer)
    assert daemon.end() is ExitReason.EVALUATION_FAILED
    error = daemon.told("error")[0]
    assert (error["simulation"], error["bead"]) == ("water", 2)
    assert "water, bead 2: the energy is nan" in error["message"]
    assert error["file"] in error["message"]
    atoms = read(error["file"])
    np.testing.assert_allclose(atoms.positions, positions[2] * BOHR, atol=1e-6)
    assert daemon.events[-1]["status"] != 0
    peer.close()


def test_with_one_connection_per_bead_the_connection_is_named(
    server: UnixServer, tmp_path: Path
) -> None:
    target = Target(server.address, structure(1), n_connections=2)
    daemon = Daemon(NanAbove(limit=1.0), [target], tmp_path)
    peers = [server.accept(1), server.accept(1)]
    for peer in peers:
        peer.start()
    peers[1].send(np.full((1, 1, 3), 5.0), np.zeros((1, 3, 3)))
    assert daemon.end() is ExitReason.EVALUATION_FAILED
    assert daemon.told("error")[0]["bead"] == 1
    for peer in peers:
        assert_orderly_end(peer)
        peer.close()


class Refuses(Spring):
    """Cannot take a structure whose first atom is beyond a limit, and does not say which."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        if float(batch.positions[:, 0].max()) > 1.0:
            raise self.error
        return super().compute(batch, wanted)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PotentialError("atoms overlap"), "bead 1: atoms overlap"),
        (RuntimeError("some fault in a kernel"), "bead 1: RuntimeError: some fault in a kernel"),
        (MemoryError(), "bead 1: one structure of 1 atoms does not fit"),
    ],
)
def test_errors_that_name_no_structure_are_traced_to_one(
    server: UnixServer, tmp_path: Path, error: Exception, text: str
) -> None:
    daemon = Daemon(Refuses(error), [Target(server.address, structure(1))], tmp_path)
    peer = server.accept(1, batch_size=3)
    peer.start()
    positions = np.zeros((3, 1, 3))
    positions[:, 0, 0] = [0.0, 3.0, 0.5]
    peer.send(positions, np.zeros((3, 3, 3)))
    assert_orderly_end(peer)
    assert daemon.end() is ExitReason.EVALUATION_FAILED
    told = daemon.told("error")[0]
    assert text in told["message"]
    assert ("kernel" in told["traceback"]) is isinstance(error, RuntimeError)
    assert read(told["file"]).positions[0, 0] == pytest.approx(3.0 * BOHR)
    peer.close()


@pytest.mark.parametrize("what", ["positions", "cell"])
def test_positions_from_a_dynamics_that_blew_up(
    server: UnixServer, tmp_path: Path, what: str
) -> None:
    daemon = Daemon(Spring(), [Target(server.address, structure(2, periodic=True))], tmp_path)
    peer = server.accept(2, batch_size=3)
    peer.start()
    positions, cells = beads(3, 2)
    (positions if what == "positions" else cells)[1, 0, 0] = np.nan
    peer.send(positions, cells)
    assert_orderly_end(peer)
    assert daemon.end() is ExitReason.EVALUATION_FAILED
    error = daemon.told("error")[0]
    assert "bead 1: the server sent positions or a cell that are not finite" in error["message"]
    assert Path(error["file"]).exists()
    peer.close()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_wrong_template_ends_with_a_clear_message(server: UnixServer, batch_size: int) -> None:
    daemon = Daemon(Spring(), [Target(server.address, structure(3))])
    n_atoms = 5000  # more than a socket holds, so that the server is still sending
    peer = server.accept(n_atoms, batch_size)
    peer.start()
    peer.send(*beads(batch_size, n_atoms))
    assert_orderly_end(peer)
    assert daemon.end() is ExitReason.PROTOCOL_ERROR
    message = daemon.told("error")[0]["message"]
    assert "expected structures of 3 atoms" in message
    assert "5000" in message
    peer.close()


def test_a_wrong_template_of_one_simulation_does_not_end_the_other() -> None:
    servers = [UnixServer(), UnixServer()]
    daemon = Daemon(Spring(), [Target(s.address, structure(3)) for s in servers])
    wrong, right = servers[0].accept(4), servers[1].accept(3)
    for peer in (wrong, right):
        peer.start()
    wrong.send(*beads(1, 4))
    assert_orderly_end(wrong)
    positions, cells = beads(1, 3)
    check_spring(right.round(positions, cells), positions)
    right.exit()
    assert daemon.end() is ExitReason.PROTOCOL_ERROR
    assert servers[0].address in daemon.events[-1]["message"]
    for peer in (wrong, right):
        peer.close()
    for server in servers:
        server.close()


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", bytes(100), word("GETFORCE")])
def test_something_that_is_no_i_pi(server: UnixServer, garbage: bytes) -> None:
    daemon = Daemon(Spring(), [Target(server.address, structure(3))])
    peer = server.accept(3)
    peer.sock.sendall(garbage)
    assert_orderly_end(peer)
    assert daemon.end() is ExitReason.PROTOCOL_ERROR
    assert "is this address an i-PI server's?" in daemon.told("error")[0]["message"]
    peer.close()


def test_a_server_that_talks_without_listening_costs_no_memory(server: UnixServer) -> None:
    """Answers wait in the socket; while they do, nothing more is read."""
    target = Target(server.address, structure(3))
    daemon = Daemon(Spring(), [target], connect_timeout=1.0)
    peer = server.accept(3)
    peer.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        peer.sock.sendall(word("STATUS") * 2_000_000)
    peer.close()
    server.close()
    assert daemon.end() is ExitReason.NEVER_APPEARED  # INIT never came


