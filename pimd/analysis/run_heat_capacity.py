"""The heat capacity of a run, by the best estimator that what it stored allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pimd.analysis.heat_capacity import HeatCapacity, heat_capacity_mixed, heat_capacity_scaled
from pimd.analysis.run_series import Gathered
from pimd.record.series import Series

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["run_heat_capacity"]

FEWEST = 10
"""Frames for a heat capacity by scaled coordinates, if there is another way."""


def run_heat_capacity(
    run: Run, given: Gathered, temperature: float, start_of: Callable[[Series], int]
) -> HeatCapacity | None:
    """C_V, or C_p of a run at constant pressure; None: what is stored does not allow it.

    Args:
        run: canonical, see `pimd.analysis.run_ensemble.why_not_canonical`.
        given: its series.
        temperature: K.
        start_of: how many samples of a series to leave out.
    """
    held = run.setup.pressure
    volume = () if held is None else ("volume",)
    scaled = given.together("eps", "eps_prime", *volume)
    mixed = given.together("potential", "kinetic_cv", "kinetic_td", *volume)
    classical = given.together("potential", *volume) if run.n_beads == 1 else None
    if scaled is not None and len(scaled[0]) < FEWEST and mixed is not None:
        scaled = None  # few frames were evaluated, of a run that wrote many energies
    chosen = scaled or classical or mixed
    if chosen is None:
        return None
    values = [one.values for one in chosen]
    work = 0.0 if held is None else held * values[-1]
    if scaled is not None:
        energy, other, method = values[0] + work, values[1], "scaled coordinates"
    elif classical is not None:
        energy = values[0] + work
        other, method = energy, "fluctuations of V"
    else:
        energy, other = values[0] + values[1] + work, values[0] + values[2] + work
        method = "covariance of V + K_cv and V + K_td"
    start = start_of(replace(chosen[0], values=energy))
    energy, other = energy[start:], other[start:]
    if len(energy) < 3:
        return None
    if scaled is not None:
        found = heat_capacity_scaled(energy, other, temperature)
    else:
        found = heat_capacity_mixed(energy, other, 3 * run.n_atoms, temperature)
    return replace(found, method=method)
