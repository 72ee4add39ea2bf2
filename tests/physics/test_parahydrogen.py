"""Liquid para-hydrogen at 25 K: the kinetic energy of a strongly quantum liquid.

G9. 32 Silvera-Goldman molecules in a cube of 11.896 Å, cutoff at half of it, no tail, 12 beads:
K = 59.86(12) kelvin per molecule from an independent program; classical particles have 37.5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from . import references as ref
from .ipi_runs import Input, run_pimd
from .sampling import assert_agrees, estimate

EDGE, N_MOLECULES = 11.896, 32
REFERENCE, REFERENCE_ERROR = 59.86, 0.12


@pytest.mark.physics
def test_kinetic_energy(tmp_path: Path) -> None:
    lattice = bulk("H", "fcc", a=EDGE / 2, cubic=True) * (2, 2, 2)
    lattice.rattle(0.1, seed=3)
    given = Input(
        symbols=["H"] * N_MOLECULES,
        positions=lattice.positions,
        cell=(EDGE,) * 3,
        masses=(2.0,) * N_MOLECULES,
        spec=f"{{potential: silvera_goldman, cutoff: {EDGE / 2}}}",
        n_beads=12,
        temperature=25,
        time_step=3.0,
        n_steps=16000,
        thermostat_time=100.0,
        properties=("kinetic_cv", "temperature", "potential"),
        stride=2,
    )
    run = run_pimd(tmp_path, given, time_limit=900)
    melted = 1000  # rows; 6 ps
    kelvin = run["kinetic_cv"][melted:] / ref.KB_HARTREE / N_MOLECULES
    assert_agrees(
        "K, kelvin per molecule", kelvin, REFERENCE, reference_error=REFERENCE_ERROR,
        ceiling=0.25, tolerance=1.0,
    )
    temperature = estimate(run["temperature"][melted:] / ref.KB_HARTREE)
    assert abs(temperature.mean - 25) < 4 * temperature.error + 0.1
    assert np.isfinite(run["potential"]).all()
