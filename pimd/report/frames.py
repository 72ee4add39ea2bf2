"""The frames that the viewer shows: which, of each the most uncertain bead, and what colours them.

Where members.h5 is there its records are the frames, since only it tells what the members say of
the force on each atom; otherwise those of the record with positions are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pimd.analysis.estimators import squared_gyration
from pimd.analysis.member_forces import whole_paths
from pimd.report.molecules import images_to_show
from pimd.report.spread import Spread, members_group

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["Frames", "chosen", "force_spread", "shown_frames"]

MOST_ATOMS = 40_000
"""Atoms of all frames together: some 600 kB of the page."""


@dataclass(frozen=True)
class Frame:
    """One bead of one frame, ready to be shown.

    Attributes:
        step, time, bead: which; fs.
        cell: (3, 3) Å, rows; None: not periodic.
        positions: (n_atoms, 3) Å, molecules whole.
        gyration: (n_atoms,) Å, root of the squared radius of gyration; None: one bead.
        energy: eV, of the bead; None: not stored.
        sigma: eV/atom, of the bead; None: not known.
        force_sigma: (n_atoms,) eV/Å, spread of the force over members; None: not known.
    """

    step: int
    time: float
    bead: int
    cell: np.ndarray | None
    positions: np.ndarray
    gyration: np.ndarray | None
    energy: float | None
    sigma: float | None
    force_sigma: np.ndarray | None


@dataclass(frozen=True)
class Frames:
    """Frames of one set of atoms.

    Attributes:
        numbers: (n_atoms,) atomic numbers.
        frames: in the order of time.
    """

    numbers: np.ndarray
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class _Source:
    """Where frames are read; axes [frame, bead, ...], all in eV and Å.

    Attributes:
        positions: row -> (P, n, 3), the beads of an atom near each other.
        cell: row -> (3, 3), or None.
        energies, sigma: (T, P), or None; sigma per atom.
        member_forces: row, bead -> (M, n, 3); None: not known.
    """

    numbers: np.ndarray
    pbc: np.ndarray
    step: np.ndarray
    time: np.ndarray
    positions: Callable[[int], np.ndarray]
    cell: Callable[[int], np.ndarray | None]
    energies: np.ndarray | None
    sigma: np.ndarray | None
    member_forces: Callable[[int, int], np.ndarray] | None = None


def shown_frames(run: Run, spread: Spread | None, most: int) -> Frames | None:
    """At most `most` frames, evenly spread and the most uncertain; None where none is stored.

    Args:
        run: with positions, or with members.h5.
        spread: sigma of the beads at some steps.
        most: fewer are shown of large systems.
    """
    with _source(run, spread) as source:
        if source is None:
            return None
        most = max(1, min(most, MOST_ATOMS // max(1, len(source.numbers))))
        worst = None if source.sigma is None else source.sigma.max(axis=1)
        rows = chosen(len(source.step), most, worst)
        return Frames(source.numbers, tuple(_frame(source, int(row)) for row in rows))


def chosen(n_frames: int, most: int, weight: np.ndarray | None) -> np.ndarray:
    """Indices of at most `most` frames, increasing: evenly spread, a quarter of them those of
    largest weight.

    Args:
        n_frames: to choose from.
        most: at least 1.
        weight: (n_frames,), NaN where it is not known; None: of all.
    """
    if n_frames <= most:
        return np.arange(n_frames)
    n_best = 0 if weight is None else max(1, most // 4)
    best = np.zeros(0, dtype=np.int64)
    if weight is not None:
        best = np.argsort(-np.nan_to_num(weight, nan=-np.inf), kind="stable")[:n_best]
    even = np.linspace(0, n_frames - 1, most - n_best).round().astype(np.int64)
    return np.union1d(even, best)


def force_spread(member_forces: np.ndarray) -> np.ndarray:
    """sqrt(sum over xyz of the variance over members, ddof 1) of each atom, (n_atoms,).

    Args:
        member_forces: (n_members, n_atoms, 3).
    """
    found: np.ndarray = np.sqrt(member_forces.var(axis=0, ddof=1).sum(axis=-1))
    return found


def _frame(source: _Source, row: int) -> Frame:
    sigma = None if source.sigma is None else source.sigma[row]
    known = sigma is not None and bool(np.isfinite(sigma).any())
    bead = int(np.nanargmax(sigma)) if sigma is not None and known else 0
    q, cell = source.positions(row), source.cell(row)
    positions = q[bead]
    if cell is not None:
        images = images_to_show(source.numbers, q.mean(axis=0), cell, source.pbc)
        positions = positions + images @ cell
    forces = source.member_forces
    return Frame(
        int(source.step[row]), float(source.time[row]), bead, cell, positions,
        np.sqrt(squared_gyration(q[None])[0]) if len(q) > 1 else None,
        None if source.energies is None else float(source.energies[row, bead]),
        float(sigma[bead]) if sigma is not None and known else None,
        None if forces is None else force_spread(forces(row, bead)),
    )  # fmt: skip


@contextmanager
def _source(run: Run, spread: Spread | None) -> Iterator[_Source | None]:
    with members_group(run) as group:
        if group is not None:
            yield _of_members_file(group)
        else:
            yield _of_record(run, spread) if run.has("positions") else None


def _of_record(run: Run, spread: Spread | None) -> _Source:
    sigma = None
    if spread is not None:
        sigma = np.full((run.n_frames, spread.per_atom.shape[1]), np.nan)
        _, here, there = np.intersect1d(run.step, spread.step, return_indices=True)
        sigma[here] = spread.per_atom[there]
        sigma = sigma if len(here) and sigma.shape[1] == run.n_beads else None
    periodic = bool(run.setup.pbc.any()) and run.has("cells")
    return _Source(
        run.setup.numbers, run.setup.pbc, run.step, run.time,
        lambda row: run.read("positions", row),
        lambda row: run.read("cells", row) if periodic else None,
        run.read("energies") if run.has("energies") else None,
        sigma,
    )  # fmt: skip


def _of_members_file(group: Any) -> _Source:
    pbc = np.asarray(group.attrs["pbc"], dtype=bool)
    cells = group["cells"]

    def positions(row: int) -> np.ndarray:
        """The file has every bead wrapped into the cell: their path is put together again."""
        one = slice(row, row + 1)
        found: np.ndarray = whole_paths(group["positions"][one], cells[one], pbc)[0]
        return found

    return _Source(
        np.asarray(group.attrs["numbers"]), pbc, group["step"][:], group["time"][:],
        positions,
        lambda row: cells[row] if pbc.any() else None,
        group["energies"][:],
        group["sigma"][:] / group["positions"].shape[2],
        lambda row, bead: group["member_forces"][row, :, bead],
    )  # fmt: skip
