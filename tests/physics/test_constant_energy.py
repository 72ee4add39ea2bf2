"""Conservation of energy: what rms, drift and rounding of the forces say about a potential.

G3: velocity Verlet conserves H to h^2 and its shadow Hamiltonian to h^4; halving the step divides
the fluctuations by 4 and 16. Forces that are not the gradient of the energy, or a jump at a
cutoff, spoil both, and show as drift.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from pimd.evaluator import Evaluator
from pimd.potentials.base import Structure, Wanted
from pimd.potentials.registry import make_potential

from . import references as ref
from .ipi_runs import Input, run_pimd
from .verlet import KB_EV, Trajectory, integrate, slope, thermal
from .water_reference import MASSES, Monomer


def silicon() -> Atoms:
    """A cube of 8 atoms, off its lattice sites."""
    atoms = bulk("Si", "diamond", a=5.431, cubic=True)
    atoms.rattle(0.02, seed=1)
    return atoms


def argon() -> Atoms:
    """32 atoms near the solid's density, smaller than twice the cutoff."""
    atoms = bulk("Ar", "fcc", a=5.31, cubic=True) * (2, 2, 2)
    atoms.rattle(0.02, seed=1)
    return atoms


def water(n_molecules: int = 2) -> Atoms:
    """A small cluster, without a cell."""
    molecule = Monomer().minimum() * ref.BOHR_ANGSTROM
    positions = [molecule + np.array([0.0, 2.9 * k, 0.3 * k]) for k in range(n_molecules)]
    atoms = Atoms("OHH" * n_molecules, np.concatenate(positions))
    atoms.set_masses(np.tile(MASSES, n_molecules) / ref.DALTON_ELECTRON_MASS)
    return atoms


SYSTEMS: dict[str, tuple[Callable[[], Atoms], float, float, float]] = {
    "stillinger_weber": (silicon, 300, 2.0, 2000),
    "lennard_jones, mode: smooth, cutoff: 8.0, switch: 2.0": (argon, 40, 10.0, 8000),
    "qtip4pf": (water, 300, 0.4, 400),
}
"""SPEC -> structure, kelvin, fs of the longer time step, fs in all."""

WITH_SINGLE_PRECISION = tuple(spec for spec in SYSTEMS if spec != "qtip4pf")


def at_constant_energy(spec: str, time_step: float) -> Trajectory:
    make, temperature, _, total = SYSTEMS[spec.partition(", dtype")[0]]
    atoms, kt = make(), KB_EV * temperature
    masses = atoms.get_masses()
    velocities = thermal(masses, 2 * kt, np.random.default_rng(0))
    return integrate(
        Evaluator(make_potential(spec)), Structure.from_ase(atoms), velocities, masses,
        time_step, round(total / time_step), kt,
    )


@pytest.mark.parametrize("spec", SYSTEMS)
def test_energy_fluctuates_with_the_square_of_the_time_step(spec: str) -> None:
    time_step = SYSTEMS[spec][2]
    long, short = (at_constant_energy(spec, h) for h in (time_step, time_step / 2))
    ratio = long.rms("energy") / short.rms("energy")
    shadow_ratio = long.rms("shadow") / short.rms("shadow")
    message = (
        f"{spec}: rms(H) {long.rms('energy'):.3g} -> {short.rms('energy'):.3g} kT/dof, ratio "
        f"{ratio:.3f}; shadow {long.rms('shadow'):.3g} -> {short.rms('shadow'):.3g}, ratio "
        f"{shadow_ratio:.2f}; drift of H {short.drift('energy'):.2g}, of the shadow "
        f"{short.drift('shadow'):.2g} kT/dof/ps"
    )
    print(message)
    assert abs(ratio - 4) < 0.4, message
    assert abs(shadow_ratio - 16) < 1.6, message
    # the slope of H over a few ps is the slope of its fluctuations; the shadow has few
    assert abs(short.drift("shadow")) < 1e-6, message


@pytest.mark.parametrize("spec", WITH_SINGLE_PRECISION)
def test_energy_drifts_little_in_single_precision(spec: str) -> None:
    run = at_constant_energy(f"{spec}, dtype: float32", SYSTEMS[spec][2] / 2)
    print(spec, run.drift("energy"), run.drift("shadow"))
    assert abs(run.drift("energy")) < 1e-4
    assert abs(run.drift("shadow")) < 1e-4


@pytest.mark.parametrize("spec", WITH_SINGLE_PRECISION)
def test_single_precision_forces_are_off_by_rounding_alone(spec: str) -> None:
    """rms(F32 - F64)/rms(F64), over structures off equilibrium, in units of 2^-24."""
    rng = np.random.default_rng(5)
    structures = []
    for _ in range(16):
        atoms = SYSTEMS[spec][0]()
        atoms.positions += 0.05 * rng.standard_normal(atoms.positions.shape)
        structures.append(Structure.from_ase(atoms))
    single, double = (
        Evaluator(make_potential(f"{spec}, dtype: {dtype}")).evaluate_structures(
            structures, Wanted(virials=False)
        )
        for dtype in ("float32", "float64")
    )
    assert single.forces is not None
    assert double.forces is not None
    noise = np.sqrt(((single.forces - double.forces) ** 2).mean() / (double.forces**2).mean())
    print(f"{spec}: {noise:.3g} = {noise * 2**24:.1f} x 2^-24")
    assert 0 < noise * 2**24 < 100


PIMD = {
    "stillinger_weber": (silicon, 300, 1.5, 3000, 5.431, 1e-5),
    "qtip4pf, pbc: false": (water, 300, 0.4, 500, 1000.0, None),
}
"""SPEC -> structure, kelvin, fs of the longer time step, fs in all, edge of the cell, ceiling on
the drift in kT/dof/ps, where the fluctuations are small enough for one."""


@pytest.mark.parametrize("spec", PIMD)
def test_ring_polymers_conserve_energy(tmp_path: Path, spec: str) -> None:
    """P = 8 without thermostat: rms of the conserved quantity as h^2, and its drift."""
    make, temperature, time_step, total, edge, ceiling = PIMD[spec]
    atoms = make()
    kt = ref.KB_HARTREE * temperature
    rms, drift = [], []
    for h in (time_step, time_step / 2):
        given = Input(
            symbols=list(atoms.symbols),
            positions=atoms.positions,
            cell=(edge,) * 3,
            spec=f"{{potential: {spec}}}",
            n_beads=8,
            temperature=temperature,
            time_step=h,
            n_steps=round(total / h),
            mode="nve",
            splitting="obabo",
            properties=("conserved", "kinetic_cv"),
        )
        run = run_pimd(tmp_path / f"{h}", given, time_limit=300)
        # i-PI gives the ring polymer's energy over P: per dof of the ring, in units of kT_P = P kT
        energy = run["conserved"] / (3 * len(atoms) * kt) / given.n_beads
        times = h / 1000 * np.arange(1, len(energy) + 1)
        rms.append(energy.std())
        drift.append(slope(times, energy) * given.n_beads)  # against kT, the stricter unit
    message = (
        f"{spec}, 8 beads: rms {rms[0]:.3g} -> {rms[1]:.3g} kT_P per dof, ratio "
        f"{rms[0] / rms[1]:.3f}; drift {drift[1]:.2g} kT/dof/ps"
    )
    print(message)
    assert abs(rms[0] / rms[1] - 4) < 0.4, message
    assert abs(drift[1]) / given.n_beads * total / 1000 < rms[1], message  # no trend
    assert ceiling is None or abs(drift[1]) < ceiling, message
