"""A claim: one holder at a time, gone with the process that held it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pimd.claim import Claim

HOLDER = """
import sys, time
from pathlib import Path
from pimd.claim import Claim
Claim(Path(sys.argv[1]), ValueError, "held").take()
print("taken", flush=True)
time.sleep(60)
"""


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "label.h5"
    with Claim(path, KeyError, "it is being made"), pytest.raises(KeyError, match="process"):
        Claim(path, KeyError, "it is being made").take()
    with Claim(path, KeyError, ""), Claim(tmp_path / "other.h5", KeyError, ""):
        pass
    assert not list(tmp_path.iterdir())


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    with pytest.raises(ValueError, match=f"goes on here, by process {process.pid} on"):
        Claim(path, ValueError, "a run goes on here").take()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with Claim(path, ValueError, ""):
        assert path.with_name(".run.lock").exists()  # it was left behind, and is used again
    assert not list(tmp_path.iterdir())


def test_patience_outlasts_a_holder_about_to_end(tmp_path: Path) -> None:
    first = Claim(tmp_path / "run", ValueError, "")
    first.take()
    timer = threading.Timer(0.3, first.drop)
    timer.start()
    with Claim(tmp_path / "run", ValueError, "", patience=30.0):
        pass
    timer.join()


def test_many_threads_never_hold_it_at_once(tmp_path: Path) -> None:
    """The file is removed and made again all the time."""
    inside, most, turns = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, turns
        for _ in range(20):
            with Claim(tmp_path / "run", ValueError, "", patience=60.0):
                with guard:
                    inside += 1
                    most, turns = max(most, inside), turns + 1
                time.sleep(0.0005)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, turns) == (1, 80)


def test_where_nothing_can_be_written_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with Claim(tmp_path / "file" / "run", ValueError, ""):
        pass
