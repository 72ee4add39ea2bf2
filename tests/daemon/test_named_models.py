"""Servers that name their potential in INIT: who serves them, what is refused, nobody hangs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import daemon_ipi as ipi
import numpy as np
import pytest
from daemon_potentials import Spring
from daemon_servers import UnixServer, init_message
from daemon_threads import Daemon, assert_orderly_end, beads, check_spring, structure

from pimd.daemon.models import MOST_MODELS, NamedModels
from pimd.daemon.serve import ExitReason, Target
from pimd.potentials.registry import parse_spec

SPRING = " potential : harmonic , k : {k} , "
OWN = "from pimd.potentials.harmonic import Harmonic\nclass Own(Harmonic):\n    pass\n"


@pytest.fixture
def servers() -> Iterator[list[UnixServer]]:
    made = [UnixServer(), UnixServer()]
    yield made
    for server in made:
        server.close()


def test_each_server_gets_the_potential_it_names(servers: list[UnixServer], tmp_path: Path) -> None:
    models = NamedModels([], tmp_path)
    daemon = Daemon(models, [Target(s.address, structure(3)) for s in servers])
    peers = [server.accept(3, batch_size=2) for server in servers]
    for k, peer in zip((0.5, 2.0), peers, strict=True):
        peer.start(SPRING.format(k=k))
    for seed in range(4):
        both = [beads(2, 3, seed), beads(2, 3, seed + 100)]
        for peer, (positions, cells) in zip(peers, both, strict=True):
            peer.send(positions, cells)
        for k, peer, (positions, _) in zip((0.5, 2.0), peers, both, strict=True):
            check_spring(peer.receive(), positions, k)
            assert peer.status() == "READY"
    for peer in peers:
        peer.exit()
    assert daemon.end() is ExitReason.FINISHED
    notes = [event["message"] for event in daemon.told("note")]
    assert any("k: 0.5" in note for note in notes)
    assert any("k: 2" in note for note in notes)
    budget = daemon.budget()
    assert (budget["rounds"], budget["structures_needed"]) == (8, 16)
    assert sum(budget["seconds"].values()) == pytest.approx(budget["wall_seconds"], rel=0.1)
    for peer in peers:
        peer.close()


def test_servers_that_name_the_same_share_an_evaluator_and_its_rounds(
    servers: list[UnixServer], tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    models = NamedModels([tmp_path], tmp_path)
    daemon = Daemon(models, [Target(s.address, structure(3)) for s in servers])
    peers = [server.accept(3) for server in servers]
    peers[0].start(f" potential : {tmp_path}/own.py:Own , k : 1.5 , ")
    peers[1].start(" potential : ./own.py:Own , k : 1.5 , pbc : False , ")
    for peer in peers:
        positions, cells = beads(1, 3)
        check_spring(peer.round(positions, cells), positions, 1.5)
    assert len(models._callers) == 1
    (caller,) = models._callers.values()
    assert type(caller.evaluator.potential).__name__ == "Own"
    for peer in peers:
        peer.exit()
    assert daemon.end() is ExitReason.FINISHED
    for peer in peers:
        peer.close()


@pytest.mark.parametrize(("parameters", "words"), [
    (" ", "names no potential"),
    (" potential : os:system , ", "no potential of pimd"),
    (" potential : mace , model : /etc/passwd , ", "in no folder that may be loaded"),
    (" potential : ase , calculator : os.system , ", "imports what it is told"),
    (" potential : harmonic , pbc : [true; maybe] , ", "cannot take structures with pbc"),
])  # fmt: skip
def test_a_server_that_is_refused_is_left_in_order_and_others_go_on(
    servers: list[UnixServer], tmp_path: Path, parameters: str, words: str
) -> None:
    daemon = Daemon(
        NamedModels([tmp_path], tmp_path), [Target(s.address, structure(3)) for s in servers]
    )
    bad, good = (server.accept(3) for server in servers)
    assert bad.status() == "NEEDINIT"
    bad.sock.sendall(init_message(1, parameters))
    assert_orderly_end(bad)
    good.start(SPRING.format(k=1.0))
    positions, cells = beads(1, 3)
    check_spring(good.round(positions, cells), positions)
    good.exit()
    reason = daemon.end()
    assert reason is ExitReason.REFUSED
    assert reason.status == 15
    assert words in daemon.told("error")[0]["message"]
    for peer in (bad, good):
        peer.close()


def test_a_potential_that_cannot_be_loaded_ends_its_server_only(
    servers: list[UnixServer], tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("class Net:\n    def __init__(self):\n        1 / 0\n")
    daemon = Daemon(
        NamedModels([tmp_path], tmp_path), [Target(s.address, structure(3)) for s in servers]
    )
    bad, good = (server.accept(3) for server in servers)
    bad.start(" potential : broken.py:Net , ")
    good.start(SPRING.format(k=1.0))
    bad.send(*beads(1, 3))
    assert_orderly_end(bad)
    positions, cells = beads(1, 3)
    check_spring(good.round(positions, cells), positions)
    good.exit()
    reason = daemon.end()
    assert (reason, reason.status) == (ExitReason.LOADING_FAILED, 14)
    assert "division by zero" in daemon.told("error")[0]["message"]
    for peer in (bad, good):
        peer.close()


def test_the_periodicity_named_counts(server: UnixServer, tmp_path: Path) -> None:
    """Two atoms on the two sides of a cell: near each other only where it is periodic."""
    lj = " potential : lennard_jones , epsilon : 0.01 , sigma : 3.0 , cutoff : 8.0 , "
    energies = {}
    for text in ("", "pbc : False , ", "pbc : True , "):
        daemon = Daemon(
            NamedModels([], tmp_path), [Target(server.address, structure(2, periodic=True))]
        )
        peer = server.accept(2)
        peer.start(lj + text)
        positions = np.array([[[1.0, 0, 0], [55.0, 0, 0]]])
        energies[text] = float(peer.round(positions, 60.0 * np.eye(3)[None]).energies[0])
        peer.exit()
        assert daemon.end() is ExitReason.FINISHED
        peer.close()
    assert energies["pbc : False , "] == 0.0
    assert energies["pbc : True , "] == energies[""] != 0.0


def test_a_server_that_names_ever_new_potentials_is_stopped(
    server: UnixServer, tmp_path: Path
) -> None:
    daemon = Daemon(NamedModels([], tmp_path), [Target(server.address, structure(3))])
    for k in range(MOST_MODELS):
        peer = server.accept(3)
        peer.start(SPRING.format(k=k + 1))
        peer.close()
    peer = server.accept(3)
    assert peer.status() == "NEEDINIT"
    peer.sock.sendall(init_message(1, SPRING.format(k=99)))
    assert_orderly_end(peer)
    assert daemon.end() is ExitReason.REFUSED
    peer.close()


@pytest.mark.parametrize(("parameters", "notes"), [
    (SPRING.format(k=3), 1), (" potential : mace , model : /etc/passwd , ", 1),
    (" potential : spring , k : 1.0 , skin : 2 , ", 0), (" a : b , ", 0), (" potential : [ , ", 1),
])  # fmt: skip
def test_another_potential_in_the_input_is_noted_once_where_one_is_given(
    server: UnixServer, parameters: str, notes: int
) -> None:
    daemon = Daemon(
        Spring(), [Target(server.address, structure(3), n_connections=2)],
        spec=parse_spec("spring, k: 1.0"),
    )
    peers = [server.accept(3), server.accept(3)]
    for peer in peers:
        peer.start(parameters)
    for peer in peers:
        positions, cells = beads(1, 3)
        check_spring(peer.round(positions, cells), positions)
    for peer in peers:
        peer.exit()
    assert daemon.end() is ExitReason.FINISHED
    assert len(daemon.told("note")) == notes
    for peer in peers:
        peer.close()


def test_stock_i_pi_with_a_committee_named_in_its_input(tmp_path: Path, reference: Path) -> None:
    """`pimd serve` as a program; the SPEC goes through i-PI's own reading and writing."""
    models = tmp_path / "models"
    models.mkdir()
    (models / "own.py").write_text(OWN)
    k = ipi.K_HARTREE * ipi.HARTREE / ipi.BOHR**2
    members = f"[(potential: {models}/own.py:Own; k: {k!r}); (potential: harmonic; k: {k!r})]"
    forcefield = ipi.ffsocket(
        "unix", batch=ipi.BEADS,
        more=f"<parameters> {{potential: committee, members: {members}}} </parameters>",
    )
    path = ipi.write_input(tmp_path / "run", forcefield)
    command = [
        sys.executable, "-m", "pimd.cli", "serve", "--connect", forcefield.address,
        "--template", str(tmp_path / "run" / "init.xyz"), "--threads", "1",
    ]
    with ipi.IPi(path) as run:
        refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode == 15, refused.stdout
        assert "in no folder that may be loaded from (--allow-model-dir: none is)" in refused.stdout
        served = subprocess.run(
            [*command, "--allow-model-dir", str(models)],
            capture_output=True, text=True, timeout=60, check=False,
        )
        assert run.wait() == 0, run.text() + served.stdout
    assert served.returncode == 0, served.stdout
    assert "which its input names" in served.stdout
    ipi.assert_same(tmp_path / "run", reference)


def test_a_wrong_folder_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "init.xyz").write_text("1\n\nH 0 0 0\n")
    done = subprocess.run(
        [sys.executable, "-m", "pimd.cli", "serve", "--connect", "unix:nobody",
         "--template", str(tmp_path / "init.xyz"), "--allow-model-dir", str(tmp_path / "none")],
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.returncode == 2
    assert "--allow-model-dir" in done.stdout
    assert "No such file" in done.stdout
