"""Put a record in order before its run goes on: no frame twice, none lost, whatever happened.

A run goes on from a checkpoint, and frames after it would be there twice. A run that was killed
leaves a file that says it is still written to, and frames beside it. In both cases the frames up
to the checkpoint are copied into a new file (whole chunks as they are on disk, without being
decompressed), which takes the name in one step.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pimd.record.h5md_file import H5MDFile, RecordError, frames_in, opened, was_closed
from pimd.record.h5md_layout import Frame, SystemLayout
from pimd.record.h5md_pending import pending_file, read_pending, remove_half_written

__all__ = ["cut_record", "put_in_order"]


def cut_record(path: Path, step: int, stride: int = 0) -> list[str]:
    """Drop the frames of a record after a step; all of them where the run begins again at step 0.

    Args:
        path: of the record; there need not be one.
        step: of the checkpoint.
        stride: steps between two frames; 0: not known, and nothing tells that some are missing.

    Returns:
        What there is to say.

    Raises:
        RecordError: it cannot be read, or lacks frames that the checkpoint counts on.
    """
    path.with_name(f".{path.name}.new").unlink(missing_ok=True)
    remove_half_written(path)
    if step == 0:
        path.unlink(missing_ok=True)
        pending_file(path).unlink(missing_ok=True)
        return []
    if not path.exists():
        return [f"{path.name} is not there: it will have frames after step {step} only"]
    try:
        beside = _beside(path)
        with opened(path) as file:
            systems = []
            for name in file["parameters"]:
                index = int(name.removeprefix("system_"))
                systems.append(_Kept.of(file, index, (beside or {}).get(index, []), step))
            for one in systems:
                one.check(path, step, stride)
            dropped = max(one.n_dropped for one in systems)
            in_order = not pending_file(path).exists() and was_closed(path)
            if dropped == 0 and in_order:
                return []
            _copy(file, systems, path)
    except RecordError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise RecordError(f"{path} cannot be read ({error}): move it away") from error
    pending_file(path).unlink(missing_ok=True)
    said = [f"{path.name}: dropped {dropped} frames made after step {step}"] if dropped else []
    if beside is None:
        said.append(f"{pending_file(path).name}: was damaged, the frames in it are lost")
    return said or [f"{path.name}: put in order, as the run had not been ended in order"]


def put_in_order(path: Path) -> list[str]:
    """Make the record of a run that was killed, and is not gone on with, one that any reader opens.

    Frames that lay beside it are in it then. To be called when nobody writes to it.

    Returns:
        What there is to say.

    Raises:
        RecordError: it cannot be read.
    """
    return cut_record(path, sys.maxsize)


def _beside(path: Path) -> dict[int, list[Frame]] | None:
    """System -> frames that lie beside a record; None where they are damaged.

    Raises:
        RecordError: they cannot be read.
    """
    try:
        found = read_pending(path)
    except OSError as error:
        raise RecordError(f"{pending_file(path)} cannot be read ({error}): move it away") from error
    return None if found is None else {
        system: [{name: rows[k] for name, rows in one.items()} for k in range(len(one["step"]))]
        for system, one in found.items()
    }


class _Kept:
    """What of one system is kept: the first `n_frames` of the file and some that lay beside."""

    def __init__(self, index: int, layout: SystemLayout, depth: int) -> None:
        self.index, self.layout, self.depth = index, layout, depth
        self.n_frames = 0
        self.beside: list[Frame] = []
        self.n_dropped = 0
        self.last = -1

    @classmethod
    def of(cls, file: Any, index: int, waiting: Sequence[Frame], step: int) -> _Kept:
        parameters = file[f"parameters/system_{index}"]
        layout = SystemLayout.of(parameters)
        kept = cls(index, layout, int(parameters.attrs["frames_per_chunk"]))
        steps = file[layout.columns(index, 1)[-1].path][:]
        last = int(steps[-1]) if len(steps) else -1
        beside = [frame for frame in waiting if frame["step"] > last]
        kept.n_frames = int((steps <= step).sum())
        kept.beside = [frame for frame in beside if frame["step"] <= step]
        kept.n_dropped = len(steps) - kept.n_frames + len(beside) - len(kept.beside)
        every = [*steps[: kept.n_frames].tolist(), *(int(f["step"]) for f in kept.beside)]
        kept.last = every[-1] if every else -1
        return kept

    def check(self, path: Path, step: int, stride: int) -> None:
        """Refuse a file that lacks the last frames before the checkpoint."""
        if stride > 0 and self.last < (due := step - step % stride):
            there = f"ends at step {self.last}" if self.last >= 0 else "has no frame"
            raise RecordError(
                f"{path} does not belong to the checkpoint of step {step}: it {there}, and there "
                f"should be a frame of step {due}. Put the file back, or move it away"
            )


def _copy(file: Any, systems: list[_Kept], path: Path) -> None:
    """Copy what is kept into a new file that takes the name of the old."""
    copy = path.with_name(f".{path.name}.copy")
    new = H5MDFile(copy, [one.index for one in systems])
    try:
        new.begin_copy({one.index: one.layout for one in systems}, systems[0].depth)
        for one in systems:
            whole = one.n_frames - one.n_frames % one.depth
            new.copy_chunks(file, one.index, whole)
            for frame in [*frames_in(file, one.index, one.layout, whole, one.n_frames),
                          *one.beside]:
                new.append(one.index, one.layout, frame)
        new.close()
        os.replace(copy, path)
    finally:
        new.close()
        copy.unlink(missing_ok=True)
        pending_file(copy).unlink(missing_ok=True)
