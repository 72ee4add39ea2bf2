"""A daemon as a child process: what is asked of it, and what only happens to come."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pimd.run.child import DaemonChild

LATE = """#!{python}
import json, os, signal, sys, time
pipe = int(sys.argv[sys.argv.index("--status-fd") + 1])

def tell(**event):
    os.write(pipe, json.dumps({{"event": "budget", **event}}).encode() + b"\\n")

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.write(pipe, json.dumps({{"event": "ready"}}).encode() + b"\\n")
signal.sigwait([signal.SIGUSR1])
tell(structures_needed=7, asked=False)  # was on its way
time.sleep(0.3)
tell(structures_needed=8, asked=True)
"""


def test_a_report_that_was_on_its_way_is_not_the_one_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "daemon"
    program.write_text(LATE.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    events: list[dict[str, Any]] = []
    child = DaemonChild(
        "late", {}, tmp_path / "config.json", tmp_path / "daemon.log",
        on_event=lambda child, event: events.append(event), on_exit=lambda child: None,
    )  # fmt: skip
    try:
        child.wait_warm(30.0)
        child.ask_for_report(30.0)
        assert child.budget["structures_needed"] == 8
        assert [event.get("asked") for event in events] == [None, False, True]
    finally:
        child.stop(5.0)
    assert json.loads((tmp_path / "config.json").read_text()) == {}
