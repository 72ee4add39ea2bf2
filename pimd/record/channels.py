"""A quantity stored frame by frame, wherever it lies."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

__all__ = ["UNITS", "WITHOUT_BEADS", "ArrayChannel", "Channel", "OverMasses", "numbers_in_row",
           "of_beads", "rows_of_steps", "rows_or_nan"]

UNITS = {
    "positions": "Å",
    "velocities": "Å/fs",
    "momenta": "amu Å/fs",
    "forces": "eV/Å",
    "cells": "Å",
    "energies": "eV",
    "member_energies": "eV",
    "centroids": "Å",
    "dipole": "e Å",
}
"""Units of what `Run.read` gives under these names."""

WITHOUT_BEADS = ("cells", "centroids", "centroid_velocities", "centroid_forces")


class Channel(Protocol):
    """One quantity, one row a frame.

    Attributes:
        step: (n,) int64, increasing.
        time: fs, (n,).
        shape: of a row.
        unit: of the numbers.
        bead_axis: axis of a row that counts beads; None: there is none.
        is_rounded: whether the numbers were written with few digits.
    """

    step: np.ndarray
    time: np.ndarray
    shape: tuple[int, ...]
    unit: str
    bead_axis: int | None
    is_rounded: bool

    def read(self, rows: np.ndarray, beads: slice) -> np.ndarray:
        """These rows, (len(rows), *shape), only the beads asked for."""


class ArrayChannel:
    """A quantity in memory; attributes as in `Channel`."""

    is_rounded = False

    def __init__(
        self, name: str, step: np.ndarray, time: np.ndarray, values: np.ndarray, n_beads: int,
        unit: str | None = None,
    ) -> None:
        self.step, self.time = np.asarray(step, dtype=np.int64), np.asarray(time, dtype=float)
        self.values = np.asarray(values, dtype=float)
        self.shape = self.values.shape[1:]
        self.unit = UNITS.get(name, "") if unit is None else unit
        self.bead_axis = bead_axis(name, self.shape, n_beads)

    def read(self, rows: np.ndarray, beads: slice) -> np.ndarray:
        return of_beads(self.values[rows], self.bead_axis, beads)


class OverMasses:
    """Velocities where momenta are stored; attributes as in `Channel`."""

    unit = UNITS["velocities"]

    def __init__(self, momenta: Channel, masses: np.ndarray) -> None:
        self._momenta, self._masses = momenta, masses
        self.step, self.time, self.shape = momenta.step, momenta.time, momenta.shape
        self.bead_axis, self.is_rounded = momenta.bead_axis, momenta.is_rounded

    def read(self, rows: np.ndarray, beads: slice) -> np.ndarray:
        return self._momenta.read(rows, beads) / self._masses[:, None]


def bead_axis(name: str, shape: tuple[int, ...], n_beads: int) -> int | None:
    """The axis of a row that counts beads: the second of members', the first of others."""
    if name in WITHOUT_BEADS:
        return None
    axis = 1 if name.startswith("member_") else 0
    return axis if len(shape) > axis and shape[axis] == n_beads else None


def of_beads(values: np.ndarray, axis: int | None, beads: slice) -> np.ndarray:
    """Some beads of frames (n, ...), whose rows count beads on an axis, or on none."""
    return values if axis is None else values[(slice(None),) * (axis + 1) + (beads,)]


def rows_of_steps(stored: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Row of each wanted step, (m,) int64; -1 where it is not stored.

    Args:
        stored: (n,), increasing.
        wanted: (m,).
    """
    if not len(stored):
        return np.full(len(wanted), -1, dtype=np.int64)
    rows = np.searchsorted(stored, wanted).clip(max=len(stored) - 1)
    return np.where(stored[rows] == wanted, rows, -1)


def rows_or_nan(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows (m,) of values (n, ...) as `rows_of_steps` gives them; NaN where one is -1."""
    out = np.full((len(rows), *values.shape[1:]), np.nan)
    out[rows >= 0] = values[rows[rows >= 0]]
    return out


def numbers_in_row(channel: Channel) -> int:
    """Numbers of one frame."""
    return math.prod(channel.shape)
