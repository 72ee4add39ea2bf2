"""Half neighbour lists of single structures, by vesin on the CPU.

A half list holds each pair within the cutoff once: of (i, j, S) and (j, i, -S) one, where
|x_j - x_i + S C| < cutoff and C holds the lattice vectors as rows. An atom that sees its own
image has pairs (i, i, S) with S != 0, of which one of S and -S is listed.

Source of the search: G. Fraux et al., vesin, https://github.com/Luthaf/vesin.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from vesin import NeighborList

from pimd.potentials.base import PotentialError

__all__ = ["HalfLists", "HalfPairs"]

HalfPairs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""i (n_pairs,), j (n_pairs,), S (n_pairs, 3), all int32."""

MAX_PAIRS = 2e8
"""Structures expected to have more pairs are refused: their lists alone would take over 4 GB."""

VESIN_GRID_CELLS = 1e5
"""vesin (0.6) shrinks its grid to this many cells, and a direction that then gets less than one
cell ends the process with a floating-point exception."""


class HalfLists:
    """Lists structures, several at a time.

    Args:
        cutoff: Å, > 0.
        threads: structures listed at once; None for as many threads as torch uses.
    """

    def __init__(self, cutoff: float, threads: int | None = None) -> None:
        self.cutoff = float(cutoff)
        self.threads = max(1, torch.get_num_threads() if threads is None else int(threads))
        self._local = threading.local()  # vesin's object owns its buffers: one per thread
        self._pool: ThreadPoolExecutor | None = None

    def build(
        self, structures: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]
    ) -> list[HalfPairs]:
        """Half lists of structures given as (positions, cell, pbc), in their order.

        Raises:
            PotentialError: for positions that are not finite, or far more pairs than fit.
        """
        if self.threads == 1 or len(structures) < 2:
            return [self._one(*structure) for structure in structures]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="neighbours")
        return list(self._pool.map(lambda structure: self._one(*structure), structures))

    def _one(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> HalfPairs:
        if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
            raise PotentialError(
                "positions or cell are not finite (NaN or infinite): the structure has blown up"
            )
        lengths = _extents(positions, cell, pbc)  # [axis]
        self._refuse_too_many(len(positions), lengths[pbc])
        if _grid_is_safe(lengths, self.cutoff):
            i, j, shifts = self._vesin().compute(positions, cell, pbc, "ijS")
        else:
            i, j, shifts = _by_ase(positions, cell, pbc, self.cutoff)
        return i.astype(np.int32), j.astype(np.int32), shifts.astype(np.int32)

    def _vesin(self) -> NeighborList:
        if not hasattr(self._local, "finder"):
            self._local.finder = NeighborList(cutoff=self.cutoff, full_list=False, n_threads=1)
        return self._local.finder

    def _refuse_too_many(self, n_atoms: int, heights: np.ndarray) -> None:
        expected = 0.5 * n_atoms**2 * np.prod(2.0 * self.cutoff / heights)
        if expected > max(MAX_PAIRS, n_atoms**2):
            raise PotentialError(
                f"a structure of {n_atoms} atoms would have about {expected:.1e} pairs within "
                f"{self.cutoff:g} Å (distances between its periodic faces, Å: "
                f"{', '.join(f'{h:.3g}' for h in heights)}): has the cell collapsed? Otherwise "
                "take a shorter cutoff or fewer atoms"
            )


def _extents(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Å along the three directions of the search grid: height of the cell where periodic,
    spread of the atoms elsewhere, (3,); at least 1e-6."""
    periodic = cell[pbc]  # [vector, xyz]
    # columns of the pseudo-inverse are normals of the lattice planes over their distance
    inverse = np.linalg.pinv(periodic)  # [xyz, vector]
    lengths = np.zeros(3)
    lengths[pbc] = 1.0 / np.linalg.norm(inverse, axis=0)
    if not pbc.all() and len(positions):
        across = positions - (positions @ inverse) @ periodic
        # non-periodic directions: any orthonormal set across the periodic vectors
        normals = np.linalg.svd(np.vstack([periodic, np.zeros((1, 3))]))[2][len(periodic) :]
        lengths[~pbc] = np.ptp(across @ normals.T, axis=0)
    return np.maximum(lengths, 1e-6)


def _grid_is_safe(lengths: np.ndarray, cutoff: float) -> bool:
    """Whether vesin's grid keeps at least one cell along each direction, with a margin."""
    n_cells = np.prod(lengths / cutoff + 1.0)
    fewest = max(1.0, np.floor(lengths / cutoff).min())
    return bool(2.0 * n_cells < VESIN_GRID_CELLS * fewest**3)


def _by_ase(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> HalfPairs:
    """The same half list from ASE, slower, for shapes on which vesin ends the process."""
    from ase.neighborlist import primitive_neighbor_list

    i, j, shifts = primitive_neighbor_list("ijS", pbc, cell, positions, cutoff)
    # of (i, j, S) and (j, i, -S) keep the one with i < j, or with S > -S for an own image
    sign = np.where(shifts[:, 0] != 0, shifts[:, 0], shifts[:, 1])
    sign = np.where(sign != 0, sign, shifts[:, 2])
    keep = (i < j) | ((i == j) & (sign > 0))
    return i[keep], j[keep], shifts[keep]
