"""members.h5 of a run: estimators that hold the forces of the potential, with those of each member.

The centroid-virial kinetic energy of member i holds the forces of member i; with those of what was
sampled, a reweighted average would be of something else (for a cold oscillator the shift has even
the other sign). `pimd run --member-forces-every` writes the forces; see `pimd.run.member_file`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pimd.analysis.estimators import kinetic_tensors, pressure_tensors
from pimd.analysis.run_members import OF_REWEIGHTING, RunMembers, members_of_steps
from pimd.analysis.temperature import temperature_of
from pimd.run.member_file import MEMBER_FILE

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["MemberForces", "whole_paths"]

BLOCK_NUMBERS = 8_000_000
"""Numbers of member forces that are in memory at once."""


class MemberForces:
    """The records of one committee of one system.

    Args:
        path: of members.h5.
        group: in it.
        temperature: K.
        n_beads: of the ring polymer.
        n_forcefields: of the run.

    Attributes:
        step: (T,).
        time: fs, (T,).
    """

    def __init__(
        self, path: Path, group: str, temperature: float, n_beads: int, n_forcefields: int = 1
    ) -> None:
        self.path, self.group, self.temperature = path, group, temperature
        if n_forcefields > 1:
            raise ValueError(
                f"{path}: the forces of members are those of one of {n_forcefields} forcefields; "
                "estimators need all forces"
            )
        with self._open() as data:
            # a run that went on from a checkpoint has cut the file: steps increase
            self.step, self.time = data["step"][:], data["time"][:]
            self._shape = data["member_forces"].shape  # [frame, member, bead, atom, xyz]
            self.has_virials = "member_virials" in data
        if self._shape[2] != n_beads:
            raise ValueError(
                f"{path}: {group} has {self._shape[2]} beads, the ring polymer {n_beads}: a "
                "contracted forcefield has no forces on all beads"
            )

    @classmethod
    def of(cls, run: Run, temperature: float | None = None) -> MemberForces | None:
        """Those of a run; None where it has none.

        Raises:
            ValueError: several committees, of which none can be chosen, or no temperature.
        """
        if run.directory is None or not (run.directory / MEMBER_FILE).is_file():
            return None
        path = run.directory / MEMBER_FILE
        with _opened(path) as file:
            system = file.get(f"system_{run.system}")
            groups = [] if system is None else list(system)
        if not groups:
            return None
        if len(groups) > 1:
            raise ValueError(
                f"{path} holds several committees of the system, {', '.join(groups)}: which of "
                "them is meant cannot be told"
            )
        return cls(
            path, f"system_{run.system}/{groups[0]}",
            temperature_of(run, temperature, OF_REWEIGHTING), run.n_beads,
            len(run.setup.forcefields),
        )

    def members(self, *, alpha: float = 1.0) -> RunMembers:
        """The committee on these frames; its members are centred on what was sampled."""
        with self._open() as data:
            v = data["member_energies"][:].transpose(1, 0, 2)
            sampled = data["energies"][:]
        return members_of_steps(
            self.step, v, sampled, self.temperature, alpha=alpha, about="centred"
        )

    def kinetic(self, alpha: float = 1.0) -> np.ndarray:
        """Centroid-virial kinetic energy with the forces of each member, (M, T), eV."""
        parts = []
        for block in self._blocks(alpha):
            found = [
                np.trace(kinetic_tensors(block["positions"], f, self.temperature).sum(axis=1),
                         axis1=-2, axis2=-1)
                for f in block["forces"]
            ]
            parts.append(np.array(found))
        return np.concatenate(parts, axis=1)

    def pressure(self, alpha: float = 1.0) -> np.ndarray:
        """Centroid-virial pressure of each member, (M, T), eV/Å^3."""
        if not self.has_virials:
            raise ValueError(f"{self.path}: {self.group} holds no virials of members")
        parts = []
        for block in self._blocks(alpha):
            found = [
                np.trace(
                    pressure_tensors(block["positions"], f, w, block["cells"], self.temperature),
                    axis1=-2, axis2=-1,
                ) / 3.0
                for f, w in zip(block["forces"], block["virials"], strict=True)
            ]
            parts.append(np.array(found))
        return np.concatenate(parts, axis=1)

    def _blocks(self, alpha: float) -> Iterator[dict[str, np.ndarray]]:
        """Frames that fit into memory: whole paths, and forces (and virials) member by member."""
        size = max(1, BLOCK_NUMBERS // int(np.prod(self._shape[1:])))
        with self._open() as data:
            for start in range(0, len(self.step), size):
                part = slice(start, start + size)
                cells = data["cells"][part]
                block = {
                    "cells": cells,
                    "positions": whole_paths(data["positions"][part], cells, data.attrs["pbc"]),
                    "forces": _of_members(data["member_forces"][part], alpha),
                }
                if self.has_virials:
                    block["virials"] = _of_members(data["member_virials"][part], alpha)
                yield block

    @contextmanager
    def _open(self) -> Iterator[Any]:
        with _opened(self.path) as file:
            yield file[self.group]


def whole_paths(positions: np.ndarray, cells: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Beads next to the first of their path, of beads that were wrapped into the cell one by one.

    Args:
        positions: (T, P, n, 3) Å.
        cells: (T, 3, 3) Å, rows.
        pbc: (3,) bool.
    """
    periodic = np.asarray(pbc, dtype=bool)
    if not periodic.any():
        return np.asarray(positions)
    inverse = np.linalg.pinv(cells)[:, None]  # there may be no vector along an open direction
    steps = (positions - positions[:, :1]) @ inverse
    found: np.ndarray = positions - np.where(periodic, np.round(steps), 0.0) @ cells[:, None]
    return found


def _of_members(values: np.ndarray, alpha: float) -> np.ndarray:
    """(T, M, ...) -> (M, T, ...), deviations from the mean times alpha."""
    from pimd.potentials.committee_statistics import calibrated

    return calibrated(values.swapaxes(0, 1), alpha)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
