"""The spread of a committee along a run, from the record or from members.h5."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pimd.run.member_file import MEMBER_FILE

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["Spread", "members_group", "members_trouble", "spread"]


@dataclass(frozen=True)
class Spread:
    """sigma of the beads at some steps.

    Attributes:
        step: (T,).
        time: fs, (T,).
        per_atom: (T, P) eV, standard deviation of the total energy over members (ddof 1, as
            calibrated), divided by the number of atoms.
        n_members: of the committee.
        source: where it was read.
    """

    step: np.ndarray
    time: np.ndarray
    per_atom: np.ndarray
    n_members: int
    source: str


def spread(run: Run) -> Spread | None:
    """From member energies of the record, else from members.h5; None where neither is there."""
    if run.n_members > 1:
        found = run.common("member_energies")
        sigma = np.concatenate([
            block["member_energies"].std(axis=1, ddof=1)  # [frame, member, bead]
            for block in found.blocks(["member_energies"])
        ])
        return Spread(
            found.step, found.time, sigma / run.n_atoms, run.n_members,
            "member energies of the record",
        )
    return _of_members_file(run)


def _of_members_file(run: Run) -> Spread | None:
    with members_group(run) as group:
        if group is None:
            return None
        return Spread(
            group["step"][:], group["time"][:], group["sigma"][:] / group["positions"].shape[2],
            int(group["member_energies"].shape[1]),
            f"{MEMBER_FILE}, forcefield {group.attrs['forcefield']}",
        )


@contextmanager
def members_group(run: Run) -> Iterator[Any | None]:
    """The group of members.h5 that belongs to the system of a run; of several forcefields that of
    largest sigma. None where there is no such file, or nothing in it that can be read."""
    path = _members_path(run)
    if path is None or members_trouble(run):
        yield None
        return
    import h5py

    with h5py.File(path, "r", locking=False) as file:
        found = file.get(f"system_{run.system}", {})
        groups = [group for group in found.values() if len(group["step"])]
        yield max(groups, key=lambda group: float(np.mean(group["sigma"][:])), default=None)


def members_trouble(run: Run) -> str:
    """Why members.h5 cannot be read; empty where it can, or is not there."""
    path = _members_path(run)
    if path is None:
        return ""
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            for group in file.get(f"system_{run.system}", {}).values():
                group["sigma"][-1:]
    except (OSError, KeyError) as error:
        return f"{path} cannot be read: {error}"
    return ""


def _members_path(run: Run) -> Path | None:
    path = None if run.directory is None else Path(run.directory) / MEMBER_FILE
    return path if path is not None and path.is_file() else None
