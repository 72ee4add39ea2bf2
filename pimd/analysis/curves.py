"""A curve that was measured: its mean over the frames, its standard error, that of the committee.

Every point of the curve is an average of its own (`pimd.analysis.statistics`); where the run has
the energies of the members of a committee, the spread of the curves that they would have given
(`pimd.analysis.committee_curves`) is the model's error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pimd.analysis.rdf import Bins
from pimd.analysis.statistics import FEWEST, average

if TYPE_CHECKING:
    from pimd.analysis.run_members import RunMembers

__all__ = ["Curve", "measured_curve", "said_once"]

FEWEST_FRAMES = 10
"""Frames with energies of members below which the model's error is not asked for."""


@dataclass(frozen=True)
class Curve:
    """A mean curve with its errors.

    Attributes:
        bins: of the abscissa.
        mean: (n_bins,).
        error: (n_bins,) standard error; NaN where there is none to be given.
        n_effective: independent frames, of the point that has fewest.
        n_samples: frames.
        model_error: (n_bins,), spread over the members of a committee; None: there is none.
        warnings: one line each.
        series: (n_frames, n_bins), what was averaged.
    """

    bins: Bins
    mean: np.ndarray
    error: np.ndarray
    n_effective: float
    n_samples: int
    model_error: np.ndarray | None = None
    warnings: tuple[str, ...] = ()
    series: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)), repr=False)

    def as_data(self) -> dict[str, object]:
        """What of it belongs into a JSON file."""
        found: dict[str, object] = {
            "x": self.bins.centres, "mean": self.mean, "error": self.error,
            "n_effective": self.n_effective, "n_samples": self.n_samples,
        }
        if self.model_error is not None:
            found["model_error"] = self.model_error
        return found


def measured_curve(
    bins: Bins, series: np.ndarray, step: np.ndarray, members: RunMembers | None = None
) -> Curve:
    """The average of a curve.

    Args:
        bins: of the abscissa.
        series: (n_frames, n_bins), in the order of time.
        step: (n_frames,) of the frames, to find them among those of the members.
        members: of the committee that moved the beads; None: no committee.

    Raises:
        ValueError: no frames.
    """
    if not len(series):
        raise ValueError("no frames to average over")
    points = [average(column, start=0) for column in series.T]
    changing = [point for point in points if point.error != 0.0] or points
    fewest = min(point.n_effective for point in changing)
    careful = []
    if fewest < FEWEST:
        unknown = sum(math.isnan(point.error) for point in points)
        careful.append(
            f"{unknown} of {len(points)} points have no error: {fewest:.1f} effective samples (of "
            f"{len(series)} frames) are too few; run longer"
        )
    model, said = _model_error(series, step, members)
    return Curve(
        bins, np.array([point.mean for point in points]), np.array([p.error for p in points]),
        fewest, len(series), model, (*careful, *said), series,
    )  # fmt: skip


def said_once(warnings: Sequence[tuple[str, str]]) -> list[str]:
    """Warnings of many curves, (name of the curve, line), one for those that differ in numbers."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, line in warnings:
        groups.setdefault(re.sub(r"[\d.]+", "", line), []).append((name, line))
    found = []
    for group in groups.values():
        name, line = group[0]
        more = f" and {len(group) - 1} other curves" if len(group) > 1 else ""
        found.append(f"{name}{more}: {line}")
    return found


def _model_error(
    series: np.ndarray, step: np.ndarray, members: RunMembers | None
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    if members is None:
        return None, ()
    from pimd.analysis.committee_curves import committee_curve

    theirs, ours = members.rows(step)
    if len(ours) < FEWEST_FRAMES:
        return None, (
            f"the model's error is not given: {len(ours)} frames have energies of the members, at "
            f"least {FEWEST_FRAMES} are needed",
        )
    found = committee_curve(series[ours], members.h[:, theirs])
    said = [
        line.replace("no statistical error:", "the model's error cannot be told from statistics:")
        for line in found.warnings
    ]
    return found.model_error, tuple(said)
