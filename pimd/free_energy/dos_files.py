"""Densities of states, one or one for each frame and bead, from files and from runs.

    .npz          energies (n,) eV, dos (n,), (T, n), (T, P, n) or, with members, member_dos
                  (M, T, P, n) states/eV; may also hold n_electrons and step (T,)
    .txt, .dat    columns: energy / eV, then one density of states for each frame
    .extxyz       what `pimd evaluate --properties NAME` writes: NAME of each frame; with a grid
    a run         an extra of the beads, or with members `member_NAME`; with a grid
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["FramesOfStates", "dos_of_run", "grid_of", "read_dos"]

COLUMNS = (".txt", ".dat", ".csv")


@dataclass(frozen=True)
class FramesOfStates:
    """Densities of states along a trajectory.

    Attributes:
        energies: (n,) eV, ascending.
        dos: (M, T, P, n) states/eV, both spins; M is 1 without members, P 1 for classical nuclei.
        n_electrons: that fill each; None: not known.
        step: (T,) of the frames; None: not known.
        source: in words.
    """

    energies: np.ndarray
    dos: np.ndarray
    n_electrons: float | None = None
    step: np.ndarray | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.dos.ndim != 4 or self.dos.shape[-1:] != self.energies.shape or not self.dos.size:
            raise ValueError(
                f"{self.source}: expected densities of states (n_members, n_frames, n_beads, n) on "
                f"a grid (n,), got {self.dos.shape} and {self.energies.shape}"
            )
        if self.step is not None and len(self.step) != self.dos.shape[1]:
            raise ValueError(
                f"{self.source}: {len(self.step)} steps of {self.dos.shape[1]} frames"
            )


def read_dos(path: Path, key: str = "dos", grid: np.ndarray | None = None) -> FramesOfStates:
    """Densities of states from a file; see the module.

    Args:
        path: of it.
        key: name of the property in an .extxyz.
        grid: (n,) eV, where the file has none.

    Raises:
        ValueError: a file that cannot be read, or that lacks what it should hold.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix == ".npz":
        return _of_npz(path)
    if path.suffix in COLUMNS:
        try:
            table = np.loadtxt(path, ndmin=2, delimiter="," if path.suffix == ".csv" else None)
        except ValueError as error:
            raise ValueError(f"{path}: expected columns of numbers: {error}") from error
        if table.shape[1] < 2:
            raise ValueError(f"{path}: expected columns energy, density of states, ...")
        return FramesOfStates(table[:, 0], table[:, 1:].T[None, :, None], source=str(path))
    if path.suffix in (".extxyz", ".xyz"):
        return _of_extxyz(path, key, grid)
    raise ValueError(f"{path}: expected .npz, {', '.join(COLUMNS)} or .extxyz")


def dos_of_run(run: Run, key: str, grid: np.ndarray | None, scale: float = 1.0) -> FramesOfStates:
    """Densities of states that a run has stored.

    Args:
        run: of `pimd.open_run`.
        key: name of the extra.
        grid: (n,) eV, or (2,): its ends.
        scale: factor to states/eV.

    Raises:
        NotInRecord: it has not stored them.
        ValueError: no grid, or one of another length.
    """
    frames = run.common(key)
    values = scale * frames.read(key)
    # [frame, bead, energy], or members first
    dos = values.swapaxes(0, 1) if key.startswith("member_") else values[None]
    energies = grid_of(grid, dos.shape[-1], run.where)
    return FramesOfStates(energies, dos, step=frames.step, source=f"{run.where}, {key}")


def grid_of(grid: np.ndarray | None, n_points: int, source: object) -> np.ndarray:
    """Energies of so many points, from themselves or the two ends, eV."""
    if grid is None:
        raise ValueError(
            f"{source} has no energies of the density of states: give --grid FIRST,LAST in eV, or "
            "a file with the energies of all points"
        )
    if len(grid) == 2 and n_points != 2:
        return np.linspace(grid[0], grid[1], n_points)
    if len(grid) != n_points:
        raise ValueError(f"the grid has {len(grid)} points, the density of states {n_points}")
    return np.asarray(grid, dtype=float)


def _of_npz(path: Path) -> FramesOfStates:
    with np.load(path) as file:
        if "energies" not in file or not {"dos", "member_dos"} & set(file):
            raise ValueError(
                f"{path}: expected energies and dos (or member_dos), got {', '.join(file)}"
            )
        energies = np.asarray(file["energies"], dtype=float)
        n_electrons = float(file["n_electrons"]) if "n_electrons" in file else None
        step = np.asarray(file["step"], dtype=np.int64) if "step" in file else None
        if "member_dos" in file:
            return FramesOfStates(energies, file["member_dos"], n_electrons, step, str(path))
        dos = np.asarray(file["dos"], dtype=float)
    if dos.ndim not in (1, 2, 3):
        raise ValueError(f"{path}: dos is (n,), (T, n) or (T, P, n), got {dos.shape}")
    if dos.ndim < 3:
        dos = np.atleast_2d(dos)[:, None]
    return FramesOfStates(energies, dos[None], n_electrons, step, str(path))


def _of_extxyz(path: Path, key: str, grid: np.ndarray | None) -> FramesOfStates:
    from pimd.ipi.structure_files import iter_frames

    rows = []
    for k, frame in enumerate(iter_frames(path)):
        if key not in frame.info:
            known = ", ".join(sorted(frame.info)) or "nothing"
            raise ValueError(f"{path}, frame {k}: no {key} among its properties ({known})")
        rows.append(np.asarray(frame.info[key], dtype=float).ravel())
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"{path}: {key} has different lengths, or there are no frames")
    dos = np.array(rows)[None, :, None]
    return FramesOfStates(grid_of(grid, dos.shape[-1], path), dos, source=str(path))
