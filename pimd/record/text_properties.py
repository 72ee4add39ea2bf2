"""i-PI's files of properties: columns named by the header, in units that it gives."""

from __future__ import annotations

import contextlib
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pimd.ipi.output_units import quantity_of
from pimd.record.series import Series, superseded

__all__ = ["read_properties"]

_COLUMN = re.compile(r"^#\s*(?:column|cols\.)\s*(\d+)(?:\s*-\s*(\d+))?\s*-->\s*(.*?)\s*(?::.*)?$")


@dataclass(frozen=True)
class _Column:
    """Columns first..end-1 hold a property."""

    name: str
    first: int
    end: int
    factor: float
    unit: str


def read_properties(path: Path, stride: int, timestep: float) -> dict[str, Series]:
    """The properties of one file by name, in eV, Å, fs, K.

    Args:
        path: the file.
        stride: steps between rows, used where neither step nor time is among the columns.
        timestep: fs; NaN: not known.

    Raises:
        ValueError: a unit that i-PI does not have.
    """
    columns = _header(path)
    if not columns:
        return {}
    rows = _rows(path, max(column.end for column in columns))
    step, time = _clock(columns, rows, stride, timestep)
    kept = ~superseded(step)
    found = {}
    for column in columns:
        values = rows[kept, column.first : column.end] * column.factor
        found[column.name] = Series(
            column.name, step[kept], time[kept],
            values[:, 0] if column.end == column.first + 1 else values, column.unit,
        )
    return found


def _header(path: Path) -> list[_Column]:
    columns: dict[int, _Column] = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.startswith("#"):
                break
            found = _COLUMN.match(line)
            if found is None:
                continue
            first = int(found[1]) - 1
            name, factor, unit = quantity_of(found[3])
            columns[first] = _Column(name, first, int(found[2] or found[1]), factor, unit)
    return list(columns.values())


def _rows(path: Path, n_columns: int) -> np.ndarray:
    """All whole rows, (n, n_columns)."""
    if _ends_with_newline(path):
        # a row that was cut off somewhere is an error, an empty file a warning
        with warnings.catch_warnings(), contextlib.suppress(ValueError):
            warnings.simplefilter("ignore")
            rows = np.loadtxt(path, comments="#", ndmin=2)
            if rows.shape[1] == n_columns:
                return rows
    kept = []
    with open(path, "rb") as file:
        for line in file:
            words = line.split()
            if line.startswith(b"#") or len(words) != n_columns or not line.endswith(b"\n"):
                continue
            try:
                kept.append([float(word) for word in words])
            except ValueError:
                continue
    return np.array(kept, dtype=np.float64).reshape(-1, n_columns)


def _ends_with_newline(path: Path) -> bool:
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(0, size - 1))
        return file.read(1) == b"\n"


def _clock(
    columns: list[_Column], rows: np.ndarray, stride: int, timestep: float
) -> tuple[np.ndarray, np.ndarray]:
    """Step and time of every row, from the columns where they are there."""
    named = {column.name: column for column in columns}
    time = None
    if "time" in named:
        time = rows[:, named["time"].first] * named["time"].factor
    if "step" in named:
        step = np.rint(rows[:, named["step"].first]).astype(np.int64)
    elif time is not None and timestep > 0:
        step = np.rint(time / timestep).astype(np.int64)
    else:
        step = stride * np.arange(len(rows), dtype=np.int64)
    return step, step * timestep if time is None else time
