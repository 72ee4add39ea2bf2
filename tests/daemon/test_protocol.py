"""The protocol in memory: fused, one byte at a time, out of order, and with random bytes."""

from __future__ import annotations

import numpy as np
import pytest
from daemon_servers import init_message, positions_message, word
from hypothesis import given, settings
from hypothesis import strategies as st

from pimd.daemon import protocol as protocol_module
from pimd.daemon.messages import (
    MAX_BATCH,
    MAX_INIT_BYTES,
    SEGMENT_KINDS,
    Event,
    Exit,
    Initialised,
    LocalProtocolError,
    Positions,
    RemoteProtocolError,
    Say,
    SegmentNames,
    SendResults,
    State,
    WrongNumberOfAtoms,
)
from pimd.daemon.protocol import TABLE, Protocol, memory_bound

N_ATOMS = 3


def structures(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, N_ATOMS, 3)), rng.normal(size=(n, 3, 3))


def shm_names(names: dict[str, str]) -> bytes:
    return b"".join(np.int32(len(v)).tobytes() + v.encode() for v in names.values())


def feed(protocol: Protocol, data: bytes, step: int) -> list[Event]:
    """Feed everything, delivering results at once where they are waited for."""
    events: list[Event] = []
    while data:
        piece, data = data[:step], data[step:]
        while piece:
            found, taken = protocol.feed(piece)
            events += found
            piece = piece[taken:]
            if protocol.state in (State.ASKED_STATUS, State.ASKED_FORCE):
                events.append(protocol.deliver())
            else:
                assert not piece
    return events


def copied(event: Event) -> Event:
    if isinstance(event, Positions) and event.positions_bohr is not None:
        assert event.cells_bohr is not None
        return Positions(event.cells_bohr.copy(), event.positions_bohr.copy())
    return event


@pytest.mark.parametrize("step", [1, 2, 7, 12, 13, 10_000])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_whole_conversation_in_pieces_of_any_size(step: int, batch_size: int) -> None:
    positions, cells = structures(batch_size)
    conversation = (
        word("STATUS")
        + init_message(batch_size, " model : a.pt , device : cuda , ", request=7)
        + word("STATUS")
        + positions_message(positions, cells, batch_size > 1)
        + word("GETFORCE")
        + word("STATUS")
        + positions_message(positions[::-1].copy(), cells[::-1].copy(), batch_size > 1)
        + word("STATUS")
        + word("GETFORCE")
        + word("EXIT")
    )
    protocol = Protocol(N_ATOMS)
    events: list[Event] = []
    seen = []
    data = conversation
    while data:
        taken = 0
        found, taken = protocol.feed(data[:step])
        events += [copied(event) for event in found]
        data = data[taken:]
        if protocol.state in (State.ASKED_STATUS, State.ASKED_FORCE):
            assert len(protocol.buffer()) == 0  # nothing is read while computing
            events.append(protocol.deliver())
        seen.append(protocol.state)
    kinds = [type(event) for event in events]
    assert kinds == [
        Say, Initialised, Say, Positions, SendResults, Say, Positions, Say, SendResults, Exit,
    ]  # fmt: skip
    said = [event.data for event in events if isinstance(event, Say)]
    assert said == [word("NEEDINIT"), word("READY"), word("READY"), word("HAVEDATA")]
    assert events[1] == Initialised(
        7,
        " model : a.pt , device : cuda , " + (f", batch_size:{batch_size}" * (batch_size > 1)),
        batch_size,
    )
    for event, order in ((events[3], 1), (events[6], -1)):
        assert isinstance(event, Positions)
        np.testing.assert_array_equal(event.positions_bohr, positions[::order])
        np.testing.assert_array_equal(event.cells_bohr, cells[::order])
    assert events[-1] == Exit(pending=False)
    assert protocol.state is State.CLOSED


@pytest.mark.parametrize("step", [1, 10_000])
def test_shared_memory_names_come_once_and_before_the_positions(step: int) -> None:
    names = {kind: f"ipi_shm_1_2_{kind}" for kind in SEGMENT_KINDS}
    count = np.int32(N_ATOMS).tobytes()
    data = (
        init_message(4)
        + word("POSDATA") + count + shm_names(names) + word("GETFORCE")
        + word("POSDATA") + count + word("GETFORCE")
    )  # fmt: skip
    protocol = Protocol(N_ATOMS, shm=True)
    events = feed(protocol, data, step)
    kinds = [type(event) for event in events]
    assert kinds == [Initialised, SegmentNames, Positions, SendResults, Positions, SendResults]
    assert events[1] == SegmentNames(names)
    assert events[2] == Positions(None, None)
    assert protocol.allocated_bytes < 1000


