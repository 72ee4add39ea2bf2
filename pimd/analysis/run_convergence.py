"""Several runs of one system: replicas pooled, limits in beads and time step, ensembles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pimd.analysis.convergence import Limit, limit, pooled
from pimd.analysis.run_ensemble import Pair, check_all
from pimd.analysis.run_estimates import RunEstimates
from pimd.results.quantity import Quantity
from pimd.units import KB_EV_PER_KELVIN

__all__ = ["Comparison", "compare"]


NO_LIMIT = ("temperature", "C_V per atom", "C_p per atom")
"""Quantities that are not extrapolated: it says nothing, or another one says the same."""


@dataclass
class Comparison:
    """What several runs say together.

    Attributes:
        runs: replicas (the same beads, time step, temperature and pressure) pooled into one.
        beads: quantity -> its limit in 1/P, for runs that differ in P alone; by the state.
        steps: the same in the time step, fs.
        pairs: checks of ensembles.
        slopes: heat capacities from the energies of neighbouring temperatures.
        warnings: one line each.
    """

    runs: list[RunEstimates]
    beads: dict[str, dict[str, Limit]] = field(default_factory=dict)
    steps: dict[str, dict[str, Limit]] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    slopes: list[Quantity] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def compare(runs: Sequence[RunEstimates]) -> Comparison:
    """Pool replicas, extrapolate, and check pairs of ensembles.

    Raises:
        ValueError: runs of different systems.
    """
    _in_one_system(runs)
    found = Comparison(_pool(runs))
    found.beads = _limits(found, lambda run: (run.timestep, *_state(run)), _inverse_beads, "P")
    found.steps = _limits(found, lambda run: (run.n_beads, *_state(run)), _timestep, "time step")
    found.slopes = _slopes(found.runs)
    found.pairs = check_all([(run.name, run.sample) for run in runs])
    return found


def _in_one_system(runs: Sequence[RunEstimates]) -> None:
    """Raise ValueError for runs that cannot be of the same atoms."""
    sizes = {run.name: run.n_atoms for run in runs}
    if len(set(sizes.values())) > 1:
        given = ", ".join(f"{name}: {n}" for name, n in sizes.items())
        raise ValueError(f"runs of one system are compared, but they differ in atoms ({given})")


def _state(run: RunEstimates) -> tuple[float, float]:
    return run.temperature, math.inf if run.pressure is None else run.pressure


def _inverse_beads(run: RunEstimates) -> float:
    return 1.0 / run.n_beads


def _timestep(run: RunEstimates) -> float:
    return run.timestep


def _pool(runs: Sequence[RunEstimates]) -> list[RunEstimates]:
    """Replicas as one run each; finest first."""
    groups: dict[tuple[float, ...], list[RunEstimates]] = {}
    for run in runs:
        groups.setdefault((*_state(run), -run.n_beads, run.timestep), []).append(run)
    found = []
    for key in sorted(groups):
        same = groups[key]
        if len(same) == 1:
            found.append(same[0])
            continue
        names = [name for name in same[0].quantities if all(name in r.quantities for r in same)]
        whole = {name: _together([run.quantities[name] for run in same]) for name in names}
        found.append(replace(
            same[0], name=" + ".join(run.name for run in same), quantities=whole, series={},
            warnings=[line for run in same for line in run.warnings],
        ))
    return found


def _together(of: Sequence[Quantity]) -> Quantity:
    """Independent measurements of one quantity as one; exact ones stay as they are."""
    good = [one for one in of if one.error > 0]
    if len(good) < len(of):
        return good[0] if good else of[0]
    mean = pooled([one.value for one in good], [one.error for one in good])
    counts = [one.n_effective for one in good if one.n_effective is not None]
    return replace(
        good[0], value=mean.value, error=mean.error, n_effective=sum(counts) if counts else None,
        n_samples=sum(one.n_samples or 0 for one in good), warnings=mean.warnings,
        note=f"{len(good)} runs",
    )


def _limits(
    found: Comparison,
    key: Callable[[RunEstimates], tuple[float, ...]],
    h: Callable[[RunEstimates], float],
    what: str,
) -> dict[str, dict[str, Limit]]:
    """Limits of every quantity, for each group of runs that differ in h alone."""
    groups: dict[tuple[float, ...], list[RunEstimates]] = {}
    for run in found.runs:
        if np.isfinite(h(run)):
            groups.setdefault(key(run), []).append(run)
    limits: dict[str, dict[str, Limit]] = {}
    for members in groups.values():
        if len({h(run) for run in members}) < 2:
            continue
        title = _title(members[0], what)
        of_group = {}
        for name in members[0].quantities:
            points = [
                (h(run), run.quantities[name]) for run in members
                if name in run.quantities and run.quantities[name].error > 0
            ]
            if len(points) < 2 or name in NO_LIMIT:
                continue
            x, values = zip(*points, strict=True)
            of_group[name] = limit(x, [q.value for q in values], [q.error for q in values])
        if of_group:
            limits[title] = of_group
    return limits


def _slopes(runs: Sequence[RunEstimates]) -> list[Quantity]:
    """C_V in the middle of two temperatures, dE/dT: most often known better than fluctuations."""
    groups: dict[tuple[float, ...], list[RunEstimates]] = {}
    for run in runs:
        if run.pressure is None and "energy" in run.quantities:
            groups.setdefault((run.n_beads, run.timestep), []).append(run)
    found = []
    for key, members in groups.items():
        members = sorted(members, key=lambda run: run.temperature)
        for low, high in itertools.pairwise(members):
            width = KB_EV_PER_KELVIN * (high.temperature - low.temperature)
            if width == 0:
                continue
            first, last = low.quantities["energy"], high.quantities["energy"]
            found.append(Quantity(
                f"C_V between {low.temperature:g} and {high.temperature:g} K, {key[0]:g} beads",
                (last.value - first.value) / width, math.hypot(first.error, last.error) / width,
                "k", note="difference of energies",
            ))  # fmt: skip
    return found


def _title(run: RunEstimates, what: str) -> str:
    held = f"time step {run.timestep:g} fs" if what == "P" else f"{run.n_beads} beads"
    return f"{run.temperature:g} K, {held}"
