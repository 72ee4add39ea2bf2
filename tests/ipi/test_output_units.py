"""Units of i-PI's outputs: what i-PI wrote comes back as it was, to rounding."""

import subprocess
import sys

import pytest
from ipi.utils.units import unit_to_user

from pimd.ipi.output_units import extras_factor, from_ipi, quantity_of
from pimd.units import (
    AMU_ANGSTROM2_PER_FS2_EV,
    ATOMIC_TIME_FS,
    BOHR_ANGSTROM,
    EV_PER_CUBIC_ANGSTROM_GPA,
    FORCE_AU_EV_PER_ANGSTROM,
    HARTREE_EV,
    KB_EV_PER_KELVIN,
)

ONE_HARTREE = {"energy": HARTREE_EV, "length": BOHR_ANGSTROM,
               "force": HARTREE_EV / BOHR_ANGSTROM, "velocity": BOHR_ANGSTROM / ATOMIC_TIME_FS}


@pytest.mark.parametrize(
    ("dimension", "unit"),
    [("energy", "electronvolt"), ("energy", "kilocal/mol"), ("energy", "ase"), ("energy", ""),
     ("energy", "kelvin"), ("length", "angstrom"), ("length", "nanometer"), ("length", "ase"),
     ("force", "ev/ang"), ("force", "ase"), ("velocity", "m/s"), ("velocity", "automatic"),
     ("velocity", "ase")],
)
def test_what_i_pi_wrote_in_any_unit_comes_back(dimension, unit):
    written = unit_to_user(dimension, unit, 1.0)
    factor, _ = from_ipi(dimension, unit)
    assert factor * written == pytest.approx(ONE_HARTREE[dimension], rel=1e-14)


@pytest.mark.parametrize(
    ("dimension", "unit", "one"),
    [("temperature", "kelvin", 1.0), ("time", "picosecond", 1000.0), ("mass", "dalton", 1.0),
     ("density", "g/cm3", 1.0)],
)
def test_what_an_input_says_in_kelvin_seconds_and_daltons_stays(dimension, unit, one):
    assert from_ipi(dimension, unit)[0] == pytest.approx(one, rel=1e-15)


def test_against_codata_where_i_pi_agrees_with_it():
    assert from_ipi("pressure", "megapascal")[0] == pytest.approx(
        1e-3 / EV_PER_CUBIC_ANGSTROM_GPA, rel=4e-5  # i-PI's pascal is 3e-5 off
    )
    assert from_ipi("energy", "kelvin")[0] == pytest.approx(KB_EV_PER_KELVIN, rel=2e-6)
    momentum, velocity = from_ipi("momentum")[0], from_ipi("velocity")[0]
    # p v of one atomic unit each is one hartree
    assert momentum * velocity * AMU_ANGSTROM2_PER_FS2_EV == pytest.approx(HARTREE_EV, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "name", "unit"),
    [("potential{electronvolt}", "potential", "eV"),
     ("kinetic_cv{kelvin}(H)", "kinetic_cv(H)", "eV"),
     ("isotope_scfep(2.0; H)", "isotope_scfep(2.0;H)", ""), ("step", "step", ""),
     ("temperature{kelvin}(nm=0)", "temperature(nm=0)", "K"),
     ("scaledcoords(fd_delta=1e-2)", "scaledcoords(fd_delta=1e-2)", "a.u."),
     ("a_new_one{electronvolt}", "a_new_one", "eV"), ("pressure_cv", "pressure_cv", "eV/Å^3")],
)
def test_names_of_properties(text, name, unit):
    found, _, found_unit = quantity_of(text)
    assert (found, found_unit) == (name, unit)


def test_a_unit_that_i_pi_does_not_have(capsys):
    with pytest.raises(ValueError, match=r"no unit 'eV' of energy; it has .*electronvolt"):
        quantity_of("potential{eV}")
    assert capsys.readouterr().out == ""  # i-PI itself prints its table


def test_extras_are_in_atomic_units():
    assert extras_factor("dipole") == ("dipole", BOHR_ANGSTROM, "e Å")
    assert extras_factor("committee_pot")[0] == "member_energies"
    assert extras_factor("committee_force")[1:] == (FORCE_AU_EV_PER_ANGSTROM, "eV/Å")
    assert extras_factor("committee_virial")[1:] == (HARTREE_EV, "eV")
    assert extras_factor("my_own") == ("my_own", 1.0, "a.u.")


def test_the_package_has_its_functions_and_version_without_heavy_imports():
    code = (
        "import sys, pimd; from pimd.relabel import relabel; "
        "assert pimd.relabel is relabel and callable(pimd.open_run); "
        "assert 'numpy' not in sys.modules and 'torch' not in sys.modules; "
        "print(pimd.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()[0].isdigit()
