"""`pimd isotope` on a run of i-PI: its columns, its stored beads, and the exact answer."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import typer
from ladder_trap import run_trap, write_trap
from typer.testing import CliRunner

from pimd.commands.isotope import isotope

app = typer.Typer()
app.command()(isotope)

PROPERTIES = "step, time{femtosecond}, isotope_zetasc(2.0;H), isotope_zetatd(2.0;H)"
RECORD = (
    "<trajectory format='h5md' filename='record' stride='10'> [positions, energies] </trajectory>"
)
EXACT = 3 * math.log(1.38158984)
"""ln zeta for alpha = 2, P = 4, beta hbar omega = 5, three dimensions."""


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trap")
    source = write_trap(
        folder, steps=1000, atoms=24, stride=10, properties=PROPERTIES, trajectory=RECORD
    )
    return run_trap(source)


def analysed(*arguments: object) -> dict[str, dict[str, float]]:
    """What the command writes, by estimator: ln zeta."""
    done = CliRunner().invoke(app, [str(word) for word in arguments])
    assert done.exit_code == 0, done.output
    folder = Path(str(arguments[0])) / "analysis"
    found = json.loads((folder / "isotope.json").read_text())
    assert (folder / "isotope.png").stat().st_size > 10_000
    return {q["note"]: q for q in found["quantities"] if q["name"] == "ln zeta"}


def test_columns_and_beads_say_the_same_and_what_is_exact(trap: Path) -> None:
    by_columns = analysed(trap, "-s", "H=2.01588")
    by_beads = analysed(trap, "-s", "H=2.01588", "--from", "beads")
    assert (trap / "analysis" / "isotope_H_2.01588_0.npz").is_file()
    for estimator in ("scaled coordinates", "thermodynamic"):
        one, two = by_columns[estimator], by_beads[estimator]
        assert one["value"] == pytest.approx(two["value"], abs=2e-5)
        assert abs(one["value"] - EXACT) < 4 * one["error"]
        assert one["error"] < 0.05


def test_two_runs_give_the_fractionation(trap: Path) -> None:
    done = CliRunner().invoke(app, [str(trap), str(trap), "-s", "H=2.01588"])
    assert done.exit_code == 0, done.output
    found = json.loads((trap / "analysis" / "isotope.json").read_text())
    (by_scaled, _) = [q for q in found["quantities"] if q["name"].startswith("10³")]
    assert by_scaled["value"] == 0.0
    assert by_scaled["error"] > 0.0


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["-s", "O=18"], "label of H"),
        (["-s", "H=3.0", "--from", "columns"], "isotope_zetasc"),
        (["-s", "H=2.01588", "--skip", "5000"], "the run has"),
    ],
)
def test_wrong_input_has_status_2(trap: Path, arguments: list[str], match: str) -> None:
    done = CliRunner().invoke(app, [str(trap), *arguments])
    assert done.exit_code == 2
    assert match in done.output
