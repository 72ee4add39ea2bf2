"""A run that was killed and resumed wrote what a run that was not interrupted writes."""

from __future__ import annotations

import random
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from extensions_harness import Outcomes, Run, input_xml, properties_xml, runs_side_by_side

from pimd.ipi.extensions import OutputPositionsError, truncate_outputs
from pimd.ipi.extensions.output_positions import position_comment, read_positions

STEPS = 120
OUTPUTS = (
    "<checkpoint filename='chk' stride='10' overwrite='true'/>"  # first: order must not matter
    + properties_xml(flush=7)
    + "<trajectory filename='pos' stride='5' flush='100'> positions </trajectory>"
    + "<trajectory filename='centroid' stride='3' flush='0'> x_centroid </trajectory>"
)
INPUT = input_xml(steps=STEPS, outputs=OUTPUTS)
SCALED = """<properties filename='out' stride='2'> [ step, potential,
    scaledcoords(fd_delta=1e-3) ] </properties>"""
SCALED_INPUT = input_xml(steps=12, outputs=SCALED)
SETTINGS: dict[str, Any] = {"restart_interval": 0.1}


def uninterrupted(run: Run) -> None:
    run.start(INPUT)
    run.driver()
    assert run.wait() == 0


def killed_twice(run: Run) -> None:
    """kill -9 at random times; each part goes on from RESTART, or from a checkpoint."""
    run.start(INPUT, **SETTINGS)
    for name in ("RESTART", "simulation.chk"):
        run.driver("--delay", "0.01")
        rows = len(run.rows())
        checkpoint = run.folder / name
        checkpoint.unlink(missing_ok=True)
        run.wait_for(lambda r=rows, c=checkpoint: c.exists() and len(run.rows()) > r + 15, "rows")
        time.sleep(0.2 * random.random())
        run.kill()
        said = truncate_outputs(checkpoint, run.folder)
        assert all("written after the checkpoint" in line for line in said)
        if name != "RESTART":
            (run.folder / "RESTART").write_bytes(checkpoint.read_bytes())
        run.start(None, **SETTINGS)
    run.driver()
    assert run.wait() == 0


def scaled_whole(run: Run) -> None:
    run.start(SCALED_INPUT)
    run.driver("--calls", "calls")
    assert run.wait() == 0


def scaled_terminated(run: Run) -> None:
    """SIGTERM in the middle of a row: its last property waits for forces that do not come."""
    run.start(SCALED_INPUT)
    # three exchanges for the first row, then four for every two steps; the tenth is in a row
    run.driver("--fault", "hang", "--at", "9", "--calls", "calls")
    calls = run.folder / "calls"
    run.wait_for(lambda: calls.exists() and len(calls.read_text().splitlines()) == 10, "the hang")
    time.sleep(0.2)
    run.terminate()
    assert run.wait(10.0) == 0
    (run.folder / "cut").write_text("\n".join(truncate_outputs(run.folder / "RESTART", run.folder)))
    run.start(None)
    run.driver()
    assert run.wait() == 0


CASES: dict[str, Callable[[Run], None]] = {
    "uninterrupted": uninterrupted,
    "killed": killed_twice,
    "scaled": scaled_whole,
    "scaled terminated": scaled_terminated,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    with runs_side_by_side(tmp_path_factory.mktemp("positions"), CASES) as outcomes:
        yield outcomes


def test_no_row_is_lost_doubled_or_changed(runs: Outcomes) -> None:
    """Row by row, in every digit: the trajectory itself went on exactly."""
    whole, killed = runs["uninterrupted"], runs["killed"]
    assert killed.steps() == list(range(STEPS + 1))
    assert killed.rows() == whole.rows()


def test_trajectories_too(runs: Outcomes) -> None:
    whole, killed = runs["uninterrupted"], runs["killed"]
    names = sorted(path.name for path in whole.folder.glob("simulation.*.xyz"))
    assert len(names) == 9  # eight beads and the centroid
    for name in names:
        assert (killed.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_a_row_that_was_not_finished_is_written_again(runs: Outcomes) -> None:
    whole, stopped = runs["scaled"], runs["scaled terminated"]
    assert "simulation.out: dropped" in (stopped.folder / "cut").read_text()
    again, expected = ([row.split() for row in run.rows()] for run in (stopped, whole))
    assert [row[:3] for row in again] == [row[:3] for row in expected]
    # a difference of energies over (1e-3)^2: rounding counts a million times
    scaled = [[float(row[3]) for row in rows] for rows in (again, expected)]
    assert scaled[0] == pytest.approx(scaled[1], rel=1e-6)


def test_a_checkpoint_counts_the_rows_of_its_own_step(runs: Outcomes) -> None:
    """Though it comes first in the input, it is written after them."""
    run = runs["uninterrupted"]
    sizes = read_positions(run.folder / "simulation.chk")
    assert sizes is not None
    prefix = (run.folder / "simulation.out").read_bytes()[: sizes["simulation.out"]]
    assert int(float(prefix.splitlines()[-1].split()[0])) == STEPS
    assert set(sizes) == {path.name for path in run.folder.glob("simulation.*[!k]")}


# truncate_outputs itself --------------------------------------------------------------------


def checkpoint(folder: Path, **sizes: int) -> Path:
    path = folder / "RESTART"
    path.write_text(f"<simulation><step> 4 </step></simulation>{position_comment(sizes)}")
    return path


def test_cutting(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("1\n2\n3\n4\n")
    (tmp_path / "same").write_text("1\n")
    said = truncate_outputs(checkpoint(tmp_path, out=4, same=2, never=0), tmp_path)
    assert said == ["out: dropped 4 bytes (2 lines) written after the checkpoint"]
    assert (tmp_path / "out").read_text() == "1\n2\n"
    assert truncate_outputs(tmp_path / "RESTART", tmp_path) == []


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"out": 4, "gone": 3}, "gone is missing"),
        ({"out": 4, "short": 9}, "short has 2 bytes, fewer than the 9 it had then"),
    ],
)
def test_files_that_do_not_belong(tmp_path: Path, sizes: dict[str, int], message: str) -> None:
    """Nothing is cut, not even what could be."""
    (tmp_path / "out").write_text("1\n2\n3\n")
    (tmp_path / "short").write_text("1\n")
    with pytest.raises(OutputPositionsError, match=message):
        truncate_outputs(checkpoint(tmp_path, **sizes), tmp_path)
    assert (tmp_path / "out").read_text() == "1\n2\n3\n"


def test_a_checkpoint_of_stock_ipi(tmp_path: Path) -> None:
    path = tmp_path / "RESTART"
    path.write_text("<!-- some comment --><simulation></simulation>")
    assert "does not say how long the outputs were" in truncate_outputs(path, tmp_path)[0]


def test_names_that_would_end_a_comment(tmp_path: Path) -> None:
    name = 'a--b-->"{}.out'
    path = checkpoint(tmp_path, **{name: 3})
    assert ET.parse(path).getroot().tag == "simulation"
    assert read_positions(path) == {name: 3}
