"""Where the time of the run went, as its summary says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pimd.report.section import Figure, Section
from pimd.results.result import Table
from pimd.results.style import PALETTE, new_axes
from pimd.run.progress import duration
from pimd.run.summary import STAGE_WORDS

__all__ = ["budget_section"]


def budget_section(summary: Mapping[str, Any]) -> Section | None:
    """Shares of the wall time as bars; None where the summary has none.

    Args:
        summary: contents of summary.json.
    """
    shares = {
        name: float(share) for name, share in summary.get("time_fractions", {}).items()
        if share is not None
    }
    if not shares or not summary.get("ms_per_step"):
        return None
    ms = float(summary["ms_per_step"])
    ordered = sorted(shares.items(), key=lambda item: item[1])
    section = Section("Where the time went")
    section.tables.append(Table("", ["", ""], [
        ["steps in this part of the run", f"{summary['steps']}"],
        ["wall time of them", duration(summary["wall_seconds"])],
        ["time of a step", f"{ms:.4g} ms"],
        ["structures evaluated for each one needed",
         f"{summary['evaluated_per_needed']:.3f}" if summary.get("evaluated_per_needed") else "-"],
        ["exchanges with the daemon in a step", f"{summary.get('exchanges_per_step') or 0:.2f}"],
        ["device", str(summary.get("device", "-"))],
    ]))  # fmt: skip

    def draw(figure: Any) -> None:
        (axes,) = new_axes(figure)
        axes.grid(visible=False)
        words = [STAGE_WORDS.get(name, name) for name, _ in ordered]
        bars = axes.barh(words, [100 * share for _, share in ordered], color=PALETTE[0], height=0.6)
        labels = [
            f"{100 * share:.1f} %, {ms * share:.{0 if ms * share >= 100 else 1}f} ms"
            for _, share in ordered
        ]
        axes.bar_label(bars, labels, padding=4, fontsize=9)
        axes.set(xlabel="share of the wall time (%)", xlim=(0, 125))
        axes.set_xticks(range(0, 101, 20))

    section.figures.append(Figure(
        "budget", draw,
        "Wall time of a step by what was done; the shares add up to 100 %."
        + (" Only the last part of the run, since it was resumed."
           if summary["steps"] < summary.get("last_step", 0) else ""),
        2.6,
    ))  # fmt: skip
    return section
