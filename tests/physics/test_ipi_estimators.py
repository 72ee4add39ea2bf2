"""Frame by frame: the estimators of stored beads are those that i-PI writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.units import Hartree

import pimd
from pimd.analysis.bead_potential import BeadPotential
from pimd.analysis.bead_series import bead_series
from pimd.units import AMU_ANGSTROM2_PER_FS2_EV, KB_EV_PER_KELVIN

from .ipi_runs import Input, run_pimd

EDGE, N_ATOMS, N_BEADS = 11.896, 32, 4
SPEC = f"{{potential: silvera_goldman, cutoff: {EDGE / 2}}}"


def test_para_hydrogen(tmp_path: Path) -> None:
    lattice = bulk("H", "fcc", a=EDGE / 2, cubic=True) * (2, 2, 2)
    lattice.rattle(0.1, seed=3)
    given = Input(
        symbols=["H"] * N_ATOMS, positions=lattice.positions, cell=(EDGE,) * 3,
        masses=(2.0,) * N_ATOMS, spec=SPEC, n_beads=N_BEADS, temperature=25.0, time_step=2.0,
        n_steps=40, stride=10,
        properties=("potential", "kinetic_cv", "kinetic_td", "spring", "pressure_cv", "volume",
                    "kinetic_cv(H)", "r_gyration"),
        trajectories="<properties filename='vectors' stride='10'> [ step, kinetic_tens, stress_cv,"
        " scaledcoords(fd_delta=-3e-3) ] </properties>\n"
        "<trajectory format='h5md' filename='trajectory' stride='10'>"
        "[ positions, velocities, energies ]</trajectory>\n",
    )  # fmt: skip
    run = pimd.open_run(run_pimd(tmp_path, given, time_limit=300).folder)
    kelvin = run.setup.temperature
    assert kelvin is not None
    with BeadPotential(SPEC, run.setup) as potential:
        found = bead_series(run, kelvin, potential)
    column = {name: one.at(run.step) for name, one in run.properties.items()}
    assert run.n_frames == 5
    for name in ("potential", "kinetic_cv", "kinetic_td", "spring", "kinetic_tens", "volume"):
        scale = np.abs(column[name]).max()
        np.testing.assert_allclose(
            found[name].values, column[name], rtol=2e-6, atol=2e-6 * scale, err_msg=name
        )
    np.testing.assert_allclose(found["kinetic_cv(H)"].values, found["kinetic_cv"].values)
    # i-PI counts the momenta of the centroids in place of N kT
    velocities = run.read("velocities").mean(axis=1)
    kinetic = 2.0 * np.square(velocities).sum(axis=1) * AMU_ANGSTROM2_PER_FS2_EV  # [frame, xyz]
    ideal = N_ATOMS * KB_EV_PER_KELVIN * kelvin
    np.testing.assert_allclose(
        found["stress_cv"].values[:, :3] * EDGE**3 - ideal,
        column["stress_cv"][:, :3] * EDGE**3 - kinetic, rtol=1e-5, atol=1e-6,
    )
    np.testing.assert_allclose(
        found["pressure_cv"].values * EDGE**3 - ideal,
        column["pressure_cv"] * EDGE**3 - kinetic.mean(axis=1), rtol=1e-5, atol=1e-6,
    )
    scaled = next(one for name, one in column.items() if name.startswith("scaledcoords"))
    np.testing.assert_allclose(found["eps"].values, scaled[:, 0] * Hartree, rtol=1e-4)
    np.testing.assert_allclose(found["eps_prime"].values, scaled[:, 1] * Hartree**2, rtol=5e-3)
    radius = np.sqrt(found["squared_gyration(H)"].values)
    assert (column["r_gyration"][1:] < radius[1:]).all()  # the mean of the root, not its square
    np.testing.assert_allclose(column["r_gyration"], radius, rtol=0.1)
