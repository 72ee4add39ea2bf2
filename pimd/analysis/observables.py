"""What the error of a committee is asked for: a series along a run, a committee's, or a curve.

    potential            of the members themselves, each in its own ensemble
    kinetic, pressure    centroid virial, with the forces of each member (members.h5)
    rdf:O-H              radial distribution function over all beads; rdf:O-H:6:120 up to 6 Å with
                         120 bins
    gyration:H           mean square radius of gyration of an element's paths
    NAME, NAME[k]        a property that i-PI wrote, or an extra of the beads; the k-th component
    NAME:members         an extra with a number for each member of a committee
    NAME=FILE            columns: step, value; or step and one value of each member
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pimd.analysis.distribution_sampling import BEADS, Distances
from pimd.analysis.rdf import Bins, largest_distance
from pimd.record.missing import NotInRecord

if TYPE_CHECKING:
    from pimd.analysis.run_members import RunMembers
    from pimd.record.run import Run

__all__ = ["Observable", "observable_of_run", "potential_energy"]

WITH_FORCES = ("kinetic_cv", "pressure_cv", "stress_cv", "virial", "kinstress_cv", "kinetic_prsc",
               "pressure_md", "stress_md", "forces")  # fmt: skip
"""i-PI's properties that hold forces or virials of the potential that moved the beads."""

DEFAULT_BINS = 150
LONGEST = 6.0
"""Å, where a radial distribution function ends by default."""


@dataclass(frozen=True)
class Observable:
    """An observable along a run.

    Attributes:
        name: of it.
        step: (T,).
        values: (M_a, T), one row for each member; or (T, n_points), a curve.
        unit: of the values.
        x: (n_points,) of a curve, else None.
        x_label: of a curve.
        paired: whether the members are those of the potential, in the same order.
        note: how it was found.
        warnings: what should make a reader careful.
    """

    name: str
    step: np.ndarray
    values: np.ndarray
    unit: str = ""
    x: np.ndarray | None = None
    x_label: str = ""
    paired: bool = False
    note: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def is_curve(self) -> bool:
        return self.x is not None


def potential_energy(members: RunMembers) -> Observable:
    """The potential energy, over beads, of each member in its own ensemble."""
    return Observable(
        "potential", members.step, members.energies.mean(axis=-1), "eV", paired=True,
        note="each member's own, in its own ensemble",
    )


def observable_of_run(run: Run, text: str) -> Observable:
    """An observable by its name; see the module. Those with forces of members are not among them.

    Raises:
        NotInRecord: the run has not stored it.
        ValueError: a name that means nothing, or a file that cannot be read.
    """
    if "=" in text:
        return _of_file(*text.split("=", 1))
    kind, _, rest = text.partition(":")
    if kind == "rdf":
        return _rdf(run, rest)
    if kind == "gyration":
        return _gyration(run, rest)
    name, component = _component(text.removesuffix(":members"))
    if name in run.properties:
        return _of_property(run, name, component)
    return _of_extra(run, name, component, text.endswith(":members"))


