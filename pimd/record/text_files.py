"""Which of i-PI's text files an input asks for, and what they hold."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from pimd.ipi.output_units import TRAJECTORIES, extras_factor, split_name
from pimd.ipi.run_input import Output
from pimd.record.channels import ArrayChannel
from pimd.record.series import Series
from pimd.record.text_extras import ExtraFiles, NotNumbers
from pimd.record.text_frames import FrameFile
from pimd.record.text_properties import read_properties

__all__ = ["OF_BEADS", "bead_energies", "extra_files", "frame_files", "property_files"]

SUFFIXES = {"xyz": ".xyz", "ase": ".extxyz"}
OF_BEADS = ("positions", "velocities", "momenta", "forces")
"""Trajectories with one file a bead, and names of `Run.read`."""


def frame_files(
    outputs: Sequence[Output], n_beads: int | None
) -> Iterator[tuple[str, list[FrameFile]]]:
    """Name of `Run.read` and the files that hold it, one a bead.

    Args:
        outputs: of the input.
        n_beads: of the system; None: as many as there are files.
    """
    for output in outputs:
        suffix = SUFFIXES.get(output.format)
        if output.kind != "trajectory" or suffix is None:
            continue
        key = split_name(output.names[0])[0]
        paths: list[Path] = []
        if key in OF_BEADS:
            paths = _bead_paths(output, suffix, n_beads)
        elif key in TRAJECTORIES:
            paths = [path for path in [Path(f"{output.path}{suffix}")] if path.is_file()]
        with contextlib.suppress(ValueError):  # files without a whole frame
            files = [FrameFile(path) for path in paths]
            if files:
                yield TRAJECTORIES.get(key, key), files


def extra_files(
    outputs: Sequence[Output], n_beads: int, timestep: float
) -> Iterator[tuple[str, ExtraFiles]]:
    """Name of `Run.read` and the files of an entry of the extras."""
    for output in outputs:
        key = output.extra_type
        if output.names[:1] != ("extras",) or key == "raw" or "," in key:
            continue
        paths = _bead_paths(output, "", n_beads)
        if paths:
            name, factor, unit = extras_factor(key)
            with contextlib.suppress(NotNumbers):
                yield name, ExtraFiles(name, paths, factor, unit, timestep)


def bead_energies(
    outputs: Sequence[Output], n_beads: int, timestep: float
) -> ArrayChannel | None:
    """Energies of beads where `potential(bead=0)`, ... are among the properties of one file."""
    for output in outputs:
        beads = {}
        for name in output.names if output.kind == "properties" else ():
            key, _, arguments = split_name(name)
            bead = arguments.removeprefix("bead=")
            if key == "potential" and bead.isdigit():
                beads[int(bead)] = f"potential({arguments})"
        if len(beads) < n_beads or not output.path.is_file():
            continue
        series = read_properties(output.path, output.stride, timestep)
        columns = [series[beads[bead]] for bead in range(n_beads)]
        values = np.stack([column.values for column in columns], axis=1)
        return ArrayChannel("energies", columns[0].step, columns[0].time, values, n_beads)
    return None


def property_files(
    outputs: Sequence[Output], timestep: float
) -> Callable[[], Iterator[Series]]:
    """What gives all properties in text files, when called."""

    def read() -> Iterator[Series]:
        for output in outputs:
            if output.kind == "properties" and output.path.is_file():
                yield from read_properties(output.path, output.stride, timestep).values()

    return read


def _bead_paths(output: Output, suffix: str, n_beads: int | None) -> list[Path]:
    """The files of all beads of an output, in order; empty where some are not there."""
    if n_beads is None:
        digits = next(
            (k for k in range(1, 6) if Path(f"{output.path}_{0:0{k}d}{suffix}").is_file()), 1
        )
        pattern = f"{output.path.name}_{'[0-9]' * digits}{suffix}"
        return sorted(output.path.parent.glob(pattern))
    digits = len(str(n_beads))
    paths = [Path(f"{output.path}_{bead:0{digits}d}{suffix}") for bead in range(n_beads)]
    return paths if output.bead == -1 and all(path.is_file() for path in paths) else []
