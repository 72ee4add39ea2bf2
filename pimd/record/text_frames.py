"""Frames in i-PI's text files, one file a bead: xyz and extended xyz.

A file is looked through once for where its frames begin; the numbers of a frame are read when
they are asked for. Frames that were cut off in the middle, and those that a run which went on
from a checkpoint has written again, do not count.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pimd.ipi.output_units import from_ipi, trajectory_dimension
from pimd.record.channels import rows_of_steps
from pimd.record.series import superseded

__all__ = ["BeadFiles", "CellsOfFile", "FrameFile"]

HEADER_BYTES = 1000
"""More than the first two lines of a frame have."""

_COMMENT = re.compile(rb"^[^\n]*(?:CELL[(\[{]|Lattice=)[^\n]*\n", re.MULTILINE)
_HEADER = re.compile(rb"[ \t]*(\d+)[ \t\r]*\n([^\n]*(?:CELL[(\[{]|Lattice=)[^\n]*)\n")
_STEP = re.compile(rb"Step:\s*(\d+)")
_QUANTITY = re.compile(r"(\w+)\{([^}]*)\}")
_CELL = re.compile(r"CELL\(abcABC\):\s*((?:[-+.\deE]+\s+){6})")
_LATTICE = re.compile(r'Lattice="([^"]*)"')
_PROPERTIES = re.compile(r"Properties=(\S+)")


@dataclass(frozen=True)
class _Layout:
    """What the comment line of the first frame says of all.

    Attributes:
        n_atoms: of a frame.
        n_columns: of a line.
        first: column where the three numbers begin.
        quantity: i-PI's name of it.
        factor: to pimd's unit.
        unit: pimd's.
        labels: of the atoms.
    """

    n_atoms: int
    n_columns: int
    first: int
    quantity: str
    factor: float
    unit: str
    labels: tuple[str, ...]


class FrameFile:
    """One file of frames.

    Attributes:
        step: (n,) int64, of the frames that count.
        layout: of all frames.

    Raises:
        ValueError: it holds no frame of i-PI.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        starts, ends, steps = _index(path)
        if not len(starts):
            raise ValueError(f"{path}: no whole frame of i-PI in it")
        kept = ~superseded(steps)
        self.step, self._starts, self._ends = steps[kept], starts[kept], ends[kept]
        with open(path, "rb") as file:
            file.seek(int(starts[0]))
            self.layout = _layout(file.read(int(ends[0] - starts[0])), path)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The numbers of these frames in pimd's unit, (len(rows), n_atoms, 3)."""
        layout = self.layout
        out = np.empty((len(rows), layout.n_atoms, 3))
        with open(self.path, "rb") as file:
            for k, row in enumerate(rows):
                words = self._body(file, int(row)).split()
                if len(words) != layout.n_atoms * layout.n_columns:
                    raise ValueError(
                        f"{self.path}, step {self.step[row]}: expected {layout.n_atoms} lines of "
                        f"{layout.n_columns} words, got {len(words)} words"
                    )
                for axis in range(3):
                    column = words[layout.first + axis :: layout.n_columns]
                    out[k, :, axis] = list(map(float, column))
        return out * layout.factor

    def _body(self, file: BinaryIO, row: int) -> bytes:
        start, end = int(self._starts[row]), int(self._ends[row])
        file.seek(start)
        text = file.read(end - start)
        return text[text.index(b"\n") :]

    def cells(self, rows: np.ndarray) -> np.ndarray:
        """Å, (len(rows), 3, 3), rows of a cell are vectors."""
        out = np.empty((len(rows), 3, 3))
        with open(self.path, "rb") as file:
            for k, row in enumerate(rows):
                file.seek(int(self._starts[row]))
                comment = file.read(HEADER_BYTES).split(b"\n")[0].decode()
                out[k] = _cell(comment)
        return out


class BeadFiles:
    """The files of all beads as one quantity; attributes as in `channels.Channel`.

    Args:
        files: one for each bead, in order; or one, of what has no beads.
        timestep: fs.
        has_beads: whether rows have an axis of beads.
    """

    def __init__(self, files: Sequence[FrameFile], timestep: float, has_beads: bool) -> None:
        self.files = list(files)
        self.step = reduce(np.intersect1d, (file.step for file in self.files))
        self.time = self.step * timestep
        self.unit = self.files[0].layout.unit
        n_atoms = self.files[0].layout.n_atoms
        self.shape: tuple[int, ...] = (len(self.files), n_atoms, 3) if has_beads else (n_atoms, 3)
        self.bead_axis: int | None = 0 if has_beads else None
        self.is_rounded = self.files[0].path.suffix == ".xyz"

    def read(self, rows: np.ndarray, beads: slice) -> np.ndarray:
        wanted = self.step[rows]
        files = self.files[beads] if self.bead_axis == 0 else self.files
        found = [file.read(rows_of_steps(file.step, wanted)) for file in files]
        if self.bead_axis is None:
            return found[0]
        if not found:
            return np.empty((len(rows), 0, *self.shape[1:]))
        return np.stack(found, axis=1)


