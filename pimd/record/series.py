"""A number, or a few, at some steps of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pimd.record.channels import rows_of_steps, rows_or_nan

__all__ = ["Series", "superseded"]


@dataclass(frozen=True)
class Series:
    """One property along a run, in eV, Å, fs, K, eV/Å³.

    Attributes:
        name: as i-PI calls it, with its arguments: `potential`, `kinetic_cv(H)`.
        step: (n,) int64, increasing.
        time: fs, (n,).
        values: (n,), or (n, k) where the property has k components.
        unit: of the values; empty for pure numbers.
    """

    name: str
    step: np.ndarray
    time: np.ndarray
    values: np.ndarray
    unit: str = ""

    def __post_init__(self) -> None:
        for name, dtype in (("step", np.int64), ("time", np.float64), ("values", np.float64)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=dtype))
        if not len(self.step) == len(self.time) == len(self.values):
            raise ValueError(
                f"{self.name}: {len(self.step)} steps, {len(self.time)} times, "
                f"{len(self.values)} values; expected as many of each"
            )

    def __len__(self) -> int:
        return len(self.step)

    def at(self, step: np.ndarray) -> np.ndarray:
        """Values at these steps, (m,) or (m, k); NaN where there is none."""
        rows = rows_of_steps(self.step, np.asarray(step, dtype=np.int64))
        return rows_or_nan(self.values, rows)


def superseded(step: np.ndarray) -> np.ndarray:
    """Which rows a run that went on from a checkpoint has written again, (n,) bool.

    Rows from the checkpoint on belong to the part that was given up: a row counts only if every
    later row has a larger step.
    """
    step = np.asarray(step, dtype=np.int64)
    if len(step) < 2:
        return np.zeros(len(step), dtype=bool)
    least_after = np.minimum.accumulate(step[::-1])[::-1][1:]
    return np.append(step[:-1] >= least_after, False)
