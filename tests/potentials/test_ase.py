"""Energies, forces, virials and properties of ASE calculators, against ASE called directly."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from pimd.potentials.ase import ASEPool
from pimd.potentials.base import Batch, Wanted
from pimd.potentials.registry import make_potential
from pimd.structure import PotentialError, Structure
from pimd.testing import check_potential

LJ = "ase.calculators.lj.LennardJones"
EMT_PATH = "ase.calculators.emt.EMT"


def copper(seed: int = 0, periodic: bool = True):
    """Four atoms of copper and gold, triclinic and displaced, `ase.Atoms`."""
    atoms = bulk("Cu", cubic=True)
    strain = np.array([[1.0, 0.1, 0.0], [0.0, 1.0, 0.05], [0.02, 0.0, 1.0]])
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    atoms.symbols[1] = "Au"
    atoms.pbc = periodic
    return atoms


def batch_of(frames) -> Batch:
    return Batch.from_structures([Structure.from_ase(atoms) for atoms in frames])


def water_frames(number: int, seed: int = 3):
    frames = []
    for k in range(number):
        atoms = molecule("H2O")
        atoms.rattle(0.05, seed=seed + k)
        frames.append(atoms)
    return frames


def test_equals_ase_itself() -> None:
    frames = [copper(0), copper(1, periodic=False), copper(2)]
    pool = ASEPool(EMT_PATH, workers=2)
    prediction = pool.compute(batch_of(frames), Wanted())
    pool.close()
    forces = prediction.forces.numpy().reshape(3, 4, 3)
    for k, atoms in enumerate(frames):
        atoms.calc = EMT()
        assert prediction.energies[k].item() == atoms.get_potential_energy(force_consistent=True)
        np.testing.assert_array_equal(forces[k], atoms.get_forces())
    for k in (0, 2):
        virial = -frames[k].get_stress(voigt=False) * frames[k].get_volume()
        np.testing.assert_allclose(prediction.virials[k].numpy(), virial, rtol=0, atol=1e-14)


def test_contract_lennard_jones() -> None:
    # the smoothed pair potential has a jump in its second derivative, hence the short step
    pool = ASEPool(LJ, workers=2, sigma=3.0, epsilon=0.01, rc=6.5, ro=5.0, smooth=True)
    check_potential(pool, step=5e-4)
    pool.close()


def test_contract_emt() -> None:
    pool = ASEPool(EMT_PATH, workers=2)
    frames = [copper(0), copper(1, periodic=False)]
    check_potential(pool, [Structure.from_ase(atoms) for atoms in frames])
    pool.close()


def test_contract_tblite_cluster() -> None:
    pytest.importorskip("tblite")
    pool = ASEPool("tblite.ase.TBLite", workers=2, accuracy=1e-4, verbosity=0)
    methane = molecule("CH4")
    methane.rattle(0.05, seed=1)
    structures = [Structure.from_ase(atoms) for atoms in (*water_frames(1), methane)]
    # SCF converged to 1e-10 Ha, from another guess each time
    check_potential(
        pool, structures, skip=["one_atom"], derivative_tolerance=1e-5, energy_tolerance=1e-6,
        relative_tolerance=1e-6,
    )  # fmt: skip
    pool.close()


def test_tblite_reference_molecule() -> None:
    """H2O in the G2 geometry, energy and forces as in tblite's documentation."""
    pytest.importorskip("tblite")
    pool = ASEPool("tblite.ase.TBLite", workers=1, method="GFN2-xTB", verbosity=0)
    wanted = Wanted(properties=("dipole", "charges"))
    prediction = pool.compute(batch_of([molecule("H2O")]), wanted)
    pool.close()
    assert prediction.energies[0].item() == pytest.approx(-137.96777594361677, abs=1e-5)
    forces = prediction.forces.numpy()
    np.testing.assert_allclose(forces[0], [0, 0, -0.749527168], atol=1e-4)
    np.testing.assert_allclose(forces[1], [0, -0.153506496, 0.374763584], atol=1e-4)
    dipole, charges = prediction.properties["dipole"], prediction.properties["charges"]
    assert dipole.shape == (1, 3)
    assert charges.shape == (3,)
    # the dipole lies along -z, the charges of a neutral molecule sum to zero
    np.testing.assert_allclose(dipole[0, :2], 0.0, atol=1e-8)
    assert dipole[0, 2] < -0.3
    assert charges.sum().item() == pytest.approx(0.0, abs=1e-8)


