"""Frames of made-up systems, the same whenever they are asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pimd.record.h5md_file import H5MDFile
from pimd.record.h5md_layout import CELLS, Field, Frame, SystemLayout


def layout(n_atoms: int = 40, n_beads: int = 16, members: int = 3) -> SystemLayout:
    shape = (n_beads, n_atoms, 3)
    fields = (
        Field(CELLS, "cell", (3, 3), "Angstrom"),
        Field("positions", "beads", shape, "Angstrom"),
        Field("velocities", "beads", shape, "Angstrom fs-1"),
        Field("forces", "beads", shape, "eV Angstrom-1"),
        Field("x_centroid", "centroid", shape[1:], "Angstrom"),
        Field("energies", "energies", (n_beads,), "eV"),
        Field("member_energies", "members", (members, n_beads), "eV"),
        Field("dipole", "extra", (n_beads, 3), "e Angstrom"),
        Field("a/b", "property", (), ""),
    )
    numbers = np.arange(n_atoms) % 8 + 1
    return SystemLayout(
        numbers, 2.0 * numbers, tuple(f"X{k}" for k in range(n_atoms)),
        np.array([True, True, False]), n_beads, 300.0, np.nan, fields,
    )


def frame(of: SystemLayout, step: int, system: int = 0) -> Frame:
    rng = np.random.default_rng([step, system])
    arrays = {field.name: rng.normal(size=field.shape) for field in of.fields}
    return {**arrays, "step": np.array(step), "time": np.array(0.25 * step)}


def write_until_killed(path: Path) -> None:
    """Two systems; says which step is on disk, after every third."""
    layouts = [layout(), layout(n_atoms=3, n_beads=4)]
    file = H5MDFile(path, [0, 1])
    for step in range(100_000):
        for system, of in enumerate(layouts):
            file.append(system, of, frame(of, step, system))
        if step % 3 == 0:
            file.sync()
            print(step, flush=True)


if __name__ == "__main__":
    write_until_killed(Path(sys.argv[1]))
