"""ln zeta of one run or more, and the fractionation between two, as numbers, tables, a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pimd.free_energy.isotope_runs import Estimate, Zeta
from pimd.results.quantity import Quantity, with_error
from pimd.results.result import Result, Table
from pimd.results.style import PALETTE, new_axes
from pimd.units import KB_EV_PER_KELVIN

__all__ = ["isotope_result"]

POINTS = 60
"""Of the running average in the figure."""


def isotope_result(zetas: Sequence[Zeta]) -> Result:
    """What `pimd isotope` shows and writes.

    Args:
        zetas: of one run or more; of two, their ratio is the fractionation between them.

    Raises:
        ValueError: runs of different temperatures, or substitutions, which cannot be compared.
    """
    _check_alike(zetas)
    first = zetas[0]
    result = Result(
        "isotope",
        f"{first.label} of {first.alpha:.6g} times the mass, one atom at a time, "
        f"{first.temperature:g} K",
    )
    for zeta in zetas:
        result.quantities += _quantities(zeta, f" in {zeta.run}" if len(zetas) > 1 else "")
        result.notes += [f"{zeta.run}: not given, {why}" for why in zeta.refused]
    for other in zetas[1:]:
        result.quantities += _fractionation(first, other)
    result.tables = [_table(zetas)]
    result.notes.append(
        "zeta is Q(new)/Q(old) without its classical factor; of as many beads as the run has"
    )
    if len({zeta.n_beads for zeta in zetas}) > 1:
        result.warnings.append(
            "the runs have different numbers of beads: what is missing at each does not cancel"
        )
    result.data = {"substitutions": [_data(zeta) for zeta in zetas]}
    result.figures = {"": lambda figure: _draw(figure, zetas)}
    return result


def _check_alike(zetas: Sequence[Zeta]) -> None:
    first = zetas[0]
    for other in zetas[1:]:
        if abs(other.temperature - first.temperature) > 1e-3 * first.temperature:
            raise ValueError(
                f"{first.run} is at {first.temperature:g} K and {other.run} at "
                f"{other.temperature:g} K: fractionation is between phases at one temperature"
            )
        if abs(other.alpha / first.alpha - 1.0) > 1e-3 or other.label != first.label:
            raise ValueError(f"{first.run} and {other.run} have other isotopes")


def _quantities(zeta: Zeta, where: str) -> list[Quantity]:
    found = []
    kt = 1000 * KB_EV_PER_KELVIN * zeta.temperature
    for one in zeta.estimates:
        counts: dict[str, Any] = {
            "n_effective": one.sided.n_effective, "n_samples": one.sided.n_samples,
            "note": one.estimator,
        }
        found.append(Quantity(
            f"ln zeta{where}", one.log_zeta, one.error, warnings=one.warnings, **counts
        ))
        found.append(Quantity(f"zeta{where}", math.exp(one.log_zeta),
                              math.exp(one.log_zeta) * one.error, **counts))
        found.append(Quantity(f"-kT ln zeta{where}", -kt * one.log_zeta, kt * one.error, "meV",
                              **counts))
    return found


def _fractionation(first: Zeta, other: Zeta) -> list[Quantity]:
    """10^3 ln of zeta over zeta, by each estimator that both have."""
    found = []
    for one in first.estimates:
        for two in other.estimates:
            if one.estimator == two.estimator:
                found.append(Quantity(
                    f"10³ ln α, {first.run} over {other.run}",
                    1000 * (one.log_zeta - two.log_zeta), 1000 * math.hypot(one.error, two.error),
                    n_effective=min(one.sided.n_effective, two.sided.n_effective),
                    note=one.estimator,
                ))
    return found


def _table(zetas: Sequence[Zeta]) -> Table:
    rows = [
        [
            zeta.run, one.estimator, one.source, zeta.n_atoms, one.sided.n_samples,
            with_error(one.log_zeta, one.error), f"{one.sided.n_effective:.0f}",
            f"{100 * one.sided.heaviest:.1f} %", f"{one.sided.spread:.2f}",
        ]
        for zeta in zetas for one in zeta.estimates
    ]
    return Table(
        "exponential averages",
        ["run", "estimator", "from", "atoms", "frames", "ln zeta", "effective", "heaviest",
         "spread / kT"],
        [tuple(row) for row in rows],
    )


def _data(zeta: Zeta) -> dict[str, Any]:
    return {
        "run": zeta.run, "label": zeta.label, "alpha": zeta.alpha, "n_atoms": zeta.n_atoms,
        "n_beads": zeta.n_beads, "temperature": zeta.temperature, "refused": zeta.refused,
        "estimates": [
            {"estimator": one.estimator, "source": one.source, "log_zeta": one.log_zeta,
             "error": one.error, "average": one.sided}
            for one in zeta.estimates
        ],
    }


def _draw(figure: Any, zetas: Sequence[Zeta]) -> None:
    """How the work is spread and weighted, and how the average settles."""
    left, right = new_axes(figure, 1, 2)
    shown = [(zeta, one) for zeta in zetas for one in zeta.estimates]
    for colour, (zeta, one) in zip(PALETTE, shown, strict=False):
        label = one.estimator if len(zetas) == 1 else f"{zeta.run}, {one.estimator}"
        _histograms(left, one, colour)
        time, running = _running(one)
        right.plot(time, running, color=colour, linewidth=1.2, label=label)
        right.axhspan(
            one.log_zeta - one.error, one.log_zeta + one.error, color=colour, alpha=0.2, lw=0
        )
    left.set_xlabel("w / kT")
    left.set_ylabel("distribution")
    left.set_title("of frames; filled: with their weights", fontsize=9)
    right.set_xlabel("time / ps")
    right.set_ylabel("ln zeta so far")
    right.legend(frameon=False, fontsize=8)


def _histograms(axes: Any, one: Estimate, colour: str) -> None:
    bins = np.linspace(one.work.min(), one.work.max() + 1e-9, 41)
    weights = np.exp(one.work.min() - one.work)
    axes.hist(one.work, bins, density=True, histtype="step", color=colour)
    axes.hist(one.work, bins, density=True, weights=weights, color=colour, alpha=0.3)


def _running(one: Estimate) -> tuple[np.ndarray, np.ndarray]:
    """ln of the average of exp(-w) up to a time, at some times."""
    top = (-one.work).max()
    sums = np.cumsum(np.exp(-one.work - top))
    chosen = np.unique(np.linspace(0, len(one.work) - 1, POINTS).astype(int))
    return one.time[chosen] / 1000.0, np.log(sums[chosen] / (chosen + 1)) + top
