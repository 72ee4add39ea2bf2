"""Summaries and progress lines: the numbers add up and the words are right."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pimd.run.progress import Progress, Snapshot, duration
from pimd.run.summary import RunSummary, time_fractions
from pimd.run.supervisor import Totals


def totals(**seconds: float) -> Totals:
    work = Totals(rounds=10, structures_evaluated=320, structures_needed=320)
    work.seconds.update(seconds)
    return work


def test_time_fractions_add_up_and_the_rest_is_ipi() -> None:
    shares = time_fractions(totals(model=6.0, neighbours=1.0, wire=0.5, wait=2.5), 10.0)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["model"] == pytest.approx(0.6)
    assert shares["ipi"] == pytest.approx(0.25)


def test_time_fractions_of_daemons_side_by_side_are_scaled() -> None:
    shares = time_fractions(totals(model=16.0, wire=4.0), 10.0)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["model"] == pytest.approx(0.8)
    assert shares["ipi"] == 0.0


def test_summary_counts_per_step() -> None:
    summary = RunSummary(steps=10, wall_seconds=2.0)
    summary.set_work(totals(model=1.0), exchanges=10)
    assert summary.ms_per_step == pytest.approx(200.0)
    assert summary.exchanges_per_step == 1.0
    assert summary.evaluated_per_needed == 1.0
    assert summary.as_dict()["structures_evaluated"] == 320


def test_summary_prints_what_matters() -> None:
    out = io.StringIO()
    summary = RunSummary(steps=10, last_step=10, total_steps=10, wall_seconds=2.0,
                         exit_reason="finished", message="10 steps done",
                         written=["sim.out"] + [f"sim.pos_{b:02d}.xyz" for b in range(32)])
    summary.set_work(totals(model=1.0), exchanges=10)
    summary.print(Console(file=out, width=120), "input.run")
    text = out.getvalue()
    for words in ("finished", "5.00 steps/s", "model 50.0 %", "320 evaluated for 320 needed",
                  "1.00 exchanges per step", "sim.pos_*.xyz (32 files)"):
        assert words in text


def test_plain_lines_hold_every_number_and_come_seldom() -> None:
    out = io.StringIO()
    progress = Progress(Console(file=out, width=60), interval_s=3600.0)
    assert not progress.live
    with progress:
        assert not progress.due()
        progress.show(Snapshot(5, 10, 1500.0, 301.25, -12.5, 1e-5, 32.0, 0.91))
    (line,) = out.getvalue().splitlines()
    for words in ("step 5/10", "1500.0 ms/step", "ETA 0:00:08", "T 301.2 K", "V -12.500 eV",
                  "drift +0.010 meV/atom", "32.0 beads/call", "model 91 %"):
        assert words in line


def test_live_line_on_a_terminal() -> None:
    out = io.StringIO()
    progress = Progress(Console(file=out, width=100, force_terminal=True))
    assert progress.live
    with progress:
        progress.show(Snapshot(5, 10, 100.0))
        progress.say("a line that stays")
    assert "50.0 %" in out.getvalue()
    assert "a line that stays" in out.getvalue()


def test_duration() -> None:
    assert duration(3661) == "1:01:01"
    assert duration(90061) == "1 d 1:01:01"
