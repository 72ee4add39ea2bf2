"""members.h5: rows as they were given, cut back, of another run, and after a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from pimd.ipi.uncertainty import Geometry, Members
from pimd.run.member_file import MemberFile, MemberRecord
from pimd.run.rundir import RunDirectoryError


def record(step: int, system: int = 0, shape: tuple[int, int, int] = (3, 4, 5)) -> MemberRecord:
    n_members, n_beads, n_atoms = shape
    rng = np.random.default_rng([step, system])
    geometry = Geometry(
        np.arange(1, n_atoms + 1), np.ones(3, bool), 9.0 * np.eye(3),
        rng.normal(size=(n_beads, n_atoms, 3)),
    )
    members = Members(
        rng.normal(size=n_beads), rng.normal(size=(n_members, n_beads)),
        rng.normal(size=(n_members, n_beads, n_atoms, 3)),
        rng.normal(size=(n_members, n_beads, 3, 3)),
    )
    return MemberRecord(system, "nn", step, 0.25 * step, geometry, members)


def filled(path: Path, *steps: int) -> MemberFile:
    file = MemberFile(path / "members.h5")
    for step in steps:
        file.append([record(step), record(step, 1)])
    return file


@pytest.mark.parametrize("n_atoms", [5, 400])  # plain, and compressed
def test_rows_come_back_exactly(tmp_path: Path, n_atoms: int) -> None:
    file = MemberFile(tmp_path / "members.h5")
    records = [record(step, shape=(3, 4, n_atoms)) for step in (0, 5, 10)]
    for one in records:
        file.append([one])
    with h5py.File(file.path) as found:
        group = found["system_0/nn"]
        for name, (_, unit) in records[0].rows().items():
            expected = np.stack([one.rows()[name][0] for one in records])
            np.testing.assert_array_equal(group[name][:], expected, err_msg=name)
            assert group[name].attrs["unit"] == unit
        assert (group["member_forces"].compression == "gzip") == (n_atoms == 400)
        np.testing.assert_array_equal(group.attrs["numbers"], records[0].geometry.numbers)


def test_cutting_drops_later_rows_of_every_group(tmp_path: Path) -> None:
    file = filled(tmp_path, 0, 5, 10, 15)
    assert file.cut(15) == []
    assert file.cut(12) == ["members.h5: dropped 1 records made after step 12"]
    file.append([record(15), record(15, 1)])
    with h5py.File(file.path) as found:
        for system in (0, 1):
            group = found[f"system_{system}/nn"]
            assert group["step"][:].tolist() == [0, 5, 10, 15]
            np.testing.assert_array_equal(
                group["sigma"][3], record(15, system).members.sigma
            )
    file.cut(0)  # the run begins again, and records step 0 itself
    with h5py.File(file.path) as found:
        assert {len(data) for data in found["system_0/nn"].values()} == {0}
    assert MemberFile(tmp_path / "nothing.h5").cut(3) == []


def test_a_file_of_another_run_is_refused(tmp_path: Path) -> None:
    file = filled(tmp_path, 0)
    file.check({"system_0/nn": (3, 4, 5, 3), "system_7/other": (2, 2, 2, 3)})
    with pytest.raises(RunDirectoryError, match=r"shape \(3, 4, 5, 3\).*this run \(8, 4, 5, 3\)"):
        file.check({"system_0/nn": (8, 4, 5, 3)})
    file.path.write_bytes(b"no HDF5")
    for call in (lambda: file.check({}), lambda: file.cut(3), lambda: file.append([record(1)])):
        with pytest.raises(RunDirectoryError, match=r"members.h5 cannot be (read|written)"):
            call()


def test_readers_do_not_hinder_the_run(tmp_path: Path) -> None:
    file = filled(tmp_path, 0)
    reader = subprocess.Popen(
        [sys.executable, "-c", "import h5py, sys; f = h5py.File(sys.argv[1]); print('open', "
         "flush=True); input(); print(f['system_0/nn/step'][0])", str(file.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "open\n"
    file.append([record(5), record(5, 1)])
    assert reader.communicate("\n", timeout=30)[0] == "0\n"
    assert file.cut(0) != []


def test_a_file_is_whole_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    writer = textwrap.dedent("""
        import sys
        sys.path.insert(0, sys.argv[1])
        from test_member_file import filled
        from pathlib import Path
        print("go", flush=True)
        filled(Path(sys.argv[2]), *range(100000))
    """)
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", writer, str(Path(__file__).parent), str(folder)],
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            process.stdout.readline()
            path = folder / "members.h5"
            deadline = time.monotonic() + 30
            while not (path.exists() and path.stat().st_size > 90_000 * (number + 1)):
                assert time.monotonic() < deadline
                time.sleep(0.001)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            process.stdout.close()
        with h5py.File(path) as found:
            for system in (0, 1):
                group = found[f"system_{system}/nn"]
                (n_rows,) = {len(data) for data in group.values()}
                assert n_rows >= 1
                assert group["step"][:].tolist() == list(range(n_rows))
                last = record(n_rows - 1, system)
                np.testing.assert_array_equal(
                    group["member_forces"][n_rows - 1], last.members.member_forces
                )
