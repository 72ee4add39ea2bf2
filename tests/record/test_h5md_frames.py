"""The H5MD file as a run: any frames, any beads, also of one that is being written."""

import numpy as np
import pytest

import pimd
from pimd.record.h5md_file import H5MDFile
from pimd.record.h5md_frames import H5MDRecord, NoRecord
from pimd.record.h5md_layout import Field, SystemLayout
from pimd.record.h5md_pending import pending_file

P, N, M, T = 4, 6, 3, 200
LAYOUT = SystemLayout(
    np.array([8, 1, 1, 8, 1, 1]), np.array([16.0, 1.0, 1.0, 16.0, 1.0, 2.0]),
    ("O", "H", "H", "O", "H", "D"), np.array([True, True, False]), P, 300.0, 0.5,
    (
        Field("cells", "cell", (3, 3), "Angstrom"),
        Field("positions", "beads", (P, N, 3), "Angstrom"),
        Field("velocities", "beads", (P, N, 3), "Angstrom fs-1"),
        Field("x_centroid", "centroid", (N, 3), "Angstrom"),
        Field("energies", "energies", (P,), "eV"),
        Field("member_energies", "members", (M, P), "eV"),
        Field("dipole", "extra", (P, 3), "e Angstrom"),
        Field("conserved", "property", (), "electronvolt"),
        Field("kinetic_tens", "property", (6,), "eV"),
        Field("kinetic_cv(H)", "property", (), "eV"),
    ),
)
NAMES = {"centroids": "x_centroid"}
"""Name here -> in the file."""


def make_frames(n_frames, first=0):
    rng = np.random.default_rng(6)
    return [
        {"step": np.array(10 * k), "time": np.array(5.0 * k),
         **{field.name: rng.normal(size=field.shape) for field in LAYOUT.fields}}
        for k in range(first, first + n_frames)
    ]


FRAMES = make_frames(T)


@pytest.fixture(params=["closed", "being written"])
def run(request, tmp_path):
    file = H5MDFile(tmp_path / "sim.trajectory.h5", [0])
    for frame in FRAMES:
        file.append(0, LAYOUT, frame)
    if request.param == "closed":
        file.close()
        yield pimd.open_run(tmp_path)
    else:
        file.sync()
        found = pimd.open_run(tmp_path)
        record = H5MDRecord(tmp_path / "sim.trajectory.h5")
        assert 0 < record.n_in_file < T  # some frames are in the file, others beside it
        yield found
        file.close()


def expected(name):
    return np.stack([frame[NAMES.get(name, name)] for frame in FRAMES])


def test_what_is_in_it(run):
    assert run.n_frames == T
    assert (run.n_beads, run.n_atoms, run.n_members) == (P, N, M)
    assert set(run.names) == {
        "cells", "positions", "velocities", "centroids", "energies", "member_energies", "dipole"
    }
    assert run.setup.masses.tolist() == LAYOUT.masses.tolist()
    assert run.setup.pbc.tolist() == [True, True, False]
    assert run.unit("velocities") == "Å/fs"
    assert run.unit("dipole") == "e Å"
    np.testing.assert_array_equal(run.step, 10 * np.arange(T))


@pytest.mark.parametrize(
    "name", ["positions", "velocities", "centroids", "cells", "energies", "member_energies",
             "dipole"]
)
def test_any_frames(run, name):
    whole = expected(name)
    for frames in (
        slice(None), slice(3, 9), slice(5, None, 7), slice(None, None, -3), -1, 0,
        np.array([7, 3, T - 1, 0, 3]), np.array([4, 5, 6, 90, 91]), np.zeros(0, dtype=int),
    ):
        np.testing.assert_array_equal(run.read(name, frames), whole[frames])


@pytest.mark.parametrize(
    "beads", [slice(1, 3), slice(None, None, 2), slice(None, None, -1), slice(2, 2), slice(3, 9)]
)
def test_any_beads(run, beads):
    for name in ("positions", "energies", "dipole"):
        found = run.read(name, slice(2, T, 50), beads)
        np.testing.assert_array_equal(found, expected(name)[2::50][:, beads])
    found = run.read("member_energies", slice(2, T, 50), beads)
    np.testing.assert_array_equal(found, expected("member_energies")[2::50][:, :, beads])


def test_properties(run):
    np.testing.assert_array_equal(
        run.properties["kinetic_tens"].values, expected("kinetic_tens")
    )
    assert run.properties["kinetic_cv(H)"].unit == "eV"
    # i-PI's electronvolt
    np.testing.assert_allclose(
        run.properties["conserved"].values, expected("conserved") * 1.000000104, rtol=1e-9
    )


def test_frames_beside_the_file_count_once(tmp_path):
    path = tmp_path / "sim.trajectory.h5"
    file = H5MDFile(path, [0])
    for frame in FRAMES:
        file.append(0, LAYOUT, frame)
    file.sync()
    beside = pending_file(path).read_bytes()
    file.close()
    pending_file(path).write_bytes(beside)  # killed before it was removed
    run = pimd.open_run(tmp_path)
    np.testing.assert_array_equal(run.step, 10 * np.arange(T))
    np.testing.assert_array_equal(run.read("energies"), expected("energies"))
    pending_file(path).write_bytes(beside[: len(beside) // 2])
    assert pimd.open_run(tmp_path).n_frames == T


def test_what_is_no_record(tmp_path):
    import h5py

    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1.0
    with pytest.raises(NoRecord, match="is no record of pimd run"):
        pimd.open_run(tmp_path / "other.h5")
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(NoRecord, match="cannot be read"):
        pimd.open_run(tmp_path / "broken.h5")
    file = H5MDFile(tmp_path / "one.h5", [0])
    file.append(0, LAYOUT, FRAMES[0])
    file.close()
    with pytest.raises(NoRecord, match="no system 3"):
        pimd.open_run(tmp_path / "one.h5", system=3)
