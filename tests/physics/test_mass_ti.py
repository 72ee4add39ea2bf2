"""G10: `inputs/mass_ti`, classical to quantum nuclei in a trap, against the exact answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from pimd.free_energy.ladder_results import analyse_ladder
from pimd.free_energy.ladder_runs import run_ladder, write_ladder
from pimd.ipi.input import read_input
from pimd.run.together import Options
from pimd.units import KB_EV_PER_KELVIN

EXACT = 0.87360106
"""beta (A_q - A_cl) of an oscillator of 16 beads at beta hbar omega = 5."""


@pytest.mark.physics
def test_particles_in_a_trap(tmp_path: Path) -> None:
    document = read_input(Path(__file__).parents[2] / "inputs" / "mass_ti" / "input.xml")
    runs = write_ladder(document, tmp_path / "ladder", 6)
    run_ladder(runs, print, Options(threads=1))
    found = analyse_ladder(runs)
    unit = 192 * KB_EV_PER_KELVIN * 300.0
    value, error = found.integral.value / unit, found.integral.error / unit
    assert error < 1.5e-3 * EXACT
    assert abs(value - EXACT) < 4 * error
    assert abs(value - EXACT) < 4e-3 * EXACT
    assert found.quadrature / unit < 1e-3 * EXACT
