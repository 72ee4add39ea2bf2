"""Radial distribution functions of many structures at once, on numpy, cupy or torch arrays.

    g_AB(r) = V n_AB(r) / (N_A N_B v(r)),     v(r) = 4/3 pi [(r + dr)^3 - r^3]
    g_AA(r) = 2 V n_AA(r) / (N_A (N_A - 1) v(r))

with n(r) the pairs between r and r + dr, each counted once: atoms of an ideal gas have g = 1 also
where they are few. Distances are those of nearest images, so r ends at half the smallest distance
between two faces of the cell; without a cell there is no density to compare with, and the result is
the density of distances, which integrates to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pimd.analysis.arrays import chunk_elements, namespace, to_numpy

__all__ = ["Bins", "density", "largest_distance", "normalise", "pair_counts"]


@dataclass(frozen=True)
class Bins:
    """Equal bins from `start` to `stop`."""

    start: float
    stop: float
    n: int

    def __post_init__(self) -> None:
        if not (self.stop > self.start and self.n >= 1 and math.isfinite(self.stop - self.start)):
            raise ValueError(
                f"expected at least one bin between two numbers, got {self.n} from {self.start:g} "
                f"to {self.stop:g}"
            )

    @property
    def width(self) -> float:
        return (self.stop - self.start) / self.n

    @property
    def edges(self) -> np.ndarray:
        """(n + 1,)."""
        return np.linspace(self.start, self.stop, self.n + 1)

    @property
    def centres(self) -> np.ndarray:
        """(n,)."""
        edges = self.edges
        return 0.5 * (edges[1:] + edges[:-1])


def largest_distance(cells: np.ndarray) -> float:
    """Half the smallest distance between opposite faces of cells (..., 3, 3), Å."""
    inverse = np.linalg.inv(np.asarray(cells, dtype=float))  # columns: normals over distances
    return float(0.5 / np.sqrt(np.square(inverse).sum(axis=-2).max()))


def pair_counts(first: Any, second: Any | None, cells: Any | None, bins: Bins) -> np.ndarray:
    """Pairs in each bin of the distance, summed over the structures of each group.

    Args:
        first: (n_groups, n_structures, n_a, 3) Å; the structures of a group, the beads of a frame,
            share a cell.
        second: (n_groups, n_structures, n_b, 3) Å; None: pairs within `first`, each once.
        cells: (n_groups, 3, 3) Å, rows are lattice vectors; None: no periodic images.
        bins: Å, from 0.

    Returns:
        (n_groups, bins.n) of whole numbers, a numpy array.

    Raises:
        ValueError: bins that do not begin at 0, or go beyond what nearest images cover.
    """
    if bins.start != 0.0:
        raise ValueError(f"bins of distances begin at 0, got {bins.start:g}")
    if cells is not None and bins.stop > largest_distance(to_numpy(cells)) * (1 + 1e-12):
        raise ValueError(
            f"distances up to {bins.stop:g} Å were asked for, but nearest images go only to "
            f"{largest_distance(to_numpy(cells)):.4g} Å in this cell (half of its smallest width)"
        )
    xp = namespace(first)
    n_groups, n_structures, n_first = first.shape[:3]
    n_second = n_first if second is None else second.shape[2]
    if min(n_first, n_second, n_groups) == 0:
        return np.zeros((n_groups, bins.n), dtype=np.int64)
    if second is not None and n_second < n_first:
        return pair_counts(second, first, cells, bins)
    counts = np.zeros((n_groups, bins.n), dtype=np.int64)
    at_once = max(1, chunk_elements(first) // n_first)  # structures
    groups_at_once = max(1, at_once // n_structures)
    for start in range(0, n_groups, groups_at_once):
        part = slice(start, start + groups_at_once)
        a = first[part]
        b = a if second is None else second[part]
        metric = None
        if cells is not None:
            inverse = xp.linalg.inv(cells[part])
            a, b = (_fractional(xp, x, inverse) for x in (a, b))
            metric = cells[part] @ xp.permute_dims(cells[part], (0, 2, 1))
        for k in range(0, n_structures, at_once):
            beads = slice(k, k + at_once)
            counts[part] += _count(xp, a[:, beads], b[:, beads], metric, bins, second is None)
    return counts


def _fractional(xp: Any, positions: Any, inverse: Any) -> Any:
    """Coordinates (n_groups, n_structures, n, 3) in units of the lattice vectors."""
    shape = positions.shape
    return xp.reshape(xp.reshape(positions, (shape[0], -1, 3)) @ inverse, shape)


def _count(xp: Any, a: Any, b: Any, metric: Any | None, bins: Bins, same: bool) -> np.ndarray:
    """Counts of one chunk, (n_groups, bins.n).

    Atom i of `a` meets atom i + k of `b`, counted round, for one k after the other: no list of
    pairs is made, and every array is a plain slice.
    """
    n, n_second = a.shape[2], b.shape[2]
    a_xyz = [xp.asarray(a[..., k], copy=True) for k in range(3)]  # [group, structure, atom]
    doubled = xp.concat([b, b[:, :, :n]], axis=2)
    b_xyz = [xp.asarray(doubled[..., k], copy=True) for k in range(3)]
    n_all = _bins_in_all(xp, a, b, metric, bins)
    group = xp.reshape(xp.arange(a.shape[0], device=_device(a)) * n_all, (-1, 1, 1))
    total = xp.zeros(a.shape[0] * n_all, dtype=xp.int64, device=_device(a))
    skewed = metric is not None and bool(xp.any(xp.abs(_off_diagonal(xp, metric)) > 0.0))
    for shift in range(1, n // 2 + 1) if same else range(n_second):
        rows = n // 2 if same and 2 * shift == n else n  # opposite atoms would meet twice
        d = [b_xyz[k][..., shift : shift + rows] - a_xyz[k][..., :rows] for k in range(3)]
        r = xp.sqrt(_squares(xp, d, metric, skewed))
        index = xp.astype(r * (1.0 / bins.width), xp.int64) + group
        total = total + xp.bincount(xp.reshape(index, (-1,)), minlength=len(total))
    return to_numpy(total).reshape(a.shape[0], n_all)[:, : bins.n]


def _bins_in_all(xp: Any, a: Any, b: Any, metric: Any | None, bins: Bins) -> int:
    """How many bins the longest distance that can occur needs: none has to be cut off."""
    if metric is not None:  # half the sum of the lattice vectors
        lengths = xp.sqrt(xp.stack([metric[:, k, k] for k in range(3)]))
        longest = 0.5 * float(xp.max(xp.sum(lengths, axis=0)))
    else:
        spans = [
            max(float(xp.max(x[..., k])) for x in (a, b))
            - min(float(xp.min(x[..., k])) for x in (a, b)) for k in range(3)
        ]  # fmt: skip
        longest = math.sqrt(sum(span**2 for span in spans))
    return max(bins.n, math.floor(longest * (1 + 1e-12) / bins.width)) + 2


def _squares(xp: Any, d: list[Any], metric: Any | None, skewed: bool) -> Any:
    """Squared lengths of the nearest images of the differences d (3 of [group, structure, i])."""
    if metric is None:
        return d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    d = [x - xp.round(x) for x in d]
    m = {(i, j): metric[:, i, j, None, None] for i in range(3) for j in range(i, 3)}
    squares = m[0, 0] * d[0] * d[0]
    for i, j in ((1, 1), (2, 2)):
        squares = squares + m[i, j] * d[i] * d[j]
    if skewed:
        for i, j in ((0, 1), (0, 2), (1, 2)):
            squares = squares + (2.0 * m[i, j]) * d[i] * d[j]
        squares = xp.where(squares > 0.0, squares, xp.zeros_like(squares))  # rounding of r = 0
    return squares


def _off_diagonal(xp: Any, metric: Any) -> Any:
    return xp.stack([metric[:, 0, 1], metric[:, 0, 2], metric[:, 1, 2]])


def _device(array: Any) -> Any:
    from array_api_compat import device

    return device(array)


def normalise(
    counts: np.ndarray, volumes: np.ndarray, n_first: int, n_second: int | None, bins: Bins
) -> np.ndarray:
    """g(r) of each group, (n_groups, bins.n).

    Args:
        counts: (n_groups, bins.n) pairs of one structure (the mean over the beads of a frame).
        volumes: (n_groups,) Å^3.
        n_first, n_second: atoms of each kind; None: pairs of one kind.
        bins: Å.
    """
    pairs = n_first * (n_first - 1) / 2 if n_second is None else n_first * n_second
    if not pairs > 0:
        raise ValueError("a radial distribution function of fewer than two atoms")
    shells = 4.0 / 3.0 * math.pi * np.diff(bins.edges**3)
    found: np.ndarray = counts * np.asarray(volumes, dtype=float)[:, None] / (pairs * shells)
    return found


def density(counts: np.ndarray, n_samples: float, bins: Bins) -> np.ndarray:
    """Histogram counts as a density: integrates to 1 where all samples are within the bins."""
    found: np.ndarray = counts / (n_samples * bins.width)
    return found
