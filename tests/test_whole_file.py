"""A file is replaced as a whole, or stays as it was."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pimd.whole_file import whole_file, write_text


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("sync", [False, True])
def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "result.h5"
    path.write_text("old")
    with whole_file(path, sync=sync) as temporary:
        assert temporary.parent == tmp_path
        with open(temporary, "w") as file:
            file.write("new")
            file.flush()
            assert path.read_text() == "old"
            assert list(tmp_path.glob("*.h5")) == [path]  # who looks for such files sees one
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["result.h5"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_what_fails_leaves_the_old_file_and_nothing_beside(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")

    def fail() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]


def test_what_cannot_be_synced_does_not_take_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    write_text(path, "old")

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new", sync=True)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]
    write_text(path, "new")  # without sync it is not asked
    assert path.read_text() == "new"


def test_a_writer_that_wrote_nothing_is_told_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), whole_file(path):
        pass
    assert path.read_text() == "old"


def test_permissions_are_those_of_any_new_file_or_of_the_old_one(tmp_path: Path) -> None:
    plain, new, shared = (tmp_path / name for name in ("plain", "new", "shared"))
    plain.write_text("")
    write_text(new, "x")
    assert mode_of(new) == mode_of(plain)
    for mode in (0o600, 0o664, 0o444):
        shared.touch()
        shared.chmod(mode)
        write_text(shared, f"{mode:o}", sync=True)
        assert mode_of(shared) == mode
        assert shared.read_text() == f"{mode:o}"
        shared.unlink()


def test_text_is_in_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "Å\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\x85\n"
