"""Single beads kept as extended XYZ while a run goes on: appended whole, cut back at a resume.

Every frame carries step, time_fs, system, bead, committee, sigma and sigma_per_atom (eV),
member_energies (eV), energy (eV) and forces (eV/Å).
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pimd.ipi.uncertainty import BeadFrame
from pimd.run.rundir import RunDirectoryError
from pimd.structure import Structure

__all__ = ["FrameFile", "FramePlace", "TooClose", "too_close"]

CLOSEST = 0.5
"""Atoms nearer than this share of the sum of their covalent radii are no physical structure."""


@dataclass(frozen=True)
class FramePlace:
    """Which bead of a run a frame is."""

    step: int
    time_fs: float
    system: int
    bead: int
    committee: str


@dataclass(frozen=True)
class TooClose:
    """Two atoms that no physical structure has so near to each other."""

    first: int
    second: int
    distance: float

    def __str__(self) -> str:
        return f"atoms {self.first} and {self.second} are {self.distance:.2f} Å apart"


def too_close(structure: Structure) -> TooClose | None:
    """The worst pair of atoms closer than CLOSEST (r_i + r_j), periodic images included.

    r are covalent radii, so that 0.48 Å is allowed for O-H and 0.31 Å for H-H: beads of ring
    polymers come much nearer than classical atoms do, but never that near.
    """
    from ase.data import covalent_radii
    from ase.neighborlist import primitive_neighbor_list

    radii = CLOSEST * covalent_radii[structure.numbers]
    if len(radii) == 0:
        return None
    first, second, distance = primitive_neighbor_list(
        "ijd", structure.pbc, structure.cell, structure.positions, 2.0 * float(radii.max())
    )
    if len(distance) == 0:
        return None
    allowed = radii[first] + radii[second]
    worst = int(np.argmin(distance / allowed))
    if distance[worst] >= allowed[worst]:
        return None
    return TooClose(int(first[worst]), int(second[worst]), float(distance[worst]))


@dataclass
class FrameFile:
    """An extxyz file that a run appends to.

    Attributes:
        path: of the file; it appears with the first frame.
        count: frames in it.
        last_steps: system -> step of its latest frame.
    """

    path: Path
    count: int = 0
    last_steps: dict[int, int] = field(default_factory=dict)

    @classmethod
    def opened(cls, path: Path) -> FrameFile:
        """The file with the frames that are there.

        Raises:
            RunDirectoryError: it is no file of ours.
        """
        file = cls(path)
        for place in _frames(path) if path.exists() else ():
            file.count += 1
            file.last_steps[place.system] = place.step
        return file

    def append(self, frame: BeadFrame, place: FramePlace) -> None:
        """Add a frame; it is on disk when this returns."""
        from ase.io.extxyz import write_extxyz

        atoms = frame.structure.to_ase()
        atoms.info.update(
            step=place.step, time_fs=place.time_fs, system=place.system, bead=place.bead,
            committee=place.committee, energy=frame.energy, sigma=frame.sigma,
            sigma_per_atom=frame.sigma / len(atoms),
        )
        if frame.member_energies is not None:
            atoms.info["member_energies"] = frame.member_energies.tolist()
        atoms.arrays["forces"] = frame.forces
        text = io.StringIO()
        write_extxyz(text, [atoms], write_results=False)
        with open(self.path, "a", encoding="utf-8") as out:
            out.write(text.getvalue())
            out.flush()
            os.fsync(out.fileno())
        self.count += 1
        self.last_steps[place.system] = place.step

    @staticmethod
    def cut(path: Path, step: int) -> list[str]:
        """Remove frames after `step`, and half of one; returns what there is to say.

        Raises:
            RunDirectoryError: it is no file of ours.
        """
        if not path.exists():
            return []
        size, kept = 0, 0
        for place in _frames(path):
            if place.step > step:
                break
            size, kept = place.end, kept + 1
        found = path.stat().st_size
        if found == size:
            return []
        with open(path, "rb+") as file:
            file.truncate(size)
            file.flush()
            os.fsync(file.fileno())
        return [f"{path.name}: dropped what was kept after step {step}; {kept} frames are left"]


@dataclass(frozen=True)
class _Found:
    step: int
    system: int
    end: int


def _frames(path: Path) -> Iterator[_Found]:
    """The whole frames of a file, each with the byte it ends at."""
    end = 0
    with open(path, "rb") as file:
        while True:
            first, comment = file.readline(), file.readline()
            if not comment.endswith(b"\n"):
                return
            step = re.search(rb"(?:^|\s)step=(\d+)", comment)
            system = re.search(rb"(?:^|\s)system=(\d+)", comment)
            if step is None or system is None or not first.strip().isdigit():
                raise RunDirectoryError(
                    f"{path} is not a file that pimd wrote: move it away and try again"
                )
            lines = [file.readline() for _ in range(int(first))]
            if not all(line.endswith(b"\n") for line in lines):
                return
            end += len(first) + len(comment) + sum(map(len, lines))
            yield _Found(int(step[1]), int(system[1]), end)