def test_positions_are_handed_on_only_when_the_server_asks() -> None:
    protocol = Protocol(N_ATOMS)
    message = positions_message(*structures(1), batched=False)
    events, taken = protocol.feed(init_message() + message)
    assert [type(event) for event in events] == [Initialised]
    assert protocol.state is State.POSITIONS
    events, taken = protocol.feed(word("GETFORCE") + word("STATUS"))
    assert [type(event) for event in events] == [Positions]
    assert taken == 12


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (" , batch_size:4", 4),
        (" model : a.pt , device : cuda , , batch_size:32", 32),
        ("  batch_size:2", 2),
        (" batch_size : 8 , ", 1),  # a parameter of the user's, not of i-PI
        (" batch_size : 8 , , batch_size:4", 4),
        ("", 1),
        (" my_batch_size:4", 1),
        (" batch_size ", 1),
    ],
)
def test_batch_size_is_what_the_server_appended(parameters: str, expected: int) -> None:
    events, _ = Protocol(N_ATOMS).feed(init_message(1, parameters))
    assert isinstance(events[0], Initialised)
    assert events[0].batch_size == expected


@pytest.mark.parametrize("value", ["0", "-3", str(MAX_BATCH + 1), "9" * 30, "x", "", "1.5", "²"])
def test_batch_sizes_out_of_bounds_are_refused(value: str) -> None:
    protocol = Protocol(N_ATOMS)
    with pytest.raises(RemoteProtocolError, match="batch_size"):
        protocol.feed(init_message(1, f" , batch_size:{value}"))
    assert protocol.allocated_bytes <= 1000


def test_a_batch_too_large_for_the_bound_is_refused_before_memory_is_reserved() -> None:
    protocol = Protocol(100_000)
    with pytest.raises(RemoteProtocolError, match="smaller batch_size"):
        protocol.feed(init_message(MAX_BATCH))
    assert protocol.allocated_bytes < 1000


@pytest.mark.parametrize("length", [-1, MAX_INIT_BYTES + 1, 2**31 - 1])
def test_init_lengths_out_of_bounds_are_refused(length: int) -> None:
    protocol = Protocol(N_ATOMS)
    with pytest.raises(RemoteProtocolError, match=f"{length} bytes"):
        protocol.feed(word("INIT") + np.int32(0).tobytes() + np.int32(length).tobytes())
    assert protocol.state is State.CLOSED
    assert len(protocol.buffer()) == 0


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("n_atoms", [-1, 0, 2, 4, 2**31 - 1])
def test_another_number_of_atoms_is_refused_at_once(batch_size: int, n_atoms: int) -> None:
    protocol = Protocol(N_ATOMS)
    protocol.feed(init_message(batch_size))
    before = protocol.allocated_bytes
    prefix = b"" if batch_size > 1 else bytes(144)
    with pytest.raises(WrongNumberOfAtoms, match="template") as caught:
        protocol.feed(word("POSDATA") + prefix + np.int32(n_atoms).tobytes())
    assert (caught.value.expected, caught.value.got) == (N_ATOMS, n_atoms)
    assert protocol.allocated_bytes == before


@pytest.mark.parametrize("name", ["", "a" * 201, "../etc", "a/b", ".hidden", "a\0b", "a b", "ä"])
def test_names_of_segments_are_plain(name: str) -> None:
    protocol = Protocol(N_ATOMS, shm=True)
    encoded = name.encode()
    data = np.int32(N_ATOMS).tobytes() + np.int32(len(encoded)).tobytes() + encoded
    with pytest.raises(RemoteProtocolError, match=r"shared\s+segment"):
        protocol.feed(init_message() + word("POSDATA") + data)


WORDS = ["STATUS", "INIT", "POSDATA", "GETFORCE", "EXIT", "READY", "status", "\0" * 12]


@pytest.mark.parametrize("state", [State.NEEDINIT, State.READY, State.POSITIONS, State.HAVEDATA])
@pytest.mark.parametrize("text", WORDS)
def test_every_header_in_every_state_is_in_the_table_or_refused(state: State, text: str) -> None:
    protocol = Protocol(N_ATOMS)
    message = positions_message(*structures(1), batched=False)
    if state is not State.NEEDINIT:
        protocol.feed(init_message())
    if state in (State.POSITIONS, State.HAVEDATA):
        protocol.feed(message)
    if state is State.HAVEDATA:
        protocol.feed(word("STATUS"))
        protocol.deliver()
    assert protocol.state is state
    entry = TABLE.get((state, word(text)))
    if entry is None:
        with pytest.raises(RemoteProtocolError, match="expected one of"):
            protocol.feed(word(text))
        assert protocol.state is State.CLOSED
        return
    bodies = {"INIT": init_message()[12:], "POSDATA": message[12:]}
    protocol.feed(word(text) + bodies.get(text, b""))
    assert protocol.state is entry[0]


