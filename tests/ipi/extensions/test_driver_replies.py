"""One connection, in this process: what is made of each answer a driver can give."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from typing import Any

import numpy as np
import pytest
from ipi.engine.forcefields import ForceRequest
from ipi.interfaces import sockets

from pimd.ipi.extensions.driver_faults import BadReply

N_ATOMS = 4


pytestmark = pytest.mark.usefixtures("faults_on")


def requests(n: int) -> list[ForceRequest]:
    positions = np.zeros(3 * N_ATOMS)
    return [
        ForceRequest(
            id=k,
            pos=positions,
            active=np.arange(len(positions)),
            offset=0.0,
            status="Running",
            result=None,
        )
        for k in range(n)
    ]


def answer(batch: int = 1, n_atoms: int = N_ATOMS, **wrong: Any) -> bytes:
    """A reply to GETFORCE in which structure 0, or 2 of a batch, is `wrong`."""
    energies, forces = np.arange(batch) + 0.5, np.ones((batch, 3 * n_atoms))
    virials, extras = np.zeros((batch, 3, 3)), [b""] * batch
    index = min(2, batch - 1)
    energies[index] = wrong.get("energy", energies[index])
    forces[index, 7] = wrong.get("force", 1.0)
    virials[index, 2, 0] = wrong.get("virial", 0.0)
    extras[index] = wrong.get("extras", b"")
    message = b"FORCEREADY  " + energies.tobytes() + struct.pack("=i", n_atoms)
    message += forces.tobytes() + virials.tobytes()
    return message + b"".join(struct.pack("=i", len(text)) + text for text in extras)


def receive(pair: tuple[Any, socket.socket], message: bytes, batch: int) -> list[ForceRequest]:
    """What i-PI makes of `message`, the driver answering STATUS afterwards."""
    driver, theirs = pair
    driver.batch_size = batch
    theirs.sendall(message + b"READY       ")
    asked = requests(batch)
    assert driver.dispatch_recv_batch(asked) if batch > 1 else driver.dispatch_recv(asked[0])
    return asked


@pytest.mark.parametrize("batch", [1, 4])
def test_a_good_answer(pair: tuple[Any, socket.socket], batch: int) -> None:
    asked = receive(pair, answer(batch, extras=b'{"dipole": [1, 2, 3]}'), batch)
    assert all(r["status"] == "Done" and r._event_done.is_set() for r in asked)
    assert [r["result"][0] for r in asked] == [k + 0.5 for k in range(batch)]
    assert asked[min(2, batch - 1)]["result"][3]["dipole"] == [1, 2, 3]
    assert pair[0].status == sockets.Status.Up | sockets.Status.Ready


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nan force": ({"force": np.nan}, "a force of nan on atom 2, y"),
    "inf force": ({"force": -np.inf}, "a force of -inf on atom 2, y"),
    "energy": ({"energy": np.inf}, "an energy of inf"),
    "virial": ({"virial": np.nan}, "a virial that is not finite"),
    "a number": ({"extras": b"17"}, "cannot use, '17'"),
    "a list": ({"extras": b"[1, 2]"}, r"cannot use, '\[1, 2\]'"),
    "raw": ({"extras": json.dumps({"raw": 1}).encode()}, "not have the key 'raw'"),
    "bytes": ({"extras": b"\xff\xfe"}, "cannot be read"),
}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_named(pair: tuple[Any, socket.socket], name: str, batch: int) -> None:
    wrong, message = WRONG[name]
    with pytest.raises(BadReply, match=message) as caught:
        receive(pair, answer(batch, **wrong), batch)
    assert caught.value.request["id"] == min(2, batch - 1)
    assert caught.value.request["status"] == "Running"  # nothing wrong is handed on


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("n_atoms", [3, 5])
def test_another_number_of_atoms_is_seen_at_once(
    pair: tuple[Any, socket.socket], n_atoms: int, batch: int
) -> None:
    start = time.monotonic()
    with pytest.raises(BadReply, match=f"forces for {n_atoms} atoms, expected 4"):
        receive(pair, answer(batch, n_atoms=n_atoms), batch)
    assert time.monotonic() - start < 1.0


@pytest.mark.parametrize("batch", [1, 4])
def test_huge_but_finite_forces_are_not_refused(
    pair: tuple[Any, socket.socket], batch: int
) -> None:
    """Their squared norm overflows; the driver may know better what is absurd."""
    asked = receive(pair, answer(batch, force=1e200), batch)
    assert asked[min(2, batch - 1)]["result"][1][7] == 1e200


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("what", ["nothing", "half", "nonsense"])
def test_a_lost_connection_is_a_disconnect(
    pair: tuple[Any, socket.socket], what: str, batch: int
) -> None:
    driver, theirs = pair
    driver.batch_size = batch
    whole = answer(batch)
    sent = {"nothing": b"", "half": whole[: len(whole) // 2], "nonsense": b"x" * len(whole)}
    theirs.sendall(sent[what])
    theirs.close()
    asked = requests(batch)
    result = driver.dispatch_recv_batch(asked) if batch > 1 else driver.dispatch_recv(asked[0])
    assert result is False
    assert driver.status == sockets.Status.Disconnected
    assert all(r["status"] == "Running" for r in asked)


def test_one_byte_at_a_time(pair: tuple[Any, socket.socket]) -> None:
    driver, theirs = pair

    def trickle() -> None:
        for byte in answer() + b"NEEDINIT    ":
            theirs.sendall(bytes([byte]))

    sender = threading.Thread(target=trickle)
    sender.start()
    asked = requests(1)[0]
    assert driver.dispatch_recv(asked)
    sender.join(5.0)
    assert asked["result"][0] == 0.5
    assert driver.status == sockets.Status.Up | sockets.Status.NeedsInit


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 400"])
def test_asking_for_the_status_of_no_driver(pair: tuple[Any, socket.socket], reply: bytes) -> None:
    """Silence ends after `silence_limit`, another protocol at once."""
    driver, theirs = pair
    theirs.sendall(reply)
    start = time.monotonic()
    assert driver.get_status() == sockets.Status.Disconnected
    assert time.monotonic() - start < 1.5


def test_a_driver_that_does_not_read_is_lost(pair: tuple[Any, socket.socket]) -> None:
    """Not a time-out, after which i-PI would double its time limits."""
    driver, _ = pair
    before = sockets.TIMEOUT
    with pytest.raises(ConnectionError, match="has not read its message"):
        driver.sendall(bytes(10_000_000))
    assert before == sockets.TIMEOUT
    assert driver.gettimeout() == 0.1
