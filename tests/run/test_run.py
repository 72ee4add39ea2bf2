"""`pimd run` from the outside: finishing, stopping, resuming, failing."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from .runs import ODD, Running, alive, children, pimd, read_rows, summary, write_input

OUTPUTS = ("sim.out", "sim.xc.xyz", "sim.pos_0.xyz", "sim.pos_3.xyz")


def assert_same_outputs(one: Path, other: Path) -> None:
    """The same rows, none lost or doubled, numbers to printed rounding."""
    for name in OUTPUTS:
        first, second = (folder / name for folder in (one, other))
        words = [path.read_text().split() for path in (first, second)]
        assert len(words[0]) == len(words[1]), name
        for a, b in zip(*words, strict=True):
            try:
                assert float(a) == pytest.approx(float(b), rel=2e-7, abs=1e-8), name
            except ValueError:
                assert a == b, name


def test_a_run_finishes_and_says_what_it_did(tmp_path: Path) -> None:
    done = pimd("run", write_input(tmp_path, steps=20))
    assert done.returncode == 0, done.stdout
    run = tmp_path / "input.run"
    data = summary(run)
    assert data["steps"] == 20
    assert data["exit_reason"] == "finished"
    assert data["exchanges_per_step"] == 1.0
    assert data["structures_evaluated"] == data["structures_needed"] == 80
    assert sum(data["time_fractions"].values()) == pytest.approx(1.0)
    assert data["ms_per_step"] > 0
    assert data["versions"]["ipi"].startswith("3.3.")
    assert data["device"] == "cpu"
    assert set(data["extensions"].values()) == {"on"}
    assert [row[0] for row in read_rows(run / "sim.out")] == list(range(0, 21, 2))
    assert "finished" in done.stdout
    assert "80 evaluated for 80 needed (1.00), 1.00 exchanges per step" in " ".join(
        done.stdout.split()
    )


def test_a_finished_run_is_refused_and_can_be_extended(tmp_path: Path) -> None:
    xml = write_input(tmp_path, steps=8)
    assert pimd("run", xml).returncode == 0
    before = (tmp_path / "input.run" / "sim.out").read_text()
    again = pimd("run", xml)
    assert again.returncode == 2
    assert "holds a finished run; nothing was touched" in again.stdout
    assert (tmp_path / "input.run" / "sim.out").read_text() == before
    assert "is finished" in pimd("run", xml, "--resume").stdout
    longer = pimd("run", xml, "--resume", "--steps", 14)
    assert longer.returncode == 0, longer.stdout
    assert [row[0] for row in read_rows(tmp_path / "input.run" / "sim.out")] == list(
        range(0, 15, 2)
    )
    straight = tmp_path / "straight"
    assert pimd("run", xml, "--steps", 14, "--run-dir", straight).returncode == 0
    assert_same_outputs(straight, tmp_path / "input.run")


def test_missing_potential_says_what_to_add(tmp_path: Path) -> None:
    done = pimd("run", write_input(tmp_path, "{}"))
    assert done.returncode == 2
    assert "<parameters> {potential: qtip4pf} </parameters>" in done.stdout
    spec = "driver=harmonic, k: 1.0"
    done = pimd("run", write_input(tmp_path, "{}"), "--potential", spec, "--steps", 2)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("spec", "words"),
    [("{potential: nonsense}", "unknown potential 'nonsense'"),
     ("{potential: harmonic, colour: red}", "harmonic has no option colour"),
     (f"{{potential: {ODD}:Refuses}}", "this model wants helium"),
     ("{potential: qtip4pf}", "H")],
)
def test_a_potential_that_cannot_serve_ends_at_once(tmp_path: Path, spec: str, words: str) -> None:
    started = time.monotonic()
    done = pimd("run", write_input(tmp_path, spec))
    assert done.returncode == 1, done.stdout
    assert words in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert time.monotonic() - started < 60


def test_i_pi_refusing_the_input_is_told(tmp_path: Path) -> None:
    xml = write_input(tmp_path)
    xml.write_text(xml.read_text().replace("kinetic_cv", "kinetic_nonsense"))
    done = pimd("run", xml)
    assert done.returncode == 2
    assert "i-PI refuses the input" in done.stdout
    assert "kinetic_nonsense" in done.stdout


def test_sigterm_writes_restart_while_the_model_computes(tmp_path: Path) -> None:
    xml = write_input(tmp_path, f"{{potential: {ODD}:Trap, pause: 30.0}}", steps=50)
    with Running(xml) as run:
        deadline = time.monotonic() + 60
        while not (tmp_path / "input.run" / "i-pi.log").exists() or not re.search(
            "a driver has connected", (tmp_path / "input.run" / "i-pi.log").read_text()
        ):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1.0)
        started = time.monotonic()
        run.send(signal.SIGTERM)
        while not (tmp_path / "input.run" / "RESTART").exists():
            assert time.monotonic() - started < 10.0, "RESTART took longer than 10 s"
            time.sleep(0.05)
        text = run.output(60)
        assert run.process.returncode == 0, text
    assert summary(tmp_path / "input.run")["exit_reason"] == "stopped"
    assert "--resume" in text


def test_ctrl_c_then_resume_gives_the_same_run(tmp_path: Path) -> None:
    xml = write_input(tmp_path, f"{{potential: {ODD}:Trap, pause: 0.05}}", steps=60)
    with Running(xml) as run:
        run.wait_for_rows(tmp_path / "input.run" / "sim.out", 8)
        run.send(signal.SIGINT)
        text = run.output(60)
        assert run.process.returncode == 0, text
    stopped = summary(tmp_path / "input.run")
    assert stopped["exit_reason"] == "stopped"
    assert 0 < stopped["last_step"] < 60
    done = pimd("run", xml, "--resume")
    assert done.returncode == 0, done.stdout
    straight = tmp_path / "straight"
    assert pimd("run", xml, "--run-dir", straight).returncode == 0
    assert_same_outputs(straight, tmp_path / "input.run")


def test_an_exit_file_stops_and_is_cleared_on_resume(tmp_path: Path) -> None:
    xml = write_input(tmp_path, f"{{potential: {ODD}:Trap, pause: 0.05}}", steps=40)
    with Running(xml) as run:
        run.wait_for_rows(tmp_path / "input.run" / "sim.out", 4)
        (tmp_path / "input.run" / "EXIT").touch()
        text = run.output(60)
        assert run.process.returncode == 0, text
    assert "EXIT file" in summary(tmp_path / "input.run")["message"]
    done = pimd("run", xml, "--resume")
    assert done.returncode == 0, done.stdout
    assert "removed the EXIT file" in done.stdout
    steps = [row[0] for row in read_rows(tmp_path / "input.run" / "sim.out")]
    assert steps == list(range(0, 41, 2))


def test_nan_in_one_bead_ends_the_run_and_names_it(tmp_path: Path) -> None:
    xml = write_input(tmp_path, f"{{potential: {ODD}:NaNInBead, bead: 3, call: 12}}", steps=50)
    done = pimd("run", xml)
    assert done.returncode == 1, done.stdout
    words = " ".join(done.stdout.split())
    assert re.search(r"failed at step \d+", words)
    assert "bead 3" in words
    assert "nan" in words
    assert "RESTART" in words
    run = tmp_path / "input.run"
    assert (run / "RESTART").exists()
    data = summary(run)
    assert data["exit_reason"] == "failed"
    (kept,) = run.glob("*.extxyz")
    from ase.io import read

    assert len(read(kept)) == 3
    rows = np.array(read_rows(run / "sim.out"))
    assert np.isfinite(rows).all()
    assert len(rows) == data["last_step"] // 2 + 1


def test_kill_of_the_daemon_while_it_computes_goes_on(tmp_path: Path) -> None:
    xml = write_input(tmp_path, f"{{potential: {ODD}:Trap, pause: 0.05}}", steps=40)
    with Running(xml) as run:
        run.wait_for_rows(tmp_path / "input.run" / "sim.out", 5)
        os.kill(run.daemon_pid(), signal.SIGKILL)
        text = run.output(90)
        assert run.process.returncode == 0, text
    assert "signal 9; starting another" in text
    data = summary(tmp_path / "input.run")
    assert data["daemon_restarts"] == 1
    assert data["exit_reason"] == "finished"
    straight = tmp_path / "straight"
    assert pimd("run", xml, "--run-dir", straight).returncode == 0
    assert_same_outputs(straight, tmp_path / "input.run")


def test_a_daemon_that_hangs_is_replaced(tmp_path: Path) -> None:
    marker = tmp_path / "hung"
    xml = write_input(
        tmp_path, f"{{potential: {ODD}:Hangs, call: 10, marker: {marker}}}", steps=30
    )
    done = pimd("run", xml, "--compute-limit", "3")
    assert done.returncode == 0, done.stdout
    assert marker.exists()
    assert summary(tmp_path / "input.run")["daemon_restarts"] >= 1


@pytest.mark.parametrize("both", [False, True])
def test_kill_of_i_pi_resumes_from_the_last_checkpoint(tmp_path: Path, both: bool) -> None:
    xml = write_input(tmp_path, f"{{potential: {ODD}:Trap, pause: 0.03}}", steps=60)
    with Running(xml) as run:
        run.wait_for_rows(tmp_path / "input.run" / "sim.out", 13)
        daemon = run.daemon_pid()
        if both:
                os.kill(daemon, signal.SIGKILL)
        run.send(signal.SIGKILL)
        run.process.wait(10)
        deadline = time.monotonic() + 15
        while alive(daemon) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not alive(daemon), "the daemon outlived the run"
    refused = pimd("run", xml)
    assert "holds an unfinished run" in refused.stdout
    done = pimd("run", xml, "--resume")
    assert done.returncode == 0, done.stdout
    straight = tmp_path / "straight"
    assert pimd("run", xml, "--run-dir", straight).returncode == 0
    assert_same_outputs(straight, tmp_path / "input.run")


def test_periodic_restart_serves_where_the_input_has_no_checkpoint(tmp_path: Path) -> None:
    xml = write_input(
        tmp_path, f"{{potential: {ODD}:Trap, pause: 0.03}}", steps=60, checkpoint=""
    )
    with Running(xml, "--restart-interval", "0.3") as run:
        run.wait_for_rows(tmp_path / "input.run" / "sim.out", 20)
        run.send(signal.SIGKILL)
        run.process.wait(10)
    done = pimd("run", xml, "--resume")
    assert done.returncode == 0, done.stdout
    assert "resuming at step" in done.stdout
    straight = tmp_path / "straight"
    assert pimd("run", xml, "--run-dir", straight).returncode == 0
    assert_same_outputs(straight, tmp_path / "input.run")


def test_check_says_what_would_run_and_leaves_nothing(tmp_path: Path) -> None:
    xml = write_input(tmp_path, beads=64)
    xml.write_text(xml.read_text().replace("> 0.5 </timestep>", "> 5.0 </timestep>"))
    before = sorted(path.name for path in tmp_path.iterdir())
    done = pimd("check", xml)
    assert done.returncode == 0, done.stdout
    words = " ".join(done.stdout.split())
    for expected in ("3 (H3)", "beads 64", "ω_max Δt", "harmonic", "memory", "sim.out",
                     "beyond the resonance", "would run"):
        assert expected in words
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    bad = pimd("check", write_input(tmp_path, f"{{potential: {ODD}:Refuses}}"))
    assert bad.returncode == 1
    assert "this model wants helium" in bad.stdout


def test_two_runs_of_one_input_side_by_side(tmp_path: Path) -> None:
    """The address of the XML is the same; private sockets keep them apart."""
    xml = write_input(tmp_path, f"{{potential: {ODD}:Trap, pause: 0.05}}", steps=20)
    with Running(xml, "--run-dir", tmp_path / "a") as one, \
            Running(xml, "--run-dir", tmp_path / "b") as two:
        texts = one.output(), two.output()
        assert one.process.returncode == two.process.returncode == 0, texts
    assert_same_outputs(tmp_path / "a", tmp_path / "b")


def test_a_run_that_never_began_does_not_stand_in_the_way(tmp_path: Path) -> None:
    assert pimd("run", write_input(tmp_path, "{potential: nonsense}")).returncode == 1
    done = pimd("run", write_input(tmp_path, steps=2))
    assert done.returncode == 0, done.stdout
    assert summary(tmp_path / "input.run")["steps"] == 2


def test_ctrl_c_before_the_first_step_leaves_the_way_free(tmp_path: Path) -> None:
    xml = write_input(tmp_path, f"{{potential: {ODD}:SlowToLoad}}", steps=2)
    with Running(xml) as run:
        deadline = time.monotonic() + 60
        while not (tmp_path / "input.run" / "daemon.log").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        run.send(signal.SIGINT)
        text = run.output(30)
        assert run.process.returncode == 130, text
    assert "stopped before the first step" in text
    done = pimd("run", write_input(tmp_path, steps=2))
    assert done.returncode == 0, done.stdout


def test_nothing_is_left_running(tmp_path: Path) -> None:
    xml = write_input(tmp_path, f"{{potential: {ODD}:Trap, pause: 0.1}}", steps=6)
    with Running(xml) as run:
        run.wait_for_rows(tmp_path / "input.run" / "sim.out", 1)
        daemon = run.daemon_pid()
        run.output(60)
    assert not alive(daemon)
    assert children(run.process.pid) == []
