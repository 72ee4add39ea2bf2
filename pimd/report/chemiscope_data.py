"""Frames as a data set of chemiscope: a map of their properties, structures with coloured atoms."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimd.potentials.models import require
from pimd.report.frames import Frames

__all__ = ["FORCE_SIGMA", "GYRATION", "SIGMA", "atom_colour", "dataset"]

MEV = 1000.0
SIGMA = "sigma"
FORCE_SIGMA = "sigma of the force"
GYRATION = "radius of gyration"
TOP = 0.95
"""Share of the atoms within the scale of colours: a few would stretch it."""
CUTOFF = 3.5
"""Å about an atom that chemiscope shows where one is chosen."""


def dataset(frames: Frames, name: str) -> dict[str, Any]:
    """The data set: sigma (or energy, or step) of the beads shown against time.

    Args:
        frames: at least one.
        name: title of the data set.

    Raises:
        PotentialError: chemiscope is not installed.
    """
    chemiscope = require("chemiscope", "report")
    shown, numbers = frames.frames, frames.numbers
    structures = [_structure(numbers, one.positions, one.cell) for one in shown]
    properties = _of_structures(frames)
    of_atoms = {words: _of_atoms(frames, words) for words in (FORCE_SIGMA, GYRATION)}
    for words, values in of_atoms.items():
        if values is not None:
            unit = "meV/Å" if words == FORCE_SIGMA else "Å"
            properties[words] = {"target": "atom", "units": unit, "values": _short(values)}
    colour = atom_colour(frames)
    coloured = of_atoms.get(colour)
    upright = SIGMA if SIGMA in properties else "energy" if "energy" in properties else "step"
    settings = chemiscope.quick_settings(
        x="time", y=upright, map_color=upright, structure_color=colour or None,
        trajectory=True, periodic=shown[0].cell is not None, target="structure",
    )
    settings["structure"][0]["playbackDelay"] = 200
    if coloured is not None:  # one scale for all frames
        settings["structure"][0]["color"] = {
            "property": colour, "palette": "viridis", "min": 0.0,
            "max": float(f"{np.quantile(coloured, TOP):.3g}"),
        }
    settings["pinned"] = [max(range(len(shown)), key=lambda k: shown[k].sigma or 0.0)]
    found: dict[str, Any] = chemiscope.create_input(
        structures,
        metadata={"name": name},
        properties=properties,
        environments=[(k, i, CUTOFF) for k in range(len(shown)) for i in range(len(numbers))],
        settings=settings,
    )
    return found


def atom_colour(frames: Frames) -> str:
    """What colours the atoms: the more telling that all frames have; empty: their elements."""
    for words in (FORCE_SIGMA, GYRATION):
        values = _of_atoms(frames, words)
        if values is not None and values.max(initial=0.0) > 0.0:
            return words
    return ""


def _of_atoms(frames: Frames, words: str) -> np.ndarray | None:
    """A property of all atoms of all frames, (n_frames n_atoms,) meV/Å or Å; None: not known."""
    found = []
    for one in frames.frames:
        values = one.gyration if words == GYRATION else one.force_sigma
        if values is None:
            return None
        found.append(values if words == GYRATION else MEV * values)
    return np.concatenate(found)


def _of_structures(frames: Frames) -> dict[str, dict[str, Any]]:
    shown = frames.frames
    columns: dict[str, tuple[str, list[Any]]] = {
        "time": ("fs", [one.time for one in shown]),
        "step": ("", [one.step for one in shown]),
        "bead": ("", [one.bead for one in shown]),
        "energy": ("eV", [one.energy for one in shown]),
        SIGMA: ("meV/atom", [None if one.sigma is None else MEV * one.sigma for one in shown]),
    }
    found = {}
    for name, (unit, values) in columns.items():
        if any(value is None for value in values):
            continue
        found[name] = {"target": "structure", "values": _short(np.array(values, dtype=float))}
        if unit:
            found[name]["units"] = unit
    return found


def _structure(
    numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray | None
) -> dict[str, Any]:
    from ase.data import chemical_symbols

    found: dict[str, Any] = {
        "size": len(numbers), "names": [chemical_symbols[number] for number in numbers],
        **dict(zip("xyz", (np.round(axis, 3).tolist() for axis in positions.T), strict=True)),
    }  # fmt: skip
    if cell is not None:
        found["cell"] = np.round(cell, 5).ravel().tolist()
    return found


def _short(values: np.ndarray) -> list[float]:
    """Numbers with as many digits as a picture needs."""
    return [float(f"{value:.6g}") for value in values]
