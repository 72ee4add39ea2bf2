"""Structure and spectra of real dynamics against what others have found.

Liquid para-hydrogen at 25 K: OpenMM's test of ring-polymer dynamics asserts a radial distribution
function of the same system (32 molecules, 12 beads, 200 bins of L/200) to 10 %; its maximum is
1.6044, 1.6180, 1.6068 in bins 60 to 62. The harmonic wavenumbers of a q-TIP4P/F molecule are
1580.12, 3852.10 and 3919.71 cm^-1; velocity Verlet with step h shows 2/h asin(omega h/2).
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from pimd import open_run
from pimd.analysis.distributions import DistributionOptions, distributions_of_run
from pimd.analysis.lines import find_lines
from pimd.analysis.spectra import WAVENUMBER
from pimd.analysis.spectra_of_runs import SpectraOptions, spectra_of_runs
from pimd.evaluator import Evaluator
from pimd.potentials.base import Structure, Wanted
from pimd.potentials.registry import make_potential
from pimd.record.run import Run
from pimd.record.setup import Setup
from pimd.units import AMU_ANGSTROM2_PER_FS2_EV

from .ipi_runs import Input, run_pimd

EDGE, N_MOLECULES = 11.896, 32
HYDROGEN = {60: 1.6044, 61: 1.6180, 62: 1.6068}
MASSES = np.array([15.9994, 1.00794, 1.00794])
WATER = {"bend": 1580.12, "symmetric": 3852.10, "antisymmetric": 3919.71}


@pytest.mark.physics
def test_structure_of_parahydrogen(tmp_path: Path) -> None:
    lattice = bulk("H", "fcc", a=EDGE / 2, cubic=True) * (2, 2, 2)
    lattice.rattle(0.1, seed=3)
    given = Input(
        symbols=["H"] * N_MOLECULES, positions=lattice.positions, cell=(EDGE,) * 3,
        masses=(2.0,) * N_MOLECULES, n_beads=12, temperature=25, time_step=3.0, n_steps=8000,
        spec=f"{{potential: silvera_goldman, cutoff: {EDGE / 2}, pbc: true}}",
        properties=("potential",), stride=20,
        trajectories="    <trajectory format='h5md' filename='trajectory' stride='20'> "
        "[positions, forces, energies] </trajectory>\n",
    )  # fmt: skip
    run_pimd(tmp_path, given, time_limit=900)
    run = open_run(tmp_path / "run")
    options = DistributionOptions(skip=6000.0, n_bins=100, r_max=EDGE / 2, internals=False)
    found = distributions_of_run(run, options)
    beads, centroids = found.found
    for k, reference in HYDROGEN.items():
        assert beads.curve.error[k] < 0.03
        assert beads.curve.mean[k] == pytest.approx(reference, rel=0.10)
    assert beads.peak is not None
    assert centroids.peak is not None
    assert beads.peak.position == pytest.approx(61.5 * EDGE / 200, abs=0.15)
    assert centroids.peak.height > beads.peak.height + 4 * beads.peak.height_error
    (width,) = found.momenta  # K = 59.86(12) kelvin: sigma^2 = 2/3 m K
    expected = width.classical * math.sqrt(59.86 / 37.5)
    assert width.error < 0.01 * expected
    assert abs(width.width - expected) < 4 * width.error + 0.002 * expected


def water(bond_1: float, bond_2: float, degrees: float) -> np.ndarray:
    angle = math.radians(degrees)
    return np.array([
        [0.0, 0.0, 0.0], [bond_1, 0.0, 0.0],
        [bond_2 * math.cos(angle), bond_2 * math.sin(angle), 0.0],
    ])  # fmt: skip


def swing(starts: dict[str, np.ndarray], step: float, n_steps: int, stride: int) -> dict[str, Run]:
    """Velocity Verlet from rest, all structures in one batch; every `stride`-th frame."""
    evaluator = Evaluator(make_potential("qtip4pf"))
    masses = MASSES[:, None] * AMU_ANGSTROM2_PER_FS2_EV
    x = np.stack(list(starts.values()))
    v = np.zeros_like(x)

    def acceleration(x: np.ndarray) -> np.ndarray:
        structures = [
            Structure(np.array([8, 1, 1]), one, 30.0 * np.eye(3), np.zeros(3, dtype=bool))
            for one in x
        ]
        found = evaluator.evaluate_structures(structures, Wanted(virials=False))
        return np.asarray(found.forces).reshape(x.shape) / masses

    a, kept = acceleration(x), []
    for k in range(n_steps):
        if k % stride == 0:
            kept.append(v.copy())
        v += 0.5 * step * a
        x = x + step * v
        a = acceleration(x)
        v += 0.5 * step * a
    setup = Setup(np.array([8, 1, 1]), MASSES, 1, None, step, mode="nve", fixcom=True)
    steps = stride * np.arange(len(kept))
    return {
        name: Run.from_arrays(
            setup, steps, step * steps, {"velocities": np.stack(kept)[:, k][:, None]}
        )
        for k, name in enumerate(starts)
    }  # fmt: skip


@pytest.mark.physics
def test_lines_of_a_water_molecule() -> None:
    r, angle, d, step = 0.941935, 107.4, 1e-3, 0.25
    starts = {
        "bend": water(r, r, angle + 0.1),
        "symmetric": water(r + d, r + d, angle),
        "antisymmetric": water(r + d, r - d, angle),
    }
    runs = swing(starts, step, 6000, 4)
    for name, run in runs.items():
        found = spectra_of_runs([run], SpectraOptions(longest_time=700.0))
        lines = find_lines(found.vibrations["all"])
        highest = max(lines, key=lambda line: line.height)
        omega = 2 * math.pi * WATER[name] / WAVENUMBER
        expected = WATER[name] * math.asin(0.5 * omega * step) / (0.5 * omega * step)
        assert highest.position == pytest.approx(expected, abs=1.0), name
        halved = dataclasses.replace(found.options, window="blackman")
        other = max(
            find_lines(spectra_of_runs([run], halved).vibrations["all"]), key=lambda one: one.height
        )
        assert other.position == pytest.approx(highest.position, abs=1.0)
