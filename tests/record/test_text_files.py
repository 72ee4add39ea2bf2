"""i-PI's text files: units, duplicates of restarts, lines cut off, frames found fast or slowly."""

import numpy as np
import pytest
from text_run import EDGE, INPUT, LABELS, frame, write_frames

import pimd
from pimd.record.run import NotInRecord
from pimd.record.text_extras import NotNumbers, read_extras
from pimd.record.text_frames import FrameFile, _any_frames
from pimd.record.text_properties import read_properties
from pimd.units import AMU_ELECTRON_MASS, ATOMIC_TIME_FS, BOHR_ANGSTROM, HARTREE_EV

IPI_ANGSTROM = 1.8897261 * BOHR_ANGSTROM
"""One angstrom of i-PI in Å."""
IPI_EV = 0.036749326 * HARTREE_EV

RNG = np.random.default_rng(8)
STEPS = [0, 2, 4, 6, 8]
VALUES = RNG.normal(0.0, 3.0, (5, 2, 3, 3))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "input.xml").write_text(INPUT)
    write_frames(tmp_path, "pos", STEPS, VALUES, "positions{angstrom}")
    write_frames(tmp_path, "for", STEPS[::2], VALUES[::2], "forces{atomic_unit}", "atomic_unit")
    write_frames(tmp_path, "mom", STEPS, VALUES, "momenta{atomic_unit}")
    for bead in range(2):
        (tmp_path / f"sim.com_{bead}").write_text("".join(
            f" #EXTRAS(committee_pot)# Step:  {step:10d} \n {k + bead:.8e}  {k - bead:.8e}  1.0\n"
            for k, step in enumerate(STEPS)
        ))
    rows = "".join(f"   {step:.8e}     {-step / 10:.8e}   \n" for step in range(9))
    (tmp_path / "sim.out").write_text(
        "# column   1     --> step : The current simulation time step.\n"
        "# column   2     --> potential{electronvolt} : The physical system: potential energy.\n"
        + rows
    )
    return tmp_path


def test_a_run_of_text_files(folder):
    run = pimd.open_run(folder)
    assert run.step.tolist() == STEPS
    np.testing.assert_allclose(run.time, 0.5 * run.step)
    np.testing.assert_allclose(run.read("positions"), IPI_ANGSTROM * VALUES, rtol=6e-6)
    np.testing.assert_allclose(
        run.read("cells", 0), EDGE * IPI_ANGSTROM * np.eye(3), atol=1e-8
    )
    forces = run.common("forces")
    np.testing.assert_allclose(
        forces.read("forces"), VALUES[::2] * HARTREE_EV / BOHR_ANGSTROM, rtol=6e-6
    )
    np.testing.assert_allclose(forces.read("cells", 0), EDGE * IPI_ANGSTROM * np.eye(3), atol=1e-5)
    velocities = VALUES / run.setup.masses[:, None] * (
        BOHR_ANGSTROM / ATOMIC_TIME_FS / AMU_ELECTRON_MASS
    )
    np.testing.assert_allclose(run.read("velocities"), velocities, rtol=6e-6)
    members = run.read("member_energies")
    assert members.shape == (5, 3, 2)
    np.testing.assert_allclose(members[3, 0], np.array([3.0, 4.0]) * HARTREE_EV)
    np.testing.assert_allclose(members[3, 1], np.array([3.0, 2.0]) * HARTREE_EV)
    potential = run.properties["potential"]
    np.testing.assert_allclose(potential.values, -np.arange(9) / 10 * IPI_EV, atol=1e-12)
    assert potential.unit == "eV"
    assert run.is_rounded("positions")


def test_the_setup_is_that_of_the_input(folder):
    setup = pimd.open_run(folder).setup
    assert setup.numbers.tolist() == [8, 1, 1]
    np.testing.assert_allclose(setup.masses, [15.9994, 1.00794, 1.00794])
    assert (setup.n_beads, setup.temperature, setup.timestep) == (2, 300.0, 0.5)
    assert (setup.mode, setup.splitting, setup.thermostats) == ("nvt", "baoab", ("pile_l",))
    assert setup.fixcom
    assert setup.pressure is None
    assert setup.forcefields == {"water": "{potential: qtip4pf}"}
    assert setup.total_steps == 10
    assert setup.pbc.all()


