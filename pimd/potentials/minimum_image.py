"""Shortest periodic images of vectors, in cells of any shape.

    d -> d + n C,   n whole numbers along the periodic directions, with |d + n C| least.

Rounding d C^-1 to zero finds it wherever the result is shorter than half the distance between
every pair of periodic faces: no other image can then be as short. The rest, vectors long for
their cell or in very skewed cells, is searched among the neighbours of that image in the
Minkowski-reduced cell, where the nearest ones are always enough.

Source: P. Q. Nguyen and D. Stehlé, ACM Trans. Algorithms 5, 46 (2009), on reduced bases; the
reduction is ASE's.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from ase.geometry import minkowski_reduce
from torch import Tensor

__all__ = ["minimum_image"]

TIE = 1e-12
"""Å²; images that differ by less are equally long, and the first found is kept."""


def minimum_image(vectors: Tensor, cells: Tensor, pbc: Tensor, reach: float = math.inf) -> Tensor:
    """The shortest image of each vector.

    Args:
        vectors: Å, (n_structures, n_vectors, 3).
        cells: Å, (n_structures, 3, 3), rows are lattice vectors.
        pbc: (n_structures, 3) bool; structures are periodic along all vectors or none.
        reach: Å; where the shortest image is longer than this, another long one may be given.

    Returns:
        Å, (n_structures, n_vectors, 3), differing from the input by whole lattice vectors.
    """
    periodic = pbc.all(1)
    if not bool(periodic.any()):
        return vectors
    one = torch.eye(3, dtype=cells.dtype, device=cells.device)
    cells = torch.where(periodic[:, None, None], cells, one)
    inverse = torch.linalg.inv(cells)  # columns: normals of the faces over their distance
    n = (vectors @ inverse).round_() * periodic[:, None, None]
    shortest = vectors - n @ cells
    # 1 / (2 |column|) is half the distance between two faces
    safe = (0.25 / inverse.square().sum(1).amax(1)).masked_fill(~periodic, torch.inf)
    narrow = (safe <= reach**2).nonzero().squeeze(1)  # [structure]
    if len(narrow) == 0:
        return shortest
    unsure = (shortest[narrow].square().sum(2) >= safe[narrow, None]).nonzero()
    unsure[:, 0] = narrow[unsure[:, 0]]  # [which, structure vector]
    for k in unsure[:, 0].unique().tolist():
        which = unsure[unsure[:, 0] == k, 1]
        shortest[k, which] = _search(shortest[k, which], cells[k])
    return shortest


def _search(vectors: Tensor, cell: Tensor) -> Tensor:
    """The shortest images (n_vectors, 3) in one periodic cell."""
    reduced_cell, _ = minkowski_reduce(cell.detach().cpu().numpy())
    reduced = torch.as_tensor(np.asarray(reduced_cell), dtype=cell.dtype, device=cell.device)
    vectors = vectors - (vectors @ torch.linalg.inv(reduced)).round() @ reduced
    steps = torch.arange(-1, 2, dtype=cell.dtype, device=cell.device)
    images = torch.cartesian_prod(steps, steps, steps) @ reduced  # [image, xyz]
    best = vectors
    for image in images:
        candidate = vectors + image
        shorter = candidate.square().sum(1) < best.square().sum(1) - TIE
        best = torch.where(shorter[:, None], candidate, best)
    return best
