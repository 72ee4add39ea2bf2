"""G14: pairs of runs through `pimd run` sample the ensembles of their temperatures and pressures.

The slope of ln(p2/p1) against the difference of reduced energies is 1, springs included. Ring
polymers in a double well at two temperatures, and free ones at two pressures.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pimd
from pimd.analysis.ensemble_check import EnsembleCheck
from pimd.analysis.run_convergence import compare
from pimd.analysis.run_estimates import estimates_of

from . import references as ref
from .anharmonic import ENERGY, MASS, TIME_FS, WELLS
from .ipi_runs import Input, run_pimd

WELL = Path(__file__).with_name("anharmonic.py")
KT = ref.KB_HARTREE * 300
EDGE = 20.0


def checked(folders: list[Path], skip: float) -> EnsembleCheck:
    """Compare the records of two runs; the slope and its error are printed."""
    runs = [estimates_of(pimd.open_run(folder), skip=skip) for folder in folders]
    (pair,) = compare(runs).pairs
    assert pair.check is not None, pair.reason
    found = pair.check
    print(f"slope {found.slope:.4f} +- {found.error:.4f}, samples {found.n_samples}, "
          f"inefficiencies {found.inefficiencies}")
    return found


def well(folder: Path, beta: float, seed: int) -> Path:
    given = Input(
        symbols=["H"] * 10, positions=np.full((10, 3), 0.5), seed=seed,
        masses=(MASS,) * 10,
        spec=f"{{potential: {WELL}:Well, shape: double}}",
        n_beads=8, temperature=ENERGY / beta / ref.KB_HARTREE,
        time_step=0.15 * TIME_FS, n_steps=12_000, stride=4, fixcom=False,
        thermostat_time=2.0 * TIME_FS, properties=("potential", "spring"),
    )
    return run_pimd(folder, given, time_limit=900).folder


@pytest.mark.physics
def test_temperatures(tmp_path: Path) -> None:
    """beta = 5 and 5.5 of 8 beads; f2 - f1 of the 30 wells from exact partition functions."""
    betas = (5.0, 5.5)
    folders = [well(tmp_path / str(k), beta, 31 + k) for k, beta in enumerate(betas)]
    found = checked(folders, skip=30 * TIME_FS)
    assert found.error < 0.1
    assert found.passed
    exact = 30 * (free_energy(betas[1]) - free_energy(betas[0]))
    assert found.difference == pytest.approx(exact, abs=0.15)


def free_energy(beta: float, n_beads: int = 8) -> float:
    """-ln of the integral over the beads alone, which has no (m P/2 pi beta)^(P/2)."""
    second, third, fourth = WELLS["double"]

    def values(x: np.ndarray) -> np.ndarray:
        return second * x**2 + third * x**3 + fourth * x**4

    # matrix_powers gives E = -d ln Z/d beta; ln Z = -integral of E from one beta to the next, and
    # the prefactor's logarithm is (P/2) ln beta
    grid = np.linspace(-6.5, 6.5, 801)
    nodes, weights = np.polynomial.legendre.leggauss(6)
    half = 0.5 * (beta - 5.0)
    energies = [
        ref.matrix_powers(values, 1.0, 5.0 + half * (1 + x), n_beads, grid).energy for x in nodes
    ]
    return float(half * (weights @ energies) - 0.5 * n_beads * np.log(beta))


def gas(folder: Path, pressure: float, seed: int) -> Path:
    given = Input(
        symbols=["H"] * 8, positions=np.random.default_rng(0).uniform(0, EDGE, (8, 3)), seed=seed,
        cell=(EDGE,) * 3, spec="{potential: free}", n_beads=2, temperature=300, time_step=12.0,
        n_steps=12_000, stride=4, mode="npt", fixcom=False, thermostat_time=45.0,
        dynamics="        <barostat mode='isotropic'><tau units='femtosecond'> 60 </tau>"
        "<thermostat mode='langevin'><tau units='femtosecond'> 45 </tau></thermostat>"
        "</barostat>\n",
        ensemble=f"      <pressure units='atomic_unit'> {pressure:.12e} </pressure>\n",
        properties=("potential", "spring", "volume"),
    )
    return run_pimd(folder, given, time_limit=900).folder


@pytest.mark.physics
def test_pressures(tmp_path: Path) -> None:
    """Of 8 free particles p and 1.3 p, and what the check says of a pressure that was not held."""
    pressure = 8 * KT / (EDGE / ref.BOHR_ANGSTROM) ** 3
    folders = [gas(tmp_path / str(k), f * pressure, 5 + k) for k, f in enumerate((1.0, 1.3))]
    found = checked(folders, skip=5000.0)
    assert found.error < 0.15
    assert found.passed
    # Z = integral dV V^8 exp(-pV/kT): f = 9 ln p
    assert found.difference == pytest.approx(9 * np.log(1.3), abs=0.2)
    text = folders[1] / "input.xml"
    text.write_text(text.read_text().replace(f"{1.3 * pressure:.12e}", f"{1.6 * pressure:.12e}"))
    assert not checked(folders, skip=5000.0).passed
