"""Energies and forces of stored beads under another potential: `pimd.relabel`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    import numpy as np

    from pimd.evaluate_progress import Progress
    from pimd.potentials.base import Potential
    from pimd.potentials.registry import Spec
    from pimd.record.labels import Label
    from pimd.record.run import Run

__all__ = ["evaluate_frames", "relabel"]


def relabel(
    run: Run | Path | str,
    spec: str | Mapping[str, Any] | Spec | Potential,
    *,
    name: str | None = None,
    forces: bool = False,
    start: int = 0,
    stop: int | None = None,
    stride: int = 1,
    batch_atoms: int | None = None,
    executor: Executor | None = None,
    progress: Callable[[int | None], Progress] | None = None,
) -> Label:
    """Evaluate the stored beads of a run with any potential, in batches.

    What is done is kept in RUN/labels/NAME.h5 and not done again: after an interruption, or with
    a smaller stride, or when the run has become longer, only what is missing is evaluated.

    Args:
        run: an open run, or where it lies.
        spec: the potential, as a SPEC or ready; one made here is closed here.
        name: of the label; None: that of a label of the same SPEC if there is one, else the name of
            the potential, with more behind it if another SPEC has that name. A potential that is
            ready made has no SPEC, and needs one.
        forces: whether forces are kept too.
        start, stop, stride: which frames.
        batch_atoms: atoms of one batch, at most, unless the beads of one frame have more; None:
            20000.
        executor: evaluates batches elsewhere, such as an `MPIPoolExecutor`; the potential is
            then a SPEC. None: here.
        progress: makes what is told about each batch, from the number of structures.

    Returns:
        Energies of all frames of the run, NaN where a frame is not labelled.

    Raises:
        NotInRecord: the run holds no positions.
        RelabelError: a bead cannot be evaluated, or the label is of another potential.
        PotentialError: what is wrong with the SPEC.
    """
    from pimd.relabel.job import Job

    return Job(
        run, spec, name=name, forces=forces, batch_atoms=batch_atoms, executor=executor
    ).run(slice(start, stop, stride), progress)


def evaluate_frames(
    run: Run | Path | str,
    spec: str | Mapping[str, Any] | Spec | Potential,
    frames: np.ndarray,
    *,
    batch_atoms: int | None = None,
) -> np.ndarray:
    """Energies of all beads of some frames, eV, (n_frames, n_beads); nothing is kept.

    Args:
        run, spec, batch_atoms: as of `relabel`.
        frames: indices into the frames of the run.

    Raises:
        As `relabel`.
    """
    from pimd.relabel.job import Job

    return Job(run, spec, batch_atoms=batch_atoms).energies(frames)
