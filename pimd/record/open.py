"""From a directory to a run: which files there are, and what of each is taken.

A record (`<trajectory format='h5md'>`) comes first, since it has all digits; i-PI's text files
give what it lacks. The input says which files there should be.
"""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Mapping
from pathlib import Path

from pimd.ipi.input import InputError
from pimd.ipi.run_input import Output, SystemInput, outputs_of, read_systems, root_of
from pimd.record.channels import Channel, OverMasses
from pimd.record.h5md_frames import H5MDRecord, NoRecord
from pimd.record.h5md_layout import record_name
from pimd.record.properties import Properties
from pimd.record.read_setup import setup_of_layout, setup_of_system
from pimd.record.run import Run
from pimd.record.setup import Setup
from pimd.record.text_files import OF_BEADS, bead_energies, extra_files, frame_files, property_files
from pimd.record.text_frames import BeadFiles, CellsOfFile, FrameFile
from pimd.run.rundir import default_run_directory

__all__ = ["open_run"]


def open_run(path: str | Path, system: int = 0) -> Run:
    """See `pimd.open_run`."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such run")
    if path.is_file() and path.suffix in (".h5", ".h5md", ".hdf5"):
        return _open(path.resolve().parent, _input_in(path.parent), system, [path])
    folder = path.resolve() if path.is_dir() else path.resolve().parent
    input_path = path if path.is_file() else _input_in(folder)
    elsewhere = _run_directory(input_path)
    if elsewhere is not None:  # where `pimd run` works, unless i-PI itself has run here
        folder, input_path = elsewhere, _input_in(elsewhere)
    return _open(folder, input_path, system)


def _run_directory(input_path: Path | None) -> Path | None:
    """Where `pimd run` has put the run of an input; None: it is not elsewhere.

    Raises:
        FileNotFoundError: the input was not run.
    """
    if input_path is None or input_path.name == "RESTART":
        return None
    root, here = root_of(input_path), input_path.resolve().parent
    elsewhere = default_run_directory(input_path)
    outputs = [one for system in read_systems(root) for one in outputs_of(root, system, here)]
    if any(map(_has_begun, outputs)):
        return None
    if elsewhere.is_dir():
        return elsewhere
    if here.name.endswith(".run") or (here / "RESTART").is_file():
        return None
    raise FileNotFoundError(
        f"{input_path} was not run yet: there is neither {elsewhere.name} nor any output beside "
        "it; give the directory of the run if that is elsewhere"
    )


def _has_begun(output: Output) -> bool:
    """Whether any file of an output is there."""
    return any(output.path.parent.glob(f"{glob.escape(output.path.name)}*"))


def _input_in(folder: Path) -> Path | None:
    """The input of a run: input.xml, else the one XML there is, else RESTART."""
    if (folder / "input.xml").is_file():
        return folder / "input.xml"
    found = []
    for path in sorted(folder.glob("*.xml")):
        with contextlib.suppress(InputError):
            root_of(path)
            found.append(path)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{folder} holds several inputs ({names}): give the one that was run")
    return found[0] if found else folder / "RESTART" if (folder / "RESTART").is_file() else None


def _open(
    folder: Path, input_path: Path | None, system: int, records: list[Path] | None = None
) -> Run:
    if input_path is None:
        return _from_records(folder, system, records or sorted(folder.glob("*.h5")))
    root = root_of(input_path)
    systems = read_systems(root)
    if not 0 <= system < len(systems):
        raise ValueError(
            f"{input_path} has {len(systems)} system(s), counted from 0: there is no {system}"
        )
    outputs = outputs_of(root, systems[system], folder)
    found = _records(_record_paths(outputs, systems[system]) if records is None else records,
                     system)
    texts = {} if records is not None else dict(frame_files(outputs, systems[system].n_beads))
    setup = setup_of_system(
        systems[system], root, input_path, _checkpoints(folder), index=system,
        layout=found[0].layout if found else None, labels=_labels(texts),
    )
    channels = _channels(found, texts, outputs, setup)
    properties = _properties(found, outputs, setup, folder)
    return Run(setup, channels, properties, directory=folder, system=system)


def _from_records(folder: Path, system: int, paths: list[Path]) -> Run:
    """A run of which only its record is there."""
    found = _records(paths, system)
    if not found:
        raise ValueError(
            f"{folder} holds no run: neither input.xml nor RESTART nor a record (.h5) is there"
        )
    setup = setup_of_layout(found[0].layout)
    channels = _channels(found, {}, [], setup)
    properties = _properties(found, [], setup, folder)
    return Run(setup, channels, properties, directory=folder, system=system)


def _records(paths: list[Path], system: int) -> list[H5MDRecord]:
    """The records that can be read, the one with most frames first.

    Raises:
        NoRecord: there is one file, and it cannot be read.
    """
    found = []
    for path in paths:
        try:
            found.append(H5MDRecord(path, system))
        except NoRecord:
            if len(paths) == 1:
                raise
    return sorted(found, key=lambda record: -len(record.step))


def _record_paths(outputs: list[Output], system: SystemInput) -> list[Path]:
    """H5MD files that the input asks for and that are there; all systems are in one file."""
    found = []
    for output in outputs:
        if output.kind == "trajectory" and output.format == "h5md":
            path = output.path.with_name(record_name(output.path.name, system.prefix))
            if path.is_file():
                found.append(path)
    return found


def _checkpoints(folder: Path) -> list[Path]:
    """RESTART, and i-PI's checkpoints, the newest first."""
    others = sorted(
        (path for path in folder.glob("*checkpoint*") if path.is_file()),
        key=lambda path: -path.stat().st_mtime,
    )
    return [path for path in (folder / "RESTART", *others) if path.is_file()]


def _labels(texts: Mapping[str, list[FrameFile]]) -> tuple[str, ...]:
    return next((files[0].layout.labels for files in texts.values()), ())


def _channels(
    records: list[H5MDRecord],
    texts: Mapping[str, list[FrameFile]],
    outputs: list[Output],
    setup: Setup,
) -> dict[str, Channel]:
    found: dict[str, Channel] = {}
    for record in records:
        for name, stored in record.channels().items():
            found.setdefault(name, stored)
    for name, files in texts.items():
        beads = BeadFiles(files, setup.timestep, has_beads=name in OF_BEADS)
        found.setdefault(name, beads)
        # frames are where positions are, so their cells are wanted first
        if "cells" not in found or (name == "positions" and not records):
            found["cells"] = CellsOfFile(files[0], beads.step, setup.timestep)
    for name, extra in extra_files(outputs, setup.n_beads, setup.timestep):
        found.setdefault(name, extra)
    energies = bead_energies(outputs, setup.n_beads, setup.timestep)
    if energies is not None:
        found.setdefault("energies", energies)
    if "momenta" in found and "velocities" not in found:
        found["velocities"] = OverMasses(found["momenta"], setup.masses)
    return found


def _properties(
    records: list[H5MDRecord], outputs: list[Output], setup: Setup, folder: Path
) -> Properties:
    """Of all files, read when first asked for; of equal lengths the record has more digits."""
    sources = [record.series for record in records]
    return Properties([*sources, property_files(outputs, setup.timestep)], folder)
