"""What shows whether a free energy may be believed: work, weights, overlap, convergence, sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pimd.analysis.weights import normalised
from pimd.free_energy.promotion import Difference, FreeEnergies
from pimd.free_energy.size_consistency import SizeConsistency
from pimd.results.style import GREY, PALETTE, band, new_axes

__all__ = ["overlap", "parts", "sizes", "weights", "work"]


def work(found: FreeEnergies, figure: Any) -> None:
    """Distributions of the work in both directions; they cross at the difference."""
    panels = _panels(found, figure)
    for axes, one in panels:
        energies = found.energies
        first = energies.work(one.first, one.last)
        series = [(first, energies.names[one.first], PALETTE[0])]
        if energies.counts[one.last]:
            last = -energies.work(one.last, one.first)
            series.append((last, energies.names[one.last], PALETTE[1]))
        low = min(float(values.min()) for values, _, _ in series)
        high = max(float(values.max()) for values, _, _ in series)
        edges = np.linspace(low, high, 41) if high > low else 10
        for values, name, colour in series:
            axes.hist(
                values, edges, density=True, color=colour, alpha=0.5, label=f"samples of {name}"
            )
        if len(series) == 1:
            axes.hist(
                first, edges, density=True, weights=normalised(-first), histtype="step",
                color=PALETTE[1], linewidth=1.4, label=f"weighted to {energies.names[one.last]}",
            )  # fmt: skip
        axes.axvline(one.value, color="black", linewidth=1.2, label=f"$F_1-F_0$ by {one.method}")
        axes.axvspan(one.value - one.error, one.value + one.error, color="black", alpha=0.15)
        axes.set(xlabel="$(u_1-u_0)$, kT", ylabel="density")
        axes.set_title(f"{energies.names[one.first]} → {energies.names[one.last]}", fontsize=9)
        axes.legend(fontsize=7)


def weights(found: FreeEnergies, figure: Any) -> None:
    """How much of each one-sided average its heaviest samples carry."""
    for axes, one in _panels(found, figure):
        energies = found.energies
        for first, last, colour in (
            (one.first, one.last, PALETTE[0]), (one.last, one.first, PALETTE[1]),
        ):
            if not energies.counts[first]:
                continue
            shares = np.sort(normalised(-energies.work(first, last)))[::-1]
            axes.plot(
                np.arange(1, len(shares) + 1) / len(shares), np.cumsum(shares), color=colour,
                label=f"samples of {energies.names[first]}",
            )  # fmt: skip
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="equal weights")
        axes.set(xlabel="heaviest samples, fraction", ylabel="share of the weight", ylim=(0, 1.02))
        axes.set_title(f"{energies.names[one.first]} → {energies.names[one.last]}", fontsize=9)
        axes.legend(fontsize=7)


def parts(found: FreeEnergies, scale: float, unit: str, figure: Any) -> None:
    """The answer from growing parts of the samples, with the one-sided ones."""
    for axes, one in _panels(found, figure):
        c = one.convergence
        band(axes, c.fractions, scale * c.first, scale * c.first_errors,
             label=f"{one.method}, from the beginning", colour=PALETTE[0])  # fmt: skip
        band(axes, c.fractions, scale * c.last, scale * c.last_errors,
             label=f"{one.method}, from the end", colour=PALETTE[1])  # fmt: skip
        if one.both_ways is not None:
            for side, sign, colour, name in (
                (one.both_ways.forward, scale, PALETTE[2], "EXP forward"),
                (one.both_ways.reverse, -scale, PALETTE[5], "EXP reverse"),
            ):
                axes.errorbar(
                    [1.03], [sign * side.difference], [scale * side.error], fmt="o",
                    color=colour, markersize=4, label=name,
                )  # fmt: skip
        axes.axhline(scale * one.value, color=GREY, linewidth=0.8)
        names = found.energies.names
        axes.set(xlabel="fraction of the samples", ylabel=f"$F_1-F_0$, {unit}")
        axes.set_title(f"{names[one.first]} → {names[one.last]}", fontsize=9)
        axes.legend(fontsize=7)


def overlap(found: FreeEnergies, figure: Any) -> None:
    """The overlap matrix of MBAR."""
    assert found.solved is not None
    matrix, names = found.solved.overlap, found.energies.names
    axes = figure.subplots()
    image = axes.imshow(matrix, cmap="Blues", vmin=0.0, vmax=1.0)
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            axes.text(
                j, i, f"{value:.2f}", ha="center", va="center", fontsize=8,
                color="white" if value > 0.6 else "black",
            )  # fmt: skip
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set(xlabel="taken for a sample of", ylabel="sample of")
    figure.colorbar(image, ax=axes, label="overlap")


def sizes(
    fits: Sequence[tuple[str, SizeConsistency]], per: str, unit: str, figure: Any
) -> None:
    """Differences per unit against the inverse size."""
    (axes,) = new_axes(figure)
    for k, (name, fit) in enumerate(fits):
        colour = PALETTE[k % len(PALETTE)]
        x = 1.0 / fit.units
        axes.errorbar(x, fit.values, fit.errors, fmt="o", color=colour, capsize=3, label=name)
        line = np.array([0.0, x.max()])
        axes.plot(line, fit.limit + fit.slope * line, color=colour, linewidth=1.0)
        axes.axhspan(fit.mean - fit.error, fit.mean + fit.error, color=colour, alpha=0.15)
    what = "atoms" if per == "atom" else per
    axes.set(xlabel=f"1 / number of {what}", ylabel=f"$F_1-F_0$, {unit}")
    axes.set_xlim(left=0.0)
    axes.legend(fontsize=8)


def _panels(found: FreeEnergies, figure: Any) -> list[tuple[Any, Difference]]:
    """One for each state against the first, at most three side by side."""
    n = len(found.differences)
    columns = min(n, 3)
    rows = -(-n // columns)
    figure.set_size_inches(max(6.4, 3.6 * columns), 3.6 * rows)
    axes = new_axes(figure, rows, columns)
    for spare in axes[n:]:
        spare.set_visible(False)
    return list(zip(axes, found.differences, strict=False))
