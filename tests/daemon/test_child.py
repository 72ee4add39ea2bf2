"""The daemon as a process: its events, its end, and what i-PI sees when it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import daemon_ipi as ipi
from daemon_child import HARMONIC, Child, wait_until
from daemon_threads import Daemon

from pimd.daemon.child import StatusPipe, configuration
from pimd.daemon.serve import ExitReason, Target


def test_the_child_process_serves_and_tells(tmp_path: Path, reference: Path) -> None:
    forcefield = ipi.ffsocket("unix", batch=ipi.BEADS)
    with (
        Child(tmp_path / "daemon", forcefield.address, HARMONIC, threads=1) as child,
        ipi.IPi(
            ipi.write_input(tmp_path / "run", forcefield)
        ) as run,
    ):
        child.wait_for("end")
        assert run.wait() == 0, run.text()
        assert child.end() == 0
        kinds = [event["event"] for event in child.events]
        assert kinds[:5] == ["loading", "loaded", "warmed_up", "ready", "connected"]
        assert kinds[-1] == "end"
        assert child.events[-1]["reason"] == "finished"
        assert child.events[2]["simulation"] == "test"
        assert child.events[2]["energy_ev"] > 0
    ipi.assert_same(tmp_path / "run", reference)


def test_a_child_is_killed_while_it_computes_and_another_goes_on(
    tmp_path: Path, reference: Path
) -> None:
    """Nothing is left unread while computing, so i-PI sees an orderly end of the connection."""
    forcefield = ipi.ffsocket("unix", batch=ipi.BEADS)
    slow = tmp_path / "slow_calculator.py"
    slow.write_text(
        "import os, pathlib, time\n"
        "from pimd.potentials.harmonic import Harmonic\n"
        "from pimd.potentials import registry\n"
        "class Slow(Harmonic):\n"
        "    def compute(self, batch, wanted):\n"
        "        if batch.n_structures > 1:\n"
        "            pathlib.Path('computing').touch()\n"
        "            time.sleep(60)\n"
        "        return super().compute(batch, wanted)\n"
        "if __name__ == '__main__':\n"
        "    registry.POTENTIALS['slow'] = 'slow_calculator:Slow'\n"
        "    from pimd.daemon import child\n"
        "    raise SystemExit(child.main())\n"
    )
    folder = tmp_path / "daemon"
    with ipi.IPi(
        ipi.write_input(tmp_path / "run", forcefield)
    ) as run:
        folder.mkdir()
        target = Target(forcefield.address, ipi.template())
        spec = {**HARMONIC, "potential": "slow"}
        config = folder / "daemon.json"
        config.write_text(json.dumps(configuration(spec, [target], threads=1)))
        process = subprocess.Popen(
            [sys.executable, str(slow), str(config)],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )
        try:
            wait_until((folder / "computing").exists, "the daemon does not compute")
        finally:
            process.kill()
            process.wait(10)
        daemon = Daemon(ipi.harmonic(), [target])
        assert run.wait() == 0, run.text()
    assert daemon.end() is ExitReason.FINISHED
    ipi.assert_same(tmp_path / "run", reference)


def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    with Child(tmp_path, "unix:pimd_nobody", HARMONIC, threads=1) as child:
        child.wait_for("ready")
        os.close(child.read_end)
        child.read_end = -1
        started = time.monotonic()
        assert child.end() == 0
        assert time.monotonic() - started < 5.0


def test_the_child_stops_on_sigterm_and_says_so(tmp_path: Path) -> None:
    with Child(tmp_path, "unix:pimd_nobody", HARMONIC, threads=1) as child:
        child.wait_for("ready")
        child.process.send_signal(signal.SIGTERM)
        child.wait_for("end", limit=10.0)
        assert child.end() == 0
        assert child.events[-1]["reason"] == "stopped"


def test_a_child_that_cannot_load_says_why(tmp_path: Path) -> None:
    with Child(tmp_path, "unix:pimd_nobody", {"potential": "harmonic", "q": 1}) as child:
        assert child.end() != 0
        error = next(event for event in child.events if event["event"] == "error")
        assert "harmonic has no option q" in error["message"]
        assert child.events[-1]["reason"] == "loading_failed"


def test_the_budget_can_be_asked_for_while_nothing_happens(tmp_path: Path) -> None:
    with Child(tmp_path, "unix:pimd_nobody", HARMONIC, threads=1) as child:
        child.wait_for("ready")
        child.process.send_signal(signal.SIGUSR1)
        assert child.wait_for("budget", limit=10.0)["rounds"] == 0
        child.process.send_signal(signal.SIGTERM)
        assert child.end() == 0


def test_a_status_pipe_that_nobody_reads_blocks_nobody() -> None:
    read_end, write_end = os.pipe()
    try:
        report = StatusPipe(write_end)
        started = time.monotonic()
        for _ in range(2000):
            report({"event": "budget", "filler": "x" * 100})  # twice what a pipe holds
        assert time.monotonic() - started < 1.5
        os.set_blocking(read_end, False)
        lines = os.read(read_end, 1 << 20).split(b"\n")
        for line in lines[:-1]:
            assert json.loads(line)["event"] == "budget"
        report({"event": "end"})  # what was cut off comes first
        rest = lines[-1] + os.read(read_end, 1 << 20)
        assert [json.loads(line)["event"] for line in rest.splitlines()] == ["budget", "end"]
    finally:
        os.close(read_end)
    report({"event": "end"})  # nobody there at all
    os.close(write_end)
