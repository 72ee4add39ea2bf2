"""`pimd fep` on run directories as they are stored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import typer
from oscillator_runs import KT, oscillator_run, spec
from typer.testing import CliRunner, Result

from pimd import open_run, relabel
from pimd.commands.fep import fep
from pimd.record.h5md_file import H5MDFile
from pimd.record.h5md_layout import CELLS, Field, SystemLayout

XML = """<simulation>
  <output prefix='sim'>
    <trajectory format='h5md' filename='trajectory' stride='10'> [positions, energies] </trajectory>
  </output>
  <total_steps> 6000 </total_steps>
  <ffsocket name='trap' mode='unix' pbc='False'><address> a </address>
    <parameters> {spec} </parameters></ffsocket>
  <system>
    <initialize nbeads='8'><file mode='xyz'> init.xyz </file></initialize>
    <forces><force forcefield='trap'/></forces>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
    <motion mode='dynamics'><dynamics mode='nvt'>
      <timestep units='femtosecond'> 0.5 </timestep>
      <thermostat mode='{thermostat}'><tau units='femtosecond'> 50 </tau>{matrix}</thermostat>
    </dynamics></motion>
  </system>
</simulation>
"""


def stored(folder: Path, x: float, seed: int, thermostat: str = "pile_l", matrix: str = "") -> Path:
    """Two particles in a trap, 500 frames, as `pimd run` leaves them."""
    run = oscillator_run(x, 2, 500, seed)
    given = spec(x).replace("}", ", pbc: False}")
    folder.mkdir()
    (folder / "input.xml").write_text(XML.format(spec=given, thermostat=thermostat, matrix=matrix))
    setup = run.setup
    layout = SystemLayout(
        setup.numbers, setup.masses, ("H", "H"), np.zeros(3, dtype=bool), setup.n_beads, 300.0,
        0.5, (
            Field(CELLS, "cell", (3, 3), "Angstrom"),
            Field("positions", "beads", (8, 2, 3), "Angstrom"),
            Field("energies", "energies", (8,), "eV"),
        ),
    )  # fmt: skip
    file = H5MDFile(folder / "sim.trajectory.h5", [0])
    for k in range(run.n_frames):
        file.append(0, layout, {
            CELLS: 20.0 * np.eye(3), "positions": run.read("positions", k),
            "energies": run.read("energies", k), "step": run.step[k], "time": run.time[k],
        })  # fmt: skip
    file.close()
    return folder


def call(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(fep)
    return CliRunner().invoke(app, list(arguments))


def test_from_one_run_to_another_potential(tmp_path: Path) -> None:
    """EXP; numbers, table and figures; labels are kept, so that it need not evaluate again."""
    folder = stored(tmp_path / "a.run", 5.0, 1)
    relabel(folder, spec(6.0), name="before", stride=2)
    result = call(str(folder), "--to", spec(6.0), "--skip", "0")
    assert result.exit_code == 0, result.output
    assert "sigma_w" in result.output
    found = json.loads((folder / "analysis" / "fep.json").read_text())
    value = found["quantities"][0]
    exact = 3000 * 0.47727381 * KT
    assert abs(value["value"] - exact) < 4 * value["error"]
    assert value["error"] < 1.5
    assert (value["unit"], value["note"]) == ("meV/atom", "EXP")
    figures = {path.name for path in (folder / "analysis").glob("*.png")}
    assert figures == {"fep_work.png", "fep_weights.png", "fep_convergence.png"}
    assert [path.name for path in (folder / "labels").glob("*.h5")] == ["before.h5"]
    assert np.isfinite(open_run(folder).label("before").energies).all()


def test_two_runs(tmp_path: Path) -> None:
    folders = [stored(tmp_path / f"{x}.run", x, int(x)) for x in (5.0, 6.0)]
    result = call(*map(str, folders), "--per", "H2", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    value = json.loads((tmp_path / "out" / "fep.json").read_text())["quantities"][0]
    assert abs(value["value"] - 6000 * 0.47727381 * KT) < 4 * value["error"]
    assert (value["unit"], value["note"]) == ("meV/H2", "BAR")


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    folder = stored(tmp_path / "a.run", 5.0, 1)
    piglet = stored(tmp_path / "b.run", 5.0, 2, "nm_gle", "<A> [1.0] </A><C> [1.0] </C>")
    for arguments, match in (
        ((str(folder),), "name a second potential with --to"),
        ((str(folder), "--to", spec(300.0)), "samples carry the average"),
        ((str(folder), "--to", spec(6.0), "--potential", spec(5.1)), "not the potential that was"),
        ((str(piglet), "--to", spec(6.0)), "breaks detailed balance"),
        ((str(folder), "--to", spec(6.0), "--per", "H2O"), "no multiple"),
        ((str(tmp_path / "none"), "--to", spec(6.0)), "no such run"),
    ):
        result = call(*arguments)
        assert result.exit_code == 2, result.output
        assert match in result.output
        assert "Traceback" not in result.output
    assert not list(piglet.glob("analysis/*"))
