"""How long a round waits for more requests."""

from __future__ import annotations

import pytest

from pimd.daemon.gather import RECENT_ROUNDS, WINDOW_CAP, WINDOW_FRACTION, Gatherer


def test_one_connection_never_waits() -> None:
    gatherer = Gatherer()
    gatherer.called(10.0)
    assert gatherer.seconds_to_wait(0.0, 1, 1, arriving=False) == 0.0


def test_the_window_is_a_small_fraction_of_a_call_and_capped() -> None:
    gatherer = Gatherer()
    assert gatherer.window == 0.0
    gatherer.called(0.01)
    assert gatherer.window == pytest.approx(WINDOW_FRACTION * 0.01)
    assert gatherer.seconds_to_wait(0.0, 1, 2, arriving=False) == gatherer.window
    assert gatherer.seconds_to_wait(1.0, 1, 2, arriving=False) == 0.0
    for _ in range(50):
        gatherer.called(10.0)
    assert gatherer.window == WINDOW_CAP
    assert WINDOW_FRACTION <= 0.1


def test_a_message_that_has_begun_to_arrive_is_waited_for_a_little_longer() -> None:
    gatherer = Gatherer()
    assert gatherer.seconds_to_wait(0.0, 1, 2, arriving=False) == 0.0
    assert 0.0 < gatherer.seconds_to_wait(0.0, 1, 2, arriving=True) <= 0.01
    assert gatherer.seconds_to_wait(1.0, 1, 2, arriving=True) == 0.0


def test_connections_that_take_no_part_are_not_waited_for() -> None:
    gatherer = Gatherer()
    for _ in range(RECENT_ROUNDS + 1):
        gatherer.called(0.1)
    assert gatherer.expects(gatherer.n_rounds)
    assert not gatherer.expects(0)
