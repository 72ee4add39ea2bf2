"""`pimd uncertainty` on a run of i-PI: a committee of springs, recorded with its members."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from ase import Atoms
from ase.io import write
from typer.testing import CliRunner

from pimd import open_run
from pimd.commands.uncertainty import uncertainty
from pimd.units import KB_EV_PER_KELVIN

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from run.runs import pimd, write_input

STIFF = (0.8, 0.95, 1.05, 1.2)
COMMITTEE = (
    "{potential: committee, pbc: False, members: ["
    + "; ".join(f"{{potential: harmonic, k: {k}}}" for k in STIFF)
    + "]}"
)
OUTPUTS = """<properties stride='2' filename='out'>
      [ step, potential, kinetic_cv, kinetic_td ] </properties>
    <trajectory format='h5md' filename='trajectory' stride='4'> [ positions, energies, members ]
    </trajectory>"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 400 steps, members.h5 beside the record."""
    folder = tmp_path_factory.mktemp("uncertainty")
    path = write_input(
        folder, COMMITTEE, steps=400, beads=2, atoms=6, spread=0.2, timestep=1.0, tau=5.0, seed=11,
        outputs=OUTPUTS, checkpoint="",
    )
    done = pimd("run", path, "--member-forces-every", 6, limit=300.0)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "input.run"


def run_command(*arguments: object) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(uncertainty)
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    return result.exit_code, " ".join(result.output.split())


def found_in(folder: Path) -> dict[str, dict[str, object]]:
    scalars = json.loads((folder / "uncertainty.json").read_text())["data"]["scalars"]
    assert isinstance(scalars, dict)
    return scalars


def test_errors_of_a_run(recorded: Path) -> None:
    """The members' exponents are those of the springs, over all beads, from what i-PI moved."""
    status, said = run_command(recorded, "--observable", "potential", "--observable", "kinetic",
                               "--observable", "kinetic_td", "--skip", "0.05")  # fmt: skip
    assert status == 0, said
    scalars = found_in(recorded / "analysis")
    run = open_run(recorded)
    late = run.step >= 50
    squares = np.square(run.read("positions")[late]).sum(axis=(2, 3)).mean(axis=1)
    kt = KB_EV_PER_KELVIN * 300.0
    for i, k in enumerate(STIFF):
        h = 0.5 * (k - 1.0) * squares / kt
        assert scalars["potential"]["variances"][i] == pytest.approx(h.var(ddof=1), rel=1e-6)
    assert scalars["potential"]["n_samples"] == late.sum()
    # frames of members.h5 for what needs the forces of members
    assert scalars["kinetic"]["n_samples"] == len([s for s in range(0, 401, 6) if s >= 52])
    rises = np.diag(scalars["kinetic"]["matrix"])
    assert (np.diff(rises) > 0).all()  # the kinetic energy of stiffer springs is larger
    assert "kinetic_td" in scalars


def test_alpha_from_a_validation_set(recorded: Path, tmp_path: Path) -> None:
    """Found for the committee of the run, and applied to its members."""
    rng = np.random.default_rng(1)
    frames = []
    for _ in range(20):
        atoms = Atoms("H2", 0.2 * rng.normal(size=(2, 3)))
        atoms.info["REF_energy"] = 0.5 * 1.9 * float(np.square(atoms.positions).sum())
        atoms.arrays["REF_forces"] = -1.9 * atoms.positions
        frames.append(atoms)
    write(tmp_path / "v.extxyz", frames)
    plain, wide = tmp_path / "plain", tmp_path / "wide"
    assert run_command(recorded, "--out", plain, "--observable", "potential")[0] == 0
    status, said = run_command(
        recorded, "--out", wide, "--observable", "potential", "--validation", tmp_path / "v.extxyz"
    )
    assert status == 0, said
    alpha = (1.9 - 1.0) / np.std(STIFF, ddof=1)  # by likelihood: four members are few
    told = json.loads((wide / "calibration.json").read_text())
    assert told["quantities"][0]["value"] == pytest.approx(alpha, rel=1e-6)
    assert "too few" in said
    ratio = np.array(found_in(wide)["potential"]["variances"]) / np.array(
        found_in(plain)["potential"]["variances"]
    )
    np.testing.assert_allclose(ratio, alpha**2, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("--observable", "volumes"), "no observable 'volumes'"),
        (("--method", "exact"), "direct' or 'cumulant"),
        (("--about", "me"), "about is one of"),
        (("--members", "other"), "other"),
        (("--skip", "9"), "left out"),
    ],
)
def test_wrong_use_is_told(recorded: Path, arguments: tuple[str, ...], match: str) -> None:
    status, said = run_command(recorded, *arguments)
    assert status == 2, said
    assert match in said


def test_neither_run_nor_validation() -> None:
    status, said = run_command()
    assert status == 2
    assert "expected a run" in said
