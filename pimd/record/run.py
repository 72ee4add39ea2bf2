"""A run as arrays: frames of beads, properties, labels, read from files as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path

import numpy as np

from pimd.record.channels import ArrayChannel, Channel, numbers_in_row, rows_of_steps
from pimd.record.labels import Label, LabelStore
from pimd.record.missing import NotInRecord, not_in_record
from pimd.record.properties import Properties
from pimd.record.series import Series
from pimd.record.setup import Setup

__all__ = ["NotInRecord", "Run"]

BLOCK_BYTES = 64 * 2**20
"""Memory of the numbers of one block of `Run.blocks`, unless its size is given."""


class Run:
    """One system of one run; made by `pimd.open_run`, or from arrays.

    A frame is a step at which positions are stored (or, where none are, at which most is).
    Quantities stored at other steps are read through a view: `run.common("dipole")` has for
    frames the steps of the dipoles, `run.common("positions", "forces")` those that have both.

    Names that `read` knows, where they are stored (T frames, P beads, n atoms, M members):

        positions         (T, P, n, 3)   Å, not wrapped
        velocities        (T, P, n, 3)   Å/fs
        forces            (T, P, n, 3)   eV/Å, of the potential
        centroids         (T, n, 3)      Å
        cells             (T, 3, 3)      Å, rows are cell vectors
        energies          (T, P)         eV
        member_energies   (T, M, P)      eV
        dipole, ...       (T, P, ...)    extras of the forcefield, by their names

    Attributes:
        setup: what was simulated.
        step: (T,) int64, of the frames.
        time: fs, (T,).
        properties: i-PI's properties by name.
        directory: where the run lies; None for one made from arrays.
        system: which of the systems of the run it is.
    """

    def __init__(
        self,
        setup: Setup,
        channels: Mapping[str, Channel],
        properties: Mapping[str, Series],
        *,
        directory: Path | None = None,
        system: int = 0,
        labels: LabelStore | None = None,
        frames_of: Sequence[str] = (),
    ) -> None:
        self.setup, self.directory, self.system = setup, directory, system
        self._channels = dict(channels)
        self.properties = (
            properties if isinstance(properties, Properties)
            else Properties([properties.values], self.where)
        )
        self._labels = labels or LabelStore.of(directory, system)
        self.step, self.time = self._frames(frames_of)

    @classmethod
    def from_arrays(
        cls,
        setup: Setup,
        step: np.ndarray,
        time: np.ndarray,
        arrays: Mapping[str, np.ndarray],
        properties: Mapping[str, Series | np.ndarray] | None = None,
        units: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> Run:
        """A run that is in memory.

        Args:
            setup: what was simulated.
            step: (T,), increasing.
            time: fs, (T,).
            arrays: name -> values, shapes as in the class docstring, first axis frames.
            properties: name -> series, or values at the same steps.
            units: of arrays and properties, where they are none of the usual ones.
            directory: where its labels lie; None: they are kept in memory.

        Raises:
            ValueError: arrays that do not fit each other.
        """
        step, time = np.asarray(step, dtype=np.int64), np.asarray(time, dtype=float)
        if step.ndim != 1 or time.shape != step.shape or (np.diff(step) <= 0).any():
            raise ValueError("step (T,) must increase, and time have as many numbers")
        units = units or {}
        channels: dict[str, Channel] = {}
        for name, values in arrays.items():
            channel = ArrayChannel(name, step, time, values, setup.n_beads, units.get(name))
            if len(channel.values) != len(step):
                raise ValueError(
                    f"{name}: expected {len(step)} frames, got {len(channel.values)}"
                )
            channels[name] = channel
        _check_atoms(setup, channels)
        series = {
            name: given if isinstance(given, Series)
            else Series(name, step, time, given, units.get(name, ""))
            for name, given in (properties or {}).items()
        }
        return cls(setup, channels, series, directory=directory)

    @property
    def n_frames(self) -> int:
        return len(self.step)

    @property
    def n_beads(self) -> int:
        return self.setup.n_beads

    @property
    def n_atoms(self) -> int:
        return self.setup.n_atoms

    @property
    def n_members(self) -> int:
        """Members of the committee whose energies are stored; 0: there are none."""
        channel = self._channels.get("member_energies")
        return 0 if channel is None else channel.shape[0]

    @property
    def where(self) -> str:
        """The run in words."""
        return "the run" if self.directory is None else str(self.directory)

    @property
    def names(self) -> tuple[str, ...]:
        """What is stored at every frame."""
        return tuple(name for name in self._channels if self.has(name))

    @property
    def stored(self) -> tuple[str, ...]:
        """What is stored at some steps."""
        return tuple(self._channels)

    def has(self, name: str) -> bool:
        """Whether a quantity is stored at every frame, and there are frames."""
        return (
            name in self._channels
            and self.n_frames > 0
            and bool((rows_of_steps(self._channels[name].step, self.step) >= 0).all())
        )

    def unit(self, name: str) -> str:
        """Unit of what `read` gives, or of a property."""
        if name in self._channels:
            return self._channels[name].unit
        return self.properties[name].unit

    def is_rounded(self, name: str) -> bool:
        """Whether a quantity was written with few digits, as in i-PI's text files."""
        return self._channel(name).is_rounded

    def read(
        self,
        name: str,
        frames: slice | int | np.ndarray = slice(None),
        beads: slice = slice(None),
    ) -> np.ndarray:
        """A quantity at some frames, float64, shape as in the class docstring.

        Args:
            name: one of `names`.
            frames: slice, one index (the axis of frames then goes), or indices.
            beads: of the beads, where the quantity has them.

        Raises:
            NotInRecord: it is not stored at these frames.
        """
        wanted = self.step[frames]
        rows = rows_of_steps(self._channel(name).step, np.atleast_1d(wanted))
        if (rows < 0).any():
            raise NotInRecord(
                f"{self.where}: {name} is stored at {len(self._channels[name].step)} steps, but "
                f"not at step {np.atleast_1d(wanted)[rows < 0][0]}; choose the frames that have "
                f"it with run.common('{name}')"
            )
        values = self._channels[name].read(rows, beads)
        return values[0] if np.ndim(wanted) == 0 else values

    def _channel(self, name: str) -> Channel:
        if name not in self._channels:
            raise not_in_record(name, self.where, self._channels)
        return self._channels[name]

    def blocks(
        self,
        names: Sequence[str],
        size: int | None = None,
        start: int = 0,
        stop: int | None = None,
        stride: int = 1,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Several quantities, in blocks of frames that fit into memory.

        Args:
            names: of quantities; `step` and `time` of the frames come besides.
            size: frames of a block; None: so many that a block has some 64 MB.
            start, stop, stride: which frames.
        """
        chosen = np.arange(self.n_frames)[start:stop:stride]
        if size is None:
            numbers = sum(numbers_in_row(self._channel(name)) for name in names)
            size = max(1, BLOCK_BYTES // (8 * max(1, numbers)))
        for first in range(0, len(chosen), size):
            frames = chosen[first : first + size]
            block = {name: self.read(name, frames) for name in names}
            yield {**block, "step": self.step[frames], "time": self.time[frames]}

    def common(self, *names: str) -> Run:
        """The same run with those steps for frames at which all these quantities are stored.

        Raises:
            NotInRecord: one of them is not stored, or they have no step in common.
        """
        return Run(
            self.setup, self._channels, self.properties, directory=self.directory,
            system=self.system, labels=self._labels, frames_of=names,
        )

    def _frames(self, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Steps and times of the frames."""
        asked = bool(names)
        if not names:
            if not self._channels:
                return np.zeros(0, dtype=np.int64), np.zeros(0)
            most = max(self._channels, key=lambda name: len(self._channels[name].step))
            names = ["positions" if "positions" in self._channels else most]
        first, *others = (self._channel(name) for name in names)
        step = reduce(np.intersect1d, (channel.step for channel in others), first.step)
        if asked and not len(step):
            raise NotInRecord(f"{self.where}: no step has {' and '.join(names)}")
        return step, first.time[rows_of_steps(first.step, step)]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels there are."""
        return self._labels.names

    def label(self, name: str, *, forces: bool = True) -> Label:
        """Energies under another potential, at the frames of this run; see `pimd.relabel`.

        Args:
            name: one of `labels`.
            forces: whether forces are read too, where there are any.

        Raises:
            NotInRecord: there are none of that name, or they are of other frames.
        """
        return self._labels.read(name, self, forces=forces)

    def label_specs(self) -> dict[str, str]:
        """Name of each label and the potential it is of, as a SPEC."""
        return self._labels.specs()

    def keep_label(self, name: str, label: Label) -> None:
        """Give a label to a run in memory."""
        self._labels.keep(name, label)

    def __repr__(self) -> str:
        return (
            f"<Run {self.where}: {self.n_frames} frames, {self.n_beads} beads, {self.n_atoms} "
            f"atoms; {', '.join(self.names) or 'no frames'}; {len(self.properties)} properties>"
        )


def _check_atoms(setup: Setup, channels: Mapping[str, Channel]) -> None:
    """Shapes of the arrays of a run in memory."""
    n_beads, n_atoms = setup.n_beads, setup.n_atoms
    rows = {
        **dict.fromkeys(("positions", "velocities", "forces"), (n_beads, n_atoms, 3)),
        "centroids": (n_atoms, 3),
        "cells": (3, 3),
        "energies": (n_beads,),
    }
    for name, channel in channels.items():
        if channel.shape != rows.get(name, channel.shape):
            raise ValueError(
                f"{name}: expected (n_frames, {', '.join(map(str, rows[name]))}), got "
                f"(n_frames, {', '.join(map(str, channel.shape))})"
            )
        if name == "member_energies" and channel.bead_axis is None:
            raise ValueError(
                f"{name}: expected (n_frames, n_members, {n_beads}), got a row {channel.shape}"
            )
