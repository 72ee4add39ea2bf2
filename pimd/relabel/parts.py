"""What is done of a label, kept so that a kill at any moment loses little.

While a label is made, each part of it is a small file of its own beside it, in the format of the
label, written in one step:

    RUN/labels/.NAME.parts/00000000.h5

At the end, or when the work is interrupted, label and parts become one file. A label of frames
that were replaced since, by a run that went on from a checkpoint, loses those.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pimd.hdf5 import COMPRESSED, to_disk
from pimd.record.channels import rows_of_steps
from pimd.record.labels import FORMAT, Label, checksum, read_label, write_label
from pimd.record.run import Run
from pimd.relabel.errors import RelabelError
from pimd.relabel.tasks import Outcome
from pimd.whole_file import whole_file

__all__ = ["LabelParts"]

ROWS_AT_ONCE = 64
OPTIONAL = ("forces", "has_forces", "member_energies")


class LabelParts:
    """The file of a label and the parts beside it.

    Args:
        path: of the label.
        spec: of the potential.
        run: whose frames they are.
    """

    def __init__(self, path: Path, spec: str, run: Run) -> None:
        self.path, self.spec, self.run_ = path, spec, run
        self.folder = path.with_name(f".{path.stem}.parts")
        self._waiting: list[Outcome] = []
        self._check_spec()

    @property
    def parts(self) -> list[Path]:
        return sorted(self.folder.glob("*.h5")) if self.folder.is_dir() else []

    @property
    def _files(self) -> list[Path]:
        """The label first: what is in the parts is newer."""
        return [path for path in (self.path, *self.parts) if path.is_file()]

    def _check_spec(self) -> None:
        for file in self._files:
            label = read_label(file, forces=False)
            if label.spec != self.spec:
                raise RelabelError(
                    f"{self.path} is of {label.spec}, not of {self.spec}: give another --name, or "
                    "delete it"
                )

    def done(self, forces: bool) -> np.ndarray:
        """Steps that are labelled, those with forces where forces are wanted; of replaced frames
        there are none.
        """
        steps: list[np.ndarray] = []
        stale: list[np.ndarray] = []
        for file in self._files:
            label = read_label(file, forces=False)
            if label.energies.shape[1:] != (self.run_.n_beads,):
                raise RelabelError(
                    f"{file} has {label.energies.shape[1]} beads, the run {self.run_.n_beads}: "
                    "delete it"
                )
            old = self._replaced(label)
            stale.append(label.step[old])
            steps.append(label.step[~old & (_has_forces(file) if forces else True)])
        if any(map(len, stale)):
            self.merge(without=np.concatenate(stale))
        return np.unique(np.concatenate(steps)) if steps else np.zeros(0, dtype=np.int64)

    def _replaced(self, label: Label) -> np.ndarray:
        """Rows whose positions are not those of the run any more, (L,) bool.

        Once two trajectories differ they differ for good: from the last step back, until one
        agrees.
        """
        assert label.checksums is not None
        replaced = np.zeros(len(label.step), dtype=bool)
        rows = rows_of_steps(self.run_.step, label.step)
        for k in np.flatnonzero(rows >= 0)[::-1]:
            if checksum(self.run_.read("positions", int(rows[k]))) == label.checksums[k]:
                break
            replaced[k] = True
        return replaced

    def add(self, outcome: Outcome) -> None:
        """Take in what came of a task; on disk after `flush`."""
        self._waiting.append(outcome)

    @property
    def n_waiting_bytes(self) -> int:
        return sum(outcome.n_bytes for outcome in self._waiting)

    def flush(self) -> None:
        """Write what waits as one part."""
        if not self._waiting:
            return
        label = joined(self._waiting, self.spec)
        numbers = [int(path.stem) for path in self.parts]
        name = f"{max(numbers, default=-1) + 1:08d}.h5"
        write_label(self.folder / name, label, self.run_.setup.numbers)
        self._waiting = []

    def merge(self, without: Sequence[int] | np.ndarray = ()) -> None:
        """Make one file of label and parts, less some steps."""
        self.flush()
        files = self._files
        if not files:
            return
        if len(files) > 1 or files[0] != self.path or len(without):
            _merge(files, self.path, self.run_.setup.numbers, np.asarray(without, dtype=np.int64))
        shutil.rmtree(self.folder, ignore_errors=True)


def joined(outcomes: Sequence[Outcome], spec: str) -> Label:
    """Outcomes of tasks as one label, in the order of steps."""
    step = np.concatenate([one.step for one in outcomes])
    order = np.argsort(step, kind="stable")

    def whole(name: str) -> Any:
        parts = [getattr(one, name) for one in outcomes]
        return None if parts[0] is None else np.concatenate(parts)[order]

    return Label(
        whole("energies"), spec, step[order], whole("forces"), whole("member_energies"),
        whole("checksums"),
    )


def _has_forces(path: Path) -> np.ndarray:
    """Rows of a file with forces, (L,) bool."""
    import h5py

    with h5py.File(path, "r") as file:
        if "has_forces" not in file:
            return np.zeros(len(file["step"]), dtype=bool)
        found: np.ndarray = file["has_forces"][:]
        return found


def _merge(files: Sequence[Path], path: Path, numbers: np.ndarray, without: np.ndarray) -> None:
    """Write all rows of the files into one, later files over earlier ones, block by block."""
    import h5py

    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(h5py.File(name, "r")) for name in files]
        every = np.unique(np.concatenate([source["step"][:] for source in sources]))
        steps = np.setdiff1d(every, without)
        with whole_file(path) as temporary, h5py.File(temporary, "w") as target:
            target.attrs["format"], target.attrs["spec"] = FORMAT, sources[-1].attrs["spec"]
            target.attrs["numbers"] = numbers
            target.create_dataset("step", data=steps)
            for name in _names(sources):
                _copy(name, sources, target, steps)
            to_disk(target)


def _names(sources: Sequence[Any]) -> Iterator[str]:
    yield from ("checksum", "energies")
    yield from (name for name in OPTIONAL if any(name in source for source in sources))


def _copy(name: str, sources: Sequence[Any], target: Any, steps: np.ndarray) -> None:
    """One data set of all sources; NaN where a source lacks it."""
    like = next(source[name] for source in sources if name in source)
    row = like.shape[1:]
    large: dict[str, Any] = {}
    if len(row) > 1 and len(steps):
        large = {**COMPRESSED, "chunks": (1, *row)}
    fill = {"fillvalue": np.nan} if like.dtype.kind == "f" else {}
    data = target.create_dataset(name, (len(steps), *row), like.dtype, **fill, **large)
    for key, value in like.attrs.items():
        data.attrs[key] = value
    for source in sources:
        if name not in source:
            continue
        rows = rows_of_steps(steps, source["step"][:])
        for first in range(0, len(rows), ROWS_AT_ONCE):
            block = source[name][first : first + ROWS_AT_ONCE]
            for k, values in zip(rows[first : first + ROWS_AT_ONCE], block, strict=True):
                if k >= 0:
                    data[k] = values
