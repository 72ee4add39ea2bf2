"""What a run has sampled, where it is canonical, and the check of pairs of such runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pimd.analysis.ensemble_check import EnsembleCheck, Sampled, check_pair
from pimd.analysis.run_series import Gathered
from pimd.record.series import Series
from pimd.units import KB_EV_PER_KELVIN

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["Pair", "check_all", "sample_of", "why_not_canonical"]


@dataclass(frozen=True)
class Pair:
    """Two runs at different states: the check of their ensembles, or why there is none."""

    first: str
    second: str
    check: EnsembleCheck | None
    reason: str = ""


def why_not_canonical(run: Run) -> str:
    """Why the fluctuations of a run are not those of a canonical ensemble; empty: they are."""
    from pimd.free_energy.sampled import NotCanonical, check_canonical

    try:
        check_canonical(run)
    except NotCanonical as error:
        return str(error).partition(": ")[2]
    if run.setup.mode not in ("nvt", "npt"):
        return f"its ensemble is {run.setup.mode or 'not known'}, not nvt or npt"
    return ""


def sample_of(
    run: Run, given: Gathered, temperature: float, start_of: Callable[[Series], int]
) -> Sampled | str:
    """The reduced energies of a run after equilibration; in words why there are none.

    Args:
        run: of which `given` are the series.
        given: its series.
        temperature: K.
        start_of: how many samples of a series to leave out.
    """
    reason = why_not_canonical(run)
    if reason:
        return reason
    names = ["potential"]
    if run.n_beads > 1:
        names.append("spring" if "spring" in given.series else "kinetic_td")
    if run.setup.pressure is not None:
        names.append("volume")
    series = given.together(*names)
    if series is None:
        return (
            f"{' and '.join(names)} at the same steps are needed, as columns or from stored beads"
        )
    start = start_of(series[0])
    values = {name: one.values[start:] for name, one in zip(names, series, strict=True)}
    spring = values.get("spring")
    if "kinetic_td" in values:
        kinetic = 1.5 * run.n_atoms * run.n_beads * KB_EV_PER_KELVIN * temperature
        spring = kinetic - values["kinetic_td"]
    return Sampled(
        temperature, values["potential"], spring, values.get("volume"), run.setup.pressure,
        n_beads=run.n_beads,
    )


def check_all(given: Sequence[tuple[str, Sampled | str]]) -> list[Pair]:
    """All pairs of runs with the same number of beads at different temperature or pressure.

    Args:
        given: names of runs, and what they sampled or why that is not known.
    """
    pairs = []
    for (first, a), (second, b) in itertools.combinations(given, 2):
        if isinstance(a, str) or isinstance(b, str):
            continue
        same = a.temperature == b.temperature and a.pressure == b.pressure
        if same or a.n_beads != b.n_beads:
            continue
        try:
            pairs.append(Pair(first, second, check_pair(a, b)))
        except ValueError as error:
            pairs.append(Pair(first, second, None, str(error)))
    return pairs
