"""The q-TIP4P/F molecule: its energy, its O-H bond and the whole of it at 300 K with 32 beads.

G8. Both runs go through `pimd run`. The bond: the package has no one-dimensional bond, so an ASE
calculator takes every Cartesian coordinate for a bond of reduced mass, which makes one particle
three independent samples of the one-dimensional problem that `references.matrix_powers` solves
exactly; that the package's molecule has just this bond is asserted on its energy. The molecule:
against a PIMD of the molecule that shares no code with the package, with equal beads and time
step.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pimd.evaluator import Evaluator
from pimd.potentials.base import Structure
from pimd.potentials.registry import make_potential

from . import references as ref
from .ipi_runs import Input, run_pimd
from .sampling import assert_agrees, estimate
from .test_references import oh_stretch
from .water_reference import Monomer, sample_molecules

KT = ref.KB_HARTREE * 300
N_BEADS = 32
HARTREE_EV = ref.HARTREE_MEV / 1000


def test_package_has_the_energy_and_forces_of_the_molecule() -> None:
    """The package's molecule and the reference's are one, far from the minimum too."""
    monomer, rng = Monomer(), np.random.default_rng(8)
    q = monomer.minimum() + 0.15 * rng.standard_normal((50, 3, 3))
    q[0], q[1] = monomer.minimum(), monomer.minimum()
    q[1, 1] *= 1.3  # one bond stretched alone: the term that the bond's test samples
    energies, forces = monomer.evaluate(q)
    assert energies[1] == pytest.approx(float(monomer.stretch(1.3 * monomer.bond)), rel=1e-12)
    structures = [Structure(np.array([8, 1, 1]), x * ref.BOHR_ANGSTROM) for x in q]
    got = Evaluator(make_potential("qtip4pf")).evaluate_structures(structures)
    assert got.forces is not None
    scale = HARTREE_EV / ref.BOHR_ANGSTROM
    np.testing.assert_allclose(got.energies, energies * HARTREE_EV, rtol=2e-9, atol=1e-10)
    np.testing.assert_allclose(got.forces.reshape(q.shape), forces * scale, rtol=2e-9, atol=1e-8)


@pytest.mark.physics
def test_oh_bond(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n_atoms, bond = 400, Monomer().bond * ref.BOHR_ANGSTROM
    reduced = 1.00794 * 15.9994 / (1.00794 + 15.9994)
    folder = str(Path(__file__).resolve().parents[1])
    monkeypatch.setenv("PYTHONPATH", folder + os.pathsep + os.environ.get("PYTHONPATH", ""))
    given = Input(
        symbols=["H"] * n_atoms,
        positions=np.full((n_atoms, 3), bond),
        cell=(1000.0, 1000.0, 1000.0),
        masses=(reduced,) * n_atoms,
        spec="{potential: ase, calculator: physics.oh_calculator.OHBonds, virial: zero, "
        "pbc: false}",
        n_beads=N_BEADS,
        temperature=300,
        time_step=0.25,
        n_steps=3600,
        thermostat_time=5.0,
        fixcom=False,
        properties=("kinetic_cv", "potential"),
    )
    run = run_pimd(tmp_path, given, time_limit=900)
    exact = oh_stretch(N_BEADS)
    # BAOAB at 0.25 fs puts 0.13 % on K and V of a harmonic bond of this frequency
    monomer = Monomer()
    frequency = monomer.width * np.sqrt(2 * monomer.depth / reduced / ref.DALTON_ELECTRON_MASS)
    sampled, canonical = (
        ref.sampled_oscillator(N_BEADS, 1 / KT, frequency, h / ref.ATOMIC_TIME_FS, "baoab")
        for h in (given.time_step, 0.0)
    )
    bias = sampled.kinetic_cv / canonical.kinetic_cv
    assert 1 < bias < 1.002
    for name, reference in (("kinetic_cv", exact.kinetic), ("potential", exact.potential)):
        series = run[name][300:] / (3 * n_atoms) / reference
        got = assert_agrees(f"O-H {name}", series, bias, ceiling=1.5e-3, tolerance=5e-3)
        assert abs(got.mean - 1) < 5e-3


@pytest.mark.physics
def test_isolated_molecule(tmp_path: Path) -> None:
    time_step, n_molecules = 0.5, 16
    reference = sample_molecules(
        Monomer(), KT, n_beads=N_BEADS, n_molecules=256,
        time_step=time_step / ref.ATOMIC_TIME_FS, n_steps=5000, n_equilibration=400, seed=1,
    )
    # 500 Å apart the molecules' dipoles interact by 1e-8 eV
    molecule = Monomer().minimum() * ref.BOHR_ANGSTROM
    places = 500.0 * np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)
    given = Input(
        symbols=["O", "H", "H"] * n_molecules,
        positions=np.concatenate([molecule + place for place in places[:n_molecules]]),
        cell=(10000.0, 10000.0, 10000.0),
        spec="{potential: qtip4pf, pbc: false}",
        n_beads=N_BEADS,
        temperature=300,
        time_step=time_step,
        n_steps=22000,
        thermostat_time=10.0,
        fixcom=False,
        properties=("kinetic_cv(H)", "kinetic_cv(O)", "potential"),
    )
    run = run_pimd(tmp_path, given, time_limit=900)
    for name, of, per_molecule in (
        ("kinetic_cv(H)", "kinetic_h", 2), ("kinetic_cv(O)", "kinetic_o", 1),
        ("potential", "potential", 1),
    ):
        other = estimate(reference[of] * ref.HARTREE_MEV)
        series = run[name][1000:] / (per_molecule * n_molecules) * ref.HARTREE_MEV
        assert_agrees(
            f"H2O {name}, meV", series, other.mean, reference_error=other.error,
            ceiling=1.5e-3 * other.mean, tolerance=5e-3 * other.mean,
        )
