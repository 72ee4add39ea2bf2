"""At which frame of a run equilibrium begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pimd.analysis.beginning import first_at, settled

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["first_frame"]


def first_frame(run: Run, skip: float | None = None) -> tuple[int, tuple[str, ...]]:
    """The first frame to be used, and how it was found, for the notes of a result.

    Args:
        run: with frames.
        skip: fs left out at the beginning; None: where the potential energy, which the run has
            among its properties or for its frames, comes to equilibrium.

    Raises:
        ValueError: no frames, or none left.
    """
    if not run.n_frames:
        raise ValueError(f"{run.where} holds no frames")
    if skip is not None:
        start = first_at(run.time, run.time[0] + skip)
        if start >= run.n_frames:
            length = 1e-3 * (run.time[-1] - run.time[0])
            raise ValueError(
                f"{1e-3 * skip:g} ps are to be left out, but the frames of {run.where} cover "
                f"{length:g} ps"
            )
        return start, (f"{start} of {run.n_frames} frames left out at the beginning",)
    if "potential" in run.properties and run.properties["potential"].values.ndim == 1:
        series = run.properties["potential"]
        step, values = series.step, series.values
    elif run.has("energies"):
        step, values = run.step, run.read("energies").mean(axis=1)
    else:
        return 0, ("all frames used: no potential energy is stored to find equilibrium by",)
    since = step[settled(values)]
    start = min(int(np.searchsorted(run.step, since)), run.n_frames - 1)
    return start, (
        f"{start} of {run.n_frames} frames left out: equilibrium by the potential energy",
    )
