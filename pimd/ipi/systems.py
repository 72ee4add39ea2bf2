"""What an i-PI simulation object holds, in words pimd uses: systems, sockets, who serves whom.

Read from i-PI's own objects after it has parsed the input, so that species, cells and beads are
what i-PI will send, whatever way the input gave them. The protocol itself sends no species.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pimd.ipi.input import InputError
from pimd.structure import Structure
from pimd.units import BOHR_ANGSTROM

__all__ = [
    "SocketUse",
    "SystemInfo",
    "numbers_of_labels",
    "socket_uses",
    "sockets_within",
    "system_infos",
    "time_fs",
]


@dataclass(frozen=True)
class SystemInfo:
    """One `<system>`.

    Attributes:
        index: place in the input.
        structure: bead 0 at the start, Å, in i-PI's cell.
        n_beads: beads of the ring polymer.
        forcefields: name -> (weight, beads after contraction) of each force component.
    """

    index: int
    structure: Structure
    n_beads: int
    forcefields: dict[str, int]


@dataclass(frozen=True)
class SocketUse:
    """One socket forcefield and what it will be asked.

    Attributes:
        name: of the socket, as in the XML.
        forcefield: i-PI's FFSocket object.
        structure: the atoms that are sent, in order, Å.
        n_beads: structures of the largest round.
        n_systems: systems that send rounds side by side.
    """

    name: str
    forcefield: Any
    structure: Structure
    n_beads: int
    n_systems: int


def system_infos(simulation: Any) -> list[SystemInfo]:
    """The systems of a simulation that has been parsed and not yet bound.

    Raises:
        InputError: for atom labels that are no chemical element.
    """
    infos = []
    for index, system in enumerate(simulation.syslist):
        n_beads = int(system.beads.nbeads)
        forcefields: dict[str, int] = {}
        for component in [*system.fcomp, *getattr(system.ensemble, "bcomp", [])]:
            beads = int(component.nbeads)
            beads = beads if 0 < beads <= n_beads else n_beads
            name = component.ffield
            forcefields[name] = max(beads, forcefields.get(name, 0))
        cell = np.array(system.cell.h, dtype=float).T * BOHR_ANGSTROM  # rows
        structure = Structure(
            numbers=numbers_of_labels(list(system.beads.names)),
            positions=np.array(system.beads.q[0], dtype=float).reshape(-1, 3) * BOHR_ANGSTROM,
            cell=cell,
            pbc=np.full(3, abs(np.linalg.det(cell)) > 1e-12),
        )
        infos.append(SystemInfo(index, structure, n_beads, forcefields))
    return infos


def socket_uses(simulation: Any, infos: list[SystemInfo]) -> list[SocketUse]:
    """Every socket forcefield with the atoms it sends and the size of its rounds.

    Raises:
        InputError: if one socket would serve systems with different atoms: i-PI then drops
            atoms without a word, or hangs.
    """
    uses = []
    for top_name, forcefield in simulation.fflist.items():
        users = [info for info in infos if top_name in info.forcefields]
        for socket in sockets_within(forcefield):
            if not users:
                continue
            structures = [_active(info.structure, socket) for info in users]
            first = structures[0]
            for info, structure in zip(users, structures, strict=True):
                if not np.array_equal(structure.numbers, first.numbers):
                    raise InputError(
                        f"<ffsocket name='{socket.name}'> serves systems with different atoms "
                        f"(system {users[0].index}: {len(first)} atoms, system {info.index}: "
                        f"{len(structure)} atoms, or in another order), and i-PI sends no names. "
                        "Give each of them an ffsocket of its own; one daemon serves them all."
                    )
            beads = max(info.forcefields[top_name] for info in users)
            n_side = len(users) if simulation.threading else 1
            uses.append(SocketUse(socket.name, socket, first, beads, n_side))
    return uses


def sockets_within(forcefield: Any) -> Iterator[Any]:
    """The FFSocket objects of a forcefield: itself, or those it is made of."""
    from ipi.engine.forcefields import FFSocket

    if isinstance(forcefield, FFSocket):
        yield forcefield
        return
    inner: Iterable[Any] = getattr(forcefield, "fflist", None) or []
    if not inner and hasattr(forcefield, "ff"):
        inner = [forcefield.ff]
    for part in inner:
        yield from sockets_within(part)


def time_fs(system: Any) -> float:
    """The time a system has been simulated, fs, by i-PI's factor, as in its outputs."""
    from ipi.utils.units import unit_to_user

    now = float(getattr(system.ensemble, "time", 0.0))
    return float(unit_to_user("time", "femtosecond", now))


def _active(structure: Structure, socket: Any) -> Structure:
    """The atoms a socket with an activelist sends."""
    active = np.asarray(socket.active)
    if active.size == 0 or active.flat[0] == -1:
        return structure
    return Structure(
        structure.numbers[active], structure.positions[active], structure.cell, structure.pbc
    )


def numbers_of_labels(names: list[str]) -> np.ndarray:
    """Atomic numbers of i-PI's labels; isotopes and trailing digits (H1, O_a) are allowed.

    Raises:
        InputError: for a label that names no element.
    """
    from ase.data import atomic_numbers

    numbers = []
    for atom, label in enumerate(names):
        text = str(label).strip()
        letters = "".join(c for c in text[:2] if c.isalpha())
        for candidate in (text, letters.capitalize(), letters[:1].upper()):
            symbol = {"D": "H", "T": "H", "Mu": "H"}.get(candidate, candidate)
            if symbol in atomic_numbers and symbol != "X":
                numbers.append(atomic_numbers[symbol])
                break
        else:
            raise InputError(
                f"atom {atom} is called '{text}', which names no element: use element symbols "
                "in the initial structure (masses can be set apart with <masses>)"
            )
    return np.array(numbers, dtype=np.int64)
