"""What a user is told although nothing went wrong."""

from __future__ import annotations

import pytest

from pimd.daemon.command import event_line
from pimd.notices import PimdNotice, notice, notices_as_events, notices_to


def test_a_notice_is_a_warning_where_nobody_listens() -> None:
    with pytest.warns(PimdNotice, match="slower") as told:
        notice("slower")
    assert told[0].filename == __file__


def test_listeners_get_it_instead() -> None:
    first: list[str] = []
    second: list[str] = []
    with notices_to(first.append):
        notice("a")
        with notices_to(second.append):
            notice("b")
        notice("c")
    assert (first, second) == (["a", "b", "c"], ["b"])
    with pytest.warns(PimdNotice):
        notice("d")
    assert first == ["a", "b", "c"]


def test_the_daemon_shows_it_as_a_warning() -> None:
    events: list[dict] = []
    with notices_as_events(events.append):
        notice("runs without graphs")
    assert [event_line(event) for event in events] == ["warning: potential: runs without graphs"]
