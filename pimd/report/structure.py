"""How the atoms lie: distances between them, and how far each is spread over its beads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pimd.analysis.beginning import first_at
from pimd.analysis.curves import Curve, measured_curve
from pimd.analysis.distribution_sampling import BEADS, CENTROIDS, Distances, plan_pairs, sample
from pimd.analysis.estimators import squared_gyration
from pimd.analysis.statistics import average
from pimd.report.section import Figure, Section
from pimd.results.quantity import Quantity
from pimd.results.style import PALETTE, band, new_axes

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["structure_section"]

MOST_DISTANCES = 3e8
"""Distances that are computed in all: some seconds."""
FEWEST_FRAMES = 5
"""As many frames are looked at all the same, where there are."""
MOST_PAIRS = 6
N_BINS = 100
TALLEST = 6.0
"""Of g(r) in a figure: bonds have sharp peaks, which would flatten everything else."""


def structure_section(run: Run, begin: float) -> Section | None:
    """Radial distribution functions of beads and centroids, and radii of gyration; None where no
    positions are stored, or of a single atom.

    Args:
        run: its frames are looked at with a stride that bounds the work.
        begin: fs, when equilibrium begins; frames before are left out.
    """
    if not run.has("positions") or run.n_atoms < 2:
        return None
    start = min(first_at(run.time, begin), run.n_frames - 1)
    n_frames = run.n_frames - start
    per_frame = run.n_beads * run.n_atoms * (run.n_atoms - 1) / 2
    stride = max(1, min(
        math.ceil(n_frames * per_frame / MOST_DISTANCES), n_frames // FEWEST_FRAMES
    ))  # fmt: skip
    section = Section("Structure")
    if run.has("cells"):
        _add_distances(section, run, start, stride)
    if run.n_beads > 1:
        section.quantities += _radii(run, start, stride)
        section.notes.append(
            "The radius of gyration is the root of the mean square distance of the beads from "
            "their centroid, over all atoms of an element."
        )
    seen = len(range(start, run.n_frames, stride))
    section.notes.append(
        f"Of {seen} frame{'s' * (seen != 1)} from step {run.step[start]} on"
        + (f", every {stride}th that is stored." if stride > 1 else ".")
    )
    return section


def _add_distances(section: Section, run: Run, start: int, stride: int) -> None:
    periodic = bool(run.setup.pbc.all())
    cells = run.read("cells", slice(start, None, stride)) if periodic else None
    kinds = plan_pairs(run.setup.symbols, cells, _extent(run, start), n_bins=N_BINS)[:MOST_PAIRS]
    steps = sample(run, kinds, start=start, stride=stride, library="numpy")
    curves = {
        (kind.name, of): measured_curve(kind.bins, np.concatenate(series), steps)
        for kind in kinds for of, series in kind.curves.items()
    }
    words = "g(r)" if periodic else "density of distances"
    errors = any(np.isfinite(curve.error).any() for curve in curves.values())
    section.figures.append(Figure(
        "distances", lambda figure: _draw(figure, kinds, curves, periodic),
        f"Distances between elements, {words}"
        + (", of beads and of centroids" if run.n_beads > 1 else "")
        + ("; bands: one standard error" if errors else "; too few frames for errors")
        + ("; higher peaks are cut off." if periodic and any(
            curve.mean.max() > TALLEST for curve in curves.values()) else "."),
        1.0 + 1.7 * math.ceil(len(kinds) / 2),
    ))  # fmt: skip


def _draw(
    figure: Any, kinds: list[Distances], curves: dict[tuple[str, str], Curve], periodic: bool
) -> None:
    rows = math.ceil(len(kinds) / 2)
    axes = new_axes(figure, rows, min(2, len(kinds)), sharex=True)
    for unused in axes[len(kinds) :]:
        unused.set_visible(False)
    for one, kind in zip(axes, kinds, strict=False):
        tallest = 0.0
        for of, colour in ((BEADS, PALETTE[0]), (CENTROIDS, PALETTE[1])):
            if (kind.name, of) not in curves:
                continue
            curve = curves[kind.name, of]
            error = np.where(np.isfinite(curve.error), curve.error, 0.0)
            band(one, curve.bins.centres, curve.mean, error, label=of, colour=colour)
            if of == BEADS:
                tallest = _top(curve, periodic)
        one.set_title(kind.name, fontsize=10, loc="left")
        if tallest:
            one.set_ylim(0.0, tallest)
    axes[0].legend(frameon=False, fontsize=9)
    for one in axes[max(0, len(kinds) - min(2, len(kinds))) : len(kinds)]:
        one.set_xlabel("r (Å)")
        one.tick_params(labelbottom=True)
    for one in axes[:: min(2, len(kinds))]:
        one.set_ylabel("g(r)" if periodic else "density (1/Å)")


def _top(curve: Curve, periodic: bool) -> float:
    """Where the axis ends; 0: matplotlib finds it."""
    if not periodic:
        return 0.0
    mean = curve.mean
    return float(min(1.05 * mean.max(), TALLEST)) if mean.max() > 0 else 0.0


def _extent(run: Run, start: int) -> float:
    """Å, largest distance that can occur in a frame without a cell."""
    q = run.read("positions", start)
    return float(np.linalg.norm(np.ptp(q.reshape(-1, 3), axis=0)))


def _radii(run: Run, start: int, stride: int) -> list[Quantity]:
    """sqrt<R^2> of each element."""
    symbols = np.array(run.setup.symbols)
    squares = np.concatenate([
        squared_gyration(block["positions"])
        for block in run.blocks(["positions"], start=start, stride=stride)
    ])  # [frame, atom]
    return [
        Quantity.root_of(
            f"radius of gyration of {symbol}",
            average(squares[:, symbols == symbol].mean(axis=1), start=0), "Å",
        )
        for symbol in dict.fromkeys(symbols)
    ]