def test_wrong_use_is_a_local_error() -> None:
    protocol = Protocol(N_ATOMS)
    with pytest.raises(LocalProtocolError):
        protocol.deliver()
    for n in (0, -1, 13):
        with pytest.raises(LocalProtocolError):
            protocol.received(n)
    with pytest.raises(LocalProtocolError):
        Protocol(0)
    assert not issubclass(LocalProtocolError, RemoteProtocolError)
    assert not issubclass(RemoteProtocolError, LocalProtocolError)


def test_large_messages_are_written_in_place() -> None:
    """The buffer offered is the array that is handed on: no copies, one part a message."""
    n_atoms, batch_size = 648, 64
    protocol = Protocol(n_atoms)
    protocol.feed(init_message(batch_size) + word("POSDATA") + np.int32(n_atoms).tobytes())
    view = protocol.buffer()
    assert len(view) == batch_size * (144 + 24 * n_atoms)
    source = np.arange(len(view) // 8, dtype=np.float64)
    view[:] = source.tobytes()
    assert protocol.received(len(view)) is None
    events, _ = protocol.feed(word("GETFORCE"))
    assert isinstance(events[0], Positions)
    assert events[0].positions_bohr is not None
    assert events[0].positions_bohr.flags.c_contiguous
    np.testing.assert_array_equal(events[0].positions_bohr.ravel(), source[18 * batch_size :])


# -- random conversations -------------------------------------------------------------------------

numbers = st.one_of(
    st.sampled_from([0, 1, N_ATOMS, -1, 200, MAX_INIT_BYTES, 2**31 - 1, -(2**31)]),
    st.integers(-(2**31), 2**31 - 1),
).map(lambda n: np.int32(n).tobytes())
good = st.sampled_from(
    [
        init_message(),
        init_message(2),
        init_message(MAX_BATCH),
        positions_message(*structures(1), batched=False),
        positions_message(*structures(2), batched=True),
        word("POSDATA") + np.int32(N_ATOMS).tobytes(),
        shm_names(dict.fromkeys(SEGMENT_KINDS, "plain")),
    ]
)
pieces = st.one_of(
    st.sampled_from([word(text) for text in WORDS]), numbers, good, st.binary(max_size=40)
)


openings = st.sampled_from(
    [
        b"",
        init_message(),
        init_message(2) + word("POSDATA"),
        init_message() + positions_message(*structures(1), batched=False),
        init_message() + positions_message(*structures(1), batched=False) + word("STATUS"),
        init_message(2) + positions_message(*structures(2), batched=True) + word("GETFORCE"),
    ]
)


@settings(max_examples=500, deadline=None)
@given(
    st.tuples(openings, st.lists(pieces, max_size=25).map(b"".join)).map(b"".join),
    st.lists(st.integers(1, 100), min_size=1, max_size=10),
    st.booleans(),
)
def test_no_input_hangs_or_reserves_more_than_the_bound(
    data: bytes, steps: list[int], shm: bool
) -> None:
    protocol = Protocol(N_ATOMS, shm=shm)
    bound = memory_bound(N_ATOMS)
    rounds = 0
    source = memoryview(data)
    while len(source):
        view = protocol.buffer()
        if len(view) == 0:
            if protocol.state is State.CLOSED:
                break
            assert isinstance(protocol.deliver(), Say | SendResults)
            continue
        n = min(len(view), len(source), steps[rounds % len(steps)])
        view[:n] = source[:n]
        source = source[n:]
        rounds += 1
        try:
            event = protocol.received(n)
        except RemoteProtocolError:
            assert protocol.state is State.CLOSED
            assert len(protocol.buffer()) == 0
            break
        assert protocol.allocated_bytes <= bound
        if isinstance(event, Positions) and not shm:
            assert event.positions_bohr is not None
            assert event.positions_bohr.shape == (protocol.batch_size, N_ATOMS, 3)
    assert rounds <= len(data)  # every turn takes at least one byte


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.integers(1, 3))
def test_how_a_conversation_is_cut_makes_no_difference(cuts: list[int], batch_size: int) -> None:
    positions, cells = structures(batch_size, seed=batch_size)
    data = init_message(batch_size)
    for end in ("GETFORCE", "STATUS"):
        data += positions_message(positions, cells, batch_size > 1) + word(end)
    whole, cut = Protocol(N_ATOMS), Protocol(N_ATOMS)
    expected = [type(event) for event in feed(whole, data, len(data))]
    events: list[Event] = []
    for size in cuts:
        events += feed(cut, data[:size], size)
        data = data[size:]
    events += feed(cut, data, max(1, len(data)))
    assert [type(event) for event in events] == expected
    assert cut.state is whole.state


def test_the_bound_counts_what_the_protocol_holds() -> None:
    protocol = Protocol(N_ATOMS)
    protocol.feed(init_message(MAX_BATCH))
    held = protocol.allocated_bytes
    assert MAX_BATCH * (144 + 24 * N_ATOMS) <= held <= memory_bound(N_ATOMS)
    assert memory_bound(10**9) < 2 * protocol_module.MAX_PAYLOAD_BYTES
