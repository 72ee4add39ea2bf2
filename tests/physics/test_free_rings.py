"""Free ring polymers and the ideal gas, through `pimd run`.

G6: K_cv is 3/2 kT per atom to rounding, Rg^2 and P_cv V have closed forms, and at constant
pressure <V> and Var(V) tell whether the centre of mass is counted (the measure
is dV).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from . import references as ref
from .ipi_runs import Input, Run, run_pimd
from .sampling import assert_agrees

KT = ref.KB_HARTREE * 300
BOHR = ref.BOHR_ANGSTROM
N_ATOMS, N_BEADS = 60, 16
EDGE = 20.0


@pytest.fixture(scope="module")
def gas(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Hydrogen atoms without forces at 300 K, 16 beads, positions every 10 steps."""
    given = Input(
        symbols=["H"] * N_ATOMS,
        positions=np.random.default_rng(2).uniform(0, EDGE, (N_ATOMS, 3)),
        cell=(EDGE, EDGE, EDGE),
        spec="{potential: free}",
        n_beads=N_BEADS,
        temperature=300,
        time_step=2.0,
        n_steps=6000,
        thermostat_time=20.0,
        fixcom=False,
        properties=("kinetic_cv", "kinetic_td", "pressure_cv", "volume", "temperature",
                    "potential", "r_gyration"),
        trajectories="    <trajectory stride='10' filename='pos' format='xyz' "
        "cell_units='angstrom'> positions{angstrom} </trajectory>\n",
    )
    return run_pimd(tmp_path_factory.mktemp("gas"), given, time_limit=300)


def test_free_rings_have_the_ideal_kinetic_energy(gas: Run) -> None:
    ideal = 1.5 * N_ATOMS * KT
    np.testing.assert_allclose(gas["kinetic_cv"], ideal, rtol=1e-12)
    np.testing.assert_array_equal(gas["potential"], 0.0)
    assert_agrees("K_td", gas["kinetic_td"][300:] / ideal, 1.0, ceiling=8e-3, tolerance=4e-2)
    assert_agrees("T", gas["temperature"][300:] / KT, 1.0, ceiling=1.5e-3, tolerance=5e-3)


def test_free_rings_have_the_ideal_pressure(gas: Run) -> None:
    product = gas["pressure_cv"] * gas["volume"] / (N_ATOMS * KT)
    assert_agrees("P_cv V/NkT", product[300:], 1.0, ceiling=5e-3, tolerance=2e-2)


def test_free_rings_have_the_closed_radius_of_gyration(gas: Run) -> None:
    positions = gas.positions(n_skip=30) / BOHR  # [frame, bead, atom, xyz]
    away = positions - positions.mean(axis=1, keepdims=True)
    gyration = (away**2).sum(axis=3).mean(axis=1)  # [frame, atom]
    mass = 1.00794 * ref.DALTON_ELECTRON_MASS
    exact = 3 * ref.free_gyration(N_BEADS, 1 / KT, mass)
    assert_agrees("Rg^2", gyration.mean(axis=1) / exact, 1.0, ceiling=2.5e-3, tolerance=1e-2)
    # i-PI's own r_gyration is the mean of the square roots, 2 % less than the root of the mean
    frames = gas["r_gyration"][9::10][29:]
    np.testing.assert_allclose(frames, np.sqrt(gyration).mean(axis=1), rtol=1e-3)
    assert np.sqrt(gyration.mean()) / frames.mean() > 1.01


@pytest.mark.parametrize("fixcom", [False, True])
def test_ideal_gas_at_constant_pressure(tmp_path: Path, fixcom: bool) -> None:
    n_atoms = 8
    pressure = n_atoms * KT / (EDGE / BOHR) ** 3
    given = Input(
        symbols=["H"] * n_atoms,
        positions=np.random.default_rng(0).uniform(0, EDGE, (n_atoms, 3)),
        cell=(EDGE, EDGE, EDGE),
        spec="{potential: free}",
        n_beads=2,
        temperature=300,
        time_step=15.0,
        n_steps=25000,
        mode="npt",
        fixcom=fixcom,
        thermostat_time=45.0,
        dynamics="        <barostat mode='isotropic'><tau units='femtosecond'> 60 </tau>"
        "<thermostat mode='langevin'><tau units='femtosecond'> 45 </tau></thermostat>"
        "</barostat>\n",
        ensemble=f"      <pressure units='atomic_unit'> {pressure:.15e} </pressure>\n",
        properties=("volume", "kinetic_cv"),
        seed=31 + fixcom,
    )
    run = run_pimd(tmp_path, given, time_limit=300)
    volume = run["volume"][1000:]
    mean, variance = ref.ideal_gas_volume(n_atoms, KT, pressure, fixcom)
    other, _ = ref.ideal_gas_volume(n_atoms, KT, pressure, not fixcom)
    got = assert_agrees("<V>", volume / mean, 1.0, ceiling=6e-3, tolerance=2e-2)
    square = (volume - volume.mean()) ** 2 / variance
    assert_agrees("Var V", square, 1.0, ceiling=2.5e-2, tolerance=0.1)
    assert abs(got.mean * mean - other) > 5 * got.error * mean
    np.testing.assert_allclose(run["kinetic_cv"], 1.5 * n_atoms * KT, rtol=1e-12)
