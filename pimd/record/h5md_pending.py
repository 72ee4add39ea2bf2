"""Frames that wait beside a record: those of the last chunk, which is not full yet.

    NAME.pending     an .npz with arrays `system_K/FIELD`, (frames, *shape)

The file is replaced as a whole at each checkpoint, and removed when its frames are in the record;
a run that was killed in between leaves frames that are in both.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pimd.record.h5md_layout import Frame

__all__ = ["pending_file", "read_pending", "remove_half_written", "write_pending"]


def pending_file(path: Path) -> Path:
    """Where the frames lie that are not in the record `path` yet."""
    return path.with_name(path.name + ".pending")


def write_pending(path: Path, frames: Mapping[int, Sequence[Frame]]) -> None:
    """Put frames beside a record, in one step and on disk.

    Args:
        path: of the record.
        frames: of each system.
    """
    arrays = {
        f"system_{index}/{name}": np.stack([np.asarray(frame[name]) for frame in waiting])
        for index, waiting in frames.items() if waiting
        for name in waiting[0]
    }
    temporary = _half_written(path)
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # keys are no keywords of savez
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, pending_file(path))


def remove_half_written(path: Path) -> None:
    """Clear what a writer that was killed has left; its name is always the same."""
    _half_written(path).unlink(missing_ok=True)


def _half_written(path: Path) -> Path:
    return path.with_name(pending_file(path).name + ".tmp")


def read_pending(path: Path, system: int | None = None) -> dict[int, dict[str, np.ndarray]] | None:
    """System -> name -> frames that lie beside a record; some of them may be in it already.

    Args:
        path: of the record.
        system: to read only one; None: all.

    Returns:
        Empty where there are none; None where the file is damaged.

    Raises:
        OSError: it cannot be read.
    """
    found: dict[int, dict[str, np.ndarray]] = {}
    wanted = "system_" if system is None else f"system_{system}/"
    try:
        with open(pending_file(path), "rb") as file, np.load(file) as arrays:
            for key in arrays.files:
                if key.startswith(wanted):
                    group, _, name = key.partition("/")
                    index = int(group.removeprefix("system_"))
                    found.setdefault(index, {})[name] = arrays[key]
    except FileNotFoundError:
        return {}
    except (zipfile.BadZipFile, ValueError, EOFError):
        return None
    return found
