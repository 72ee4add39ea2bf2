"""Extras of the forcefield in i-PI's text files, one file a bead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import numpy as np

from pimd.record.channels import of_beads, rows_of_steps
from pimd.record.series import superseded

__all__ = ["ExtraFiles", "NotNumbers", "read_extras"]

_HEADER = re.compile(rb"#EXTRAS\w*\(([^)]*)\)# Step:\s*(\d+)[^\n]*\n")


class NotNumbers(ValueError):
    """The extras are words."""


def read_extras(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Steps (n,) and numbers (n, ...) of one file; vectors (n, k), matrices (n, k, l).

    Raises:
        NotNumbers: they are none, or no whole entry is there.
    """
    text = path.read_bytes()
    headers = list(_HEADER.finditer(text))
    entries: list[tuple[int, np.ndarray]] = []
    for header, following in zip(headers, [*headers[1:], None], strict=True):
        end = len(text) if following is None else following.start()
        body = text[header.end() : end]
        # i-PI begins a header with a blank
        if not body.rstrip(b" ").endswith(b"\n"):
            continue
        try:
            lines = [line.split() for line in body.strip().splitlines()]
            values = np.array(lines, dtype=np.float64)
        except ValueError:
            continue
        entries.append((int(header[2]), values[0] if len(values) == 1 else values))
    if not entries:
        raise NotNumbers(f"{path}: no whole entry of numbers in it")
    shape = entries[0][1].shape
    entries = [entry for entry in entries if entry[1].shape == shape]
    steps = np.array([step for step, _ in entries], dtype=np.int64)
    kept = ~superseded(steps)
    return steps[kept], np.stack([values for _, values in entries])[kept]


class ExtraFiles:
    """One entry of the extras of all beads; attributes as in `channels.Channel`.

    Args:
        name: the quantity; members come before beads.
        paths: one for each bead.
        factor: to pimd's unit.
        unit: pimd's.
        timestep: fs.
    """

    is_rounded = True

    def __init__(
        self, name: str, paths: Sequence[Path], factor: float, unit: str, timestep: float
    ) -> None:
        found = [read_extras(path) for path in paths]
        shapes = {values.shape[1:] for _, values in found}
        if len(shapes) > 1:
            raise NotNumbers(f"{paths[0]}: entries of beads have shapes {sorted(shapes)}")
        self.step = reduce(np.intersect1d, (steps for steps, _ in found))
        self.time = self.step * timestep
        self.unit = unit
        beads = [values[rows_of_steps(steps, self.step)] for steps, values in found]
        axis = 1 if name.startswith("member_") else 0
        self._values = factor * np.stack(beads, axis=axis + 1)
        if self._values.shape[axis + 2 :] == (1,):
            self._values = self._values[..., 0]  # one number a bead
        self.bead_axis: int | None = axis
        self.shape: tuple[int, ...] = self._values.shape[1:]

    def read(self, rows: np.ndarray, beads: slice) -> np.ndarray:
        return of_beads(self._values[rows], self.bead_axis, beads)
