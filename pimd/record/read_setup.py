"""The setup of a run from what lies in its directory: input, checkpoints, record, frames."""

from __future__ import annotations

import contextlib
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pimd.ipi.initial_masses import initial_atoms
from pimd.ipi.input import InputError, read_input
from pimd.ipi.run_input import Atoms, SystemInput, read_systems, root_of
from pimd.ipi.systems import numbers_of_labels
from pimd.record.h5md_layout import SystemLayout
from pimd.record.setup import Setup

__all__ = ["setup_of_layout", "setup_of_system"]

WITH_PRESSURE = ("npt", "nst", "scnpt")


def setup_of_system(
    system: SystemInput,
    root: ET.Element,
    path: Path,
    checkpoints: Sequence[Path],
    *,
    index: int = 0,
    layout: SystemLayout | None = None,
    labels: Sequence[str] = (),
) -> Setup:
    """The setup of one system.

    Args:
        system: of the input.
        root: of the input.
        path: the input.
        checkpoints: RESTART and others, the best first; those that cannot be read are skipped.
        index: of the system.
        layout: of a record of this run; None: there is none.
        labels: of the atoms of a trajectory, where nothing else says which they are.

    Raises:
        InputError: nothing says what the atoms are.
    """
    states = list(_states(checkpoints, index))
    total = max(
        (_int(one.findtext("total_steps")) for one in (root, *(r for r, _ in states))), default=0
    )
    if layout is not None:
        numbers, masses, n_beads = layout.numbers, layout.masses, layout.n_beads
    else:
        atoms = _atoms(system, [state for _, state in states], path, labels)
        numbers = numbers_of_labels(atoms.labels)
        masses, n_beads = atoms.masses, atoms.n_beads
    dynamics = system.dynamics
    mode = "" if dynamics is None else dynamics.get("mode", "nve").strip()
    forcefields, pbc = _forcefields(system, root, path)
    return Setup(
        numbers=numbers,
        masses=masses,
        n_beads=n_beads,
        temperature=system.number("ensemble/temperature", "temperature"),
        timestep=system.timestep,
        pbc=pbc if layout is None else pbc & layout.pbc,
        mode=mode if system.motion == "dynamics" else "",
        splitting="" if dynamics is None else dynamics.get("splitting", "obabo").strip(),
        thermostats=system.thermostats,
        fixcom=system.fixcom,
        pressure=system.number("ensemble/pressure", "pressure") if mode in WITH_PRESSURE else None,
        forcefields=forcefields,
        total_steps=total or None,
        dynamics=system.motion,
    )


def setup_of_layout(layout: SystemLayout) -> Setup:
    """As much as a record alone says."""
    return Setup(
        numbers=layout.numbers,
        masses=layout.masses,
        n_beads=layout.n_beads,
        temperature=None if math.isnan(layout.temperature) else layout.temperature,
        timestep=layout.timestep,
        pbc=layout.pbc,
        dynamics="dynamics" if layout.timestep > 0 else "",
    )


def _states(checkpoints: Sequence[Path], index: int) -> Iterator[tuple[ET.Element, SystemInput]]:
    """Root and system of the first checkpoint that can be read."""
    for path in checkpoints:
        with contextlib.suppress(InputError):  # half-written, or of something else
            root = root_of(path)
            systems = read_systems(root)
            if index < len(systems) and systems[index].atoms() is not None:
                yield root, systems[index]
                return


def _atoms(
    system: SystemInput, states: Sequence[SystemInput], path: Path, labels: Sequence[str]
) -> Atoms:
    """From a checkpoint, else as i-PI would begin, else from a trajectory."""
    for one in (*states, system):
        atoms = one.atoms()
        if atoms is not None:
            return atoms
    if system.element.find("initialize") is None and not labels:
        raise InputError(f"{path} does not say what its atoms are, and no checkpoint is beside it")
    try:
        return initial_atoms(system.element, path.resolve().parent)
    except InputError:
        if not labels or system.element.find("initialize/masses") is not None:
            raise
    from ase.data import atomic_masses

    # the file the run began with is gone: the elements of a trajectory have the usual masses
    numbers = numbers_of_labels(list(labels))
    return Atoms(list(labels), np.array(_ipi_masses(labels, atomic_masses[numbers])),
                 system.n_beads or 1)


def _ipi_masses(labels: Sequence[str], otherwise: np.ndarray) -> np.ndarray:
    """amu, as i-PI's table has them, isotopes included."""
    from ipi.utils.units import Elements

    known = Elements.mass_list
    return np.array([known.get(label, mass) for label, mass in zip(labels, otherwise, strict=True)])


def _forcefields(
    system: SystemInput, root: ET.Element, path: Path
) -> tuple[dict[str, str], np.ndarray]:
    """Forcefields of a system with their SPECs, and along what it is periodic."""
    try:
        sockets = {socket.name: socket for socket in read_input(path).sockets}
    except InputError:
        sockets = {}  # a SPEC of another version, or a model that is not there any more
    found: dict[str, str] = {}
    pbc = np.ones(3, dtype=bool)
    for name in system.forcefields:
        socket = sockets.get(name)
        spec = None if socket is None else socket.spec
        found[name] = "" if spec is None else str(spec)
        given = None if spec is None else spec.options.get("pbc")
        if given is not None:
            pbc = pbc & np.broadcast_to(np.asarray(given, dtype=bool), (3,))
    return found, pbc


def _int(text: str | None) -> int:
    try:
        return int(float(text or "0"))
    except ValueError:
        return 0
