"""When equilibrium begins: one time for everything in the report, that of `pimd estimate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pimd.analysis.equilibrium import Equilibrium, find_equilibrium
from pimd.analysis.run_series import Gathered
from pimd.record.series import Series

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["beginning"]


def beginning(run: Run, skip: float | None = None) -> Equilibrium:
    """When equilibrium begins, from the properties of a run; without them, with its first frame.

    Args:
        run: with anything that has a time, or with nothing.
        skip: fs to leave out; None: found out.

    Raises:
        ValueError: nothing is left.
    """
    series = {
        name: one for name, one in run.properties.items()
        if len(one) and np.isfinite(one.values).all()
    }
    if run.n_frames:
        series["frames"] = Series("frames", run.step, run.time, np.zeros(run.n_frames))
    if not series:
        return Equilibrium(0.0, "nothing is stored")
    found = find_equilibrium(Gathered(series=series), skip)
    first = min(float(one.time[0]) for one in series.values())
    last = max(float(one.time[-1]) for one in series.values())
    if found.begin > last:
        raise ValueError(
            f"--skip {(skip or 0.0) / 1000:g} leaves nothing: the run is "
            f"{(last - first) / 1000:g} ps long"
        )
    return found
