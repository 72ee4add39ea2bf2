"""Several runs on the same daemons: they end well, one alone may fail, all go on after a stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pimd.run.child import DaemonFailure
from pimd.run.together import Member, run_together

from .runs import ODD, alive, children, read_rows, summary, write_input

SLOW = f"{{potential: {ODD}:Trap, k: 1.0, pause: 0.01}}"


def members(folder: Path, *specs: str, steps: int = 20, resume: bool = False) -> list[Member]:
    found = []
    for k, spec in enumerate(specs):
        place = folder / f"run-{k}"
        if not place.exists():
            place.mkdir()
            write_input(place, spec, steps=steps)
        found.append(
            Member(f"run-{k}", place / "input.xml", place / "input.run", resume, steps)
        )
    return found


def test_one_daemon_serves_equal_potentials(tmp_path: Path) -> None:
    said: list[str] = []
    specs = [SLOW, SLOW, "{potential: free}"]
    ended = run_together(members(tmp_path, *specs), tmp_path, said.append)
    assert {name: end.reason for name, end in ended.items()} == dict.fromkeys(
        ("run-0", "run-1", "run-2"), "finished"
    )
    assert said[0].startswith("3 runs on 2 daemons")
    for k in range(3):
        folder = tmp_path / f"run-{k}" / "input.run"
        assert summary(folder)["exit_reason"] == "finished"
        assert len(read_rows(folder / "sim.out")) == 11
    assert "structures in" in said[-1]


def test_a_run_that_cannot_begin_is_named_and_nothing_stays_behind(tmp_path: Path) -> None:
    given = members(tmp_path, SLOW, SLOW)
    (tmp_path / "run-1" / "init.xyz").unlink()
    with pytest.raises(DaemonFailure, match="run-1: i-PI refuses"):
        run_together(given, tmp_path, print)
    assert not [pid for pid in children(os.getpid()) if is_ours(pid)]


def test_a_potential_that_fails_ends_all_with_their_restart(tmp_path: Path) -> None:
    bad = f"{{potential: {ODD}:NaNInBead, call: 12, bead: 0}}"
    ended = run_together(members(tmp_path, bad, bad, steps=200), tmp_path, print)
    for name, end in ended.items():
        assert end.reason == "failed"
        assert "not finite" in end.message or "NaN" in end.message or "nan" in end.message
        assert (tmp_path / name / "input.run" / "RESTART").is_file()
    (kept,) = tmp_path.glob("failed_*.extxyz")  # beside daemon.log, wherever the call came from
    assert str(kept) in ended["run-0"].message


SCRIPT = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
sys.path.insert(0, sys.argv[2])
from run.test_together import members, SLOW
from pimd.run.together import run_together
run_together(members(Path(sys.argv[1]), SLOW, SLOW, steps=400), Path(sys.argv[1]), print)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stop_leaves_runs_that_go_on(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, and the death of the process that started them: i-PI ends in order."""
    tests = str(Path(__file__).parents[1])
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path), tests])
    outputs = [tmp_path / f"run-{k}" / "input.run" / "sim.out" for k in range(2)]
    try:
        wait_for(lambda: all(p.exists() and len(read_rows(p)) > 3 for p in outputs))
        pids = children(process.pid)
        assert len(pids) == 3
        process.send_signal(number)
        process.wait(60)
        wait_for(lambda: not any(alive_still(pid) for pid in pids))
    finally:
        process.kill()
        process.wait(10)
    for k in range(2):
        assert summary(tmp_path / f"run-{k}" / "input.run")["exit_reason"] == "stopped"
    if number == signal.SIGKILL:
        return  # they stand where those of Ctrl-C do
    again = members(tmp_path, SLOW, SLOW, steps=60, resume=True)
    stands = max(summary(m.run_dir)["last_step"] for m in again)
    again = members(tmp_path, SLOW, SLOW, steps=stands + 20, resume=True)
    ended = run_together(again, tmp_path, print)
    assert [end.reason for end in ended.values()] == ["finished", "finished"]
    steps = [row[0] for row in read_rows(outputs[0])]
    assert steps == sorted(set(steps))


def wait_for(condition: object, limit: float = 60.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def alive_still(pid: int) -> bool:
    """Whether a process runs, zombies aside."""
    if not alive(pid):
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_ours(pid: int) -> bool:
    try:
        return b"pimd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
