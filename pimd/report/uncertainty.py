"""How sure the potential was: the spread of its committee along the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pimd.analysis.beginning import first_at
from pimd.analysis.committee import uncertainty_of_spread
from pimd.analysis.statistics import average
from pimd.report.drawing import histogram, mark_start, thinned, time_axis
from pimd.report.section import Figure, Section
from pimd.report.spread import Spread
from pimd.results.quantity import Quantity
from pimd.results.style import PALETTE, new_axes

__all__ = ["uncertainty_section"]

MEV = 1000.0


def uncertainty_section(
    found: Spread | None, summary: Mapping[str, Any], begin: float
) -> Section | None:
    """sigma per atom: mean over beads with error, largest, its course; from summary.json where
    nothing else tells it; None where the potential is no committee.

    Args:
        found: sigma at some steps; None: not stored.
        summary: contents of summary.json.
        begin: fs, when equilibrium begins.
    """
    section = Section("Uncertainty of the potential")
    if found is not None:
        start = first_at(found.time, begin)
        _of_spread(section, found, min(start, len(found.time) - 1))
    committees = summary.get("uncertainty", {}).get("committees", {})
    for name, values in committees.items():
        if values.get("max_at"):
            at = values["max_at"]
            section.notes.append(
                f"Read {summary['uncertainty'].get('read', 'while it ran')}, "
                f"{values['steps_read']} times: sigma of {name} {MEV * values['mean']:.3g} "
                f"meV/atom in the mean, largest {MEV * values['max']:.3g} at step {at['step']}, "
                f"system {at['system']}, bead {at['bead']}."
            )
    kept = summary.get("uncertainty", {}).get("kept")
    if kept and kept.get("frames_in_all"):
        section.notes.append(
            f"{kept['frames_in_all']} structures beyond --save-above are in {kept['file']}."
        )
    stopped = summary.get("uncertainty", {}).get("stopped")
    if stopped:
        section.warnings.append(f"the run was stopped: {stopped['message']}")
    if found is None and not section.notes:
        return None
    if found is None:
        section.notes.append(
            "For its course store the members: 'members' in an h5md trajectory, or "
            "--member-forces-every."
        )
    return section


def _of_spread(section: Section, found: Spread, start: int) -> None:
    per_atom = MEV * found.per_atom  # [frame, bead]
    of_frames = per_atom.mean(axis=1)
    mean = average(of_frames, start)
    frame, bead = np.unravel_index(int(np.argmax(per_atom)), per_atom.shape)
    section.quantities.append(
        Quantity.of("sigma, mean over beads", mean, "meV/atom")
    )
    section.notes.append(f"From {found.source}.")
    section.text.append(
        f"sigma is the calibrated standard deviation of the total energy over the "
        f"{found.n_members} members, per atom. Its largest value is "
        f"{per_atom[frame, bead]:.3g} meV/atom, at step {found.step[frame]}, bead {bead}. "
        f"With {found.n_members} members each sigma is itself known to "
        f"{100 * uncertainty_of_spread(found.n_members):.0f} %."
    )

    def draw(figure: Any) -> None:
        course, often = new_axes(figure, 1, 2, width_ratios=[6, 1], sharey="row")
        time, unit = time_axis(found.time)
        if per_atom.shape[1] > 1:
            course.plot(*thinned(time, per_atom.max(axis=1)), color=PALETTE[1], linewidth=0.9,
                        label="worst bead")
        course.plot(*thinned(time, of_frames), color=PALETTE[0], linewidth=1.2,
                    label="mean over beads" if per_atom.shape[1] > 1 else None)
        mark_start(course, time[0], time[mean.start])
        course.set(xlabel=f"time ({unit})", ylabel="sigma (meV/atom)")
        course.set_ylim(bottom=0.0)
        if per_atom.shape[1] > 1:
            course.legend(frameon=False, fontsize=9, ncols=2)
        histogram(often, per_atom[mean.start :], PALETTE[0])

    section.figures.append(Figure(
        "uncertainty", draw,
        "sigma along the run, on the right how often each value occurs over all beads.", 3.0,
    ))  # fmt: skip
