"""Checkpoints are whole, exact, and there when the run is killed outright."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from extensions_harness import Outcomes, Run, input_xml, properties_xml, runs_side_by_side

from pimd.ipi.extensions.atomic_checkpoints import _keep_foreign, replace_file

EACH_STEP = properties_xml() + "<checkpoint filename='chk' stride='1' overwrite='true'/>"


def watched(run: Run) -> None:
    """A checkpoint every step, read all the time by somebody else."""
    (run.folder / "RESTART").write_text("of another run")
    run.start(input_xml(steps=40, outputs=EACH_STEP))
    run.driver("--delay", "0.005")
    assert run.process is not None
    steps = []
    while run.process.poll() is None:
        if (run.folder / "simulation.chk").exists():
            steps.append(int(ET.parse(run.folder / "simulation.chk").findtext("step") or -1))
        time.sleep(0.001)
    assert run.wait() == 0
    assert steps == sorted(steps)
    assert len(set(steps)) > 5


def plain_stock(run: Run) -> None:
    run.start(input_xml(steps=5), stock=True)
    run.driver()
    assert run.wait() == 0


def killed(stock: bool) -> Callable[[Run], None]:
    """kill -9 some time after the first interval; the input asks for no checkpoint."""

    def case(run: Run) -> None:
        settings = {} if stock else {"restart_interval": 0.1}
        run.start(input_xml(steps=100_000), stock=stock, **settings)
        run.driver("--delay", "0.01")
        restart = run.folder / "RESTART"
        if stock:
            run.wait_for(lambda: len(run.rows()) > 60, "rows")
        else:
            run.wait_for(lambda: restart.exists() and run.restart_step() > 0, "a later RESTART")
        run.kill()

    return case


CASES = {
    "watched": watched,
    "stock": plain_stock,
    "killed": killed(False),
    "killed stock": killed(True),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    with runs_side_by_side(tmp_path_factory.mktemp("checkpoints"), CASES) as outcomes:
        yield outcomes


def numbers(path: Path, tag: str) -> list[str]:
    text = ET.parse(path).getroot().findtext(f"system/beads/{tag}") or ""
    return re.findall(r"[-+.\de]+", text)


def test_a_checkpoint_is_whole_whenever_it_is_read(runs: Outcomes) -> None:
    """The case reads it all the time; half a file would be no XML."""
    run = runs["watched"]
    assert not list(run.folder.glob("*.tmp"))


def test_a_file_of_another_run_is_kept(runs: Outcomes) -> None:
    run = runs["watched"]
    assert (run.folder / "#RESTART#0#").read_text() == "of another run"
    assert not (run.folder / "#RESTART#1#").exists()
    assert run.restart_step() == 40


def test_numbers_are_exact(runs: Outcomes) -> None:
    """17 significant digits; stock i-PI writes 9, which is another double."""
    exact = numbers(runs["watched"].folder / "RESTART", "q")
    stock = numbers(runs["stock"].folder / "RESTART", "q")
    assert len(exact) == len(stock) == 24 * 8 * 3
    assert all(f"{float(text):.16e}" == text for text in exact)
    assert all(f"{float(text):.8e}" == text for text in stock)
    assert any(float(text) != float(f"{float(text):.8e}") for text in exact)


def test_outputs_keep_their_format(runs: Outcomes) -> None:
    """The same rows in the same digits, extensions or not."""
    assert runs["watched"].rows()[:6] == runs["stock"].rows()[:6]


def test_restart_after_kill_9(runs: Outcomes) -> None:
    run = runs["killed"]
    assert 0 < run.restart_step() <= run.steps()[-1]


def test_stock_ipi_leaves_nothing_after_kill_9(runs: Outcomes) -> None:
    assert not (runs["killed stock"].folder / "RESTART").exists()


# the functions themselves -------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "RESTART"
    target.write_text("old")

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        replace_file(str(target), "new")
    assert target.read_text() == "old"


def test_backups_are_numbered_and_leave_the_file(tmp_path: Path) -> None:
    target = tmp_path / "RESTART"
    for text in ("first", "second"):
        target.write_text(text)
        _keep_foreign(str(target))
        assert target.read_text() == text
        target.unlink()
    assert (tmp_path / "#RESTART#0#").read_text() == "first"
    assert (tmp_path / "#RESTART#1#").read_text() == "second"


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: str, target: str) -> None:
        raise PermissionError

    monkeypatch.setattr("os.link", no_links)
    target = tmp_path / "RESTART"
    target.write_text("kept")
    _keep_foreign(str(target))
    assert (tmp_path / "#RESTART#0#").read_text() == "kept"
