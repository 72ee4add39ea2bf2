"""What `pimd distributions` counts in every frame: pair distances, bonds, angles; beads, centroids.

The frames are read in blocks, put where the arrays are to live (numpy, cupy or torch), counted,
and forgotten; one row of numbers for each frame is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np

from pimd.analysis.arrays import place, select, to_numpy
from pimd.analysis.geometry import angles, bond_lengths, find_topology, histogram
from pimd.analysis.rdf import Bins, density, largest_distance, normalise, pair_counts

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["BEADS", "CENTROIDS", "Distances", "Internal", "plan_internals", "plan_pairs", "sample"]

BEADS, CENTROIDS = "beads", "centroids"
ANGLE_BINS = Bins(0.0, 180.0, 180)
LARGEST_R_MAX = 10.0
"""Å, up to which radial distribution functions go unless told otherwise."""
ROUNDING = 1e-4
"""Of half a cell's width, by which r_max may be beyond it: cells are printed to a few decimals."""


@dataclass
class Distances:
    """Pairs of two elements, counted.

    Attributes:
        name: `H-O`.
        first: indices of the atoms of one element.
        second: of the other; None: the same.
        bins: Å.
        periodic: whether there is a density to compare with.
        curves: `beads` and `centroids` -> one (n_block, n_bins) for each block: g(r), or the
            density of distances.
        neighbours: the same for the number of second atoms within each bin about a first one.
    """

    name: str
    first: np.ndarray
    second: np.ndarray | None
    bins: Bins
    periodic: bool
    curves: dict[str, list[np.ndarray]] = field(default_factory=dict)
    neighbours: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def count(self, of: str, positions: Any, cells: Any, volumes: np.ndarray) -> None:
        """Take in a block, positions (n_frames, n_structures, n_atoms, 3)."""
        a = select(positions, self.first, 2)
        b = None if self.second is None else select(positions, self.second, 2)
        counts = pair_counts(a, b, cells, self.bins) / positions.shape[1]
        n_first = len(self.first)
        n_second = None if self.second is None else len(self.second)
        if self.periodic:
            curve = normalise(counts, volumes, n_first, n_second, self.bins)
        else:
            pairs = n_first * (n_first - 1) / 2 if n_second is None else n_first * n_second
            curve = density(counts, pairs, self.bins)
        self.curves.setdefault(of, []).append(curve)
        twice = 2.0 if n_second is None else 1.0
        self.neighbours.setdefault(of, []).append(twice * counts / n_first)


@dataclass
class Internal:
    """Bonds or angles of one kind, counted.

    Attributes:
        kind: `bond` or `angle`.
        name: `H-O`, `H-O-H`.
        atoms: (n, 2) or (n, 3) indices.
        bins: Å or degrees.
        curves: as those of `Distances`, densities.
        moments: `beads` and `centroids` -> (n_block, 2) mean and mean square in each frame.
        largest: of all values.
    """

    kind: str
    name: str
    atoms: np.ndarray
    bins: Bins
    curves: dict[str, list[np.ndarray]] = field(default_factory=dict)
    moments: dict[str, list[np.ndarray]] = field(default_factory=dict)
    largest: float = 0.0

    @property
    def unit(self) -> str:
        return "Å" if self.kind == "bond" else "°"

    def count(self, of: str, positions: Any, cells: Any, volumes: np.ndarray) -> None:
        """Take in a block, as `Distances.count`."""
        measure = bond_lengths if self.kind == "bond" else angles
        values = measure(positions, cells, self.atoms)
        rows = to_numpy(values).reshape(len(volumes), -1)
        self.curves.setdefault(of, []).append(
            density(histogram(values, self.bins), rows.shape[1], self.bins)
        )
        moments = np.stack([rows.mean(axis=1), np.square(rows).mean(axis=1)], axis=1)
        self.moments.setdefault(of, []).append(moments)
        self.largest = max(self.largest, float(rows.max()))


