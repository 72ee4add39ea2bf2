"""Distributions as a result: numbers with errors, tables, figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from pimd.analysis.distributions import Distribution, Distributions
from pimd.analysis.momentum import MomentumWidth, momentum_density
from pimd.results.quantity import Quantity
from pimd.results.result import Result, Table
from pimd.results.style import GREY, PALETTE, band, new_axes

__all__ = ["distributions_result"]

AXES = {
    "rdf": ("r / Å", "g(r)"),
    "distance": ("r / Å", "density / Å$^{-1}$"),
    "bond": ("bond / Å", "density / Å$^{-1}$"),
    "angle": ("angle / °", "density / °$^{-1}$"),
}
TITLES = {"rdf": "rdf", "distance": "distances", "bond": "bonds", "angle": "angles"}
BONDED = 1.7
"""Å, about where distances within molecules end."""
COLOURS = {"beads": PALETTE[0], "classical": PALETTE[0], "centroids": PALETTE[1]}


def distributions_result(found: Distributions, title: str) -> Result:
    """What `pimd distributions` shows and writes."""
    quantities = [one for item in found.found for one in _quantities(item)]
    quantities += [one for width in found.momenta for one in _momenta(width)]
    data: dict[str, Any] = {
        "n_frames": found.n_frames, "n_beads": found.n_beads,
        "distributions": [
            {"kind": one.kind, "name": one.name, "of": one.of, **one.curve.as_data()}
            for one in found.found
        ],
    }
    result = Result(
        "distributions", title, quantities,
        notes=list(found.notes), warnings=list(found.warnings), data=data,
    )
    if found.momenta:
        result.tables.append(_directions(found.momenta))
        result.figures["momentum"] = lambda figure: _draw_momenta(figure, found.momenta)
    for kind, name in TITLES.items():
        chosen = [one for one in found.found if one.kind == kind]
        if chosen:
            result.figures[name] = _drawing(chosen)
    return result


def _quantities(one: Distribution) -> Iterable[Quantity]:
    label, n = f"{one.name}, {one.of}", one.curve.n_samples
    if one.peak is not None:
        effective = one.curve.n_effective
        yield Quantity(f"g(r) {label}: highest at", one.peak.position, one.peak.position_error,
                       "Å", effective, n)  # fmt: skip
        yield Quantity(f"g(r) {label}: height", one.peak.height, one.peak.height_error, "",
                       effective, n)  # fmt: skip
    if one.neighbours is not None:
        yield Quantity.of(f"neighbours {label}, r < {one.minimum:.2f} Å", one.neighbours)
    if one.mean is not None:
        unit = "Å" if one.kind == "bond" else "°"
        model = "" if math.isnan(one.model_error) else f"model error {one.model_error:.1g} {unit}"
        yield Quantity.of(f"{one.kind} {label}: mean", one.mean, unit, note=model)
        yield Quantity(f"{one.kind} {label}: width", one.width, one.width_error, unit,
                       one.mean.n_effective, n)  # fmt: skip


def _momenta(width: MomentumWidth) -> Iterable[Quantity]:
    k = width.kinetic
    yield Quantity.of(f"kinetic energy of {width.symbol}", k, "meV", 1e3, note="centroid virial")
    yield Quantity(
        f"momentum width of {width.symbol}", width.width, width.error, "1/Å", k.n_effective,
        k.n_samples - k.start, note=f"classical {width.classical:.4g}",
    )  # fmt: skip


def _directions(momenta: Iterable[MomentumWidth]) -> Table:
    rows: list[Sequence[object]] = [
        [w.symbol, w.mass, *(Quantity("", v, e, "") for v, e in
                             zip(w.directions, w.direction_errors, strict=True)), w.classical]
        for w in momenta
    ]  # fmt: skip
    return Table(
        "Momentum widths along x, y, z, 1/Å", ["", "mass / amu", "x", "y", "z", "classical"], rows
    )


def _drawing(chosen: list[Distribution]) -> Callable[[Any], None]:
    return lambda figure: _draw(figure, chosen)


def _draw(figure: Any, chosen: list[Distribution]) -> None:
    names = list(dict.fromkeys(one.name for one in chosen))
    columns = min(2, len(names))
    rows = math.ceil(len(names) / columns)
    figure.set_size_inches(6.4 if columns == 1 else 9.6, 1.2 + 2.8 * rows)
    axes = new_axes(figure, rows, columns)
    for axis, name in zip(axes, names, strict=False):
        for one in (one for one in chosen if one.name == name):
            _draw_one(axis, one)
        _limit(axis, [one for one in chosen if one.name == name])
        axis.set(title=name, xlabel=AXES[chosen[0].kind][0], ylabel=AXES[chosen[0].kind][1])
        axis.legend(frameon=False, fontsize="small")
    for axis in axes[len(names) :]:
        axis.set_visible(False)


def _draw_one(axis: Any, one: Distribution) -> None:
    x, curve, colour = one.curve.bins.centres, one.curve, COLOURS[one.of]
    band(axis, x, curve.mean, curve.error, label=one.of, colour=colour)
    if curve.model_error is not None:
        label = f"{one.of}, model's error"
        for sign in (-1, 1):
            axis.plot(
                x, curve.mean + sign * curve.model_error, color=colour, linewidth=0.7,
                linestyle=":", label=label if sign > 0 else None,
            )  # fmt: skip


def _limit(axis: Any, shown: list[Distribution]) -> None:
    """Show what there is, and of g(r) not the height of bonds that dwarf everything else."""
    if shown[0].kind == "rdf":
        axis.axhline(1.0, color=GREY, linewidth=0.6)
        top = max(float(one.curve.mean.max()) for one in shown)
        beyond = [one.curve.mean[one.curve.bins.centres > BONDED] for one in shown]
        rest = max([1.5, *(float(part.max()) for part in beyond if len(part))])
        axis.set_ylim(0, 1.1 * min(top, 2.0 * rest))
        return
    x = np.concatenate([
        one.curve.bins.centres[one.curve.mean > 1e-3 * one.curve.mean.max()] for one in shown
    ])  # fmt: skip
    if len(x):
        margin = 0.05 * np.ptp(x) + shown[0].curve.bins.width
        axis.set_xlim(float(x.min() - margin), float(x.max() + margin))


def _draw_momenta(figure: Any, momenta: Iterable[MomentumWidth]) -> None:
    momenta = list(momenta)
    axis = new_axes(figure)[0]
    p = np.linspace(0.0, 4.5 * max(w.width for w in momenta), 400)
    for colour, w in zip(PALETTE * len(momenta), momenta, strict=False):
        low, high = (momentum_density(p, max(1e-12, w.width + s * w.error)) for s in (-1, 1))
        mean = momentum_density(p, w.width)
        band(axis, p, mean, 0.5 * np.abs(high - low), label=w.symbol, colour=colour)
        axis.plot(p, momentum_density(p, w.classical), color=colour, linewidth=0.8,
                  linestyle="--", label=f"{w.symbol}, classical")  # fmt: skip
    axis.set(xlabel="p / ħ Å$^{-1}$", ylabel="4π p$^2$ n(p) / Å",
             title="Gaussians of the measured widths")  # fmt: skip
    axis.legend(frameon=False, fontsize="small")
