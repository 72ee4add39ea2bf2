"""The run directory: never overwritten, stale files cleared, checkpoints chosen by step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from pimd.claim import Claim
from pimd.run import launch
from pimd.run.checkpoints import checkpoint_step, latest_checkpoint
from pimd.run.rundir import RunDirectory, RunDirectoryError, default_run_directory

INPUT = """<simulation><output prefix='sim'>
<checkpoint stride='10' filename='chk'/></output></simulation>"""


def used(folder: Path, exit_reason: str = "stopped") -> RunDirectory:
    directory = RunDirectory(folder / "input.run")
    directory.start_new()
    directory.input.write_text(INPUT)
    directory.write_summary({"exit_reason": exit_reason})
    return directory


def test_default_directory_is_beside_the_input(tmp_path: Path) -> None:
    assert default_run_directory(tmp_path / "water.xml") == tmp_path.resolve() / "water.run"


@pytest.mark.parametrize(("reason", "word"), [("finished", "finished"), ("failed", "unfinished")])
def test_a_used_directory_is_refused_untouched(tmp_path: Path, reason: str, word: str) -> None:
    directory = used(tmp_path, reason)
    before = sorted(path.name for path in directory.path.iterdir())
    with pytest.raises(RunDirectoryError, match=f"holds an? {word} run; nothing was touched"):
        directory.start_new()
    assert sorted(path.name for path in directory.path.iterdir()) == before


def test_fresh_moves_the_earlier_runs_aside(tmp_path: Path) -> None:
    directory = used(tmp_path, "finished")
    directory.start_new(aside=True)
    assert json.loads((tmp_path / "input.run.1" / "summary.json").read_text())
    assert list(directory.path.iterdir()) == []
    directory.input.write_text(INPUT)
    directory.start_new(aside=True)
    assert (tmp_path / "input.run.2" / "input.xml").exists()


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunDirectoryError, match="holds no run of pimd"):
        RunDirectory(tmp_path).start_new()


def test_resume_clears_a_stale_exit_file_and_says_so(tmp_path: Path) -> None:
    directory = used(tmp_path)
    (directory.path / "EXIT").touch()
    assert "EXIT" in " ".join(directory.continue_run())
    assert not (directory.path / "EXIT").exists()


def test_resume_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="holds no run to resume"):
        RunDirectory(tmp_path / "nothing").continue_run()


def test_the_newest_whole_checkpoint_wins(tmp_path: Path) -> None:
    directory = used(tmp_path)
    with pytest.raises(RunDirectoryError, match="no whole checkpoint"):
        latest_checkpoint(directory)
    directory.restart.write_text("<simulation><step> 30 </step></simulation>")
    assert latest_checkpoint(directory) == (directory.restart, 30)
    newer = directory.path / "sim.chk"
    newer.write_text("<simulation><step> 40 </step></simulation>")
    assert latest_checkpoint(directory) == (newer, 40)
    numbered = directory.path / "sim.chk_7"
    numbered.write_text("<simulation><step> 50 </step></simulation>")
    assert latest_checkpoint(directory) == (numbered, 50)
    numbered.write_text("<simulation><step> 60 </st")  # killed while writing
    assert checkpoint_step(numbered) is None
    assert latest_checkpoint(directory) == (newer, 40)


def test_a_half_written_summary_counts_as_none(tmp_path: Path) -> None:
    directory = used(tmp_path)
    directory.summary.write_text('{"steps": 1')
    assert directory.read_summary() is None
    assert not directory.is_finished()


@pytest.mark.parametrize("options", [{}, {"fresh": True}, {"resume": True}])
def test_a_directory_where_a_run_goes_on_is_refused_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, bool]
) -> None:
    monkeypatch.setattr(launch, "END_PATIENCE_S", 0.0)
    directory = used(tmp_path)
    (tmp_path / "input.xml").write_text(INPUT)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    session = launch.Session(launch.RunOptions(tmp_path / "input.xml", **options), Console())
    with Claim(directory.path, ValueError, ""):
        with pytest.raises(RunDirectoryError, match=r"a run goes on here, by process \d+ on"):
            session.open()
        session.close()  # and does not take the claim from the other
        with pytest.raises(ValueError, match="process"):
            Claim(directory.path, ValueError, "").take()
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
