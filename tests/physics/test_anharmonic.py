"""G7: anharmonic wells at finite P through `pimd run`, estimated from columns and stored beads.

hbar = m = 1, beta = 8, 16 beads: particles of 100 electron masses at 395 K in the wells of
`anharmonic.py`, and its units. Exact averages by powers of the short-time density matrix.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import pimd
from pimd.analysis.run_estimates import estimates_of
from pimd.commands.estimate import estimate
from pimd.results.quantity import Quantity

from . import references as ref
from .anharmonic import ENERGY, ENERGY_EV, MASS, TIME_FS, WELLS
from .ipi_runs import Input, run_pimd

BETA, N_BEADS, TIME_STEP = 8.0, 16, 0.1
"""The time step shifts averages by some 0.05 %."""
WELL = Path(__file__).with_name("anharmonic.py")
SAMPLES = """    <trajectory format='h5md' filename='trajectory' stride='40'>
      [ positions, forces, energies ] </trajectory>
"""


def exact(shape: str, n_beads: int = N_BEADS) -> ref.Bead1D:
    second, third, fourth = WELLS[shape]
    return ref.matrix_powers(
        lambda x: second * x**2 + third * x**3 + fourth * x**4, 1.0, BETA, n_beads,
        np.linspace(-11, 9, 1201) if shape == "mild" else np.linspace(-7, 7, 1001),
    )


def run_well(folder: Path, shape: str, n_atoms: int, n_steps: int) -> None:
    """A run whose record is in folder/run."""
    run_pimd(
        folder,
        Input(
            symbols=["H"] * n_atoms,
            positions=np.full((n_atoms, 3), -0.1 * ref.BOHR_ANGSTROM),
            masses=(MASS,) * n_atoms,
            spec=f"{{potential: {WELL}:Well, shape: {shape}}}",
            n_beads=N_BEADS,
            temperature=ENERGY / BETA / ref.KB_HARTREE,
            time_step=TIME_STEP * TIME_FS,
            n_steps=n_steps,
            thermostat_time=2.0 * TIME_FS,
            fixcom=False,
            stride=4,
            properties=("potential", "kinetic_cv", "kinetic_td", "temperature", "spring"),
            trajectories=SAMPLES,
        ),
        time_limit=900,
    )


def assert_near(found: Quantity, reference: float, ceiling: float, tolerance: float) -> None:
    """To 4 standard errors, which are small, and to a tolerance."""
    said = f"{found.name} ({found.note}): {found}, exact {reference:.6g} {found.unit}"
    print(said)
    assert found.error <= ceiling * abs(reference), said
    assert abs(found.value - reference) <= 4 * found.error, said
    assert abs(found.value - reference) <= tolerance * abs(reference), said


def check_well(folder: Path, shape: str, n_atoms: int, n_steps: int, ceiling: float) -> None:
    run_well(folder, shape, n_atoms, n_steps)
    run = pimd.open_run(folder / "run")
    wanted, per = exact(shape), 3 * n_atoms * ENERGY_EV
    skip = 40.0 * TIME_FS
    found = estimates_of(run, skip=skip).quantities
    assert found["potential energy"].note == "column"
    tolerance = max(0.01, 4 * ceiling)
    assert_near(found["energy"], wanted.energy * per, ceiling, tolerance)
    assert_near(found["potential energy"], wanted.potential * per, 2 * ceiling, tolerance)
    assert_near(found["kinetic energy, centroid virial"], wanted.kinetic * per, ceiling, tolerance)
    of_atom = found["kinetic energy of H, per atom"]
    assert "frames" in of_atom.note
    assert_near(of_atom, 3 * wanted.kinetic * 1000 * ENERGY_EV, 3 * ceiling, 3 * tolerance)
    start = int(np.searchsorted(run.time, skip))
    q = run.read("positions")[start:] / ref.BOHR_ANGSTROM
    squares = pimd_average(np.square(q).mean(axis=(1, 2, 3)))
    assert_near(squares, wanted.mean_square, 3 * ceiling, 3 * tolerance)
    # what was stored is what was written: potential and K_cv of the frames, to rounding
    energies = run.read("energies").mean(axis=1)
    column = run.properties["potential"].at(run.step)
    both = np.isfinite(column)
    assert both.sum() > 10
    np.testing.assert_allclose(energies[both], column[both], rtol=1e-9)


def pimd_average(series: np.ndarray) -> Quantity:
    from pimd.analysis.statistics import average

    return Quantity.of("<x^2>", average(series, 0))


def test_double_well(tmp_path: Path) -> None:
    check_well(tmp_path, "double", 60, 2500, ceiling=0.01)
    check_command(tmp_path / "run")


def check_command(run: Path) -> None:
    """`pimd estimate` on it: JSON and a figure, from columns and by evaluating stored beads."""
    app = typer.Typer()
    app.command()(estimate)
    ran = CliRunner().invoke(app, [str(run), "--evaluate", "--stride", "4"])
    assert ran.exit_code == 0, ran.output
    assert (run / "analysis" / "estimate_running.png").stat().st_size > 1000
    written = json.loads((run / "analysis" / "estimate.json").read_text())
    found = {one["name"]: one for one in written["quantities"]}
    assert found["heat capacity C_V"]["note"] == "scaled coordinates"
    energy = exact("double").energy * 180 * ENERGY_EV
    assert found["energy"]["value"] == pytest.approx(energy, rel=0.05)
    assert "estimate.json" in ran.output
    both = CliRunner().invoke(app, [str(run), "--evaluate", "--potential", "free"])
    assert both.exit_code == 2
    none = CliRunner().invoke(app, [str(run.parent / "nowhere")])
    assert none.exit_code == 2
    assert "nowhere" in none.output


@pytest.mark.physics
@pytest.mark.parametrize("shape", list(WELLS))
def test_wells(tmp_path: Path, shape: str) -> None:
    check_well(tmp_path, shape, 150, 20_000, ceiling=0.0025)


def test_double_well_is_the_one_meant() -> None:
    """Its ground state and gap are -0.154125 and 0.296890; E at 64 beads is near the former."""
    many = exact("double", 64)
    level = -0.15412483 + 0.29688993 * np.exp(-BETA * 0.29688993)  # two levels, to first order
    assert many.energy == pytest.approx(level, rel=0.05)
