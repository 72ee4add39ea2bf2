"""What the nodes of a ladder come to: the integral with its errors, tables, a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pimd.analysis.beginning import beginning
from pimd.analysis.statistics import Average, TooFewSamples, average
from pimd.free_energy.integration import (
    Integral,
    between_potentials,
    classical_to_quantum,
    mass_change,
    quadrature_error,
)
from pimd.free_energy.ladder_runs import LadderRuns
from pimd.units import KB_EV_PER_KELVIN

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["LadderAnswer", "analyse_ladder"]

PRINTED_DIGITS = 8
"""i-PI writes a property as d.dddddddd times a power of ten."""
PARALLEL = "pot_component_raw(0)", "pot_component_raw(1)"


@dataclass(frozen=True)
class LadderAnswer:
    """The free-energy difference of a ladder, eV.

    Attributes:
        runs: the ladder.
        integral: the difference; of an isotope without its classical part.
        averages: of what is integrated, at each node: kinetic energy of the atoms whose mass
            changes, or U_1 - U_0.
        by_label: label of an element -> its part of the difference (not between potentials).
        quadrature: what the nodes may miss; NaN where they are too few to tell.
        temperature: K.
        classical: the classical part of a change of mass, eV; 0 otherwise.
        mbar: the same difference by MBAR over the nodes, and its error; NaN where there is none.
        warnings: what should make a reader careful, one line each.
    """

    runs: LadderRuns
    integral: Integral
    averages: tuple[Average, ...]
    quadrature: float
    temperature: float
    by_label: dict[str, Integral] = field(default_factory=dict)
    classical: float = 0.0
    mbar: tuple[float, float] = (math.nan, math.nan)
    warnings: tuple[str, ...] = ()


def analyse_ladder(runs: LadderRuns, skip: float | None = None) -> LadderAnswer:
    """The free-energy difference from what the nodes have written so far.

    Args:
        runs: of `write_ladder` or `open_ladder`.
        skip: fs to leave out at the beginning of each node; None: found out.

    Raises:
        NotInRecord: a node has written nothing.
        TooFewSamples: a node is too short for an error.
    """
    from pimd.record import open_run

    records = [open_run(runs.node_run(k)) for k in range(1, len(runs.nodes) + 1)]
    temperature = records[0].setup.temperature
    assert temperature is not None  # check_ladder_input has seen to it
    warnings = [
        f"node {number} is not at step {runs.total_steps}: what it has is used"
        for number in runs.unfinished()
    ]
    if runs.kind == "potentials":
        return _between(runs, records, skip, temperature, warnings)
    return _over_masses(runs, records, skip, temperature, warnings)


def _over_masses(
    runs: LadderRuns, records: Sequence[Run], skip: float | None, temperature: float,
    warnings: list[str],
) -> LadderAnswer:
    changing = [runs.isotope] if runs.isotope else list(dict.fromkeys(runs.labels))
    whole = f"kinetic_cv({runs.isotope})" if runs.isotope else "kinetic_cv"
    averages = _averages(records, whole, skip, warnings)
    starts = [one.start for one in averages]

    def integral(name: str, labels: Sequence[str]) -> Integral:
        found = [
            average(record.properties[name].values, start).checked()
            for record, start in zip(records, starts, strict=True)
        ]
        count = sum(label in labels for label in runs.labels)
        kinetic, errors = [one.mean for one in found], [one.error for one in found]
        classical = 1.5 * count * KB_EV_PER_KELVIN * temperature
        if runs.isotope:
            return mass_change(runs.rungs, runs.alpha, kinetic, errors, classical)
        return classical_to_quantum(runs.rungs, kinetic, errors, classical)

    parts = {
        label: integral(f"kinetic_cv({label})", [label])
        for label in changing
        if len(changing) > 1 and f"kinetic_cv({label})" in records[0].properties
    }
    result = integral(whole, changing)
    n_changing = sum(label in changing for label in runs.labels)
    classical = 0.0
    if runs.isotope:
        classical = -1.5 * n_changing * KB_EV_PER_KELVIN * temperature * math.log(runs.alpha)
    return LadderAnswer(
        runs, result, tuple(averages), quadrature_error(runs.rungs, list(result.integrand)),
        temperature, parts, classical, warnings=tuple(warnings),
    )


def _between(
    runs: LadderRuns, records: Sequence[Run], skip: float | None, temperature: float,
    warnings: list[str],
) -> LadderAnswer:
    pairs = [tuple(record.properties[name].values for name in PARALLEL) for record in records]
    differences = [last - first for first, last in pairs]
    averages = []
    for number, (record, series) in enumerate(zip(records, differences, strict=True), 1):
        start = beginning(series, record.properties[PARALLEL[0]].time, skip)
        averages.append(_checked(number, average(series, start), warnings))
    _warn_of_rounding(pairs, differences, warnings)
    result = between_potentials(
        runs.rungs, [one.mean for one in averages], [one.error for one in averages]
    )
    _warn_of_slope(result, warnings)
    kept = [
        np.array([first[one.start :], last[one.start :]])
        for (first, last), one in zip(pairs, averages, strict=True)
    ]
    return LadderAnswer(
        runs, result, tuple(averages), quadrature_error(runs.rungs, list(result.integrand)),
        temperature, mbar=_by_mbar(runs, kept, temperature, warnings), warnings=tuple(warnings),
    )


def _averages(
    records: Sequence[Run], name: str, skip: float | None, warnings: list[str]
) -> list[Average]:
    found = []
    for number, record in enumerate(records, 1):
        series = record.properties[name]
        start = beginning(series.values, series.time, skip)
        found.append(_checked(number, average(series.values, start), warnings))
    return found


def _checked(number: int, found: Average, warnings: list[str]) -> Average:
    warnings += [f"node {number}: {line}" for line in found.warnings]
    try:
        return found.checked()
    except TooFewSamples as error:
        raise TooFewSamples(f"node {number}: {error}") from None


def _by_mbar(
    runs: LadderRuns, kept: Sequence[np.ndarray], temperature: float, warnings: list[str]
) -> tuple[float, float]:
    """A_1 - A_0, eV, by MBAR over the nodes, which reaches beyond the first and the last."""
    from pimd.free_energy.perturbation import NoOverlap
    from pimd.free_energy.states import mbar

    kt = KB_EV_PER_KELVIN * temperature
    weights = np.array([0.0, *runs.nodes, 1.0])
    tables = [np.empty((len(weights), 0))]
    tables += [((1.0 - weights)[:, None] * u[0] + weights[:, None] * u[1]) / kt for u in kept]
    tables.append(np.empty((len(weights), 0)))
    try:
        found = mbar(tables)
    except NoOverlap as error:
        warnings.append(f"no second opinion by MBAR: {error}")
        return math.nan, math.nan
    return kt * float(found.differences[0, -1]), kt * float(found.errors[0, -1])


def _warn_of_slope(result: Integral, warnings: list[str]) -> None:
    """<U_1 - U_0> falls with lambda: its slope is minus a variance."""
    rises = np.diff(result.integrand)
    errors = np.hypot(result.integrand_errors[1:], result.integrand_errors[:-1])
    for k in np.flatnonzero(rises > 4.0 * errors):
        warnings.append(
            f"<U_1 - U_0> rises from node {k + 1} to {k + 2}, by {rises[k]:.3g} eV, which no "
            "equilibrium average does: run longer"
        )


def _warn_of_rounding(pairs: Sequence[Any], differences: list[np.ndarray], warnings: list[str]) \
        -> None:
    largest = max(float(np.abs(pair).max()) for pair in pairs)
    last_digit = 10.0 ** (math.floor(math.log10(max(largest, 1e-300))) - PRINTED_DIGITS)
    spread = min(float(series.std()) for series in differences)
    if last_digit > 0.1 * spread:
        warnings.append(
            f"energies of {largest:.3g} eV are written with {PRINTED_DIGITS + 1} digits, a last one"
            f" of {last_digit:.1g} eV, while U_1 - U_0 is spread over {spread:.2g} eV: take a "
            "constant off both potentials"
        )
