"""A run of i-PI as `pimd.open_run` finds it: record and text files agree, with i-PI and physics."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from ipi.inputs.outputs import InputProperties, InputTrajectory
from record_frames import frame, layout

import pimd
from pimd.ipi.run_input import outputs_of, read_systems, root_of
from pimd.record.h5md_file import H5MDFile
from pimd.units import (
    AMU_ANGSTROM2_PER_FS2_EV,
    BOHR_ANGSTROM,
    HARTREE_EV,
    HBAR_EV_FS,
    KB_EV_PER_KELVIN,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from run.runs import pimd as run_pimd
from run.runs import write_input

P, N, STRIDE = 4, 3, 2

OUTPUTS = """<properties stride='1' filename='out'>
      [ step, time{picosecond}, potential{electronvolt}, kinetic_md{electronvolt},
        temperature{kelvin}, spring{electronvolt} ]
    </properties>
    <trajectory filename='pos' stride='2' cell_units='angstrom'> positions{angstrom} </trajectory>
    <trajectory filename='vel' stride='2'> velocities </trajectory>
    <trajectory filename='for' stride='2' format='ase'> forces </trajectory>
    <trajectory filename='xc' stride='2'> x_centroid{angstrom} </trajectory>
    <trajectory format='h5md' filename='trajectory' stride='2'>
      [ positions, velocities, forces, energies, x_centroid, kinetic_md{electronvolt}, spring ]
    </trajectory>
    <checkpoint filename='checkpoint' stride='5' overwrite='True'/>"""


def make_input(folder):
    return write_input(
        folder, "{potential: harmonic, k: 1.5, pbc: False}", outputs=OUTPUTS, checkpoint=""
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("record")
    path = make_input(folder)
    (folder / "init.xyz").write_text(
        "3\n# CELL(abcABC): 30 30 30 90 90 90 cell{angstrom} positions{angstrom}\n"
        "O 0.1 0.2 0.3\nH -0.4 0.5 0.6\nH 0.7 -0.8 0.9\n"
    )
    done = run_pimd("run", path)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "input.run"


@pytest.fixture(scope="module")
def run(directory):
    return pimd.open_run(directory)


def test_the_record_comes_first(run):
    assert run.step.tolist() == list(range(0, 21, STRIDE))
    np.testing.assert_allclose(run.time, 0.5 * run.step)
    assert not run.is_rounded("positions")
    for name in ("positions", "velocities", "forces", "energies", "centroids", "cells"):
        assert run.has(name)
    assert not run.setup.pbc.any()
    assert run.setup.forcefields["driver"].startswith("{potential: harmonic, k: 1.5")
    assert not run.setup.fixcom


def test_forces_and_energies_are_those_of_the_potential(run):
    positions = run.read("positions")
    np.testing.assert_allclose(run.read("forces"), -1.5 * positions, atol=1e-9)
    energies = 0.75 * (positions**2).sum(axis=(2, 3))
    np.testing.assert_allclose(run.read("energies"), energies, atol=1e-9)


def test_energies_and_velocities_agree_with_properties(run):
    np.testing.assert_allclose(
        run.read("energies").mean(axis=1), run.properties["potential"].at(run.step), rtol=2e-8
    )
    masses = run.setup.masses[:, None]
    twice = AMU_ANGSTROM2_PER_FS2_EV * (masses * run.read("velocities") ** 2).sum(axis=(1, 2, 3))
    temperature = twice / (3 * N * P * KB_EV_PER_KELVIN) / P
    np.testing.assert_allclose(
        run.properties["temperature"].at(run.step), temperature, rtol=3e-6
    )
    np.testing.assert_allclose(
        run.properties["kinetic_md"].at(run.step), twice / 2 / P, rtol=1e-7
    )


def test_springs_from_positions_are_those_of_the_property(run):
    omega = P * KB_EV_PER_KELVIN * 300.0 / HBAR_EV_FS  # 1/fs
    steps = np.diff(run.read("positions"), axis=1, append=run.read("positions")[:, :1])
    masses = AMU_ANGSTROM2_PER_FS2_EV * run.setup.masses[:, None]
    spring = 0.5 * omega**2 * (masses * steps**2).sum(axis=(1, 2, 3))
    # i-PI's kelvin is 1.15e-6 off; it gives the mean over beads
    np.testing.assert_allclose(
        run.properties["spring"].at(run.step), spring / P, rtol=2.4e-6, atol=1e-12
    )


def test_text_files_say_the_same_with_fewer_digits(run, directory, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(directory, copy)
    (copy / "sim.trajectory.h5").unlink()
    text = pimd.open_run(copy)
    assert text.is_rounded("positions")
    assert text.step.tolist() == run.step.tolist()
    for name, tolerance in (("positions", 1e-5), ("velocities", 1e-6), ("centroids", 1e-5),
                            ("forces", 1e-7)):
        np.testing.assert_allclose(text.read(name), run.read(name), atol=tolerance)
    np.testing.assert_allclose(text.read("cells"), run.read("cells"), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(text.setup.masses, run.setup.masses, rtol=1e-8)
    np.testing.assert_array_equal(text.setup.numbers, run.setup.numbers)
    assert not text.setup.pbc.any()


def test_without_a_checkpoint_the_input_says_what_the_atoms_are(directory, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(directory, copy)
    for name in ("sim.trajectory.h5", "RESTART", "sim.checkpoint"):
        (copy / name).unlink()
    setup = pimd.open_run(copy).setup
    assert setup.numbers.tolist() == [8, 1, 1]
    np.testing.assert_allclose(setup.masses, [15.9994, 1.00794, 1.00794])


def test_a_record_alone_is_enough(run, directory, tmp_path):
    shutil.copy(directory / "sim.trajectory.h5", tmp_path / "moved.h5")
    alone = pimd.open_run(tmp_path / "moved.h5")
    np.testing.assert_array_equal(alone.read("positions"), run.read("positions"))
    np.testing.assert_array_equal(alone.setup.masses, run.setup.masses)
    assert alone.setup.temperature == pytest.approx(300.0, rel=2e-6)
    assert alone.setup.timestep == pytest.approx(0.5)
    assert len(alone.properties["spring"]) == len(run.step)


def test_the_input_and_the_folder_are_the_same_run(run, directory):
    for path in (directory.with_suffix(".xml"), directory.parent, directory / "input.xml",
                 directory / "RESTART"):
        assert pimd.open_run(path).step.tolist() == run.step.tolist()
    with pytest.raises(ValueError, match=r"has 1 system\(s\), counted from 0: there is no 1"):
        pimd.open_run(directory, system=1)


def test_an_input_that_was_not_run_is_told(tmp_path):
    path = make_input(tmp_path)
    for given in (path, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"was not run yet: .*input\.run"):
            pimd.open_run(given)


def test_a_restart_that_is_not_whole_is_passed_over(directory, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(directory, copy)
    text = (copy / "RESTART").read_text()
    (copy / "RESTART").write_text(text[: len(text) // 2])
    assert pimd.open_run(copy).setup.total_steps == 20


def test_outputs_of_several_systems_are_told_apart(tmp_path):
    path = tmp_path / "input.xml"
    path.write_text("""<simulation><output prefix='x'>
      <properties filename='out' stride='3'> [ step, potential ] </properties>
      <trajectory filename='pos' stride='7' format='ase' bead='0'> positions </trajectory>
      </output>
      <system prefix='one'><beads natoms='1' nbeads='8'/></system>
      <system_template>
        <labels> [ NAME, BEADS ] </labels>
        <instance> [ two, 16 ] </instance>
        <instance> [ three, 32 ] </instance>
        <template>
          <system prefix='NAME'><initialize nbeads='BEADS'/>
            <motion mode='multi'>
              <motion mode='driven_dynamics'/>
              <motion mode='dynamics'><dynamics mode='npt'>
                <timestep units='femtosecond'> 0.25 </timestep>
                <thermostat mode='multi'><thermostat mode='gle'/><thermostat mode='svr'/>
                </thermostat>
                <barostat mode='isotropic'><thermostat mode='langevin'/></barostat>
              </dynamics></motion>
            </motion>
            <ensemble><pressure units='megapascal'> 100 </pressure></ensemble>
          </system>
        </template>
      </system_template></simulation>""")
    root = root_of(path)
    systems = read_systems(root)
    assert [one.prefix for one in systems] == ["one", "two", "three"]
    assert [one.n_beads for one in systems] == [8, 16, 32]
    assert systems[2].thermostats == ("gle", "svr")
    assert systems[2].timestep == pytest.approx(0.25)
    assert systems[2].number("ensemble/pressure", "pressure") == pytest.approx(
        1e8 * 3.398827377e-14 * HARTREE_EV / BOHR_ANGSTROM**3, rel=1e-9  # i-PI's pascal
    )
    first, second = outputs_of(root, systems[1], tmp_path)
    assert (first.path, first.stride) == (tmp_path / "two_x.out", 3)
    assert first.names == ("step", "potential")
    assert (second.path.name, second.format, second.bead) == ("two_x.pos", "ase", 0)


def test_without_outputs_i_pi_has_its_own(tmp_path):
    path = tmp_path / "input.xml"
    path.write_text("<simulation><system/></simulation>")
    root = root_of(path)
    first, second = outputs_of(root, read_systems(root)[0], tmp_path)
    assert (first.path.name, second.path.name) == ("i-pi.md", "i-pi.pos")


def test_outputs_without_a_name_have_that_of_i_pi(tmp_path):
    """Its defaults differ: `out` for properties, `traj` for trajectories."""
    (tmp_path / "input.xml").write_text("""<simulation><output>
      <properties> [ step ] </properties> <trajectory> positions </trajectory>
      </output><system/></simulation>""")
    root = root_of(tmp_path / "input.xml")
    found = outputs_of(root, read_systems(root)[0], tmp_path)
    inputs = (InputProperties, InputTrajectory)
    assert [one.path.name for one in found] == [
        f"i-pi.{kind.attribs['filename'][1]['default']}" for kind in inputs
    ]


def test_a_record_without_a_name_is_found(tmp_path):
    of = layout(n_atoms=3, n_beads=4)
    for name, n_frames in (("i-pi.traj.h5", 3), ("of_another_run.h5", 5)):
        file = H5MDFile(tmp_path / name, [0])
        for step in range(n_frames):
            file.append(0, of, frame(of, step))
        file.close()
    (tmp_path / "input.xml").write_text("""<simulation><output>
      <trajectory format='h5md'> [ positions, energies ] </trajectory>
      </output><system><initialize nbeads='4'/></system></simulation>""")
    run = pimd.open_run(tmp_path)
    assert run.step.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(run.read("positions", 2), frame(of, 2)["positions"])
