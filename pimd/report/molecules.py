"""Molecules made whole and put into the cell, to be looked at."""

from __future__ import annotations

from collections import deque

import numpy as np

from pimd.analysis.geometry import REACH

__all__ = ["images_to_show"]


def images_to_show(
    numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> np.ndarray:
    """Lattice vectors to add to each atom, (n_atoms, 3) int64.

    Molecules, by the distances of this structure, become whole, with their centres in the cell;
    the atoms of networks without end come into it one by one.

    Args:
        numbers: (n_atoms,) atomic numbers.
        positions: (n_atoms, 3) Å.
        cell: (3, 3) Å, rows, with a volume where pbc is.
        pbc: (3,) bool.
    """
    n_atoms = len(numbers)
    label = np.full(n_atoms, -1, dtype=np.int64)
    images = np.zeros((n_atoms, 3), dtype=np.int64)
    if not pbc.any():
        return images
    bonds = _bonds(numbers, positions, cell, pbc)
    ends: list[bool] = []
    for first in range(n_atoms):
        if label[first] < 0:
            ends.append(_walk(first, len(ends), bonds, label, images))
    whole = np.array(ends, dtype=bool)[label]
    images[~whole] = 0
    fractional = positions @ np.linalg.inv(cell) + images
    sums = np.zeros((len(ends), 3))
    np.add.at(sums, label, fractional)
    centres = sums / np.bincount(label)[:, None]
    anchors = np.where(whole[:, None], centres[label], fractional)
    found: np.ndarray = images - np.where(pbc, np.floor(anchors), 0.0).astype(np.int64)
    return found


def _bonds(
    numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> list[list[tuple[int, np.ndarray]]]:
    """For each atom those bonded to it, with the lattice vectors that lead to them."""
    from ase.data import covalent_radii
    from ase.neighborlist import primitive_neighbor_list

    found: list[list[tuple[int, np.ndarray]]] = [[] for _ in numbers]
    first, second, shifts = primitive_neighbor_list(
        "ijS", pbc, cell, positions, REACH * covalent_radii[numbers]
    )
    for i, j, shift in zip(first, second, shifts, strict=True):
        found[i].append((int(j), shift))
    return found


def _walk(
    first: int,
    molecule: int,
    bonds: list[list[tuple[int, np.ndarray]]],
    label: np.ndarray,
    images: np.ndarray,
) -> bool:
    """Label all that is bonded to an atom; whether it ends before it meets an image of itself."""
    label[first], ends = molecule, True
    queue = deque([first])
    while queue:
        i = queue.popleft()
        for j, shift in bonds[i]:
            image = images[i] + shift
            if label[j] < 0:
                label[j], images[j] = molecule, image
                queue.append(j)
            elif not np.array_equal(images[j], image):
                ends = False
    return ends
