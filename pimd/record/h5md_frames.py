"""Frames and properties of the H5MD file that `pimd run` writes (docs/record.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pimd.ipi.output_units import TRAJECTORIES, from_ipi, property_dimension, split_name
from pimd.record.channels import WITHOUT_BEADS, of_beads
from pimd.record.h5md_file import opened
from pimd.record.h5md_layout import FORMAT, UNITS, Field, SystemLayout
from pimd.record.h5md_pending import read_pending
from pimd.record.series import Series

__all__ = ["H5MDRecord", "NoRecord"]


class NoRecord(ValueError):
    """A file is no record of pimd, or holds no such system."""


class H5MDRecord:
    """One system of one file, as it was when opened; a run that goes on may add to it.

    Attributes:
        path: the file.
        layout: atoms, beads and fields.
        step: (T,) int64.
        time: fs, (T,).

    Raises:
        NoRecord: it is no file of `pimd run`, is damaged, or has no such system.
    """

    def __init__(self, path: Path, system: int = 0) -> None:
        self.path, self.system = path, system
        # the frames that wait beside the file are read first: meanwhile some may go into it
        self._pending = (read_pending(path, system) or {}).get(system, {})
        try:
            with opened(path) as file:
                if file.attrs.get("format") != FORMAT:
                    raise NoRecord(f"{path} is no record of pimd run ({FORMAT})")
                group = file.get(f"parameters/system_{system}")
                if group is None:
                    raise NoRecord(f"{path}: there is no system {system} in it")
                self.layout = SystemLayout.of(group)
                edges = file[f"particles/system_{system}/box/edges"]
                self.step = edges["step"][:]
                self.time = edges["time"][: len(self.step)]
        except (OSError, KeyError) as error:
            raise NoRecord(f"{path} cannot be read: {error}") from error
        self.n_in_file = len(self.step)
        if self._pending:
            last = self.step[-1] if self.n_in_file else -1
            new = self._pending["step"] > last
            self._pending = {name: values[new] for name, values in self._pending.items()}
            self.step = np.append(self.step, self._pending["step"])
            self.time = np.append(self.time, self._pending["time"])

    def channels(self) -> dict[str, H5MDChannel]:
        """What is stored frame by frame, properties excepted."""
        found = (H5MDChannel(self, f) for f in self.layout.fields if f.kind != "property")
        return {channel.name: channel for channel in found}

    def series(self) -> Iterator[Series]:
        """Properties, and energies of members with a name of their own left out."""
        for field in self.layout.fields:
            if field.kind == "property":
                key, _, arguments = split_name(field.name)
                name = f"{key}({arguments})" if arguments else key
                factor, unit = _property_unit(key, field.unit)
                values = self.rows(field, np.arange(len(self.step)))
                yield Series(name, self.step, self.time, factor * values, unit)

    def rows(self, field: Field, rows: np.ndarray, beads: slice = slice(None)) -> np.ndarray:
        """A field at these frames, (len(rows), *shape), in the unit of the file."""
        in_file = rows < self.n_in_file
        parts = []
        if in_file.any():
            with opened(self.path) as file:
                parts.append(self._from_file(file[field.path(self.system)], field, rows[in_file],
                                             beads))
        if not in_file.all():
            values = self._pending[field.name][rows[~in_file] - self.n_in_file]
            parts.append(values[:, beads] if field.kind == "beads" else values)
        if not parts:
            return np.empty((0, *field.shape))
        found = np.concatenate(parts) if len(parts) > 1 else parts[0]
        if in_file.all() or not in_file.any():
            return found
        out = np.empty_like(found)
        out[in_file], out[~in_file] = parts
        return out

    def _from_file(
        self, data: Any, field: Field, rows: np.ndarray, beads: slice
    ) -> np.ndarray:
        """From a data set; of beads only those asked for are read."""
        if field.kind != "beads":
            return _read(data, rows).reshape(len(rows), *field.shape)
        n_beads, n_atoms = field.shape[:2]
        start, stop, stride = beads.indices(n_beads)
        chosen = range(start, stop, stride)
        if stride == 1:
            values = _read(data, rows, slice(start * n_atoms, max(stop, start) * n_atoms))
        else:
            parts = [_read(data, rows, slice(b * n_atoms, (b + 1) * n_atoms)) for b in chosen]
            values = np.concatenate(parts, axis=1) if parts else np.empty((len(rows), 0))
        return values.reshape(len(rows), len(chosen), *field.shape[1:])


class H5MDChannel:
    """One quantity of a file; attributes as in `channels.Channel`."""

    is_rounded = False

    def __init__(self, record: H5MDRecord, field: Field) -> None:
        self._record, self._field = record, field
        self.name = "member_energies" if field.kind == "members" else TRAJECTORIES.get(
            field.name, field.name
        )
        if field.kind == "members" and "(" in field.name:
            self.name += field.name[field.name.index("(") :]
        self.step, self.time = record.step, record.time
        self.shape, self.unit = field.shape, UNITS.get(field.unit, field.unit)
        self.bead_axis: int | None = 1 if field.kind == "members" else 0
        if field.kind in ("cell", "centroid") or self.name in WITHOUT_BEADS:
            self.bead_axis = None

    def read(self, rows: np.ndarray, beads: slice) -> np.ndarray:
        if self._field.kind == "beads":
            return self._record.rows(self._field, rows, beads)
        return of_beads(self._record.rows(self._field, rows), self.bead_axis, beads)


def _property_unit(key: str, unit: str) -> tuple[float, str]:
    """Factor to pimd's unit of a property, and that unit."""
    if unit in UNITS or unit in ("eV", "fs", "K", "a.u.", ""):
        return 1.0, UNITS.get(unit, unit)
    try:
        return from_ipi(property_dimension(key, unit), unit)
    except ValueError:
        return 1.0, unit


def _read(data: Any, rows: np.ndarray, middle: slice = slice(None)) -> np.ndarray:
    """Rows of a data set in any order, by as few reads of neighbouring rows as will do."""
    chosen, order = np.unique(rows, return_inverse=True)
    steps = np.diff(chosen)
    if len(chosen) == 1 or (steps == steps[0]).all():
        stride = int(steps[0]) if len(steps) else 1
        index = slice(int(chosen[0]), int(chosen[-1]) + 1, stride)
        values = data[index, middle] if data.ndim > 1 else data[index]
    else:
        breaks = np.flatnonzero(steps > 1) + 1
        parts = []
        for run in np.split(chosen, breaks):
            index = slice(int(run[0]), int(run[-1]) + 1)
            parts.append(data[index, middle] if data.ndim > 1 else data[index])
        values = np.concatenate(parts)
    return np.asarray(values, dtype=np.float64)[order]
