"""Free energies of potentials as numbers, tables and figures."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pimd.free_energy import promotion_figures as draw
from pimd.free_energy.perturbation import OneSided
from pimd.free_energy.promotion import Difference, FreeEnergies
from pimd.free_energy.size_consistency import SizeConsistency, size_consistency
from pimd.results.quantity import Quantity
from pimd.results.result import Result, Table
from pimd.units import KB_EV_PER_KELVIN

__all__ = ["per_unit", "promotion_result"]

COLUMNS = (
    "0, 1: samples of either state; n_eff: effective samples, correlation counted; heaviest: the "
    "share of one sample in the weight; sigma_w: spread of the work u_1 - u_0; * diagnostics, not "
    "answers."
)
ZEROS = (
    "The zeros of energy of the two potentials are part of F_1 - F_0: compare phases, or systems, "
    "with each other. Less <U_1 - U_0> it does not depend on them."
)


def per_unit(found: FreeEnergies) -> float:
    """meV per atom, molecule or system in one kT of the whole system."""
    return 1000.0 * KB_EV_PER_KELVIN * found.energies.temperature / found.units


def promotion_result(systems: Sequence[FreeEnergies]) -> Result:
    """What `pimd fep` shows, of the free energies of one or several sizes."""
    first = systems[0].energies
    unit = "meV" if systems[0].per == "system" else f"meV/{systems[0].per}"
    result = Result(
        "fep",
        f"{'Free' if first.pressure is None else 'Gibbs free'} energies of {len(first.names)} "
        f"potentials, {first.temperature:g} K, "
        f"{first.n_beads} beads" + (f", {len(systems)} sizes" if len(systems) > 1 else ""),
        notes=[COLUMNS, ZEROS],
    )
    for found in systems:
        _add_system(result, found, unit, f"{found.units}" if len(systems) > 1 else "")
    if len(systems) > 1:
        _add_sizes(result, systems, unit)
    return result


def _add_system(result: Result, found: FreeEnergies, unit: str, size: str) -> None:
    energies, scale = found.energies, per_unit(found)
    label = f" ({size} {found.per})" if size else ""
    for one in found.differences:
        name = f"{energies.names[one.first]} → {energies.names[one.last]}{label}"
        warnings = one.warnings
        result.quantities.append(Quantity(
            name, scale * one.value, scale * one.error, unit, one.n_effective,
            int(energies.counts.sum()), warnings, one.method,
        ))
        if one.one_way is not None:
            excess, error = _less_mean(energies.work(one.first, one.last), one)
            result.quantities.append(Quantity(
                f"  less <U_1 - U_0>{label}", scale * excess, scale * error, unit,
                one.n_effective if one.method == "EXP" else None, None, (), "fluctuations",
            ))
    result.tables.append(_runs(found, label))
    result.tables += [_ways(found, one, unit, label) for one in found.differences]
    if found.solved is not None:
        result.tables.append(_overlaps(found, label))
        result.warnings += [f"{line}{label}" for line in found.solved.warnings]
    result.data.setdefault("systems", []).append(_data(found))
    ending = f"_{size}" if size else ""
    result.figures[f"work{ending}"] = functools.partial(draw.work, found)
    result.figures[f"weights{ending}"] = functools.partial(draw.weights, found)
    result.figures[f"convergence{ending}"] = functools.partial(draw.parts, found, scale, unit)
    if found.solved is not None:
        result.figures[f"overlap{ending}"] = functools.partial(draw.overlap, found)


def _less_mean(work: np.ndarray, one: Difference) -> tuple[float, float]:
    """F_1 - F_0 - <u_1 - u_0>_0 and its error, kT; of EXP both from the same samples."""
    from pimd.analysis.statistics import long_run_variance
    from pimd.analysis.weights import normalised

    value = one.value - float(work.mean())
    if one.method == "EXP":
        moves = -len(work) * normalised(-work) - work
        return value, math.sqrt(long_run_variance(moves) / len(work))
    return value, math.hypot(one.error, math.sqrt(long_run_variance(work) / len(work)))


def _runs(found: FreeEnergies, label: str) -> Table:
    names = found.energies.names
    return Table(
        f"Samples{label}", ["run", "sampled", "frames", "left out", "energies"],
        [
            [Path(part.where), names[part.state], part.n_frames, part.start, part.note]
            for part in found.energies.parts
        ],
    )


def _ways(found: FreeEnergies, one: Difference, unit: str, label: str) -> Table:
    """Every way to the same number, and what shows how far each may be trusted."""
    scale, names = per_unit(found), found.energies.names
    columns = [
        "by", "from", f"F_1 - F_0, {unit}", "n_eff", "heaviest", "sigma_w, kT", "skew", "overlap",
    ]
    rows: list[Sequence[object]] = []

    def add(by: str, of: str, value: object, *rest: object) -> None:
        rows.append([by, of, value, *rest, *[None] * (5 - len(rest))])

    if one.one_way is not None:
        add("EXP", "0", *_one_sided(one.one_way, scale))
    both = one.both_ways
    if both is not None:
        add("EXP", "1", *_one_sided(both.reverse, -scale))
        error = scale * math.hypot(both.forward.error, both.reverse.error)
        add("hysteresis", "0 less 1", Quantity("", scale * both.hysteresis, error))
        bar = Quantity("", scale * both.difference, scale * both.error)
        add("BAR", "0 and 1", bar, *[None] * 4, float(f"{both.overlap:.3g}"))
        add("crossing *", "0 and 1", scale * one.crossing)
    if one.method == "MBAR":
        value = Quantity("", scale * one.value, scale * one.error)
        add("MBAR", "all", value, round(one.n_effective, 1))
    if one.one_way is not None:
        add("cumulant *", "0", scale * one.one_way.cumulant)
    return Table(f"0: {names[one.first]}, 1: {names[one.last]}{label}", columns, rows)


def _one_sided(side: OneSided, scale: float) -> list[object]:
    return [
        Quantity("", scale * side.difference, abs(scale) * side.error),
        round(side.n_effective, 1), f"{100 * side.heaviest:.2g} %", float(f"{side.spread:.3g}"),
        float(f"{side.skewness:.2g}"),
    ]


def _overlaps(found: FreeEnergies, label: str) -> Table:
    assert found.solved is not None
    names = found.energies.names
    return Table(
        f"Overlap{label}: chance that a sample of the row is taken for one of the column",
        ["", *names, "effective samples"],
        [
            [name, *(float(f"{x:.3f}") for x in row), round(float(n), 1)]
            for name, row, n in zip(
                names, found.solved.overlap, found.solved.n_effective, strict=True
            )
        ],
    )


def _add_sizes(result: Result, systems: Sequence[FreeEnergies], unit: str) -> None:
    """Whether the differences per unit are the same."""
    counts = [found.units for found in systems]
    if systems[0].per == "system":
        result.notes.append("Sizes are compared per atom or per molecule: give --per")
        return
    sizes = []
    for k, one in enumerate(systems[0].differences):
        differences = [found.differences[k] for found in systems]
        scales = [per_unit(found) for found in systems]
        checked = size_consistency(
            counts, [s * d.value for s, d in zip(scales, differences, strict=True)],
            [s * d.error for s, d in zip(scales, differences, strict=True)],
        )  # fmt: skip
        name = systems[0].energies.names[one.last]
        sizes.append((name, checked))
        result.quantities.append(Quantity(
            f"{systems[0].energies.names[one.first]} → {name}, all sizes", checked.mean,
            checked.error, unit, None, None, _disagreement(checked, unit),
            f"chi² {checked.chi2:.2g}, p {checked.probability:.2g}",
        ))
        result.quantities.append(Quantity(
            "  at 1/size = 0", checked.limit, checked.limit_error, unit, note="weighted line",
        ))
    result.data["sizes"] = [{"state": name, "fit": fit} for name, fit in sizes]
    result.figures["sizes"] = functools.partial(draw.sizes, sizes, systems[0].per, unit)


def _disagreement(checked: SizeConsistency, unit: str) -> tuple[str, ...]:
    if checked.consistent:
        return ()
    return (
        f"not size-consistent: the sizes differ by more than chance (p = {checked.probability:.1g})"
        f", by {np.ptp(checked.values):.2g} {unit}; use larger systems",
    )


def _data(found: FreeEnergies) -> dict[str, object]:
    """Everything in kT of the whole system."""
    energies = found.energies
    return {
        "units": found.units,
        "per": found.per,
        "temperature": energies.temperature,
        "n_beads": energies.n_beads,
        "meV_per_unit": per_unit(found),
        "states": [
            {"name": name, "terms": [list(term) for term in state.terms], "samples": n}
            for name, state, n in zip(energies.names, energies.states, energies.counts, strict=True)
        ],
        "differences_kT": list(found.differences),
        "overlap": None if found.solved is None else found.solved.overlap,
        "errors_kT": None if found.solved is None else found.solved.errors,
        "free_energies_kT": None if found.solved is None else found.solved.differences[0],
    }
