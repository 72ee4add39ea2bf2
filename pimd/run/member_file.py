"""members.h5: what every member of a committee says of every bead, at a stride.

    /system_0/FORCEFIELD      one group for each system and forcefield
        step             (T,)
        time             (T,)                 fs
        cells            (T, 3, 3)            Å, rows are lattice vectors
        positions        (T, P, n, 3)         Å
        energies         (T, P)               eV, what is sampled
        member_energies  (T, M, P)            eV, with their mean at what is sampled
        member_forces    (T, M, P, n, 3)      eV/Å
        member_virials   (T, M, P, 3, 3)      eV, -dE/dstrain; only where the potential gives them
        sigma            (T, P)               eV, standard deviation over members, ddof 1

(of an `<ffcommittee>` with a baseline the members are corrections to it, as i-PI has them)

with the attributes numbers (n,), pbc (3,) of each group, and unit of each data set. T grows; P are
the beads of the forcefield, fewer than the ring polymer's where it is contracted.

The file can be read at any time, also after the run was killed at any moment. HDF5 changes a file
in many places when it grows, so the file that is there is never written to: a spare one, which
lags one record behind, gets the two it lacks, and the two change names. While a run goes on, the
disk holds the data twice.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pimd.hdf5 import COMPRESSED, to_disk
from pimd.ipi.uncertainty import Geometry, Members
from pimd.run.rundir import RunDirectoryError

__all__ = ["MEMBER_FILE", "MemberFile", "MemberRecord"]

MEMBER_FILE = "members.h5"
ROWS_OF_SMALL = 256
"""Rows of a chunk of the data sets that have a few numbers a row."""
COMPRESSED_FROM = 4096
"""Numbers in a row from which a data set is compressed, one row a chunk."""


@dataclass(frozen=True)
class MemberRecord:
    """One system and force component after one step; `label` names the latter."""

    system: int
    label: str
    step: int
    time_fs: float
    geometry: Geometry
    members: Members

    @staticmethod
    def group_of(system: int, label: str) -> str:
        """Name of the group in the file."""
        return f"system_{system}/{label.replace('/', '_')}"

    @property
    def group(self) -> str:
        return self.group_of(self.system, self.label)

    def rows(self) -> dict[str, tuple[np.ndarray, str]]:
        """Data set -> (one row, unit)."""
        members, geometry = self.members, self.geometry
        rows = {
            "step": (np.array(self.step, dtype=np.int64), ""),
            "time": (np.array(self.time_fs), "fs"),
            "cells": (geometry.cell, "angstrom"),
            "positions": (geometry.positions, "angstrom"),
            "energies": (members.energies, "eV"),
            "member_energies": (members.member_energies, "eV"),
            "member_forces": (members.member_forces, "eV/angstrom"),
            "sigma": (members.sigma, "eV"),
        }
        if members.member_virials is not None:
            rows["member_virials"] = (members.member_virials, "eV")
        return rows


class MemberFile:
    """The file, and the spare one beside it while a run goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._spare = path.with_name(f".{path.name}.spare")
        self._old = path.with_name(f".{path.name}.old")
        self._lacking: Sequence[MemberRecord] | None = None  # of the spare; None: there is none

    def append(self, records: Sequence[MemberRecord]) -> None:
        """Add one row to the group of each record.

        Raises:
            RunDirectoryError: it cannot be written.
        """
        try:
            if not self.path.exists():
                _add(self._spare, "w", records)
                os.replace(self._spare, self.path)
                return
            if self._lacking is None:
                self.close()
                shutil.copyfile(self.path, self._spare)
                self._lacking = ()
            _add(self._spare, "r+", [*self._lacking, *records])
            self._swap()
            self._lacking = records
        except (OSError, KeyError, TypeError) as error:
            raise RunDirectoryError(f"{self.path} cannot be written: {error}") from error

    def close(self) -> None:
        """Remove what lies beside the file."""
        self._lacking = None
        for path in (self._spare, self._old):
            path.unlink(missing_ok=True)

    def _swap(self) -> None:
        """The spare file takes the name in one step, and the old one becomes the spare."""
        try:
            os.link(self.path, self._old)
        except OSError:  # a file system without links: for an instant the name is free
            os.replace(self.path, self._old)
        os.replace(self._spare, self.path)
        os.replace(self._old, self._spare)

    def check(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Compare what is there with a run: group -> shape of a row of member forces.

        Raises:
            RunDirectoryError: it is of another run, or cannot be read.
        """
        if not self.path.exists():
            return
        try:
            with _opened(self.path, "r") as file:
                for name, shape in expected.items():
                    found = file[name]["member_forces"].shape[1:] if name in file else shape
                    if found != shape:
                        raise RunDirectoryError(
                            f"{self.path}: {name} has member forces of shape {found} (members, "
                            f"beads, atoms, 3), this run {shape}: move it away and try again"
                        )
        except (OSError, KeyError) as error:
            raise RunDirectoryError(
                f"{self.path} cannot be read ({error}): move it away and try again"
            ) from error

    def cut(self, step: int) -> list[str]:
        """Remove rows after `step`, all of them where the run goes on from step 0.

        Returns what there is to say.

        Raises:
            RunDirectoryError: it cannot be read.
        """
        self._recover()
        if not self.path.exists():
            return []
        try:
            with _opened(self.path, "r") as file:
                surplus = max((_surplus(group, step) for group in _groups(file)), default=0)
            if surplus == 0:
                return []
            shutil.copyfile(self.path, self._spare)
            with _opened(self._spare, "r+") as file:
                for group in _groups(file):
                    kept = len(group["step"]) - _surplus(group, step)
                    for data in group.values():
                        data.resize(kept, axis=0)
                to_disk(file)
            os.replace(self._spare, self.path)
        except (OSError, KeyError, ValueError) as error:
            raise RunDirectoryError(
                f"{self.path} cannot be read ({error}): move it away and try again"
            ) from error
        return [f"{self.path.name}: dropped {surplus} records made after step {step}"]

    def _recover(self) -> None:
        """Clear what a run that was killed left beside the file."""
        if not self.path.exists() and self._old.exists():
            os.replace(self._old, self.path)
        self.close()


def _surplus(group: Any, step: int) -> int:
    """Rows of a group after `step`; all where the run goes on from step 0."""
    steps = group["step"][:]
    return len(steps) if step == 0 else int((steps > step).sum())


def _opened(path: Path, mode: str) -> Any:
    import h5py

    # readers may have it open meanwhile; nobody else writes
    return h5py.File(path, mode, locking=False)


def _add(path: Path, mode: str, records: Sequence[MemberRecord]) -> None:
    with _opened(path, mode) as file:
        file.attrs["format"] = "pimd members, version 1"
        for record in records:
            _append(_group(file, record), record)
        to_disk(file)


def _group(file: Any, record: MemberRecord) -> Any:
    if record.group in file:
        return file[record.group]
    group = file.create_group(record.group)
    group.attrs["forcefield"] = record.label
    group.attrs["numbers"] = record.geometry.numbers
    group.attrs["pbc"] = record.geometry.pbc
    for name, (row, unit) in record.rows().items():
        data = group.create_dataset(
            name, (0, *row.shape), row.dtype, maxshape=(None, *row.shape),
            chunks=(1 if row.size > 1 else ROWS_OF_SMALL, *row.shape),
            **(COMPRESSED if row.size >= COMPRESSED_FROM else {}),
        )
        data.attrs["unit"] = unit
    return group


def _append(group: Any, record: MemberRecord) -> None:
    n_rows = len(group["step"])
    for name, (row, _) in record.rows().items():
        group[name].resize(n_rows + 1, axis=0)
        group[name][n_rows] = row


def _groups(file: Any) -> Iterator[Any]:
    for system in file.values():
        yield from system.values()
