"""The answer of a ladder as numbers with errors, a table and a figure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pimd.free_energy.ladder_results import LadderAnswer
from pimd.results.quantity import Quantity, with_error
from pimd.results.result import Result, Table
from pimd.results.style import GREY, PALETTE, new_axes
from pimd.units import KB_EV_PER_KELVIN

__all__ = ["ladder_result"]

TITLES = {
    "quantum": "Classical to quantum nuclei",
    "isotope": "Change of isotope",
    "potentials": "From one potential to another",
}
VARIABLES = {"quantum": "g, masses m/g²", "isotope": "t", "potentials": "λ"}


def ladder_result(answer: LadderAnswer) -> Result:
    """What `pimd ti` shows and writes."""
    runs = answer.runs
    what = "U_1 - U_0" if runs.kind == "potentials" else "K"
    result = Result("ti", _title(answer), _quantities(answer), warnings=list(answer.warnings))
    columns = ["node", _variable(answer), f"<{what}> / eV", "effective", "integrand / eV"]
    rows = [
        [
            k + 1, float(runs.nodes[k]), with_error(one.mean, one.error), round(one.n_effective),
            with_error(answer.integral.integrand[k], answer.integral.integrand_errors[k]),
        ]
        for k, one in enumerate(answer.averages)
    ]
    result.tables = [Table("nodes", columns, [tuple(row) for row in rows])]
    result.notes = _notes(answer)
    result.data = {
        "kind": runs.kind, "nodes": runs.nodes, "weights": runs.rungs.weights,
        "averages": answer.averages, "integral": answer.integral,
        "by_label": answer.by_label, "quadrature": answer.quadrature,
        "temperature": answer.temperature, "alpha": runs.alpha, "specs": runs.specs,
        "n_beads": runs.n_beads,
    }
    result.figures = {"": lambda figure: _draw(figure, answer)}
    return result


def _title(answer: LadderAnswer) -> str:
    runs = answer.runs
    words = f"{TITLES[runs.kind]}, {len(runs.nodes)} nodes, {runs.n_beads} beads"
    if runs.isotope:
        words += f", {runs.isotope} of {runs.alpha:.5g} times the mass"
    if runs.kind == "potentials":
        words += f", {runs.specs[0]} to {runs.specs[1]}"
    return f"{words}, {answer.temperature:g} K"


def _quantities(answer: LadderAnswer) -> list[Quantity]:
    runs, kt = answer.runs, KB_EV_PER_KELVIN * answer.temperature
    symbol = {
        "quantum": "A_q - A_cl", "isotope": "A_new - A_old, quantum part",
        "potentials": "A_1 - A_0",
    }[runs.kind]
    found = answer.integral
    n_effective = min(one.n_effective for one in answer.averages)
    changing = sum(not runs.isotope or label == runs.isotope for label in runs.labels)
    common: dict[str, Any] = {"n_effective": n_effective}
    quantities = [
        Quantity(symbol, found.value, found.error, "eV", note="Gauss-Legendre", **common),
        Quantity(f"{symbol}, per atom", 1000 * found.value / changing,
                 1000 * found.error / changing, "meV", **common),
        Quantity(f"{symbol}, in kT", found.value / kt, found.error / kt, "", **common),
    ]
    for label, part in answer.by_label.items():
        count = runs.labels.count(label)
        quantities.append(Quantity(
            f"part of {label}, per atom", 1000 * part.value / count, 1000 * part.error / count,
            "meV", **common,
        ))
    if runs.isotope:
        quantities.append(Quantity("classical part", answer.classical, 0.0, "eV", note="exact"))
    if math.isfinite(answer.mbar[0]):
        quantities.append(Quantity(symbol, *answer.mbar, "eV", note="MBAR over all nodes"))
    return quantities


def _notes(answer: LadderAnswer) -> list[str]:
    notes = []
    if math.isnan(answer.quadrature):
        notes.append(
            f"{len(answer.runs.nodes)} nodes are too few to see what they miss; at least 4 show it"
        )
    else:
        notes.append(
            f"besides the error, the nodes miss at most some {1000 * answer.quadrature:.2g} meV of "
            "the integral"
        )
    if answer.runs.kind != "potentials":
        notes.append(
            f"every node has {answer.runs.n_beads} beads; what more of them would change is not in "
            "the error"
        )
    return notes


def _variable(answer: LadderAnswer) -> str:
    return VARIABLES[answer.runs.kind].partition(",")[0]


def _draw(figure: Any, answer: LadderAnswer) -> None:
    """The integrand at the nodes, and the polynomial through them that is integrated."""
    (axes,) = new_axes(figure)
    runs, found = answer.runs, answer.integral
    x = np.linspace(0.0, 1.0, 201)
    shown = {"all": found, **answer.by_label} if answer.by_label else {"": found}
    for colour, (label, part) in zip(
        (GREY, *PALETTE) if len(shown) > 1 else PALETTE, shown.items(), strict=False
    ):
        axes.errorbar(
            runs.nodes, part.integrand, part.integrand_errors, fmt="o", capsize=3, color=colour,
            label=label or None, markersize=4,
        )
        axes.plot(x, _through(runs.nodes, part.integrand, x), color=colour, linewidth=1)
    axes.set_xlim(0, 1)
    axes.set_xlabel(VARIABLES[runs.kind])
    axes.set_ylabel("integrand / eV")
    axes.set_title(f"integral {with_error(found.value, found.error)} eV", fontsize=10)
    if len(shown) > 1:
        axes.legend(frameon=False)


def _through(nodes: tuple[float, ...], values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The polynomial of lowest order through the nodes."""
    from numpy.polynomial import Polynomial

    return Polynomial.fit(nodes, values, len(nodes) - 1, domain=[0.0, 1.0])(x)