def test_potentials_of_all_beads_are_energies(folder):
    text = (folder / "input.xml").read_text()
    (folder / "input.xml").write_text(text.replace(
        "potential{electronvolt}", "potential(1), potential(bead=0)"
    ))
    (folder / "sim.out").write_text(
        "# column   1     --> step : s\n# column   2     --> potential(1) : p\n"
        "# column   3     --> potential(bead=0) : p\n0 1 2\n2 3 4\n4 5 6\n"
    )
    run = pimd.open_run(folder).common("energies")
    assert run.step.tolist() == [0, 2, 4]
    np.testing.assert_allclose(
        run.read("energies"), np.array([[2.0, 1.0], [4.0, 3.0], [6.0, 5.0]]) * HARTREE_EV
    )


def test_only_the_beads_asked_for_are_read(folder):
    run = pimd.open_run(folder)
    (folder / "sim.pos_0.xyz").unlink()
    found = run.read("positions", slice(1, 3), slice(1, 2))
    np.testing.assert_allclose(found, IPI_ANGSTROM * VALUES[1:3, 1:2], rtol=6e-6)


def test_a_file_of_a_bead_that_is_missing_is_a_quantity_that_is_missing(folder):
    (folder / "sim.pos_1.xyz").unlink()
    with pytest.raises(NotInRecord, match="holds no positions"):
        pimd.open_run(folder).read("positions")


def test_frames_of_a_resumed_run_count_once(folder):
    again = VALUES[2:4] + 1.0
    for bead in range(2):
        with open(folder / f"sim.pos_{bead}.xyz", "a") as file:
            for step, rows in zip((4, 6), again, strict=True):
                file.write(frame(rows[bead], step, bead))
    run = pimd.open_run(folder)
    assert run.step.tolist() == [0, 2, 4, 6]  # 8 was of the part that was given up
    np.testing.assert_allclose(
        run.read("positions"), IPI_ANGSTROM * np.concatenate([VALUES[:2], again]), rtol=6e-6
    )


@pytest.mark.parametrize("cut", [1, 20, 100, 160, 200, 290])
def test_a_last_frame_that_is_not_whole_does_not_count(folder, cut):
    path = folder / "sim.pos_1.xyz"
    path.write_text(path.read_text()[:-cut])
    run = pimd.open_run(folder)
    assert run.step.tolist() == STEPS[:-1]
    np.testing.assert_allclose(run.read("positions"), IPI_ANGSTROM * VALUES[:-1], rtol=6e-6)


@pytest.mark.parametrize("cut", [1, 5, 60, 130, 200, 299])
def test_a_frame_that_was_cut_off_before_a_restart_does_not_count(tmp_path, cut):
    path = tmp_path / "sim.pos_0.xyz"
    frames = [frame(VALUES[k, 0], STEPS[k], 0) for k in range(5)]
    path.write_text(frames[0] + frames[1] + frames[2][:-cut] + frames[2] + frames[3])
    file = FrameFile(path)
    assert file.step.tolist() == STEPS[:4]
    np.testing.assert_allclose(
        file.read(np.arange(4)), IPI_ANGSTROM * VALUES[:4, 0], rtol=6e-6
    )


def test_frames_of_equal_and_of_unequal_length_are_found_alike(tmp_path):
    path = tmp_path / "sim.pos_0.xyz"
    path.write_text("".join(frame(VALUES[k, 0], STEPS[k], 0) for k in range(5)))
    equal = FrameFile(path)
    starts, ends, steps = _any_frames(path.read_bytes())
    np.testing.assert_array_equal(equal._starts, starts)
    np.testing.assert_array_equal(equal._ends, ends)
    np.testing.assert_array_equal(equal.step, steps)
    long = VALUES[:, 0] * 1e100  # one digit more in the exponent
    path.write_text("".join(
        frame(long[k] if k == 1 else VALUES[k, 0], STEPS[k], 0) for k in range(5)
    ))
    assert FrameFile(path).step.tolist() == STEPS
    np.testing.assert_allclose(FrameFile(path).read(np.array([1])) / IPI_ANGSTROM, long[1:2],
                               rtol=6e-6)


