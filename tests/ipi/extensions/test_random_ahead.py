"""Numbers drawn ahead are the stream of the generator itself, to the last bit."""

from __future__ import annotations

import copy
import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from pimd.ipi.extensions import ahead_generator, disable_all
from pimd.ipi.extensions.ahead_generator import AheadGenerator
from pimd.ipi.extensions.random_ahead import RandomAhead, prepare

Random: Any = pytest.importorskip("ipi.utils.prng").Random


@pytest.fixture
def extension() -> Iterator[RandomAhead]:
    disable_all()
    made = RandomAhead()
    assert made.self_check() is None
    made.enable()
    yield made
    made.disable()


@pytest.fixture(params=["waiting", "thread"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who draws ahead: the consumer before it waits, or the thread."""
    least = 32 if request.param == "thread" else 10**9
    monkeypatch.setattr(ahead_generator, "LEAST_FOR_THREAD", least)
    return str(request.param)


PILE_L = [("gvec", (8, 9))]
PILE_G = [("g",), ("gamma", 4.5), ("g",), ("gvec", (7, 9))]
BAROSTAT = [*PILE_L, ("gvec", (9,))]

PATTERNS: dict[str, list[tuple[Any, ...]]] = {
    "pile_l": PILE_L * 12,
    "pile_g": PILE_G * 12,
    "with_barostat": BAROSTAT * 12,
    "exchanges_now_and_then": (PILE_L * 7 + [("u",)]) * 3,
    "exchange_in_a_cycle": (PILE_G * 5 + [("g",), ("u",), ("poisson", 2.0)]) * 3,
    "another_length": PILE_L * 6 + [("gvec", (5, 13))] * 5 + PILE_L * 5,
    "another_gamma": PILE_G * 5 + [("g",), ("gamma", 2.0)] + PILE_G * 5,
    "filled": [("gfill", (8, 9))] * 8,
    "state_read": (PILE_G * 3 + [("state",)]) * 3 + [("g",), ("state",), ("gamma", 4.5)],
    "state_set": PILE_L * 6 + [("restore",)] + PILE_L * 6,
}


def ask(random: Any, call: tuple[Any, ...]) -> Any:
    name, *arguments = call
    if name in ("g", "u"):
        return getattr(random, name)
    if name == "gfill":
        filled = np.empty(arguments[0])
        random.gfill(filled)
        return filled
    if name == "state":
        return json.dumps(random.state, default=lambda a: np.asarray(a).tolist())
    if name == "restore":
        random.state = Random(seed=99).state
        return None
    return getattr(random, name)(*arguments)


@pytest.mark.parametrize("name", PATTERNS)
def test_the_stream_is_the_same(extension: RandomAhead, by: str, name: str) -> None:
    extension.disable()
    stock = Random(seed=4)
    assert type(stock.rng[0]) is np.random.Generator
    extension.enable()
    ahead = Random(seed=4)
    drawn_ahead = 0
    for call in PATTERNS[name]:
        expected, found = ask(stock, call), ask(ahead, call)
        np.testing.assert_array_equal(found, expected, err_msg=str(call))
        prepare(ahead, list)
        drawn_ahead += len(ahead.rng[0]._queue)
    assert ask(ahead, ("state",)) == ask(stock, ("state",))
    assert ahead.rng[0]._started == (by == "thread")
    assert drawn_ahead > 0


def test_what_is_sent_off_before_waiting(extension: RandomAhead, by: str) -> None:
    random, sent = Random(seed=4), []
    for _ in range(4):
        prepare(random, lambda: sent.append(1))
        random.gvec((8, 9))
    assert len(sent) == (2 if by == "waiting" else 0)  # it takes two to see what repeats


def test_a_long_vector_is_there_before_it_is_asked_for(
    extension: RandomAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(seed=4)
    for _ in range(3):
        random.gvec((10_000,))
    queue = random.rng[0]._queue
    deadline = time.monotonic() + 30
    while any(order.result is None for order in queue):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert len(queue) == 2
    first = queue[0].result
    assert random.gvec((100, 100)).base is first


def test_it_comes_off_in_mid_stream(extension: RandomAhead, by: str) -> None:
    random = Random(seed=4)
    before = [random.gvec((8, 9)) for _ in range(5)]
    prepare(random, list)
    assert random.rng[0]._queue
    extension.disable()
    assert type(random.rng[0]) is np.random.Generator
    after = [random.gvec((8, 9)) for _ in range(5)]
    stock = Random(seed=4)
    np.testing.assert_array_equal([*before, *after], [stock.gvec((8, 9)) for _ in range(10)])
    wait_until(lambda: not any("random numbers" in t.name for t in threading.enumerate()))


def test_the_thread_ends_with_the_generator(extension: RandomAhead, by: str) -> None:
    random = Random(seed=4)
    for _ in range(4):
        random.gvec((8, 9))
    del random
    gc.collect()  # i-PI's Random holds methods of its own
    wait_until(lambda: not any("random numbers" in t.name for t in threading.enumerate()))


def test_copies_and_threads_of_i_pi_s_own(extension: RandomAhead) -> None:
    random = Random(seed=4)
    for _ in range(4):
        random.gvec((8, 9))
    prepare(random, list)
    copied = copy.deepcopy(random.rng[0])
    assert type(copied) is np.random.Generator
    np.testing.assert_array_equal(copied.standard_normal(5), random.gvec(5))
    threaded = Random(seed=4, n_threads=2)
    assert [type(rng) for rng in threaded.rng] == [np.random.Generator] * 2


def test_other_generators_are_left_alone() -> None:
    assert AheadGenerator.of(np.random.default_rng(1)) is None
    assert AheadGenerator.of(np.random.RandomState(1)) is None


def test_several_consumers_get_disjoint_parts_of_the_stream(
    extension: RandomAhead, by: str
) -> None:
    random = Random(seed=4)
    found: list[np.ndarray] = []
    barrier = threading.Barrier(4)

    def consume() -> None:
        barrier.wait()
        for _ in range(50):
            found.append(random.gvec((8, 9)))
            prepare(random, list)

    threads = [threading.Thread(target=consume) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stock = np.random.Generator(np.random.MT19937(np.random.SeedSequence(4).spawn(1)[0]))
    expected = [stock.standard_normal((8, 9)) for _ in range(200)]
    assert {a.tobytes() for a in found} == {a.tobytes() for a in expected}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
