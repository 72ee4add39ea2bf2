"""Harmonic oscillators at finite P and finite time step, through `pimd run`; nothing to adjust.

G5: hbar = m = Omega = 1, beta = 5, P = 8, time step 0.3, both of i-PI's splittings, against the
exact stationary averages of the integrator (`references.sampled_oscillator`). In atomic units
this is a particle of one electron mass at 63,155 K on a spring of 1 hartree/bohr^2.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from . import references as ref
from .ipi_runs import Input, run_pimd
from .sampling import assert_agrees

N_ATOMS, N_BEADS, BETA, TIME_STEP = 200, 8, 5.0, 0.3
SPRING = ref.HARTREE_MEV / 1000 / ref.BOHR_ANGSTROM**2
"""1 hartree/bohr^2 in eV/Å^2."""


@pytest.mark.parametrize("splitting", ["obabo", "baoab"])
def test_averages_at_finite_beads_and_time_step(tmp_path: Path, splitting: str) -> None:
    given = Input(
        symbols=["H"] * N_ATOMS,
        positions=np.zeros((N_ATOMS, 3)),
        cell=(1000.0, 1000.0, 1000.0),
        masses=(1 / ref.DALTON_ELECTRON_MASS,) * N_ATOMS,
        spec=f"{{potential: harmonic, k: {SPRING:.14g}}}",
        n_beads=N_BEADS,
        temperature=1 / BETA / ref.KB_HARTREE,
        time_step=TIME_STEP * ref.ATOMIC_TIME_FS,
        n_steps=6000,
        splitting=splitting,
        thermostat_time=1.0 * ref.ATOMIC_TIME_FS,
        fixcom=False,
        properties=("temperature", "potential", "kinetic_cv", "kinetic_td"),
    )
    run = run_pimd(tmp_path, given, time_limit=300)
    exact = ref.sampled_oscillator(N_BEADS, BETA, 1.0, TIME_STEP, splitting)
    for name, reference, tolerance, ceiling in (
        ("potential", exact.potential, 5e-3, 1.5e-3),
        ("kinetic_cv", exact.kinetic_cv, 5e-3, 1.5e-3),
        ("kinetic_td", exact.kinetic_td, 1e-2, 3e-3),
        ("temperature", exact.temperature / BETA, 3e-3, 1.5e-3),
    ):
        per_dof = 1 if name == "temperature" else 3 * N_ATOMS
        series = run[name][300:] / per_dof / reference
        assert_agrees(f"{name} ({splitting})", series, 1.0, ceiling=ceiling, tolerance=tolerance)
    if splitting == "baoab":
        cold = 1 - TIME_STEP**2 / 4  # of a classical oscillator; the ring's modes add 0.1 %
        assert abs(run["temperature"][300:].mean() * BETA / cold - 1) < 3e-3


def test_splittings_are_told_apart() -> None:
    """The tolerances above lie within the differences between the splittings."""
    obabo, baoab = (
        ref.sampled_oscillator(N_BEADS, BETA, 1.0, TIME_STEP, scheme)
        for scheme in ("obabo", "baoab")
    )
    assert obabo.potential / baoab.potential - 1 > 0.02
    assert obabo.kinetic_cv / baoab.kinetic_cv - 1 > 0.01
    assert 1 - obabo.kinetic_td / baoab.kinetic_td > 0.05
    assert obabo.temperature / baoab.temperature - 1 > 0.02