def test_extended_xyz_has_its_columns_by_name(tmp_path):
    pytest.importorskip("ase")
    from ipi.engine.atoms import Atoms
    from ipi.engine.cell import Cell
    from ipi.utils.io import print_file

    h = np.array([[17.0, 1.0, 0.5], [0.0, 15.0, 2.0], [0.0, 0.0, 13.0]])  # columns are vectors
    for what, dimension in (("positions", "length"), ("forces", "force")):
        path = tmp_path / f"sim.{what}_0.extxyz"
        with open(path, "w") as file:
            for k in range(3):
                atoms, cell = Atoms(3), Cell()
                atoms.names[:], atoms.q[:], cell.h = LABELS, VALUES[k, 0].ravel(), h
                print_file(
                    "ase", atoms, cell, file, title=f"Step:  {2 * k:10d}  Bead:   {0:5d} ",
                    key=what, dimension=dimension, units="automatic", cell_units="automatic",
                )
        found = FrameFile(path)
        factor = BOHR_ANGSTROM if what == "positions" else HARTREE_EV / BOHR_ANGSTROM
        np.testing.assert_allclose(
            found.read(np.arange(3)), factor * VALUES[:3, 0], atol=2e-8 * factor + 2e-8
        )
        np.testing.assert_allclose(found.cells(np.array([1]))[0], h.T * BOHR_ANGSTROM, atol=1e-8)
        assert found.step.tolist() == [0, 2, 4]


def test_a_cell_that_is_not_orthogonal(tmp_path):
    from ipi.utils.mathtools import abc2h

    path = tmp_path / "x.xyz"
    text = frame(VALUES[0, 0], 0, 0)
    path.write_text(text.replace("90.00000    90.00000    90.00000", "80.00000 100.00000 70.00000"))
    h = abc2h(EDGE, EDGE, EDGE, *np.radians([80.0, 100.0, 70.0]))
    np.testing.assert_allclose(FrameFile(path).cells(np.array([0]))[0], IPI_ANGSTROM * h.T)


def test_properties_of_a_resumed_run_and_a_row_cut_off(folder):
    path = folder / "sim.out"
    text = path.read_text()
    row = "   {:.8e}     {:.8e}   \n"
    path.write_text(text + "   9.00000000e+00     -9.00" + "".join(
        row.format(step, 5.0) for step in range(5, 8)
    ) + "   8.00000000e+00     1.0000")
    found = read_properties(path, 1, 0.5)["potential"]
    assert found.step.tolist() == list(range(8))
    # the new row of step 5 is on the line that was cut off; the old one is of the same state
    np.testing.assert_allclose(found.values[6:], 5.0 * IPI_EV)
    np.testing.assert_allclose(found.values[:6], -np.arange(6) / 10 * IPI_EV, atol=1e-12)


def test_properties_of_several_columns_without_steps(tmp_path):
    path = tmp_path / "a.out"
    path.write_text(
        "# column   1     --> time{picosecond} : The elapsed simulation time.\n"
        "# cols.    2-7   --> kinetic_tens{kelvin} : The tensor.\n"
        "# column   8     --> kinetic_cv{kilocal/mol}(H) : The energy.\n"
        "0.0 1 2 3 4 5 6 7\n0.005 8 9 10 11 12 13 14\n"
    )
    found = read_properties(path, 3, 0.5)
    assert found["kinetic_cv(H)"].step.tolist() == [0, 10]
    np.testing.assert_allclose(found["kinetic_cv(H)"].time, [0.0, 5.0])
    # i-PI's calorie is 0.07 % too large; what it wrote with it comes back as it was
    np.testing.assert_allclose(
        found["kinetic_cv(H)"].values, np.array([7, 14]) * 1.5946679e-3 * HARTREE_EV
    )
    assert found["kinetic_tens"].values.shape == (2, 6)
    np.testing.assert_allclose(found["kinetic_tens"].values[1, 0], 8 * 8.617333e-5, rtol=2e-6)


def test_rows_without_step_and_time_are_a_stride_apart(tmp_path):
    path = tmp_path / "a.out"
    path.write_text("# column   1     --> potential : x\n1.0\n2.0\n")
    assert read_properties(path, 3, 0.5)["potential"].step.tolist() == [0, 3]
    path.write_text("# column   1     --> potential : x\n")
    assert len(read_properties(path, 3, 0.5)["potential"]) == 0


def test_extras_that_are_matrices_and_a_last_one_cut_off(tmp_path):
    path = tmp_path / "sim.pol_0"
    path.write_text(
        " #EXTRAS(polarizability)# Step:           0 \n1 2 3\n4 5 6\n7 8 9\n"
        " #EXTRAS(polarizability)# Step:           5 \n9 8 7\n6 5 4\n3 2 1\n"
        " #EXTRAS(polarizability)# Step:          10 \n9 8 7\n6 5"
    )
    steps, values = read_extras(path)
    assert steps.tolist() == [0, 5]
    np.testing.assert_array_equal(values[0], np.arange(1.0, 10.0).reshape(3, 3))
    path.write_text(" #EXTRAS(word)# Step:           0 \nwater\n")
    with pytest.raises(NotNumbers):
        read_extras(path)
