"""From runs to the series that spectra are made of: centroid velocities, dipoles, polarizabilities.

Of a ring polymer each is the mean over its beads, which is what the Kubo-transformed correlation
functions of RPMD and TRPMD are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pimd.analysis.beginning import first_at
from pimd.analysis.spectra import even_spacing
from pimd.record.missing import NotInRecord, not_in_record

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["TimeSeries", "collected", "dynamics_of", "unwrapped_dipoles", "velocities_of"]

JUMP = 0.3
"""Of a cell vector times e: a dipole that moves further between two frames has changed its branch
(a smooth one moves by hundredths)."""


@dataclass(frozen=True)
class TimeSeries:
    """What one run has to say.

    Attributes:
        values: (n_frames, n_columns).
        spacing: fs between frames.
        differentiated: whether `values` are differences of neighbouring frames over the spacing.
    """

    values: np.ndarray
    spacing: float
    differentiated: bool = False


def collected(
    run: Run,
    name: str,
    skip: float = 0.0,
    of_block: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A quantity at all its frames, mean over beads, and their times.

    Args:
        run: that stored it.
        name: `velocities`, `dipole`, `polarizability`, `centroids`, ...
        skip: fs left out at the beginning.
        of_block: from a block (n_frames, ...) with its beads to one row for each frame; None: the
            mean over beads.

    Raises:
        NotInRecord: it was not stored.
        ValueError: nothing is left.
    """
    frames = run.common(name)
    start = first_at(frames.time, frames.time[0] + skip)
    rows, times = [], []
    for block in frames.blocks([name], start=start):
        values = block[name]
        has_beads = values.ndim > 1 and name not in ("centroids", "centroid_velocities")
        if of_block is not None:
            values = of_block(values)
        elif has_beads and values.shape[1] == run.n_beads:
            values = values.mean(axis=1)
        rows.append(values.reshape(len(values), -1))
        times.append(block["time"])
    if not rows:
        raise ValueError(f"{run.where}: no frames with {name} are left after {1e-3 * skip:g} ps")
    return np.concatenate(rows), np.concatenate(times)


def velocities_of(run: Run, skip: float = 0.0) -> TimeSeries:
    """Velocities of the centroids, (n_frames, 3 n_atoms) Å/fs; from positions if need be.

    Raises:
        NotInRecord: neither velocities nor positions were stored.
    """
    for name in ("velocities", "centroid_velocities"):
        if _stored(run, name):
            values, times = collected(run, name, skip)
            return TimeSeries(values, even_spacing(times))
    for name in ("centroids", "positions"):
        if _stored(run, name):
            values, times = collected(run, name, skip)
            return difference(values, even_spacing(times))
    raise not_in_record("velocities", run.where, run.names)


def unwrapped_dipoles(run: Run, skip: float = 0.0) -> tuple[TimeSeries, list[str]]:
    """Time derivative of the dipole, (n_frames - 1, 3) e Å/fs, and what to say of it.

    In a periodic cell a dipole is known up to e times cell vectors; where it jumps by such a one
    from frame to frame, the jump is taken out.

    Raises:
        NotInRecord: no dipoles were stored.
    """
    values, times = collected(run, "dipole", skip)
    if values.shape[1] != 3:
        raise ValueError(f"{run.where}: a dipole has 3 components, got {values.shape[1]}")
    series = difference(values, even_spacing(times))
    if not bool(run.setup.pbc.all()):
        return series, []
    cell = run.common("cells").read("cells", 0)
    steps = series.values * series.spacing @ np.linalg.inv(cell)
    quanta = np.round(steps)
    jumps = int((quanta != 0).any(axis=1).sum())
    left = np.abs(steps - quanta).max()
    said = [f"{jumps} jumps of the dipole by e times cell vectors taken out"] if jumps else []
    if left > JUMP:
        said.append(
            f"the dipole moves by up to {left:.2g} cell vectors times e between two frames: store "
            "it more often, or see whether its molecules or ions are wrapped into the cell"
        )
    rates = (steps - quanta) @ cell / series.spacing
    return TimeSeries(rates, series.spacing, True), said


def difference(values: np.ndarray, spacing: float) -> TimeSeries:
    """Differences of neighbouring frames over their distance in time."""
    return TimeSeries(np.diff(values, axis=0) / spacing, spacing, True)


def dynamics_of(runs: Sequence[Run]) -> tuple[str, list[str]]:
    """What dynamics the runs are, and what of it disturbs their spectra.

    Raises:
        ValueError: no dynamics at all.
    """
    found, careful = set(), []
    for run in runs:
        setup = run.setup
        if setup.dynamics != "dynamics":
            raise ValueError(f"{run.where}: a spectrum needs dynamics, not '{setup.dynamics}'")
        mild = {"svr"} if setup.n_beads == 1 else {"pile_g", "svr"}
        strong = sorted(set(setup.thermostats) - mild - {""})
        if setup.mode != "nve" and strong:
            careful.append(
                f"thermostat {', '.join(strong)} acts on every atom's own motion: it broadens and "
                "shifts lines unless it is slow against them (NVE, or svr, or pile_g with beads, "
                "leave it alone)"
            )
        if setup.mode not in ("nve", "nvt", ""):
            careful.append(f"{setup.mode}: a barostat moves atoms along with the cell")
        if setup.n_beads == 1:
            found.add("classical")
        else:
            found.add("RPMD" if setup.mode == "nve" else "thermostatted RPMD")
    return " and ".join(sorted(found)), list(dict.fromkeys(careful))


def _stored(run: Run, name: str) -> bool:
    try:
        run.common(name)
    except NotInRecord:
        return False
    return True
