"""One bead, or the centroid, of a record as a H5MD file of its own, which holds no numbers.

MDAnalysis reads the first group of `/particles`, and in a record that has all beads. A view is a
small file with one group of n atoms, `/particles/trajectory`, whose numbers stay in the record:

    write_bead_view("simulation.trajectory.h5", 3, "bead_3.h5md")
    universe = MDAnalysis.Universe(topology, "bead_3.h5md")

It shows the frames that the record had when the view was written.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pimd.record.h5md_file import opened
from pimd.record.h5md_layout import SystemLayout

__all__ = ["write_bead_view", "write_centroid_view"]

_GROUP = "particles/trajectory"


def write_bead_view(record: str | Path, bead: int, view: str | Path, system: int = 0) -> None:
    """Write a view of one bead.

    Args:
        record: the file of a run that has ended.
        bead: index.
        view: the file to write; `.h5md` is an ending that MDAnalysis knows.
        system: index.

    Raises:
        ValueError: there is no such bead or system.
        FileExistsError: the view exists.
    """
    import h5py

    record = Path(record)
    with opened(record) as source:
        layout = _layout(source, record, system)
        if not 0 <= bead < layout.n_beads:
            raise ValueError(f"{record.name} has beads 0 to {layout.n_beads - 1}, not {bead}")
        n_atoms, link = layout.n_atoms, _relative(record, view)
        with _new(view) as file:
            _link(file, source, link, f"particles/system_{system}/box", f"{_GROUP}/box")
            for field in layout.fields:
                if field.kind != "beads":
                    continue
                data = source[field.path(system)]
                virtual = h5py.VirtualLayout((len(data), n_atoms, 3), data.dtype)
                numbers = h5py.VirtualSource(link, data.name, data.shape)
                virtual[...] = numbers[:, bead * n_atoms : (bead + 1) * n_atoms]
                element = data.parent.name
                group = file.create_group(f"{_GROUP}/{element.rpartition('/')[2]}")
                group.create_virtual_dataset("value", virtual).attrs["unit"] = field.unit
                for name in ("step", "time"):
                    _link(file, source, link, f"{element}/{name}", f"{group.name}/{name}")
            _link(file, source, link, f"observables/system_{system}")


def write_centroid_view(record: str | Path, view: str | Path, system: int = 0) -> None:
    """Write a view of the centroid.

    Args:
        record: the file of a run that has ended.
        view: the file to write; `.h5md` is an ending that MDAnalysis knows.
        system: index.

    Raises:
        ValueError: the record has no centroid, or no such system.
        FileExistsError: the view exists.
    """
    record = Path(record)
    with opened(record) as source:
        _layout(source, record, system)
        name = f"particles/system_{system}_centroid"
        if name not in source:
            raise ValueError(
                f"{record.name} holds no centroid: add x_centroid to what its <trajectory "
                "format='h5md'> lists"
            )
        with _new(view) as file:
            link = _relative(record, view)
            _link(file, source, link, name, _GROUP)
            _link(file, source, link, f"observables/system_{system}")


def _new(view: str | Path) -> Any:
    import h5py

    file = h5py.File(view, "x", libver="latest")
    file.create_group("h5md").attrs["version"] = [1, 1]
    return file


def _layout(source: Any, record: Path, system: int) -> SystemLayout:
    parameters = source.get(f"parameters/system_{system}")
    if parameters is None:
        raise ValueError(
            f"{record.name} has systems 0 to {len(source['parameters']) - 1}, not {system}"
        )
    return SystemLayout.of(parameters)


def _relative(record: Path, view: str | Path) -> str:
    """Where a view finds its record; so both can be moved together."""
    return os.path.relpath(record.resolve(), Path(view).resolve().parent)


def _link(file: Any, source: Any, link: str, name: str, target: str = "") -> None:
    """Have a view show what the record has, if it has it."""
    import h5py

    if name in source:
        file[target or name] = h5py.ExternalLink(link, f"/{name.lstrip('/')}")
