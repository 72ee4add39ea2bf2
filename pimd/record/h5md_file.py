"""Write the record of a run: one HDF5 file that grows, and can be read and killed at any moment.

    file = H5MDFile(path, [0, 1])           systems 0 and 1
    file.append(0, layout, frame)           again and again
    file.sync()                             all frames so far are on disk
    file.close()

HDF5 files break when a process dies while it changes them. Here the file is in HDF5's mode for
one writer and many readers (SWMR), in which it is whole after each change, and each chunk is
written once, when it is full: by a thread, which compresses it meanwhile. Frames that do not fill
a chunk yet wait in memory; `sync` puts them beside, into NAME.pending, and `close` into the file.
Whoever reads counts frames by the data set `step`, which grows last.
"""

from __future__ import annotations

import contextlib
import os
import threading
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pimd.hdf5 import to_disk
from pimd.record.h5md_layout import FORMAT, Column, Frame, SystemLayout, frames_per_chunk
from pimd.record.h5md_pending import pending_file, write_pending

__all__ = ["H5MDFile", "RecordError", "frames_in", "opened", "was_closed"]


class RecordError(OSError):
    """A record cannot be written, or does not belong to the run; the message says what to do."""


def opened(path: Path) -> Any:
    """A record opened for reading, whether it is being written, was left by a kill, or is whole.

    Raises:
        OSError: it is none, or cannot be read.
    """
    import h5py

    if was_closed(path):  # as others open it: HDF5 wants that the same within a process
        return h5py.File(path, "r")
    return h5py.File(path, "r", libver="latest", swmr=True, locking=False)


def was_closed(path: Path) -> bool:
    """Whether an HDF5 file says that nobody is writing to it, nor was when the writer died."""
    with open(path, "rb") as file:
        superblock = file.read(12)
    # signature, version, two sizes, and from version 3 flags: open for writing, and for SWMR
    return len(superblock) == 12 and (superblock[8] < 3 or superblock[11] == 0)


class _System:
    """What is known of one system: its columns, frames in whole chunks, and those after them."""

    def __init__(self, layout: SystemLayout) -> None:
        self.layout = layout
        self.columns: list[Column] = []
        self.n_whole = 0
        self.frames: list[Frame] = []


