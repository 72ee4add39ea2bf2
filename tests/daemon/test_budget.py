"""Every second of a thread is booked once."""

from __future__ import annotations

import time

import pytest

from pimd.daemon.budget import STAGES, Budget


def test_nested_stages_book_their_own_time_and_add_up() -> None:
    started = time.perf_counter()
    budget = Budget()
    with budget.stage("wire"):
        time.sleep(0.02)
        with budget.stage("model"):
            time.sleep(0.03)
        time.sleep(0.02)
    seconds = budget.snapshot()
    wall = time.perf_counter() - started
    assert set(seconds) == set(STAGES)
    assert seconds["wire"] >= 0.04
    assert seconds["model"] >= 0.03
    assert seconds["copies"] == 0.0
    assert sum(seconds.values()) == pytest.approx(wall, abs=2e-3)
    assert budget.total() >= sum(seconds.values())


def test_an_exception_leaves_the_stage() -> None:
    budget = Budget("wait")

    def fails() -> None:
        with budget.stage("model"):
            raise ValueError

    with pytest.raises(ValueError):
        fails()
    before = budget.snapshot()["model"]
    time.sleep(0.01)
    assert budget.snapshot()["model"] == before


def test_unknown_stages_are_refused() -> None:
    with pytest.raises(KeyError), Budget().stage("lunch"):
        pass
