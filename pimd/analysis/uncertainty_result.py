"""Averages with a committee's error -> tables and figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from pimd.analysis.committee import uncertainty_of_spread
from pimd.analysis.uncertainty import Curve, Scalar, Uncertainty
from pimd.results.quantity import Quantity
from pimd.results.result import Result, Table
from pimd.results.style import GREY, PALETTE, band, new_axes

__all__ = ["result_of"]

MOST_UNCERTAIN = 1.0 / 3.0
"""Relative uncertainty of an error beyond which it is given with one digit."""
EXPLAINED = {
    "own": "averages that the members themselves would have given",
    "centred": "members moved so that their mean is what was sampled",
}


def result_of(found: Uncertainty) -> Result:
    """What `pimd uncertainty` shows of a run."""
    members = found.members
    known = uncertainty_of_spread(members.n_members)
    result = Result(
        "uncertainty",
        f"Uncertainty of averages: {members.n_members} members, {len(members.step)} frames of "
        f"{members.energies.shape[2]} beads from step {found.start} on, "
        f"{members.temperature:g} K",
        notes=[
            *found.notes,
            f"model error: {EXPLAINED[members.about]}; the spread of {members.n_members} members "
            f"is itself known to {100 * known:.0f} % only",
            *(f"{one.observable.name}: {one.observable.note}" for one in found.scalars),
        ],
    )
    result.quantities = [_quantity(one, known) for one in found.scalars]
    for curve in found.curves:
        result.warnings += [f"{curve.observable.name}: {line}" for line in curve.found.warnings]
    if found.scalars:
        result.tables.append(_errors(found, known))
    result.tables.append(_members(found))
    result.tables += [_curve_table(curve) for curve in found.curves]
    result.figures = {
        **({"averages": partial(_draw_averages, found=found)} if found.scalars else {}),
        "exponents": partial(_draw_exponents, found=found),
        **{_file_name(curve): partial(_draw_curve, one=curve) for curve in found.curves},
    }
    result.data = {
        "temperature_K": members.temperature,
        "about": members.about,
        "first_step": found.start,
        "relative_uncertainty_of_model_error": known,
        "sigma_eV": {"mean": float(found.sigma.mean()), "max": float(found.sigma.max())},
        "scalars": {one.observable.name: one.found for one in found.scalars},
        "curves": {curve.observable.name: _curve_data(curve) for curve in found.curves},
    }
    return result


def _digits(error: float, known: float) -> str:
    """A model error, with the digits that its own uncertainty leaves."""
    if not math.isfinite(error):
        return "-"
    return f"{error:.1g}" if known > MOST_UNCERTAIN else f"{error:.2g}"


def _quantity(one: Scalar, known: float) -> Quantity:
    a = one.found
    return Quantity(
        one.observable.name, a.mean, a.statistical_error, one.observable.unit, a.of_sampling,
        a.n_samples, (*one.observable.warnings, *a.warnings),
        f"model error {_digits(a.model_error, known)} by {a.method}"
        + ("" if a.resolved else ", not resolved"),
    )


def _errors(found: Uncertainty, known: float) -> Table:
    table = Table(
        "Errors of averages (model: spread over members; noise: its statistical error; CEA: "
        "cumulant expansion; left out: its next term; of members: mean of their averages)",
        ["", "statistical", "model", "noise", "direct", "CEA", "left out", "of members"],
    )
    for one in found.scalars:
        a = one.found
        second = np.diag(a.second_order) if a.paired else a.second_order
        table.rows.append([
            one.observable.name, _digits(a.statistical_error, 0.0), _digits(a.model_error, known),
            _digits(a.noise, known), _digits(a.direct_error, known),
            _digits(a.cumulant_error, known), f"{np.abs(second).max():.1g}", a.committee_mean,
        ])  # fmt: skip
    return table


def _members(found: Uncertainty) -> Table:
    h = found.members.h
    some = found.scalars[0].found if found.scalars else found.curves[0].found
    names = [one.observable.name for one in found.scalars]
    table = Table(
        "Members (Kish: effective samples of direct weights, correlation counted)",
        ["member", "Var(h)", "Kish", *names],
    )
    for i in range(len(h)):
        averages = [one.found.mean + float(one.found.shifts[i]) for one in found.scalars]
        table.rows.append(
            [i + 1, float(some.variances[i]), f"{some.n_effective[i]:.0f}", *averages]
        )
    return table


def _curve_table(one: Curve) -> Table:
    assert one.observable.x is not None
    peak = int(np.argmax(one.found.mean))
    rows: list[Sequence[object]] = []
    widest = int(np.argmax(one.found.model_error))
    for what, k in (("highest point", peak), ("most uncertain", widest)):
        rows.append([
            what, float(one.observable.x[k]),
            Quantity("", float(one.found.mean[k]), float(one.found.statistical_error[k])),
            f"{one.found.model_error[k]:.2g}", one.found.method,
        ])  # fmt: skip
    return Table(
        f"{one.observable.name}, {one.observable.note}",
        ["", one.observable.x_label, "mean (statistical)", "model", "by"], rows,
    )


def _curve_data(one: Curve) -> dict[str, Any]:
    a = one.found
    return {
        "x": one.observable.x, "mean": a.mean, "model_error": a.model_error,
        "statistical_error": a.statistical_error, "noise": a.noise, "members": a.matrix.T,
        "method": a.method, "warnings": a.warnings,
    }


def _file_name(one: Curve) -> str:
    return one.observable.name.replace(":", "_").replace("/", "_")


def _draw_averages(figure: Any, found: Uncertainty) -> None:
    figure.set_size_inches(6.4, 1.2 + 1.9 * len(found.scalars))
    number = np.arange(1, found.members.n_members + 1)
    for axes, one in zip(new_axes(figure, len(found.scalars)), found.scalars, strict=True):
        a = one.found
        axes.axhspan(a.mean - a.model_error, a.mean + a.model_error, color=PALETTE[1], alpha=0.15,
                     linewidth=0, label="model error")
        if math.isfinite(a.statistical_error):
            axes.axhspan(a.mean - a.statistical_error, a.mean + a.statistical_error,
                         color=PALETTE[0], alpha=0.3, linewidth=0, label="statistical error")
        axes.axhline(a.mean, color=PALETTE[0], linewidth=1.2)
        axes.errorbar(number, a.mean + a.shifts, None if math.isnan(a.noise) else a.noise,
                      fmt="o", markersize=4, color=PALETTE[1], label="members")
        unit = f" / {one.observable.unit}" if one.observable.unit else ""
        axes.set_ylabel(f"{one.observable.name}{unit}")
        axes.set_xticks(number)
    axes.set_xlabel("member")
    figure.axes[0].legend(frameon=False, fontsize="small", ncols=3)


def _draw_exponents(figure: Any, found: Uncertainty) -> None:
    h = found.members.h - found.members.h.mean(axis=1, keepdims=True)
    spread = h.std(axis=1, ddof=1, keepdims=True)
    first, second = new_axes(figure, 1, 2)
    bins = np.linspace(-5.0, 5.0, 41)
    for row in (h / np.where(spread > 0, spread, np.inf))[spread[:, 0] > 1e-9]:
        first.hist(row, bins, density=True, histtype="step", color=PALETTE[0], alpha=0.6)
    x = np.linspace(-5.0, 5.0, 201)
    first.plot(x, np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi), color=GREY, linestyle="--",
               label="normal")
    first.set_xlabel("(h - <h>) / standard deviation")
    first.set_ylabel("density")
    first.legend(frameon=False, fontsize="small")
    sigma = 1000.0 * found.sigma
    second.plot(found.members.step, sigma.mean(axis=1), color=PALETTE[0], linewidth=0.8,
                label="mean of beads")
    second.plot(found.members.step, sigma.max(axis=1), color=PALETTE[1], linewidth=0.5, alpha=0.7,
                label="largest")
    second.set_xlabel("step")
    second.set_ylabel("sigma of one bead / meV")
    second.set_ylim(bottom=0.0)
    second.legend(frameon=False, fontsize="small")


def _draw_curve(figure: Any, one: Curve) -> None:
    assert one.observable.x is not None
    x, a = one.observable.x, one.found
    upper, lower = new_axes(figure, 2, 1, sharex=True, height_ratios=(3, 1))
    band(upper, x, a.mean, a.model_error, label="model error", colour=PALETTE[1])
    band(upper, x, a.mean, a.statistical_error, label="statistical error", colour=PALETTE[0])
    upper.set_ylabel(one.observable.name)
    upper.legend(frameon=False, fontsize="small")
    for row in a.matrix.T:
        lower.plot(x, row - a.mean, color=PALETTE[1], linewidth=0.5, alpha=0.7)
    lower.plot(x, a.statistical_error, color=PALETTE[0], linewidth=0.8)
    lower.plot(x, -a.statistical_error, color=PALETTE[0], linewidth=0.8)
    lower.set_ylabel("members - mean")
    lower.set_xlabel(one.observable.x_label)