def plan_pairs(
    symbols: Sequence[str],
    cells: np.ndarray | None,
    extent: float,
    *,
    pairs: Sequence[str] | None = None,
    r_max: float | None = None,
    n_bins: int = 200,
) -> list[Distances]:
    """The pairs of elements whose distances are counted.

    Args:
        symbols: of the atoms.
        cells: (..., 3, 3) Å, all that occur; None: not periodic.
        extent: Å, largest distance that matters without a cell.
        pairs: such as `O-H`; None: all with two atoms at least.
        r_max: Å; None: half of the smallest width of the cells, at most 10 Å; `extent` without.
        n_bins: of the curves.

    Raises:
        ValueError: a pair that is none, or r_max beyond nearest images.
    """
    names = np.array(symbols)
    where = {symbol: np.flatnonzero(names == symbol) for symbol in sorted(set(symbols))}
    chosen = [_pair(text, where) for text in pairs] if pairs else [
        (a, b) for a, b in combinations_with_replacement(where, 2) if a != b or len(where[a]) > 1
    ]  # fmt: skip
    if cells is None:
        r_max = extent if r_max is None else r_max
    else:
        reach = largest_distance(cells)
        if r_max is not None and r_max > reach * (1 + ROUNDING):
            raise ValueError(
                f"r_max is {r_max:g} Å, but nearest images go only to {reach:.6g} Å (half of the "
                "cell's smallest width)"
            )
        r_max = min(LARGEST_R_MAX if r_max is None else r_max, reach)
    bins = Bins(0.0, r_max, n_bins)
    return [
        Distances(f"{a}-{b}", where[a], None if a == b else where[b], bins, cells is not None)
        for a, b in chosen
    ]


def _pair(text: str, where: dict[str, np.ndarray]) -> tuple[str, str]:
    parts = sorted(part.strip() for part in text.split("-"))
    if len(parts) != 2 or any(part not in where for part in parts):
        raise ValueError(
            f"a pair is two elements of the run ({', '.join(where)}) like "
            f"{'-'.join([next(iter(where))] * 2)}, got '{text}'"
        )
    if parts[0] == parts[1] and len(where[parts[0]]) < 2:
        raise ValueError(f"pair '{text}': there is only one {parts[0]}")
    return parts[0], parts[1]


def plan_internals(
    positions: np.ndarray, symbols: Sequence[str], cell: np.ndarray | None
) -> list[Internal]:
    """Bonds and angles of one structure (n_atoms, 3), those of a frame's centroids."""
    topology = find_topology(positions, symbols, cell)
    x, box = positions[None, None], None if cell is None else cell[None]
    found = []
    for name, bonds in topology.bonds.items():
        length = float(np.mean(bond_lengths(x, box, bonds)))
        found.append(Internal("bond", name, bonds, Bins(0.5 * length, 1.7 * length, 200)))
    found += [
        Internal("angle", name, corners, ANGLE_BINS) for name, corners in topology.angles.items()
    ]
    return found


def sample(
    run: Run,
    kinds: Iterable[Distances | Internal],
    *,
    start: int = 0,
    stride: int = 1,
    library: str = "auto",
    progress: Callable[[int, int], None] = lambda structures, atoms: None,
) -> np.ndarray:
    """Go through the frames of a run; returns their steps, (n_frames,).

    Args:
        run: its frames have positions, or `centroids` alone.
        kinds: what to count; take in what they count.
        start, stride: which frames.
        library: numpy, cupy, torch or auto.
        progress: told how many structures and atoms are done.
    """
    to, kinds = place(library), list(kinds)
    name = "positions" if run.has("positions") else "centroids"
    steps, done = [], 0
    for block in run.blocks([name, "cells"], start=start, stride=stride):
        x = to(block[name] if name == "positions" else block[name][:, None])
        cells = to(block["cells"]) if bool(run.setup.pbc.all()) else None
        volumes = np.abs(np.linalg.det(block["cells"]))
        forms = {CENTROIDS: x} if name == "centroids" else {BEADS: x}
        if name == "positions" and x.shape[1] > 1:
            forms[CENTROIDS] = to(block[name].mean(axis=1, keepdims=True))
        for kind in kinds:
            for of, structures in forms.items():
                kind.count(of, structures, cells, volumes)
        steps.append(block["step"])
        done += x.shape[0] * x.shape[1]
        progress(done, done * x.shape[2])
    if not steps:
        raise ValueError(f"{run.where}: no frames are left after frame {start}")
    return np.concatenate(steps)