def _component(text: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(.+)\[(\d+)\]", text)
    return (text, None) if found is None else (found[1], int(found[2]))


def _of_property(run: Run, name: str, component: int | None) -> Observable:
    series = run.properties[name]
    values = series.values
    if values.ndim > 1:
        if component is None or component >= values.shape[1]:
            raise ValueError(
                f"{name} has {values.shape[1]} components: name one, such as {name}[0]"
            )
        values = values[:, component]
    held = any(name == one or name.startswith(f"{one}(") for one in WITH_FORCES)
    careful = (
        f"{name} holds the forces of the potential that was sampled; a member's own average needs "
        "the forces of the members: pimd run --member-forces-every writes them, and `kinetic` and "
        "`pressure` use them",
    )
    label = name if component is None else f"{name}[{component}]"
    return Observable(
        label, series.step, values[None], series.unit, note="as i-PI wrote it",
        warnings=careful if held else (),
    )


def _of_extra(run: Run, name: str, component: int | None, members: bool) -> Observable:
    try:
        frames = run.common(name)
    except NotInRecord as error:
        raise NotInRecord(
            f"no observable '{name}': it is neither potential, kinetic, pressure, rdf:A-B, "
            f"gyration:A or NAME=FILE, nor a property that was written "
            f"({', '.join(run.properties) or 'none'}), nor stored with the frames. {error}"
        ) from error
    values = frames.read(name)
    if values.shape[:2] != (frames.n_frames, frames.n_beads):
        raise ValueError(f"{name} is not stored for each bead: it has rows {values.shape[1:]}")
    rows = values.reshape(*values.shape[:2], -1).mean(axis=1).T  # over beads: [component, frame]
    label, note = name, "mean over beads"
    if component is not None and component < len(rows):
        rows, label = rows[[component]], f"{name}[{component}]"
    elif members:
        note += f" and over {len(rows)} members of it"
    elif component is not None or len(rows) > 1:
        raise ValueError(
            f"{name} has {len(rows)} components: name one, such as {name}[0], or say that they are "
            f"of members: {name}:members"
        )
    return Observable(label, frames.step, rows, run.unit(name), note=note)


def _of_file(name: str, path: str) -> Observable:
    if not Path(path).is_file():
        raise ValueError(f"observable {name}: no such file {path}")
    try:
        columns = np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path}: expected columns of steps and values: {error}") from error
    if columns.shape[1] < 2 or not np.isfinite(columns).all():
        raise ValueError(f"{path}: expected columns step, value, [value of each member ...]")
    step = columns[:, 0].astype(np.int64)
    if (step != columns[:, 0]).any() or (np.diff(step) <= 0).any():
        raise ValueError(f"{path}: the first column holds steps, which increase")
    return Observable(name, step, columns[:, 1:].T, note=path)


def _rdf(run: Run, rest: str) -> Observable:
    """g(r) of every frame, over its beads."""
    pair, *numbers = rest.split(":")
    names = pair.split("-")
    symbols = np.array(run.setup.symbols)
    chosen = [np.flatnonzero(symbols == name) for name in names]
    if len(names) != 2 or not all(len(one) for one in chosen) or len(numbers) > 2:
        raise ValueError(
            f"rdf:{rest}: expected two elements of the run ({', '.join(sorted(set(symbols)))}), "
            "such as rdf:O-H, rdf:O-H:6 or rdf:O-H:6:120"
        )
    frames = run.common("positions", "cells")
    if not run.setup.pbc.all():
        raise ValueError(f"rdf:{rest}: the run is not periodic, and has no density")
    try:
        end = float(numbers[0]) if numbers else LONGEST
        end = min(end, largest_distance(frames.read("cells")))
        bins = Bins(0.0, end, int(numbers[1]) if len(numbers) > 1 else DEFAULT_BINS)
    except ValueError as error:
        raise ValueError(f"rdf:{rest}: expected distance and number of bins: {error}") from error
    same = names[0] == names[1]
    counted = Distances(pair, chosen[0], None if same else chosen[1], bins, periodic=True)
    for block in frames.blocks(("positions", "cells")):
        cells = block["cells"]
        counted.count(BEADS, block["positions"], cells, np.abs(np.linalg.det(cells)))
    return Observable(
        f"rdf:{pair}", frames.step, np.concatenate(counted.curves[BEADS]), "", bins.centres,
        "r / Å", note="over all beads",
    )


def _gyration(run: Run, element: str) -> Observable:
    """Mean square radius of gyration of an element, of every frame."""
    from pimd.analysis.estimators import squared_gyration

    atoms = np.flatnonzero(np.array(run.setup.symbols) == element)
    if not len(atoms):
        raise ValueError(f"gyration:{element}: no atom of the run is {element or 'named'}")
    frames = run.common("positions")
    parts = [
        squared_gyration(block["positions"][:, :, atoms]).mean(axis=1)
        for block in frames.blocks(("positions",))
    ]
    return Observable(
        f"gyration:{element}", frames.step, np.concatenate(parts)[None], "Å^2",
        note="mean square radius of gyration",
    )
