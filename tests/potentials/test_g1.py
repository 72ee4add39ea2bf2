"""G1: forces, virials, signs and single points of the exact potentials, and the units.

Energies to 1e-8 Ha, the pressure of compressed silicon to 1e-3 GPa, forces and virials to 1e-6 of
their size in fp64 and 1e-3 in fp32.
"""

from __future__ import annotations

from dataclasses import replace

import ase.units
import numpy as np
import pytest

from pimd import units
from pimd.potentials.base import Batch, Potential, Prediction, Structure, Wanted
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.registry import make_potential, parse_spec
from pimd.testing import check_potential, example_structures

SPECS = {
    "free": (18, 3.6),
    "harmonic, k: 0.9": (1, 1.5),
    "harmonic, wavenumber: 1500.0": (8, 1.5),
    "lennard_jones": (18, 3.6),
    "lennard_jones, mode: smooth, switch: 2.0": (18, 3.6),
    "lennard_jones, mode: truncate, cutoff: 7.0": (18, 3.6),
    "lennard_jones, mode: shift, tail: true": (18, 3.6),
    "{potential: lennard_jones, epsilon: {Ar: 0.01}, sigma: {Ar: 3.4}}": (18, 3.4),
    "stillinger_weber": (14, 2.5),
    "silvera_goldman": (1, 3.5),
    "silvera_goldman, cutoff: 9.0, shift: true": (2, 3.3),
}
"""SPEC -> atomic number and spacing (Å) of the structures it is checked with."""


def evaluate(potential: Potential, structures: list[Structure]) -> Prediction:
    batch = Batch.from_structures(structures, dtype=potential.dtype)
    return potential.compute(NeighbourLists(potential.cutoff).attach(batch), Wanted())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("spec", SPECS)
def test_forces_and_virials_are_the_derivatives(spec: str, dtype: str) -> None:
    """Finite differences, triclinic cells among them; and all else of the contract."""
    parsed = parse_spec(spec)
    potential = make_potential(replace(parsed, options={**parsed.options, "dtype": dtype}))
    number, spacing = SPECS[spec]
    margin = 0.01 if dtype == "float64" else 0.05
    structures = example_structures(potential.cutoff, number, spacing, margin=margin)
    reference = make_potential(spec)
    report = check_potential(potential, structures, reference=reference)
    print(report)
    assert {"forces", "virials", "batch", "one_atom", "two_atoms"} <= set(report.deviations)


def test_energies_at_single_points() -> None:
    hartree = units.HARTREE_EV
    pair = [[0, 0, 0], [0, 0, 7.0 * units.BOHR_ANGSTROM]]
    hydrogen = evaluate(make_potential("silvera_goldman"), [Structure([1, 1], pair)])
    assert float(hydrogen.energies) / hartree == pytest.approx(-8.99452956e-5, abs=1e-13)

    epsilon, sigma = 119.8 * units.KB_EV_PER_KELVIN, 3.405
    pair = [[0, 0, 0], [2 ** (1 / 6) * sigma, 0, 0]]
    argon = evaluate(make_potential("lennard_jones, mode: truncate"), [Structure([18, 18], pair)])
    assert float(argon.energies) == pytest.approx(-epsilon, abs=1e-8 * hartree)

    face = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    sites = np.concatenate([face, face + 0.25])
    crystals = [
        Structure(np.full(8, 14), a * sites, a * np.eye(3), np.ones(3, bool))
        for a in (5.430950, 5.30)
    ]
    silicon = evaluate(make_potential("stillinger_weber"), crystals)
    np.testing.assert_allclose(silicon.energies / 8, [-4.336600, -4.30183676], atol=1e-6)
    assert silicon.virials is not None
    trace = silicon.virials.diagonal(dim1=1, dim2=2).sum(1).numpy()
    pressure = trace / (3 * np.array([5.430950, 5.30]) ** 3) * units.EV_PER_CUBIC_ANGSTROM_GPA
    # a compressed crystal pushes outwards: W = -dE/dstrain > 0
    np.testing.assert_allclose(pressure, [0.0, 8.26914], atol=1e-3)


def test_one_table_of_units() -> None:
    """There and back again, and ASE's constants (CODATA 2014) to their own precision."""
    values = {
        units.HARTREE_EV: ase.units.Hartree,
        units.BOHR_ANGSTROM: ase.units.Bohr,
        units.FORCE_AU_EV_PER_ANGSTROM: ase.units.Hartree / ase.units.Bohr,
        units.AMU_ELECTRON_MASS: 1.0 / (ase.units._me / ase.units._amu),
        units.ATOMIC_TIME_FS: ase.units._aut * 1e15,
        units.KB_HARTREE_PER_KELVIN: ase.units.kB / ase.units.Hartree,
        units.KCAL_PER_MOL_EV: ase.units.kcal / ase.units.mol,
        units.EV_PER_CUBIC_ANGSTROM_GPA: 1.0 / ase.units.GPa,
        units.DEBYE_E_ANGSTROM: ase.units.Debye,
    }
    for ours, theirs in values.items():
        assert ours == pytest.approx(theirs, rel=3e-6)
    # consistent among themselves, to the digits of CODATA 2018
    assert (
        pytest.approx(units.KB_HARTREE_PER_KELVIN, rel=1e-9)
        == units.KB_EV_PER_KELVIN / units.HARTREE_EV
    )
    hbar = units.HARTREE_EV * units.ATOMIC_TIME_FS
    assert hbar == pytest.approx(units.HBAR_EV_FS, rel=1e-9)
    assert pytest.approx(14.3996454784, rel=1e-9) == units.COULOMB_EV_ANGSTROM
    for energy in (1e-12, -137.96777594361677, -1.29522e5):
        assert energy / units.HARTREE_EV * units.HARTREE_EV == pytest.approx(energy, rel=3e-16)
    force = 3.25 / units.FORCE_AU_EV_PER_ANGSTROM
    assert force * (units.HARTREE_EV / units.BOHR_ANGSTROM) == pytest.approx(3.25, rel=3e-16)
