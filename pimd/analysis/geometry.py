"""Bonds and angles of molecules: which there are, and their lengths and angles in many structures.

Which atoms are bonded is found once, from a structure in which no molecule is torn: nearest images
closer than `reach` times the sum of the covalent radii (B. Cordero et al., Dalton Trans., 2832
(2008)). An angle i-j-k is one between two bonds of j. The functions that go through a trajectory
take numpy, cupy and torch arrays.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pimd.analysis.arrays import namespace, select, to_numpy
from pimd.analysis.rdf import Bins

__all__ = ["REACH", "Topology", "angles", "bond_lengths", "find_topology", "histogram"]

REACH = 1.25
"""Longest bond over the sum of covalent radii: O-H 1.21 Å, and hydrogen bonds are far from it."""


@dataclass(frozen=True)
class Topology:
    """What is bonded to what.

    Attributes:
        bonds: kind, such as `H-O`, -> (n_bonds, 2) indices of atoms.
        angles: kind, such as `H-O-H`, -> (n_angles, 3), the atom in the middle second.
    """

    bonds: dict[str, np.ndarray]
    angles: dict[str, np.ndarray]


def find_topology(
    positions: np.ndarray,
    symbols: Sequence[str],
    cell: np.ndarray | None = None,
    reach: float = REACH,
) -> Topology:
    """Bonds and angles of one structure.

    Args:
        positions: (n_atoms, 3) Å.
        symbols: of the atoms.
        cell: (3, 3) Å, rows are lattice vectors; None: no periodic images.
        reach: largest bond length over the sum of two covalent radii.

    Raises:
        ValueError: arrays that do not belong together.
    """
    from ase.data import atomic_numbers, covalent_radii

    x = np.asarray(positions, dtype=float)
    if x.shape != (len(symbols), 3):
        raise ValueError(f"expected positions ({len(symbols)}, 3) of the symbols, got {x.shape}")
    radii = reach * np.array([covalent_radii[atomic_numbers[s]] for s in symbols])
    bonds: dict[str, list[tuple[int, int]]] = {}
    partners: list[list[int]] = [[] for _ in symbols]
    for i in range(len(x) - 1):
        d = _nearest(np, x[i + 1 :] - x[i], None if cell is None else np.asarray(cell, dtype=float))
        near = np.flatnonzero(np.square(d).sum(axis=1) < np.square(radii[i] + radii[i + 1 :]))
        for j in map(int, near + i + 1):
            first, second = sorted((i, j), key=lambda k: (symbols[k], k))
            bonds.setdefault(f"{symbols[first]}-{symbols[second]}", []).append((first, second))
            partners[i].append(j)
            partners[j].append(i)
    corners: dict[str, list[tuple[int, int, int]]] = {}
    for j, around in enumerate(partners):
        ordered = sorted(around, key=lambda a: (symbols[a], a))
        for i, k in itertools.combinations(ordered, 2):
            corners.setdefault(f"{symbols[i]}-{symbols[j]}-{symbols[k]}", []).append((i, j, k))
    return Topology(
        {kind: np.array(bonds[kind]) for kind in sorted(bonds)},
        {kind: np.array(corners[kind]) for kind in sorted(corners)},
    )


def bond_lengths(positions: Any, cells: Any | None, bonds: np.ndarray) -> Any:
    """Lengths of bonds, (n_frames, n_structures, n_bonds) Å.

    Args:
        positions: (n_frames, n_structures, n_atoms, 3) Å.
        cells: (n_frames, 3, 3) Å; None: no periodic images.
        bonds: (n_bonds, 2) indices.
    """
    xp = namespace(positions)
    d = _between(positions, cells, bonds[:, 0], bonds[:, 1])
    return xp.sqrt(xp.sum(d * d, axis=-1))


def angles(positions: Any, cells: Any | None, corners: np.ndarray) -> Any:
    """Angles, (n_frames, n_structures, n_angles) degrees; arguments as for `bond_lengths`.

    From both the sine and the cosine, so that angles near 0 and 180 degrees are as accurate.
    """
    xp = namespace(positions)
    a = _between(positions, cells, corners[:, 1], corners[:, 0])
    b = _between(positions, cells, corners[:, 1], corners[:, 2])
    cross = [
        a[..., i] * b[..., j] - a[..., j] * b[..., i] for i, j in ((1, 2), (2, 0), (0, 1))
    ]
    sine = xp.sqrt(cross[0] ** 2 + cross[1] ** 2 + cross[2] ** 2)
    return xp.atan2(sine, xp.sum(a * b, axis=-1)) * (180.0 / np.pi)


def histogram(values: Any, bins: Bins) -> np.ndarray:
    """Values in each bin, (n_frames, bins.n) whole numbers, of values (n_frames, ...).

    Those outside the bins are not counted; the last bin holds its upper edge.
    """
    xp = namespace(values)
    n_frames = values.shape[0]
    flat = xp.reshape(values, (n_frames, -1))
    index = xp.astype(xp.floor((flat - bins.start) * (1.0 / bins.width)), xp.int64)
    index = xp.where(flat == bins.stop, bins.n - 1, index)
    outside = (index < 0) | (index >= bins.n)
    index = xp.where(outside, bins.n, index)  # one bin more for what is outside
    from array_api_compat import device

    row = xp.reshape(xp.arange(n_frames, device=device(values)) * (bins.n + 1), (-1, 1))
    counts = xp.bincount(xp.reshape(index + row, (-1,)), minlength=n_frames * (bins.n + 1))
    return to_numpy(counts).reshape(n_frames, bins.n + 1)[:, : bins.n]


def _between(positions: Any, cells: Any | None, start: np.ndarray, stop: np.ndarray) -> Any:
    """Nearest images of the vectors between two atoms, (n_frames, n_structures, n, 3)."""
    d = select(positions, stop, 2) - select(positions, start, 2)
    return _nearest(namespace(positions), d, cells)


def _nearest(xp: Any, d: Any, cells: Any | None) -> Any:
    """d without whole lattice vectors; right for what is shorter than half of the cell's width."""
    if cells is None:
        return d
    shape = d.shape
    if cells.ndim == 3:
        d = xp.reshape(d, (shape[0], -1, 3))
    d = d - xp.round(d @ xp.linalg.inv(cells)) @ cells
    return xp.reshape(d, shape)
