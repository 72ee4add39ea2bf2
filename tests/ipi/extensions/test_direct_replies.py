"""What is made of each answer a driver can give to a round, read without i-PI's requests."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from typing import Any

import numpy as np
import pytest
from ipi.interfaces import sockets

from pimd.ipi.extensions.direct_replies import ReplyBuffer, parse_text
from pimd.ipi.extensions.driver_faults import BadReply

N_ATOMS = 4


pytestmark = pytest.mark.usefixtures("faults_on")


class Answer:
    """A reply to GETFORCE with numbers that all differ."""

    def __init__(self, n_beads: int, n_atoms: int = N_ATOMS) -> None:
        rng = np.random.default_rng(n_beads)
        self.n_atoms = n_atoms
        self.energies = rng.normal(size=n_beads)
        self.forces = rng.normal(size=(n_beads, 3 * n_atoms))
        self.virials = rng.normal(size=(n_beads, 3, 3))
        self.extras = [b""] * n_beads

    def message(self) -> bytes:
        head = b"FORCEREADY  " + self.energies.tobytes() + struct.pack("=i", self.n_atoms)
        texts = b"".join(struct.pack("=i", len(text)) + text for text in self.extras)
        return head + self.forces.tobytes() + self.virials.tobytes() + texts


def receive(pair: tuple[Any, socket.socket], answer: Answer, n_beads: int) -> Any:
    driver, theirs = pair
    driver.batch_size = n_beads
    theirs.sendall(answer.message())
    buffer = ReplyBuffer(n_beads, N_ATOMS)
    return buffer, buffer.receive(driver)


def expect(buffer: ReplyBuffer, answer: Answer) -> None:
    np.testing.assert_array_equal(buffer.energies, answer.energies)
    np.testing.assert_array_equal(buffer.forces, answer.forces)
    np.testing.assert_array_equal(buffer.virials, answer.virials)


@pytest.mark.parametrize("n_beads", [1, 2, 5])
def test_a_good_answer(pair: tuple[Any, socket.socket], n_beads: int) -> None:
    answer = Answer(n_beads)
    buffer, extras = receive(pair, answer, n_beads)
    expect(buffer, answer)
    assert extras is None
    assert buffer.forces.ctypes.data % 64 == 0


@pytest.mark.parametrize("n_beads", [1, 5])
@pytest.mark.parametrize("length", [1, 300, 200_000])
def test_extras_of_any_length(
    pair: tuple[Any, socket.socket], n_beads: int, length: int
) -> None:
    driver, theirs = pair
    answer = Answer(n_beads)
    answer.extras = [b"x" * (length * k) for k in range(1, n_beads + 1)]
    answer.extras[-1] = json.dumps({"dipole": [1, 2, n_beads]}).encode()
    sender = threading.Thread(target=theirs.sendall, args=(answer.message(),))
    sender.start()
    buffer = ReplyBuffer(n_beads, N_ATOMS)
    extras = buffer.receive(driver)
    sender.join(5.0)
    expect(buffer, answer)
    assert extras == answer.extras
    assert parse_text(extras[-1], 0)["dipole"] == [1, 2, n_beads]
    assert n_beads == 1 or parse_text(extras[0], 0) == {"raw": "x" * length}


def test_one_byte_at_a_time(pair: tuple[Any, socket.socket]) -> None:
    driver, theirs = pair
    answer = Answer(2)
    answer.extras = [b"", b"some text"]

    def trickle() -> None:
        for byte in answer.message():
            theirs.sendall(bytes([byte]))

    sender = threading.Thread(target=trickle)
    sender.start()
    buffer = ReplyBuffer(2, N_ATOMS)
    assert buffer.receive(driver) == answer.extras
    sender.join(5.0)
    expect(buffer, answer)


WRONG: dict[str, tuple[Any, str]] = {
    "nan force": (("forces", (7,), np.nan), "a force of nan on atom 2, y"),
    "inf force": (("forces", (7,), -np.inf), "a force of -inf on atom 2, y"),
    "energy": (("energies", (), np.inf), "an energy of inf"),
    "virial": (("virials", (2, 0), np.nan), "a virial that is not finite"),
    "a number": (b"17", "cannot use, '17'"),
    "a list": (b"[1, 2]", r"cannot use, '\[1, 2\]'"),
    "a list after blanks": (b" [1]", r"cannot use, ' \[1\]'"),
    "raw": (b'{"raw": 1}', "not have the key 'raw'"),
    "raw escaped": (b'{"\\u0072aw": 1}', "not have the key 'raw'"),
    "bytes": (b"\xff\xfe", "cannot be read"),
    "bytes in an object": (b'{"a": "\xff"}', "cannot be read"),
}


@pytest.mark.parametrize("n_beads", [1, 4])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_named(
    pair: tuple[Any, socket.socket], name: str, n_beads: int
) -> None:
    wrong, message = WRONG[name]
    bead = min(2, n_beads - 1)
    answer = Answer(n_beads)
    if isinstance(wrong, bytes):
        answer.extras[bead] = wrong
    else:
        array, index, value = wrong
        getattr(answer, array)[(bead, *index)] = value
    with pytest.raises(BadReply, match=message) as caught:
        receive(pair, answer, n_beads)
    assert caught.value.index == bead


@pytest.mark.parametrize("n_beads", [1, 4])
@pytest.mark.parametrize("n_atoms", [3, 5])
def test_another_number_of_atoms_is_seen_at_once(
    pair: tuple[Any, socket.socket], n_atoms: int, n_beads: int
) -> None:
    start = time.monotonic()
    with pytest.raises(BadReply, match=f"forces for {n_atoms} atoms, expected 4"):
        receive(pair, Answer(n_beads, n_atoms), n_beads)
    assert time.monotonic() - start < 1.0


def test_huge_but_finite_forces_are_not_refused(pair: tuple[Any, socket.socket]) -> None:
    """Their squared norm overflows; the driver may know better what is absurd."""
    answer = Answer(3)
    answer.forces[2, 7] = 1e200
    buffer, _ = receive(pair, answer, 3)
    assert buffer.forces[2, 7] == 1e200


@pytest.mark.parametrize("what", ["nothing", "half", "nonsense", "too much", "negative"])
def test_what_is_no_answer_is_a_disconnect(pair: tuple[Any, socket.socket], what: str) -> None:
    driver, theirs = pair
    whole = Answer(3).message()
    theirs.sendall({
        "nothing": b"", "half": whole[: len(whole) // 2], "nonsense": b"x" * len(whole),
        "too much": whole + b"more", "negative": whole[:-4] + struct.pack("=i", -7),
    }[what])
    theirs.close()
    with pytest.raises((OSError, sockets.Disconnected)):
        ReplyBuffer(3, N_ATOMS).receive(driver)


def test_a_driver_that_stops_in_the_middle_is_a_disconnect(
    pair: tuple[Any, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, theirs = pair
    monkeypatch.setattr("pimd.ipi.extensions.direct_replies.NTIMEOUT", 2)
    theirs.sendall(Answer(3).message()[:-20])
    with pytest.raises(sockets.Disconnected, match="in the middle of a message"):
        ReplyBuffer(3, N_ATOMS).receive(driver)
