"""How a record lies in its HDF5 file: H5MD 1.1, as docs/record.md says.

A frame of a system is a dictionary of arrays: `step`, `time`, `cells` and what else was asked for.
Each is a column, one data set that grows by whole chunks, with as many frames in a chunk as in
those of all other columns. Positions and what is like them are stored with beads and atoms as one
axis, as H5MD wants it, in chunks of whole beads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pimd.hdf5 import COMPRESSED

__all__ = ["CELLS", "FORMAT", "UNITS", "Column", "Field", "Frame", "SystemLayout",
           "frames_per_chunk", "record_name"]

FORMAT = "pimd record, version 1"
Frame = Mapping[str, np.ndarray]
"""`step`, `time` and the fields of a layout, each an array of a frame."""
CELLS = "cells"
UNITS = {
    "Angstrom fs-1": "Å/fs", "eV Angstrom-1": "eV/Å", "eV Angstrom-3": "eV/Å^3",
    "e Angstrom": "e Å", "Angstrom": "Å", "Angstrom3": "Å^3", "g cm-3": "g/cm^3",
    "e2 Angstrom2 eV-1": "e^2Å^2/eV",
}
"""Words of H5MD -> those of pimd, where they differ."""
CHUNK_BYTES = 1 << 18
"""Aim for a chunk, before it is compressed."""
LEAST_FRAMES, MOST_FRAMES = 16, 256
"""Frames of a chunk: few enough to get at one frame, many enough to follow one bead in time."""
MOST_BYTES = 32 << 20
"""Of the frames of one chunk, all columns together: they wait in memory."""

_ELEMENTS = {  # of H5MD; forces are not its `force`, since readers know no eV
    "positions": "position", "velocities": "velocity", "forces": "forces",
    "x_centroid": "position", "v_centroid": "velocity", "f_centroid": "forces",
}


@dataclass(frozen=True)
class Field:
    """One quantity of a frame.

    Attributes:
        name: as it is asked for, without a unit.
        kind: `cell`, `beads`, `centroid`, `energies`, `members`, `extra` or `property`.
        shape: of one frame.
        unit: as in the file.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    unit: str

    def path(self, system: int) -> str:
        """Of its data set."""
        if self.kind == "cell":
            return f"particles/system_{system}/box/edges/value"
        if self.kind == "beads":
            return f"particles/system_{system}/{_ELEMENTS[self.name]}/value"
        if self.kind == "centroid":
            return f"particles/system_{system}_centroid/{_ELEMENTS[self.name]}/value"
        return f"observables/system_{system}/{self.name.replace('/', '_')}/value"

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Of one frame in the file: beads and atoms are one axis there."""
        if self.kind == "beads":
            return (self.shape[0] * self.shape[1], *self.shape[2:])
        return self.shape


@dataclass(frozen=True)
class Column:
    """One growing data set: its path, shape of a frame there, type, chunk and unit."""

    name: str
    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk: tuple[int, ...]
    unit: str

    def offsets(self, first: int) -> Iterator[tuple[int, ...]]:
        """Of all chunks that hold the frames from `first`."""
        steps = [range(0, size, part) for size, part in zip(self.shape, self.chunk[1:],
                                                            strict=True)]
        grid = np.meshgrid(*steps, indexing="ij") if steps else []
        rows = np.stack(grid, axis=-1).reshape(-1, len(steps)) if steps else np.zeros((1, 0))
        for row in rows.astype(int).tolist():
            yield (first, *row)


@dataclass(frozen=True)
class SystemLayout:
    """What is stored of one system.

    Attributes:
        numbers: (n,) atomic numbers.
        masses: (n,) amu.
        labels: (n,) names of the atoms in i-PI.
        pbc: (3,) bool.
        n_beads: of the ring polymer.
        temperature: K; NaN: none.
        timestep: fs; NaN: none.
        fields: of every frame beside step and time, `cells` among them.
    """

    numbers: np.ndarray
    masses: np.ndarray
    labels: tuple[str, ...]
    pbc: np.ndarray
    n_beads: int
    temperature: float
    timestep: float
    fields: tuple[Field, ...]

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    @property
    def bytes_per_frame(self) -> int:
        return 16 + 8 * sum(int(np.prod(field.shape)) for field in self.fields)

    def fields_json(self, system: int) -> str:
        """What the attribute `fields` says."""
        entries = {
            f.name: {"path": f.path(system), "shape": f.shape, "unit": f.unit, "kind": f.kind}
            for f in self.fields
        }
        return json.dumps(entries)

    @classmethod
    def of(cls, parameters: Any) -> SystemLayout:
        """From a group of `/parameters`."""
        attributes = parameters.attrs
        entries = json.loads(attributes["fields"])
        fields = tuple(
            Field(name, entry["kind"], tuple(entry["shape"]), entry["unit"])
            for name, entry in entries.items()
        )
        return cls(
            parameters["numbers"][:], parameters["masses"][:],
            tuple(parameters["labels"].asstr()[:]), parameters["pbc"][:].astype(bool),
            int(attributes["n_beads"]), float(attributes["temperature"]),
            float(attributes["timestep"]), fields,
        )

    def differences(self, other: SystemLayout) -> list[str]:
        """What a file of this layout cannot take from a run of another, in words."""
        found = []
        if self.n_beads != other.n_beads:
            found.append(f"{self.n_beads} beads, not {other.n_beads}")
        if not np.array_equal(self.numbers, other.numbers):
            found.append(f"other atoms ({self.n_atoms}, not {other.n_atoms}, or in another order)")
        if set(self.fields) != set(other.fields):
            mine, new = ({f"{f.name} {f.shape} {f.unit}" for f in x.fields} for x in (self, other))
            found.append(
                f"the quantities {', '.join(sorted(mine - new)) or 'fewer'}, "
                f"not {', '.join(sorted(new - mine)) or 'these'}"
            )
        return found

    def columns(self, system: int, depth: int) -> list[Column]:
        """All data sets that grow, `step` last: it tells how many frames there are."""
        found = [self._column(field, system, depth) for field in self.fields]
        edges = f"particles/system_{system}/box/edges"
        found.append(Column("time", f"{edges}/time", (), np.dtype("f8"), (depth,), "fs"))
        found.append(Column("step", f"{edges}/step", (), np.dtype("i8"), (depth,), ""))
        return found

    def _column(self, field: Field, system: int, depth: int) -> Column:
        shape = field.stored_shape
        chunk: tuple[int, ...] = (depth, *shape)
        if shape:
            whole = self.n_atoms if field.kind == "beads" else 1  # never less than a bead
            parts = shape[0] // whole
            part_bytes = 8 * depth * int(np.prod(shape)) // parts
            chunk = (depth, whole * _divisor(parts, CHUNK_BYTES // part_bytes), *shape[1:])
        return Column(field.name, field.path(system), shape, np.dtype("f8"), chunk, field.unit)

    def create(self, file: Any, system: int, depth: int) -> None:
        """Make the groups and empty data sets of a system."""
        self._create_parameters(file, system, depth)
        for column in self.columns(system, depth):
            data = file.create_dataset(
                column.path, (0, *column.shape), column.dtype, maxshape=(None, *column.shape),
                chunks=column.chunk, **COMPRESSED,
            )
            if column.name != "step":
                data.attrs["unit"] = column.unit
        name = f"particles/system_{system}"
        edges = file[f"{name}/box/edges"]
        for field in self.fields:
            group = file[field.path(system)].parent
            if group != edges:
                group["step"], group["time"] = edges["step"], edges["time"]  # hard links
        _describe_box(file[f"{name}/box"], self.pbc)
        beads = file[name]
        beads.attrs["n_beads"], beads.attrs["n_atoms"] = self.n_beads, self.n_atoms
        _add_atoms(beads, np.tile(self.numbers, self.n_beads), np.tile(self.masses, self.n_beads))
        if f"{name}_centroid" in file:
            centroid = file[f"{name}_centroid"]
            centroid["box"] = beads["box"]
            _add_atoms(centroid, self.numbers, self.masses)

    def _create_parameters(self, file: Any, system: int, depth: int) -> None:
        group = file.create_group(f"parameters/system_{system}")
        values: Mapping[str, Any] = {
            "n_beads": self.n_beads, "n_atoms": self.n_atoms, "temperature": self.temperature,
            "timestep": self.timestep, "frames_per_chunk": depth,
            "fields": self.fields_json(system),
        }
        for name, value in values.items():
            group.attrs[name] = value
        group["numbers"], group["masses"] = self.numbers, self.masses
        group["masses"].attrs["unit"] = "amu"
        group["labels"], group["pbc"] = list(self.labels), self.pbc


def frames_per_chunk(layouts: list[SystemLayout]) -> int:
    """Frames that are written together, the same for all systems of a file."""
    largest = max(layout.bytes_per_frame for layout in layouts)
    total = sum(layout.bytes_per_frame for layout in layouts)
    depth = min(max(CHUNK_BYTES // largest, LEAST_FRAMES), MOST_FRAMES)
    return int(max(min(depth, MOST_BYTES // total), 1))


def record_name(filename: str, prefix: str = "") -> str:
    """Name of the record of a run.

    Args:
        filename: what i-PI calls the output, of one system.
        prefix: of that system; all systems are in one file, whose name is without it.
    """
    return (filename.removeprefix(f"{prefix}_") if prefix else filename) + ".h5"


def _divisor(number: int, bound: int) -> int:
    """The largest divisor of a number that is not above a bound, at least 1."""
    return next((d for d in range(min(bound, number), 0, -1) if number % d == 0), 1)


def _describe_box(box: Any, pbc: np.ndarray) -> None:
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = ["periodic" if periodic else "none" for periodic in pbc]


def _add_atoms(group: Any, numbers: np.ndarray, masses: np.ndarray) -> None:
    for name, values in {"species": numbers, "mass": masses}.items():
        group.create_dataset(name, data=values, compression="gzip", compression_opts=1)
    group["mass"].attrs["unit"] = "amu"
