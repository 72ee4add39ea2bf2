"""A round goes out in one message, whatever fills it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from extensions_harness import (
    Outcomes,
    Run,
    input_xml,
    properties_xml,
    runs_side_by_side,
    socket_xml,
)

from pimd.ipi.extensions.bell import Bell
from pimd.ipi.extensions.whole_rounds import RequestList

STEPS = 200
RARE = properties_xml(stride=50)


def calls(run: Run, name: str = "calls") -> list[tuple[int, int]]:
    """(different structures, structures sent) of each exchange, as a driver saw them."""
    lines = (run.folder / name).read_text().splitlines()
    return [(int(line.split()[0]), int(line.split()[1])) for line in lines]


def simple(xml: str, *drivers: tuple[str, ...], stock: bool = False) -> Callable[[Run], None]:
    """A case: this input with these drivers, to its end."""

    def case(run: Run) -> None:
        run.start(xml, stock=stock)
        for options in drivers:
            run.driver(*options)
        assert run.wait() == 0

    return case


def committee(run: Run) -> None:
    names = ("first", "second")
    members = "".join(socket_xml(name=name) for name in names)
    run.start(
        input_xml(steps=40, forcefields=f"<ffcommittee name='driver'>{members}</ffcommittee>"),
        private_sockets={name: run.socket(name) for name in names},
    )
    for name in names:
        run.driver(address=f"unix:{run.socket(name)}")
    assert run.wait() == 0


def late(run: Run) -> None:
    """A driver with eight structures to compute, one at a time, and one that comes to help."""
    run.start(input_xml(steps=1, forcefields=socket_xml(batch=1)))
    run.driver("--calls", "calls", "--delay", "0.3")
    run.wait_for((run.folder / "calls").exists, "a first call")
    run.driver("--calls", "calls2", "--delay", "0.3")
    assert run.wait() == 0


COUNT = ("--calls", "calls")
LARGE = input_xml(steps=40, beads=32, outputs=RARE, forcefields=socket_xml(batch=32))
CONTRACTED = "<force forcefield='driver'/> <force forcefield='driver' nbeads='4'/>"
SLOW = (("--calls", "calls", "--delay", "0.002"), ("--calls", "calls2", "--delay", "0.002"))
CASES: dict[str, Callable[[Run], None]] = {
    "plain": simple(input_xml(steps=STEPS, outputs=RARE), COUNT),
    "large": simple(LARGE, COUNT),
    "large_stock": simple(LARGE, COUNT, stock=True),
    "threads": simple(input_xml(steps=40, n_systems=2, threading=True, outputs=""), COUNT, COUNT),
    "contracted": simple(
        input_xml(steps=40, forces=CONTRACTED, forcefields=socket_xml(batch=4), outputs=RARE),
        COUNT,
    ),
    "committee": committee,
    "late": late,
    "single_true": simple(input_xml(forcefields=socket_xml(batch=1)), *SLOW),
    "single_false": simple(input_xml(forcefields=socket_xml(batch=1, consolidate="false")), *SLOW),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    sizes = {"large": 192, "large_stock": 192}
    with runs_side_by_side(tmp_path_factory.mktemp("rounds"), CASES, sizes) as outcomes:
        yield outcomes


def test_one_exchange_a_step_and_no_padding(runs: Outcomes) -> None:
    run = runs["plain"]
    seen = calls(run)
    assert len(seen) == STEPS + 1  # 1.00 a step, and one for the first structures
    assert set(seen[1:]) == {(8, 8)}  # the beads start from one structure, then all differ
    assert run.report()["counters"] == {"driver": [STEPS + 1, 8 * (STEPS + 1)]}


def test_stock_ipi_splits_rounds_that_take_time_to_queue(runs: Outcomes) -> None:
    """What the extension is for; with it, the same input has whole rounds."""
    assert calls(runs["large"])[1:] == [(32, 32)] * 40
    stock = calls(runs["large_stock"])
    assert len(stock) > 45
    assert any(different < sent for different, sent in stock[1:])  # padded


def test_systems_in_threads_share_a_socket(runs: Outcomes) -> None:
    run = runs["threads"]
    assert {sent for _, sent in calls(run)} == {8}
    assert run.report()["counters"] == {"driver": [2 * 41, 2 * 41 * 8]}


def test_a_driver_that_comes_while_another_is_busy_gets_work(runs: Outcomes) -> None:
    """At once, not when the round is done: more than its half of the second round."""
    shares = [len(calls(runs["late"], name)) for name in ("calls", "calls2")]
    assert sum(shares) == 16
    assert shares[1] > 4


def test_components_with_other_numbers_of_beads(runs: Outcomes) -> None:
    """8 beads and 4 contracted ones through one socket make 12 / 4 = 3 exchanges a step."""
    run = runs["contracted"]
    assert run.report()["counters"] == {"driver": [3 * 41, 12 * 41]}
    assert all(different == sent == 4 for different, sent in calls(run)[3:])


def test_sockets_inside_a_committee(runs: Outcomes) -> None:
    counters = runs["committee"].report()["counters"]
    assert counters == {"first": [41, 8 * 41], "second": [41, 8 * 41]}


@pytest.mark.parametrize("consolidate", ["true", "false"])
def test_single_structures_go_to_all_drivers(runs: Outcomes, consolidate: str) -> None:
    """Without batches there is a message a bead, and a driver that comes later gets work."""
    run = runs[f"single_{consolidate}"]
    assert run.report()["counters"] == {"driver": [8 * 21, 8 * 21]}
    shares = [len(calls(run, name)) for name in ("calls", "calls2")]
    assert sum(shares) == 8 * 21
    assert min(shares) > 20


# the list itself ----------------------------------------------------------------------------


def test_what_is_held_appears_at_once() -> None:
    requests = RequestList([], threading.Lock())
    requests.append("a")
    requests.hold()
    requests.hold()
    requests.append("b")
    requests.release()
    requests.append("c")
    assert list(requests) == ["a"]
    requests.release()
    assert list(requests) == ["a", "b", "c"]


def test_other_threads_are_not_held() -> None:
    requests = RequestList([], threading.Lock())
    requests.hold()
    requests.append("mine")
    other = threading.Thread(target=requests.append, args=("other",))
    other.start()
    other.join()
    assert list(requests) == ["other"]
    requests.release()
    assert list(requests) == ["other", "mine"]


def test_removing_while_iterating_hides_nothing() -> None:
    requests = RequestList(range(6), threading.Lock())
    seen = []
    for request in requests:
        seen.append(request)
        requests.remove(request)
    assert seen == list(range(6))
    assert not requests


def test_rounds_of_many_threads_are_never_seen_in_part() -> None:
    """Eight threads queue rounds of five while a ninth takes snapshots."""
    requests = RequestList([], threading.Lock())
    partial: list[int] = []
    done = threading.Event()

    def queue(thread: int) -> None:
        for turn in range(200):
            requests.hold()
            for _ in range(5):
                requests.append((thread, turn))
            requests.release()

    def watch() -> None:
        while not done.is_set():
            snapshot = list(requests)
            if len(snapshot) % 5:
                partial.append(len(snapshot))

    watcher = threading.Thread(target=watch)
    threads = [threading.Thread(target=queue, args=(k,)) for k in range(8)]
    watcher.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    done.set()
    watcher.join(20.0)
    assert partial == []
    assert len(requests) == 8 * 200 * 5


def test_bell_wakes_once_for_many_rings() -> None:
    bell = Bell()
    threading.Timer(0.05, bell.ring).start()
    bell.wait(10.0)
    bell.ring()
    bell.ring()
    bell.wait(10.0)
    start = time.monotonic()
    bell.wait(0.2)
    assert time.monotonic() - start > 0.15  # nothing is left over from the second ring
