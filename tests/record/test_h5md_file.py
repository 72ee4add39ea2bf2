"""The record file: frames as they were given, whatever happens to its writer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from record_frames import frame, layout

from pimd.record.h5md_file import H5MDFile, RecordError, opened, was_closed
from pimd.record.h5md_layout import SystemLayout, frames_per_chunk
from pimd.record.h5md_pending import pending_file, read_pending, write_pending
from pimd.record.h5md_recovery import cut_record, put_in_order

HERE = Path(__file__).parent


def written(path: Path, steps: range, of: SystemLayout | None = None, extend: bool = False,
            ) -> Path:
    of = of or layout()
    file = H5MDFile(path, [0], extend=extend)
    for step in steps:
        file.append(0, of, frame(of, step))
    file.close()
    return path


def assert_frames(path: Path, steps: list[int], system: int = 0) -> None:
    """Every field of every frame is what `frame` gives."""
    with opened(path) as file:
        of = SystemLayout.of(file[f"parameters/system_{system}"])
        edges = file[f"particles/system_{system}/box/edges"]
        assert edges["step"][:].tolist() == steps
        np.testing.assert_array_equal(edges["time"][: len(steps)], 0.25 * np.array(steps))
        expected = [frame(of, step, system) for step in steps]
        for field in of.fields:
            values = file[field.path(system)][: len(steps)].reshape(len(steps), *field.shape)
            np.testing.assert_array_equal(
                values, [one[field.name] for one in expected], err_msg=field.name
            )


def test_frames_come_back_exactly_in_the_layout_of_the_page(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5", range(0, 80, 2))
    assert_frames(path, list(range(0, 80, 2)))
    assert os.listdir(tmp_path) == ["a.h5"]
    with h5py.File(path) as file:
        assert file["h5md"].attrs["version"].tolist() == [1, 1]
        parameters = file["parameters/system_0"]
        assert parameters["labels"].asstr()[1] == "X1"
        assert np.isnan(parameters.attrs["timestep"])
        fields = json.loads(parameters.attrs["fields"])
        assert fields["positions"] == {
            "path": "particles/system_0/position/value", "shape": [16, 40, 3],
            "unit": "Angstrom", "kind": "beads",
        }
        assert fields["a/b"]["path"] == "observables/system_0/a_b/value"
        beads = file["particles/system_0"]
        assert beads["box"].attrs["boundary"].tolist() == ["periodic", "periodic", "none"]
        assert beads["position/step"] == beads["box/edges/step"]  # one data set
        assert beads["position/value"].chunks == (16, 640, 3)
        assert beads["position/value"].compression == "gzip"
        np.testing.assert_array_equal(beads["species"][40:80], parameters["numbers"][:])
        assert file["particles/trajectory"] == beads
        for name, field in fields.items():
            assert file[field["path"]].attrs["unit"] == field["unit"], name


def test_chunks_suit_a_frame_and_a_bead() -> None:
    small, large, huge = layout(3, 4), layout(648, 32), layout(100_000, 32)
    assert frames_per_chunk([small]) > 100
    assert frames_per_chunk([large]) == 16 == frames_per_chunk([large, small])
    assert frames_per_chunk([huge]) == 1
    (positions,) = (c for c in large.columns(0, 16) if c.name == "positions")
    assert positions.chunk == (16, 648, 3)  # one bead
    assert [o[1] for o in positions.offsets(32)] == list(range(0, 32 * 648, 648))
    odd = layout(100, 6)
    (positions,) = (c for c in odd.columns(0, 16) if c.name == "positions")
    assert (positions.chunk[1] // 100) in (1, 2, 3, 6)  # whole beads, none cut in two


@pytest.mark.parametrize("last", [15, 16, 20, 31, 40])
def test_a_file_that_is_gone_on_with_is_one_file(tmp_path: Path, last: int) -> None:
    path = written(tmp_path / "a.h5", range(last))
    written(path, range(last, last), extend=True)
    assert cut_record(path, last - 1, 1) == []
    written(path, range(last, 50), extend=True)
    assert_frames(path, list(range(50)))


@pytest.mark.parametrize("step", [0, 7, 15, 16, 33, 39])
def test_cutting_drops_later_frames(tmp_path: Path, step: int) -> None:
    path = written(tmp_path / "a.h5", range(40))
    said = cut_record(path, step, 1)
    if step == 0:  # begins again, and writes step 0 itself
        assert not path.exists()
        return
    n_dropped = 39 - step
    assert said == ([f"a.h5: dropped {n_dropped} frames made after step {step}"]
                    if n_dropped else [])
    assert_frames(path, list(range(step + 1)))
    written(path, range(step + 1, 45), extend=True)
    assert_frames(path, list(range(45)))
    assert os.listdir(tmp_path) == ["a.h5"]


def test_a_file_that_does_not_belong_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5", range(0, 40, 2))
    with pytest.raises(RecordError, match=r"ends at step 38, and .* be a frame of step 42"):
        cut_record(path, 43, 2)
    with pytest.raises(RecordError, match="another run: it has 16 beads, not 8"):
        written(path, range(40, 42), layout(n_beads=8), extend=True)
    path.write_bytes(b"no HDF5")
    with pytest.raises(RecordError, match=r"a.h5 cannot be read \(.*: move it away"):
        cut_record(path, 43, 2)
    assert cut_record(tmp_path / "b.h5", 5, 1)[0].startswith("b.h5 is not there")


def test_a_frame_of_another_shape_is_refused(tmp_path: Path) -> None:
    of = layout()
    file = H5MDFile(tmp_path / "a.h5", [0])
    file.append(0, of, frame(of, 0))
    wrong = dict(frame(of, 1))
    wrong["dipole"] = np.zeros((15, 3))
    with pytest.raises(ValueError, match=r"dipole has the shape \(15, 3\), expected \(16, 3\)"):
        file.append(0, of, wrong)
    file.append(0, of, frame(of, 1))
    file.close()
    assert_frames(file.path, [0, 1])


def test_it_can_be_read_while_it_grows(tmp_path: Path) -> None:
    of = layout()
    file = H5MDFile(tmp_path / "a.h5", [0])
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        from pimd.record.h5md_file import opened
        path = Path(sys.argv[1])
        with opened(path) as file:
            step = file["particles/system_0/box/edges/step"]
            print(len(step), flush=True)
            input()
            step.refresh()
            print(len(step), float(file["particles/system_0/position/value"][31, 0, 0]))
    """)
    for step in range(17):
        file.append(0, of, frame(of, step))
    file.sync()
    reader = subprocess.Popen(
        [sys.executable, "-c", code, str(file.path)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "16\n"
    with np.load(pending_file(file.path)) as beside:
        assert beside["system_0/step"].tolist() == [16]
    for step in range(17, 33):
        file.append(0, of, frame(of, step))
    file.sync()
    answer = reader.communicate("\n", timeout=60)[0].split()
    assert answer == ["32", str(float(frame(of, 31)["positions"][0, 0, 0]))]
    file.close()
    assert_frames(file.path, list(range(33)))


def test_no_frame_that_was_synced_is_lost_when_the_writer_is_killed(tmp_path: Path) -> None:
    for number, n_lines in enumerate([2, 6, 11, 17]):
        path = tmp_path / f"{number}.h5"
        process = subprocess.Popen(
            [sys.executable, str(HERE / "record_frames.py"), str(path)],
            stdout=subprocess.PIPE, text=True,
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(n_lines)]
        time.sleep(0.004 * number)  # somewhere between two of them
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        lines += process.stdout.read().splitlines()
        process.stdout.close()
        synced = max(int(line) for line in lines)
        assert not was_closed(path)
        if number == 3:
            (said,) = put_in_order(path)
            assert said.startswith("3.h5: put in order")
            with h5py.File(path) as file:
                assert file["particles/system_0/position/step"][-1] >= synced
            cut_record(path, synced, 1)
            continue
        said = cut_record(path, synced, 1)
        assert said[0].startswith(f"{number}.h5: ")
        assert was_closed(path)
        assert not pending_file(path).exists()
        for system in (0, 1):
            assert_frames(path, list(range(synced + 1)), system)


def waiting(path: Path, n_frames: int) -> bytes:
    """Write a record and say what lay beside it before it was closed."""
    of = layout()
    file = H5MDFile(path, [0])
    for step in range(n_frames):
        file.append(0, of, frame(of, step))
    file.sync()
    beside = pending_file(path).read_bytes()
    file.close()
    return beside


@pytest.mark.parametrize("damage", ["half", "empty", "flipped"])
def test_damaged_frames_beside_a_record_count_as_none(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.h5"
    beside = waiting(path, 20)
    put = {"half": beside[: len(beside) // 2], "empty": b"",
           "flipped": beside[:5000] + bytes([beside[5000] ^ 255]) + beside[5001:]}[damage]
    pending_file(path).write_bytes(put)
    assert read_pending(path) is None
    said = cut_record(path, 17, 1)  # 16 to 19 are in the file too
    assert said == ["a.h5: dropped 2 frames made after step 17",
                    "a.h5.pending: was damaged, the frames in it are lost"]
    assert os.listdir(tmp_path) == ["a.h5"]
    assert_frames(path, list(range(18)))
    pending_file(path).write_bytes(put)
    assert put_in_order(path) == ["a.h5.pending: was damaged, the frames in it are lost"]
    pending_file(path).write_bytes(put)
    with pytest.raises(RecordError, match=r"ends at step 17, and .* a frame of step 19"):
        cut_record(path, 19, 1)  # the checkpoint counts on what is lost
    assert pending_file(path).read_bytes() == put


def test_frames_beside_a_record_are_read_for_one_system_or_all(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    assert read_pending(path) == {}
    of = layout()
    write_pending(path, {0: [frame(of, 1), frame(of, 2)], 1: [], 11: [frame(of, 3, 11)]})
    found = read_pending(path)
    assert found is not None
    assert sorted(found) == [0, 11]
    assert found[0]["step"].tolist() == [1, 2]
    np.testing.assert_array_equal(found[11]["positions"], [frame(of, 3, 11)["positions"]])
    for system in (0, 11):
        one = read_pending(path, system)
        assert one is not None
        assert list(one) == [system]
    assert read_pending(path, 1) == {}


def test_a_disk_that_is_full_is_told_and_nothing_synced_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    code = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from record_frames import frame, layout
        from pimd.record.h5md_file import H5MDFile, RecordError
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
        file, of = H5MDFile(Path(sys.argv[2]), [0]), layout()
        synced = None
        try:
            for step in range(200):
                file.append(0, of, frame(of, step))
                file.sync()
                synced = step
        except RecordError as error:
            print(synced, error)
        for call in (file.sync, file.close):
            try:
                call()
                print("went on")
            except RecordError as error:
                pass
    """)
    done = subprocess.run(
        [sys.executable, "-c", code, str(HERE), str(path)], capture_output=True, text=True,
        timeout=120, check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "went on" not in done.stdout
    words = done.stdout.split(maxsplit=1)
    assert "a.h5 cannot be written" in words[1]
    assert "Make room, and go on with --resume" in words[1]
    synced = int(words[0])
    assert synced > 0
    cut_record(path, synced, 1)
    assert_frames(path, list(range(synced + 1)))