def test_self_consistency_forgets_its_start() -> None:
    """A kept calculator that comes from another structure gives what a fresh one gives."""
    pytest.importorskip("tblite")
    first, second = water_frames(2)
    second.positions[1] += 0.15
    kept = ASEPool("tblite.ase.TBLite", workers=1, verbosity=0)
    kept.compute(batch_of([first]), Wanted())
    warm = kept.compute(batch_of([second]), Wanted())
    kept.close()
    fresh = ASEPool("tblite.ase.TBLite", workers=1, verbosity=0, reuse=False)
    cold = fresh.compute(batch_of([second]), Wanted())
    fresh.close()
    assert abs(warm.energies - cold.energies).item() < 1e-6
    assert abs(warm.forces - cold.forces).max().item() < 1e-4
    assert abs(warm.energies - cold.energies).item() > 0.0  # it did start elsewhere


def test_free_energy_is_preferred() -> None:
    """Forces are the derivative of `free_energy`, which the calculator gives beside `energy`."""
    pool = ASEPool("ase_fakes.Springs", workers=1, k=3.0)
    check_potential(pool, [Structure.from_ase(a) for a in water_frames(2)])
    atoms = water_frames(1)[0]
    energy = pool.compute(batch_of([atoms]), Wanted(forces=False, virials=False)).energies
    pool.close()
    arms = atoms.positions - atoms.positions.mean(axis=0)
    assert energy.item() == pytest.approx(1.5 * (arms**2).sum(), rel=1e-14)


def test_slab_with_a_flat_cell() -> None:
    """A slab whose third cell vector is zero gets the stress of any thickness."""
    slab = copper(4)
    slab.pbc = (True, True, False)
    thick = slab.copy()
    slab.cell[2] = 0.0
    thick.cell[2] = np.cross(thick.cell[0], thick.cell[1]) / 2.0
    pool = ASEPool(EMT_PATH, workers=1)
    prediction = pool.compute(batch_of([slab, thick]), Wanted())
    pool.close()
    flat, extended = prediction.virials.numpy()
    np.testing.assert_allclose(flat, extended, rtol=0, atol=1e-12)
    assert abs(flat).max() > 0.01


def test_without_stress() -> None:
    """No stress and periodic: an error that names both ways out, and `virial: zero` is one."""
    pool = ASEPool("ase_fakes.Springs", workers=1)
    with pytest.raises(PotentialError, match=r"no stress.*virial: zero.*pbc: false"):
        pool.compute(batch_of([copper()]), Wanted())
    pool.compute(batch_of([copper()]), Wanted(virials=False))
    pool.close()
    assert pool.gives_virials
    pool = ASEPool("ase_fakes.Springs", workers=1, virial="zero")
    prediction = pool.compute(batch_of([copper(), copper(periodic=False)]), Wanted())
    pool.close()
    assert not pool.gives_virials
    assert not prediction.virials.any()
    assert prediction.forces.any()


def test_properties_are_those_of_the_calculator() -> None:
    pool = ASEPool("ase_fakes.Springs", workers=1)
    assert not pool.properties
    with pytest.raises(PotentialError, match="does not give dipole"):
        pool.compute(batch_of(water_frames(1)), Wanted(properties=("dipole",)))
    pool.close()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("calculator: EMT", "dotted path"),
        ("calculator: no_such_library.Thing", "install the package that provides 'no_such_lib"),
        ("calculator: ase.calculators.emt.NoSuch", "has no 'NoSuch'"),
        (f"calculator: {LJ}, workers: 0", "workers: expected a number above 0"),
        (f"calculator: {LJ}, virial: none", "virial: expected auto or zero"),
        ("calculator: ase_fakes.FromFile", "missing 1 required positional argument: 'file'"),
    ],
)
def test_what_cannot_be_made(spec: str, message: str) -> None:
    with pytest.raises(PotentialError, match=message):
        make_potential(f"{{potential: ase, {spec}}}")


def test_known_libraries_say_what_to_install() -> None:
    """The name on the package index differs from the module's."""
    try:
        import mace  # noqa: F401
    except ImportError:
        with pytest.raises(PotentialError, match="pip install mace-torch"):
            ASEPool("mace.calculators.MACECalculator")
    else:
        pytest.skip("mace is installed")