class H5MDFile:
    """See the module; safe to be used by several threads.

    Args:
        path: of the file.
        systems: indices of those that will be appended to. The file is made, or opened, when a
            frame of each is there.
        extend: go on with the file if there is one; else another takes its place.
    """

    def __init__(self, path: Path, systems: Sequence[int], *, extend: bool = False) -> None:
        self.path, self.extend = path, extend
        self._expected = list(systems)
        self._systems: dict[int, _System] = {}
        self._file: Any = None
        self._depth = 0
        self._lock = threading.RLock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="record")
        self._at_work: Future[None] | None = None
        self._is_on_disk = True  # what is in the file
        self._is_kept = True  # frames that are not
        self._failure = ""
        self.is_closed = False

    def expect(self, system: int) -> None:
        """One more system will be appended to."""
        with self._lock:
            self._expected.append(system)

    def append(self, system: int, layout: SystemLayout, frame: Frame) -> None:
        """Add a frame to a system.

        Args:
            system: index, one of those expected.
            layout: the same each time.
            frame: arrays that are not changed afterwards.

        Raises:
            RecordError: it cannot be written, or the file that is to be extended is of another run.
            ValueError: a shape is not that of the frames before.
        """
        with self._lock:
            self._check()
            mine = self._systems.setdefault(system, _System(layout))
            _check_shapes(mine.layout, frame)
            mine.frames.append(frame)
            self._is_kept = False
            if len(self._systems) < len(self._expected):
                return
            if self._file is None:
                self._guarded(self._begin)
            for index, one in self._systems.items():
                while len(one.frames) >= self._depth:
                    self._write_later(index)

    def sync(self) -> None:
        """Have all frames on disk, in the file or beside it.

        Raises:
            RecordError: they cannot be written.
        """
        with self._lock:
            if self.is_closed and not self._failure:
                return
            self._check()
            self._guarded(self._sync)

    def close(self) -> None:
        """Write what is left and close the file.

        Raises:
            RecordError: it cannot be written.
        """
        with self._lock:
            if self.is_closed:
                return
            self.is_closed = True
            try:
                self._check()
                self._guarded(self._finish)
            finally:
                self._worker.shutdown()
                if self._file is not None and self._file.id.valid:
                    _abandon(self._file)

    # making and opening ---------------------------------------------------------------------

    def _begin(self) -> None:
        if self.extend and self.path.exists():
            self._open()
        else:
            layouts = {index: one.layout for index, one in sorted(self._systems.items())}
            self._create(layouts, frames_per_chunk(list(layouts.values())))
        self._file.swmr_mode = True

    def _create(self, layouts: Mapping[int, SystemLayout], depth: int) -> None:
        """Make the file under another name, so that half a file is never found under its own."""
        import h5py

        new = self.path.with_name(f".{self.path.name}.new")
        self._file = file = h5py.File(new, "w", libver="latest", locking=False)
        file.attrs["format"] = FORMAT
        file.create_group("h5md").attrs["version"] = np.array([1, 1])
        file.create_group("h5md/author").attrs["name"] = "N/A"
        creator = file.create_group("h5md/creator")
        creator.attrs["name"], creator.attrs["version"] = "pimd", version("pimd")
        for index, layout in layouts.items():
            layout.create(file, index, depth)
        file["particles/trajectory"] = h5py.SoftLink(f"/particles/system_{min(layouts)}")
        self._depth = depth
        for index, layout in layouts.items():
            one = self._systems.setdefault(index, _System(layout))
            one.columns = layout.columns(index, depth)
        to_disk(file)
        os.replace(new, self.path)

    def _open(self) -> None:
        """Go on with a file that was closed; its last chunk, if not full, is taken up again."""
        import h5py

        self._file = file = h5py.File(self.path, "r+", libver="latest", locking=False)
        for index, one in self._systems.items():
            parameters = file.get(f"parameters/system_{index}")
            if parameters is None:
                raise RecordError(f"{self.path} holds no system {index}: move it away")
            layout = SystemLayout.of(parameters)
            differences = layout.differences(one.layout)
            if differences:
                raise RecordError(
                    f"{self.path} is of another run: it has {'; '.join(differences)}. Move it "
                    "away, or start again in another place"
                )
            self._depth = int(parameters.attrs["frames_per_chunk"])
            one.layout, one.columns = layout, layout.columns(index, self._depth)
            n_frames = len(file[one.columns[-1].path])
            one.n_whole = n_frames - n_frames % self._depth
            one.frames[:0] = frames_in(file, index, layout, one.n_whole)

    # copying --------------------------------------------------------------------------------

    def begin_copy(self, layouts: Mapping[int, SystemLayout], depth: int) -> None:
        """Make the file at once, with the chunks of the one that will be copied."""
        self._create(layouts, depth)

    def copy_chunks(self, source: Any, system: int, n_frames: int) -> None:
        """Take the first frames of a system, whole chunks, as they are in another file."""
        one = self._systems[system]
        for column in one.columns:
            old, new = source[column.path], self._file[column.path]
            new.resize(n_frames, axis=0)
            for first in range(0, n_frames, self._depth):
                for offset in column.offsets(first):
                    mask, chunk = old.id.read_direct_chunk(offset)
                    new.id.write_direct_chunk(offset, chunk, mask)
        one.n_whole = n_frames

    # writing --------------------------------------------------------------------------------

    def _write_later(self, index: int) -> None:
        """Give a whole chunk to the thread, one at a time."""
        self._wait()
        one = self._systems[index]
        frames, one.frames = one.frames[: self._depth], one.frames[self._depth :]
        self._is_on_disk = False
        self._at_work = self._worker.submit(self._write, one.columns, one.n_whole, frames)
        one.n_whole += len(frames)

    def _wait(self) -> None:
        if self._at_work is not None:
            self._guarded(self._at_work.result)
            self._at_work = None

    def _write(self, columns: Sequence[Column], first: int, frames: Sequence[Frame]) -> None:
        """Write frames as one chunk; `step` when everything else is in the file."""
        for column in columns:
            data = self._file[column.path]
            if column.name == "step":
                self._file.flush()
            data.resize(first + len(frames), axis=0)
            values = np.zeros((column.chunk[0], *column.shape), column.dtype)
            for row, frame in enumerate(frames):
                values[row] = np.asarray(frame[column.name]).reshape(column.shape)
            for offset in column.offsets(first):
                part = tuple(
                    slice(start, start + size)
                    for start, size in zip(offset[1:], column.chunk[1:], strict=True)
                )
                data.id.write_direct_chunk(offset, _encoded(values[(slice(None), *part)]))
        self._file.flush()

    def _sync(self) -> None:
        self._wait()
        if self._file is not None and not self._is_on_disk:
            to_disk(self._file)
            self._is_on_disk = True
        if not self._is_kept:
            self._keep()
            self._is_kept = True

    def _keep(self) -> None:
        """Put the frames that wait into the file beside, in one step."""
        write_pending(self.path, {index: one.frames for index, one in self._systems.items()})

    def _finish(self) -> None:
        self._wait()
        if self._file is None:
            if self._systems:  # one of several systems has no frame yet
                self._sync()
            return
        for one in self._systems.values():
            if one.frames and not self._is_written(one):
                self._write(one.columns, one.n_whole, one.frames)
        to_disk(self._file)
        self._file.close()
        pending_file(self.path).unlink(missing_ok=True)

    def _is_written(self, one: _System) -> bool:
        """Whether the last chunk was taken up and nothing has been added to it."""
        return len(self._file[one.columns[-1].path]) == one.n_whole + len(one.frames)

    def _check(self) -> None:
        if self._failure:
            raise RecordError(self._failure)

    def _guarded(self, call: Any) -> None:
        """Call; an error, also one of the thread, is kept, and its words are the user's."""
        try:
            call()
        except RecordError as error:
            self._failure = str(error)
            raise
        except (OSError, RuntimeError, KeyError) as error:
            number = getattr(error, "errno", None)  # HDF5's own words fill half a page
            reason = os.strerror(number) if number else str(error).partition("\n")[0]
            self._failure = (
                f"{self.path} cannot be written: {reason}. Make room, and go on with --resume "
                "from the last checkpoint"
            )
            raise RecordError(self._failure) from error


