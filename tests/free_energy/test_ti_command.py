"""`pimd ti` from an input to an answer, against the exact one at the same number of beads."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import typer
from ladder_trap import KT, SPRING, X, excess, write_trap
from typer.testing import CliRunner

from pimd.commands.ti import ti

N_BEADS, N_ATOMS = 4, 128

app = typer.Typer()
app.command()(ti)


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in arguments])
    return done.exit_code, done.output


def test_classical_to_quantum(tmp_path: Path) -> None:
    """G10: x = 5; interrupted after few steps, and gone on with by the same command."""
    source = write_trap(tmp_path, steps=60, beads=N_BEADS, atoms=N_ATOMS, stride=4)
    folder = tmp_path / "input.ti"
    code, text = run(source, "--nodes", 4, "--threads", 1)
    assert code == 2, text  # 16 samples are too few, and it says so
    assert "effective samples" in text
    code, text = run(source, "--nodes", 4, "--threads", 1, "--steps", 800)
    assert code == 0, text
    assert "A_q - A_cl" in text
    found = json.loads((folder / "ti.json").read_text())
    answer = found["quantities"][0]
    exact = 3 * N_ATOMS * KT * excess(X, N_BEADS)
    assert abs(answer["value"] - exact) < 4 * answer["error"] + 0.003 * exact
    assert answer["error"] < 0.01 * exact
    assert answer["n_effective"] > 15
    assert (folder / "ti.png").stat().st_size > 10_000
    assert run(folder)[0] == 0  # what is there, once more
    code, text = run(source, "--nodes", 4, "--substitute", "H=D")
    assert code == 2
    assert "another kind" in text


def test_between_two_potentials(tmp_path: Path) -> None:
    """Springs k to 1.5 k: the difference of two oscillators of P beads; and MBAR agrees."""
    source = write_trap(tmp_path, steps=500, beads=N_BEADS, atoms=32, stride=4)
    stiffer = f"{{potential: harmonic, k: {1.5 * SPRING:.10f}, pbc: False}}"
    code, text = run(source, "--nodes", 3, "--threads", 1, "--between", stiffer)
    assert code == 0, text
    found = json.loads((tmp_path / "input.ti" / "ti.json").read_text())
    by_nodes, by_mbar = found["quantities"][0], found["quantities"][-1]
    assert by_mbar["note"] == "MBAR over all nodes"
    stiff = X * math.sqrt(1.5)
    exact = 96 * KT * (
        excess(stiff, N_BEADS) + math.log(stiff) - excess(X, N_BEADS) - math.log(X)
    )
    for one in (by_nodes, by_mbar):
        assert abs(one["value"] - exact) < 4 * one["error"] + 0.002 * exact
        assert one["error"] < 0.04 * exact


def test_only_the_inputs(tmp_path: Path) -> None:
    source = write_trap(tmp_path, steps=60, atoms=3)
    code, _text = run(source, "--nodes", 3, "--write-only", "--out", tmp_path / "here")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == [
        "ladder.json", "node-1.xml", "node-2.xml", "node-3.xml",
    ]
    code, text = run(tmp_path / "here")
    assert code == 2
    assert "node-1" in text


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["none.xml"], "no such file"),
        (["--substitute", "X=1"], "label of H"),
        (["--between", "free,free,free"], "SPEC0,SPEC1"),
        (["--between", "free", "--substitute", "H=D"], "choose one"),
    ],
)
def test_wrong_input_has_status_2(tmp_path: Path, arguments: list[str], match: str) -> None:
    source = write_trap(tmp_path, steps=60, atoms=3)
    given = arguments if arguments[0].endswith(".xml") else [str(source), *arguments]
    code, text = run(*given)
    assert code == 2
    assert match in text
