"""`pimd report` on a run directory."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pimd import open_run
from pimd.commands.report import report
from pimd.report import report_run

XML = """<simulation>
  <output prefix='sim'>
    <properties stride='1' filename='out'> [ step, time{femtosecond}, conserved{electronvolt},
      temperature{kelvin}, potential{electronvolt} ] </properties>
    <trajectory filename='pos' stride='5'> positions{angstrom} </trajectory>
  </output>
  <total_steps> 60 </total_steps>
  <ffsocket name='driver' mode='unix' pbc='False'><address> a </address>
    <parameters> {potential: harmonic, k: 1.0} </parameters></ffsocket>
  <system>
    <initialize nbeads='2'><file mode='xyz'> init.xyz </file></initialize>
    <forces><force forcefield='driver'/></forces>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
    <motion mode='dynamics'><dynamics mode='nvt'>
      <timestep units='femtosecond'> 0.5 </timestep>
      <thermostat mode='pile_l'><tau units='femtosecond'> 50 </tau></thermostat>
    </dynamics></motion>
  </system>
</simulation>
"""


def write_run(folder: Path) -> Path:
    """What i-PI would have written: two beads of three atoms, 61 rows, 13 frames."""
    rng = np.random.default_rng(4)
    (folder / "input.xml").write_text(XML)
    rows = [
        f" {k:14.8e} {0.5 * k:14.8e} {7.0 + 1e-4 * rng.normal():14.8e} "
        f"{300 + 20 * rng.normal():14.8e} {2 + 0.1 * rng.normal():14.8e}" for k in range(61)
    ]  # fmt: skip
    names = ("step", "time{femtosecond}", "conserved{electronvolt}", "temperature{kelvin}",
             "potential{electronvolt}")
    head = [f"# column   {k + 1}     --> {name} : words." for k, name in enumerate(names)]
    (folder / "sim.out").write_text("\n".join([*head, *rows]) + "\n")
    cell = "# CELL(abcABC): 30.0 30.0 30.0 90.0 90.0 90.0"
    for bead in range(2):
        lines = []
        for step in range(0, 61, 5):
            lines += ["3", f"{cell}  Step:  {step}  Bead:  {bead} positions{{angstrom}}  "
                           "cell{atomic_unit}"]
            lines += [f"H {x:.6f} {y:.6f} {z:.6f}" for x, y, z in rng.normal(size=(3, 3))]
        (folder / f"sim.pos_{bead}.xyz").write_text("\n".join(lines) + "\n")
    first = (folder / "sim.pos_0.xyz").read_text().splitlines()[:5]
    (folder / "init.xyz").write_text("\n".join(first) + "\n")
    return folder


def invoke(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(report)
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, " ".join(done.output.split())


def test_page_and_numbers(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    status, said = invoke(str(run), "--frames", "0")
    assert status == 0, said
    assert "temperature" in said
    assert "there is no summary.json" in said
    page = (run / "report.html").read_text()
    assert "3 atoms (H3), 2 beads, 300 K, 0.5 fs" in page
    assert 'id="frames"' not in page
    numbers = json.loads((run / "analysis" / "report.json").read_text())
    found = {one["name"]: one for one in numbers["quantities"]}
    assert abs(found["temperature"]["value"] - 300) < 4 * found["temperature"]["error"]


def test_elsewhere(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    out = tmp_path / "pages" / "a.html"
    status, said = invoke(str(run), "--frames", "0", "--out", str(out), "--skip", "0.01")
    assert status == 0, said
    assert out.is_file()
    assert (out.parent / "report.json").is_file()
    assert not (run / "report.html").exists()
    assert not (run / "analysis").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--skip", "1"], "leaves nothing: the run is 0.03 ps long"),
        (["--system", "3"], "3"),
        (["--out", "{run}/sim.out/x.html"], "cannot write"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    run = write_run(tmp_path)
    given = [argument.format(run=run) for argument in arguments]
    status, said = invoke(str(run), "--frames", "0", *given)
    assert status == 2
    assert words in said
    assert "Traceback" not in said


def test_no_run(tmp_path: Path) -> None:
    status, said = invoke(str(tmp_path / "nothing"))
    assert status == 2
    assert "nothing" in said


def test_members_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Everything else is reported all the same."""
    opened = open_run(write_run(tmp_path))
    (tmp_path / "members.h5").write_bytes(b"half")
    page = report_run(opened, frames=0).page
    assert any("members.h5 cannot be read" in line for line in page.warnings)
    with h5py.File(tmp_path / "members.h5", "w") as file:
        file.create_group("system_0")
    page = report_run(opened, frames=0).page
    assert not any("members.h5" in line for line in page.warnings)
