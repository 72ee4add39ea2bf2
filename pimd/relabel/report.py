"""What `pimd relabel` says when it is done."""

from __future__ import annotations

from pimd.record.labels import Label, label_path
from pimd.record.run import Run

__all__ = ["summary_lines"]


def summary_lines(run: Run, label: Label) -> list[str]:
    """Where the label is, how much of the run it covers, and the mean energy it gives.

    Args:
        run: that was labelled.
        label: at its frames.
    """
    assert run.directory is not None
    path = label_path(run.directory, label.name, run.system)
    n_done = len(label.frames)
    lines = [f"{path}: {n_done} of {run.n_frames} frames, {run.n_beads} beads each"]
    if n_done:
        mean = float(label.energies[label.frames].mean())
        lines.append(f"mean energy of a bead {mean:.6f} eV ({mean / run.n_atoms:.6f} eV per atom)")
    if run.is_rounded("positions"):
        lines.append(
            "warning: the positions come from i-PI's xyz, which keeps 6 digits; free energies "
            "between stiff potentials need all: <trajectory format='h5md'>"
        )
    return lines
