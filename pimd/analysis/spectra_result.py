"""Spectra as a result: lines with errors, integrals, figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pimd.analysis.lines import Line, find_lines
from pimd.analysis.spectra import WAVENUMBER, Spectrum
from pimd.analysis.spectra_of_runs import Spectra
from pimd.analysis.statistics import FEWEST
from pimd.results.quantity import Quantity
from pimd.results.result import Result, Table
from pimd.results.style import PALETTE, band, new_axes

__all__ = ["spectra_result"]

UPPERMOST = 1.15
"""Of the wavenumber of the highest line, where a figure ends."""


def spectra_result(found: Spectra, title: str) -> Result:
    """What `pimd spectra` shows and writes."""
    result = Result(
        "spectra", title, _quantities(found), notes=list(found.notes), warnings=list(found.warnings)
    )
    shown: dict[str, tuple[str, Mapping[str, Spectrum]]] = {}
    if found.vibrations:
        shown["vibrations"] = ("degrees of freedom per cm$^{-1}$", found.vibrations)
    if found.infrared is not None:
        unit = "n α / cm$^{-1}$" if found.volume is not None else "n α V / Å$^2$"
        shown["infrared"] = (unit, {"infrared": found.infrared})
    if found.raman:
        shown["raman"] = (f"({found.polarizability_unit})$^2$ fs", found.raman)
    table = Table("Lines", ["spectrum", "cm^-1", "height"])
    for name, (label, curves) in shown.items():
        for group, spectrum in curves.items():
            whole = name if group in ("all", name) else f"{name}, {group}"
            table.rows += [_row(whole, line) for line in find_lines(spectrum)]
        result.figures[name] = _drawing(label, curves)
        result.data[name] = {group: _data(one) for group, one in curves.items()}
    result.data |= {
        "dynamics": found.dynamics, "temperature": found.temperature,
        "correction": found.options.correction, "window": found.options.window,
        "volume": found.volume,
    }  # fmt: skip
    result.tables.append(table)
    return result


def _quantities(found: Spectra) -> list[Quantity]:
    shown = []
    for name, spectrum in found.vibrations.items():
        value, error = spectrum.integral()
        shown.append(Quantity(
            f"degrees of freedom, {name}", value, error, "", spectrum.n_stretches,
            spectrum.n_stretches, note=f"{found.degrees[name]} with all translations",
        ))  # fmt: skip
    if found.infrared is not None:
        value, error = found.infrared.integral()
        unit = "cm^-2" if found.volume is not None else "Å^2/cm"
        n = found.infrared.n_stretches
        shown.append(Quantity("integrated absorption", value, error, unit, n, n))
    if found.raman:
        vh, vv = found.raman["depolarised"], found.raman["polarised"]
        shown.append(_depolarisation(vh, vv))
    return shown


def _depolarisation(vh: Spectrum, vv: Spectrum) -> Quantity:
    """Ratio of the integrals, its error by the jackknife over stretches."""
    a, b = vh.stretch_spectra.sum(axis=1), vv.stretch_spectra.sum(axis=1)
    n = len(a)
    error = math.nan
    if n >= FEWEST:
        ratios = (a.sum() - a) / (b.sum() - b)
        error = math.sqrt((n - 1) / n * np.square(ratios - ratios.mean()).sum())
    return Quantity("depolarisation ratio VH/VV", float(a.sum() / b.sum()), error, "", n, n)


def _row(name: str, line: Line) -> list[object]:
    return [
        name, Quantity("", line.position, line.position_error),
        Quantity("", line.height, line.height_error),
    ]  # fmt: skip


def _data(one: Spectrum) -> dict[str, object]:
    return {
        "wavenumber": one.wavenumber, "mean": one.mean, "error": one.error, "time": one.time,
        "correlation": one.correlation, "correlation_error": one.correlation_error,
        "n_stretches": one.n_stretches, "resolution": one.resolution * WAVENUMBER,
    }  # fmt: skip


def _drawing(label: str, curves: Mapping[str, Spectrum]) -> Callable[[Any], None]:
    def draw(figure: Any) -> None:
        axis = new_axes(figure)[0]
        highest = 0.0
        for colour, (name, one) in zip(PALETTE * len(curves), curves.items(), strict=False):
            band(axis, one.wavenumber, one.mean, one.error,
                 label=name if len(curves) > 1 else "", colour=colour)  # fmt: skip
            above = one.wavenumber[one.mean > 0.02 * one.mean.max()]
            highest = max(highest, float(above[-1]))
        axis.set(xlabel="wavenumber / cm$^{-1}$", ylabel=label, xlim=(0, UPPERMOST * highest))
        axis.set_ylim(bottom=min(0.0, min(float(one.mean.min()) for one in curves.values())))
        if len(curves) > 1:
            axis.legend(frameon=False, fontsize="small")

    return draw