def frames_in(file: Any, index: int, layout: SystemLayout, first: int, stop: int | None = None,
              ) -> list[Frame]:
    """Frames of a system, from `first` to before `stop`; None: to the last."""
    columns = layout.columns(index, 1)
    n_frames = len(file[columns[-1].path])
    stop = n_frames if stop is None else min(stop, n_frames)
    shapes = {field.name: field.shape for field in layout.fields}
    arrays = {
        c.name: file[c.path][first:stop].reshape(max(stop - first, 0), *shapes.get(c.name, ()))
        for c in columns
    }
    return [{name: rows[k] for name, rows in arrays.items()} for k in range(stop - first)]


def _check_shapes(layout: SystemLayout, frame: Frame) -> None:
    for field in layout.fields:
        shape = np.shape(frame[field.name])
        if shape != field.shape:
            raise ValueError(
                f"{field.name} has the shape {shape}, expected {field.shape} as in the first frame"
            )


def _encoded(values: np.ndarray) -> bytes:
    """A chunk as HDF5's filters shuffle and gzip would have it, outside of HDF5's lock."""
    raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return zlib.compress(np.ascontiguousarray(raw.reshape(-1, values.itemsize).T).data, 1)


def _abandon(file: Any) -> None:
    """Close a file that could not be written, and leave on disk what is there.

    That is whole as far as `step` says, while what HDF5 writes at the end, as if all had gone
    well, would spoil it.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, file.id.get_vfd_handle())
    os.close(nowhere)
    with contextlib.suppress(OSError, RuntimeError):
        file.close()
