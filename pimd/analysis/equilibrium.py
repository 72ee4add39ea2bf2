"""From when on a run is averaged: one time for all of its series."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pimd.analysis.beginning import first_at, settled
from pimd.analysis.run_series import Gathered
from pimd.analysis.statistics import LATE, LATEST, Average, average
from pimd.record.series import Series

__all__ = ["Equilibrium", "averaged", "drop_ended", "find_equilibrium"]

SETTLES = ("potential", "kinetic_cv", "volume")
"""Series that say when a run is in equilibrium."""


@dataclass(frozen=True)
class Equilibrium:
    """Where averages begin.

    Attributes:
        begin: time, fs.
        note: how it was found.
        late: whether it is about the latest that is tried.
    """

    begin: float
    note: str
    late: bool = False


def averaged(series: Series, begin: float, values: np.ndarray | None = None) -> Average:
    """Average of a series from a time on, fs, which is not after its end."""
    start = first_at(series.time, begin)
    found = average(series.values if values is None else values, start)
    # (how much was left out is said once, of all series)
    return replace(found, warnings=tuple(x for x in found.warnings if "left out" not in x))


def find_equilibrium(given: Gathered, skip: float | None) -> Equilibrium:
    """When the equilibrium of a run begins.

    One time for all: where the slowest of energies and volume has settled. Alone, a series whose
    first values are far off can look as if it had most samples with them.

    Args:
        given: series of the run.
        skip: fs to leave out at the beginning; None: found out.
    """
    everything = (*given.series.values(), *given.columns.values())
    first = min(float(one.time[0]) for one in everything)
    end = max(float(one.time[-1]) for one in everything)
    if skip is not None:
        return Equilibrium(first + skip, f"{skip / 1000:g} ps left out at the beginning")
    begins = {
        name: float(given.series[name].time[settled(given.series[name].values)])
        for name in SETTLES
        if name in given.series and np.ptp(given.series[name].values) > 0
    }
    if not begins:
        return Equilibrium(first, "nothing left out: no energies to find equilibrium by")
    last = max(begins, key=lambda name: begins[name])
    left_out = begins[last] - first
    return Equilibrium(
        begins[last],
        f"{left_out / 1000:.3g} ps left out at the beginning, until {' and '.join(begins)} "
        f"{'have' if len(begins) > 1 else 'has'} settled",
        left_out > LATE * LATEST * (end - first),
    )


def drop_ended(given: Gathered, begin: float) -> list[str]:
    """Remove series that end before equilibrium begins, and say so.

    Raises:
        ValueError: nothing is left.
    """
    everything = {**given.series, **given.columns}
    gone = [name for name, one in everything.items() if first_at(one.time, begin) == len(one)]
    if len(gone) == len(everything):
        last = max(one.time[-1] for one in everything.values())
        raise ValueError(
            f"{begin / 1000:g} ps are to be left out, but the run ends at {last / 1000:g} ps"
        )
    for name in gone:
        given.series.pop(name, None)
        given.columns.pop(name, None)
    return [f"{', '.join(gone)}: nothing is stored after equilibration"] if gone else []
