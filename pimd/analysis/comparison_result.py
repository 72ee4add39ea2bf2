"""What several runs say together, as tables, figures and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pimd.analysis.convergence import Limit
from pimd.analysis.ensemble_check import log_ratio
from pimd.analysis.run_convergence import Comparison
from pimd.analysis.run_ensemble import Pair
from pimd.analysis.run_estimates import RunEstimates
from pimd.results.quantity import with_error
from pimd.results.result import Result, Table
from pimd.results.style import GREY, PALETTE, new_axes

__all__ = ["comparison_result"]

DRAWN = 4
"""Quantities in the figure of convergence, at most."""


def comparison_result(found: Comparison) -> Result:
    """The result of several runs."""
    result = Result("estimate", f"{len(found.runs)} states of {found.runs[0].n_atoms} atoms")
    result.quantities = list(found.slopes)
    result.tables.append(_averages(found.runs))
    for what, limits in (("1/P", found.beads), ("time step", found.steps)):
        for title, of_group in limits.items():
            result.tables.append(_of_limits(found, f"{what} to 0, {title}", of_group))
            result.warnings += [
                f"limit of {name}, {title}: {line}"
                for name, one in of_group.items() for line in one.warnings
            ]
    if found.pairs:
        result.tables.append(_of_pairs(found.pairs))
        result.warnings += [
            f"{pair.first} and {pair.second}: {line}"
            for pair in found.pairs if pair.check is not None for line in pair.check.warnings
        ]
    result.warnings += [f"{run.name}: {line}" for run in found.runs for line in run.warnings]
    for run in found.runs:
        for one in run.quantities.values():
            result.warnings += [f"{run.name}: {one.name}: {line}" for line in one.warnings]
    result.notes += [f"{run.name}: {line}" for run in found.runs for line in run.notes]
    result.data = _data(found)
    for name, limits in (("beads", found.beads), ("time_step", found.steps)):
        if limits:
            title, of_group = next(iter(limits.items()))
            result.figures[name] = _limit_figure(of_group, name, title, found)
    checked = [pair for pair in found.pairs if pair.check is not None]
    if checked:
        result.figures["ensembles"] = lambda figure: _draw_pairs(figure, checked[:DRAWN])
    return result


def _averages(runs: Sequence[RunEstimates]) -> Table:
    table = Table("averages", ["", "unit", *(_label(run, runs) for run in runs)])
    names = dict.fromkeys(name for run in runs for name in run.quantities)
    for name in names:
        cells = [run.quantities.get(name) for run in runs]
        unit = next(one.unit for one in cells if one is not None)
        table.rows.append([
            name, unit, *("-" if q is None else with_error(q.value, q.error) for q in cells)
        ])
    return table


def _label(run: RunEstimates, runs: Sequence[RunEstimates]) -> str:
    """What a run differs in from the others."""
    parts = [
        text for text, values in (
            (f"P = {run.n_beads}", {one.n_beads for one in runs}),
            (f"{run.timestep:g} fs", {one.timestep for one in runs}),
            (f"{run.temperature:g} K", {one.temperature for one in runs}),
        ) if len(values) > 1
    ]
    return ", ".join(parts) or run.name


def _of_limits(found: Comparison, title: str, limits: dict[str, Limit]) -> Table:
    table = Table(
        title, ["", "unit", "limit", "finest run - limit", "chi^2", "points"]
    )
    for name, one in limits.items():
        unit = next(run.quantities[name].unit for run in found.runs if name in run.quantities)
        table.rows.append([
            name, unit, with_error(one.value, one.error), f"{one.finest:.2g}", f"{one.chi2:.1f}",
            f"{one.used.sum()} of {len(one.used)}",
        ])
    return table


def _of_pairs(pairs: Sequence[Pair]) -> Table:
    table = Table(
        "ensembles: slope of ln(p2/p1) against the difference of reduced energies, 1 expected",
        ["runs", "slope", "(slope - 1)/error", "f2 - f1, kT", ""],
    )
    for pair in pairs:
        name, check = f"{pair.first}, {pair.second}", pair.check
        if check is None:
            table.rows.append([name, None, None, None, pair.reason])
            continue
        table.rows.append([
            name, with_error(check.slope, check.error), f"{check.deviation:+.1f}",
            f"{check.difference:.4g}", "as it should be" if check.passed else "NOT as it should be",
        ])
    return table


def _data(found: Comparison) -> dict[str, Any]:
    return {
        "runs": [
            {
                "name": run.name, "n_beads": run.n_beads, "timestep_fs": run.timestep,
                "temperature_K": run.temperature, "pressure_eV_per_A3": run.pressure,
                "quantities": [one.as_json() for one in run.quantities.values()],
            }
            for run in found.runs
        ],
        "limits": {"beads": found.beads, "time_step": found.steps},
        "ensembles": [
            {
                "first": pair.first, "second": pair.second, "reason": pair.reason,
                "slope": None if pair.check is None else pair.check.slope,
                "error": None if pair.check is None else pair.check.error,
                "passed": None if pair.check is None else pair.check.passed,
            }
            for pair in found.pairs
        ],
    }


def _limit_figure(limits: dict[str, Limit], what: str, title: str, found: Comparison) -> Any:
    names = list(limits)[:DRAWN]

    def draw(figure: Any) -> None:
        all_axes = new_axes(figure, (len(names) + 1) // 2, min(2, len(names)))
        for axes, name in zip(all_axes, names, strict=False):
            unit = next(r.quantities[name].unit for r in found.runs if name in r.quantities)
            _draw_limit(axes, limits[name])
            axes.set_title(f"{name} ({unit})", fontsize=8)
            axes.set_xlabel("1/P²" if what == "beads" else "time step² (fs²)", fontsize=8)
        for axes in all_axes[len(names):]:
            axes.set_visible(False)
        figure.suptitle(title, fontsize=9)

    return draw


def _draw_limit(axes: Any, one: Limit) -> None:
    x = np.square(one.h)
    for chosen, colour in ((one.used, PALETTE[0]), (~one.used, GREY)):
        if chosen.any():
            axes.errorbar(
                x[chosen], one.values[chosen], one.errors[chosen], fmt="o", color=colour,
                markersize=4, capsize=2,
            )
    line = np.array([0.0, x[one.used].max()])
    axes.plot(line, one.value + one.slope * line, color=PALETTE[0], linewidth=1)
    axes.errorbar(
        [0.0], [one.value], [one.error], fmt="s", color=PALETTE[1], markersize=5, capsize=3
    )
    axes.tick_params(labelsize=7)
    axes.locator_params(axis="x", nbins=4)
    axes.ticklabel_format(useOffset=False, axis="y")


def _draw_pairs(figure: Any, pairs: Sequence[Pair]) -> None:
    all_axes = new_axes(figure, 1, len(pairs), sharey=False)
    for axes, pair in zip(all_axes, pairs, strict=True):
        check = pair.check
        assert check is not None
        centres, ratio, errors = log_ratio(check)
        middle = check.difference
        axes.errorbar(
            centres - middle, ratio, errors, fmt="o", color=PALETTE[0], markersize=4, capsize=2
        )
        if len(centres):
            x = np.array([centres.min(), centres.max()]) - middle
            axes.plot(x, -x, color=PALETTE[1], linewidth=1.2, label="slope -1")
            axes.legend(fontsize=8, frameon=False)
        axes.set_title(f"{pair.first}, {pair.second}", fontsize=8)
        axes.set_xlabel("u₂ - u₁ - (f₂ - f₁), kT")
    all_axes[0].set_ylabel("ln p₂/p₁")