class CellsOfFile:
    """The cells in the comment lines of a trajectory; attributes as in `channels.Channel`."""

    unit = "Å"
    is_rounded = True

    def __init__(self, file: FrameFile, step: np.ndarray, timestep: float) -> None:
        self._file, self.step = file, step
        self.shape: tuple[int, ...] = (3, 3)
        self.bead_axis: int | None = None
        self.time = step * timestep

    def read(self, rows: np.ndarray, beads: slice) -> np.ndarray:
        return self._file.cells(rows_of_steps(self._file.step, self.step[rows]))


# where frames begin --------------------------------------------------------------------------

Found = tuple[list[int], list[int], list[int]]
"""Start (of the comment line), end and step of frames."""


def _index(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start of the comment line, end, and step of every whole frame, in the order of the file."""
    found: Found = ([], [], [])
    if path.stat().st_size > 0:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            equal = _equal_frames(text)
            found = _any_frames(text) if equal is None else equal
    starts, ends, steps = (np.array(one, dtype=np.int64) for one in found)
    return starts, ends, steps


def _equal_frames(text: mmap.mmap) -> Found | None:
    """The frames of a file in which all have the same number of bytes; None: they have not."""
    first = _HEADER.match(text[:HEADER_BYTES])
    if first is None:
        return None
    size = first.end()
    for _ in range(int(first[1])):
        size = text.find(b"\n", size) + 1
        if size == 0:
            return None
    if len(text) % size:
        return None
    steps: list[int] = []
    for start in range(0, len(text), size):
        header = _HEADER.match(text[start : start + HEADER_BYTES])
        if header is None or header[1] != first[1] or header.end() != first.end():
            return None
        step = _STEP.search(header[2])
        steps.append(int(step[1]) if step else len(steps))
    starts = [start + first.start(2) for start in range(0, len(text), size)]
    return starts, [start + size - first.start(2) for start in starts], steps


def _any_frames(text: mmap.mmap | bytes) -> Found:
    """The whole frames of any file: n lines after a comment line, and the next number of atoms."""
    first = _HEADER.match(text[:HEADER_BYTES])
    comments = list(_COMMENT.finditer(text))
    found: Found = ([], [], [])
    if first is None:
        return found
    for number, comment in enumerate(comments):
        end = comment.end()
        for _ in range(int(first[1])):
            end = text.find(b"\n", end) + 1
            if end == 0:
                return found
        if number + 1 < len(comments):
            following = comments[number + 1].start()
            # of a frame that was cut off, the last line goes into the number of the next
            if end > following or not text[end:following].strip():
                continue
        step = _STEP.search(comment[0])
        found[0].append(comment.start())
        found[1].append(end)
        found[2].append(int(step[1]) if step else len(found[2]))
    return found


# what a frame says ---------------------------------------------------------------------------


def _layout(frame: bytes, path: Path) -> _Layout:
    comment, body = frame.decode().split("\n", 1)
    lines = body.splitlines()
    quantities = [match for match in _QUANTITY.findall(comment) if match[0] != "cell"]
    if not quantities:
        raise ValueError(f"{path} does not say what it holds: its comment line is '{comment}'")
    quantity, unit = quantities[0]
    first = 1
    listed = _PROPERTIES.search(comment)
    if listed is not None:
        first = _first_column(listed[1], quantity, path)
    factor, name = from_ipi(trajectory_dimension(quantity, unit), unit)
    labels = tuple(line.split()[0] for line in lines)
    return _Layout(len(lines), len(lines[0].split()), first, quantity, factor, name, labels)


def _first_column(properties: str, quantity: str, path: Path) -> int:
    """Where a quantity begins among the columns of an extended xyz."""
    words = properties.split(":")
    column = 0
    for name, _, size in zip(words[0::3], words[1::3], words[2::3], strict=True):
        if name == ("pos" if quantity == "positions" else quantity):
            return column
        column += int(size)
    raise ValueError(f"{path}: no column of {quantity} among {properties}")


def _cell(comment: str) -> np.ndarray:
    """Å, (3, 3), of a comment line."""
    lattice = _LATTICE.search(comment)
    if lattice is not None:
        factor, _ = from_ipi("length", "ase")
        return factor * np.array(lattice[1].split(), dtype=float).reshape(3, 3)
    found = _CELL.search(comment + " ")
    if found is None:
        raise ValueError(f"no cell in the comment line '{comment}'")
    from ipi.utils.mathtools import abc2h

    a, b, c, *angles = (float(word) for word in found[1].split())
    units = dict(_QUANTITY.findall(comment))
    factor, _ = from_ipi("length", units.get("cell", ""))
    h = abc2h(a, b, c, *np.radians(angles))  # columns are vectors
    return factor * np.asarray(h, dtype=float).T
