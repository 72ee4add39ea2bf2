"""The daemon and servers that come, go, come back, or never appear."""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

from daemon_potentials import Spring
from daemon_servers import Peer, UnixServer, positions_message
from daemon_threads import Daemon, beads, check_spring, structure

from pimd.daemon.serve import ExitReason, Target, serve
from pimd.evaluator import Evaluator


def test_a_server_that_appears_later_is_waited_for(tmp_path: Path) -> None:
    path = f"/tmp/pimd_late_{os.getpid()}"
    daemon = Daemon(Spring(), [Target("unix:" + path, structure(3))])
    time.sleep(0.3)
    server = UnixServer(path)
    peer = server.accept(3)
    peer.start()
    positions, cells = beads(1, 3)
    check_spring(peer.round(positions, cells), positions)
    peer.exit()
    assert daemon.end() is ExitReason.FINISHED
    peer.close()
    server.close()


def test_a_server_that_never_appears_ends_the_daemon_without_load() -> None:
    before = resource.getrusage(resource.RUSAGE_THREAD)
    started = time.monotonic()
    events: list[dict[str, Any]] = []
    reason = serve(
        Evaluator(Spring()),
        [Target("unix:/tmp/pimd_nobody_here", structure(3))],
        connect_timeout=1.5,
        report=events.append,
    )
    assert reason is ExitReason.NEVER_APPEARED
    assert reason.status != 0
    assert 1.4 < time.monotonic() - started < 4.0
    after = resource.getrusage(resource.RUSAGE_THREAD)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < 0.5
    message = events[-1]["message"]
    assert "unix:/tmp/pimd_nobody_here" in message
    assert "No such file" in message


def test_a_server_that_takes_the_connection_and_is_silent(server: UnixServer) -> None:
    daemon = Daemon(Spring(), [Target(server.address, structure(3))], connect_timeout=0.5)
    peer = server.accept(3)
    assert peer.status() == "NEEDINIT"
    assert daemon.end() is ExitReason.NEVER_APPEARED
    assert "never sent INIT" in daemon.told("error")[0]["message"]
    peer.close()


def test_inet_and_a_server_that_restarts() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4)
    listener.settimeout(20.0)
    port = listener.getsockname()[1]
    daemon = Daemon(Spring(), [Target(f"inet:localhost:{port}", structure(3))])
    for life in range(3):
        peer = Peer(listener.accept()[0], 3, batch_size=2)
        peer.start()
        positions, cells = beads(2, 3, life)
        check_spring(peer.round(positions, cells), positions)
        if life == 1:  # in the middle of a message
            peer.sock.sendall(positions_message(positions, cells, batched=True)[:100])
        if life < 2:
            peer.close()
            listener.close()
            time.sleep(0.2)
            listener = socket.create_server(("127.0.0.1", port), backlog=4)
            listener.settimeout(20.0)
    peer.exit()
    assert daemon.end() is ExitReason.FINISHED
    warnings = [e["message"] for e in daemon.told("warning")]
    assert len(warnings) == 2
    assert "without EXIT" in warnings[0]
    assert "in the middle of a message" in warnings[1]
    peer.close()
    listener.close()


def test_a_server_that_does_not_come_back(server: UnixServer) -> None:
    daemon = Daemon(Spring(), [Target(server.address, structure(3))], reconnect_timeout=0.5)
    peer = server.accept(3)
    peer.start()
    server.close()
    peer.close()
    assert daemon.end() is ExitReason.SERVER_LOST
    assert "went away without EXIT" in daemon.told("end")[0]["message"]


def test_a_server_that_hangs_up_again_and_again_does_not_keep_the_daemon_busy(
    server: UnixServer,
) -> None:
    daemon = Daemon(Spring(), [Target(server.address, structure(3))], connect_timeout=2.0)
    server.sock.settimeout(3.0)
    count = 0
    while daemon.thread.is_alive():
        try:
            server.accept(3).close()
        except TimeoutError:
            break
        count += 1
    assert daemon.end() is ExitReason.NEVER_APPEARED
    assert 2 < count < 30


def test_connections_beyond_what_the_server_accepts_wait_their_turn() -> None:
    """A full queue gives EAGAIN; the connections that are up are answered meanwhile."""
    server = UnixServer(backlog=0)
    daemon = Daemon(Spring(), [Target(server.address, structure(3), n_connections=6)])
    first = server.accept(3)
    first.start()
    positions, cells = beads(1, 3)
    for _ in range(3):
        check_spring(first.round(positions, cells), positions)
        time.sleep(0.1)
    others = [server.accept(3) for _ in range(5)]
    for peer in others:
        peer.start()
    check_spring(others[-1].round(positions, cells), positions)
    for peer in (first, *others):
        peer.exit()
    assert daemon.end() is ExitReason.FINISHED
    for peer in (first, *others):
        peer.close()
    server.close()


def test_exit_on_one_of_two_connections_leaves_the_other(server: UnixServer) -> None:
    daemon = Daemon(Spring(), [Target(server.address, structure(3), n_connections=2)])
    peers = [server.accept(3), server.accept(3)]
    for peer in peers:
        peer.start()
    peers[0].exit()
    positions, cells = beads(1, 3)
    for _ in range(3):
        check_spring(peers[1].round(positions, cells), positions)
    peers[1].exit()
    assert daemon.end() is ExitReason.FINISHED
    assert daemon.told("warning") == []
    for peer in peers:
        peer.close()


def test_a_request_given_up_by_its_server_is_taken_up_again(server: UnixServer) -> None:
    """i-PI's timeout: EXIT and a closed socket while we compute, then a new connection."""
    daemon = Daemon(Spring(seconds=0.4), [Target(server.address, structure(3))])
    peer = server.accept(3)
    peer.start()
    positions, cells = beads(1, 3)
    peer.send(positions, cells)
    time.sleep(0.1)
    peer.exit()
    peer.close()
    peer = server.accept(3)
    peer.start()
    check_spring(peer.round(positions, cells), positions)
    peer.exit()
    assert daemon.end() is ExitReason.FINISHED
    peer.close()


def test_a_server_that_ends_while_we_compute_is_a_normal_end(server: UnixServer) -> None:
    daemon = Daemon(Spring(seconds=0.4), [Target(server.address, structure(3))])
    peer = server.accept(3)
    peer.start()
    peer.send(*beads(1, 3), end="STATUS")
    time.sleep(0.1)
    peer.exit()
    peer.close()
    server.close()
    started = time.monotonic()
    assert daemon.end() is ExitReason.FINISHED
    assert time.monotonic() - started < 8.0


def test_it_can_be_stopped_by_a_signal_while_it_waits(server: UnixServer) -> None:
    stopper = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    stopper.start()
    events: list[dict[str, Any]] = []
    reason = serve(
        Evaluator(Spring()), [Target(server.address, structure(3))], report=events.append
    )
    assert reason is ExitReason.STOPPED
    assert reason.status == 0
    assert events[-1]["reason"] == "stopped"
    assert signal.getsignal(signal.SIGTERM) is before


