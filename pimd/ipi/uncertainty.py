"""What i-PI holds of the uncertainty of each force component: read after a step, in eV and Å.

A driver that is a committee tells, with the extras of every bead,

    committee_pot          [n_members]  hartree
    committee_uncertainty  sigma of the total energy, hartree

and i-PI keeps them with the forces. `<ffcommittee>` leaves the same keys, and `committee_force`
and `committee_virial` with them. A component with fewer beads than the ring polymer has as many
values as it has (contracted) beads. Zero-weight components are left alone: i-PI does not evaluate
them for a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pimd.ipi.systems import SystemInfo, sockets_within, time_fs
from pimd.structure import Structure
from pimd.units import BOHR_ANGSTROM, FORCE_AU_EV_PER_ANGSTROM, HARTREE_EV

__all__ = ["BeadFrame", "Geometry", "Members", "Source", "may_tell", "sources"]


@dataclass(frozen=True)
class Geometry:
    """The beads of a component as they were evaluated.

    Attributes:
        numbers: (n_atoms,) atomic numbers.
        pbc: (3,) bool.
        cell: (3, 3) Å, rows.
        positions: (n_beads, n_atoms, 3) Å.
    """

    numbers: np.ndarray
    pbc: np.ndarray
    cell: np.ndarray
    positions: np.ndarray

    def structure(self, bead: int) -> Structure:
        """One bead."""
        return Structure(self.numbers, self.positions[bead], self.cell, self.pbc)


@dataclass(frozen=True)
class Members:
    """What the members of a committee say of the beads of one component.

    Attributes:
        energies: (n_beads,) eV, what is sampled.
        member_energies: (n_members, n_beads) eV.
        member_forces: (n_members, n_beads, n_atoms, 3) eV/Å.
        member_virials: (n_members, n_beads, 3, 3) eV, -dE/dstrain of row vectors; None where
            they are not known.
    """

    energies: np.ndarray
    member_energies: np.ndarray
    member_forces: np.ndarray
    member_virials: np.ndarray | None = None

    @property
    def sigma(self) -> np.ndarray:
        """(n_beads,) eV, the standard deviation over members with ddof 1."""
        return self.member_energies.std(axis=0, ddof=1)


@dataclass(frozen=True)
class BeadFrame:
    """One bead and what was said of it.

    Attributes:
        structure: Å.
        energy: eV, unweighted.
        forces: (n_atoms, 3) eV/Å.
        sigma: eV, of the total energy.
        member_energies: (n_members,) eV; None for a model that gives sigma alone.
    """

    structure: Structure
    energy: float
    forces: np.ndarray
    sigma: float
    member_energies: np.ndarray | None


class Source:
    """One force component of one system, and the uncertainty its extras tell, if they do.

    Args:
        info: the system.
        system: i-PI's object.
        component: i-PI's force component.
        label: for messages, unique within the system.
        pbc: periodicity that the potential was told, in place of the system's own; None: that.

    Attributes:
        forcefield: name in the input.
        n_atoms: atoms the forcefield gets.
    """

    def __init__(
        self, info: SystemInfo, system: Any, component: Any, label: str, pbc: Any = None
    ) -> None:
        self.system = info.index
        self.label = label
        self.forcefield = str(component.ffield)
        self._component, self._ipi_system = component, system
        active = np.asarray(component.ff.active).reshape(-1)
        whole = active.size == 0 or active[0] == -1
        self._active = slice(None) if whole else active.astype(np.int64)
        self._numbers = info.structure.numbers[self._active]
        self._pbc = np.broadcast_to(np.asarray(info.structure.pbc if pbc is None else pbc), (3,))
        self.n_atoms = len(self._numbers)

    @property
    def n_beads(self) -> int:
        return int(self._component.nbeads)

    @property
    def time_fs(self) -> float:
        """Time the system has been simulated, fs."""
        return time_fs(self._ipi_system)

    def is_committee_of_ipi(self) -> bool:
        """Whether i-PI itself puts the committee together (`<ffcommittee>`)."""
        from ipi.engine.forcefields import FFCommittee

        return isinstance(self._component.ff, FFCommittee)

    def sigma(self) -> np.ndarray | None:
        """(n_beads,) eV, of the total energy; None where the extras tell none."""
        values = [_sigma_hartree(extra) for extra in self._extras()]
        if not values or None in values:
            return None
        return np.array(values, dtype=float) * HARTREE_EV

    def geometry(self) -> Geometry:
        """The beads, wrapped into the cell as i-PI sends them."""
        from ipi.utils.depend import dstrip

        cell = self._ipi_system.cell
        # i-PI's arrays hand numpy their own memory where a copy is asked for
        positions_bohr = np.array(dstrip(self._component.beads.q), dtype=float)  # [bead, 3 atom]
        if self._component.ff.dopbc:
            for bead in positions_bohr:
                cell.array_pbc(bead)
        positions = positions_bohr.reshape(len(positions_bohr), -1, 3)[:, self._active]
        return Geometry(
            self._numbers, self._pbc, np.array(cell.h, dtype=float).T * BOHR_ANGSTROM,
            positions * BOHR_ANGSTROM,
        )

    def frame(self, bead: int, sigma: float) -> BeadFrame:
        """One bead with its energy, forces and member energies."""
        force = self._component._forces[bead]
        members = force.extra.get("committee_pot")
        forces = np.array(force.f, dtype=float).reshape(-1, 3)[self._active]
        return BeadFrame(
            self.geometry().structure(bead),
            float(force.pot) * HARTREE_EV,
            forces * FORCE_AU_EV_PER_ANGSTROM,
            sigma,
            None if members is None else np.array(members, dtype=float) * HARTREE_EV,
        )

    def members_of_ipi(self) -> Members | None:
        """The members where i-PI has their forces (`<ffcommittee>`), else None."""
        extras = self._extras()
        if not extras or any("committee_force" not in extra for extra in extras):
            return None
        energies = np.array([extra["committee_pot"] for extra in extras], dtype=float)
        forces = np.array([extra["committee_force"] for extra in extras], dtype=float)
        forces = forces.reshape(*energies.shape, -1, 3)  # [bead, member, atom, xyz]
        if forces.shape[2] != self.n_atoms:  # those that are not active are zero
            forces = forces[:, :, self._active]
        virials = None
        if all("committee_virial" in extra for extra in extras):
            raw = np.array([extra["committee_virial"] for extra in extras], dtype=float)
            # [bead, member, strain of columns] -> rows
            virials = raw.reshape(len(extras), -1, 3, 3).transpose(1, 0, 3, 2) * HARTREE_EV
        return Members(
            np.array([float(force.pot) for force in self._component._forces]) * HARTREE_EV,
            energies.T * HARTREE_EV,
            forces.swapaxes(0, 1) * FORCE_AU_EV_PER_ANGSTROM,
            virials,
        )

    def _extras(self) -> list[dict[str, Any]]:
        """The extras of each bead, evaluated if they are not of the present positions."""
        component = self._component
        if component.weight == 0:
            return []
        beads = component._forces
        if any(bead._ufvx.tainted() for bead in beads):
            component.queue()  # all beads in one round
        return [bead.extra for bead in beads]


def _sigma_hartree(extra: Mapping[str, Any]) -> float | None:
    value = extra.get("committee_uncertainty")
    if value is not None:
        return float(value)
    members = extra.get("committee_pot")
    if members is None or len(members) < 2:
        return None
    return float(np.std(np.asarray(members, dtype=float), ddof=1))


def sources(
    simulation: Any, infos: list[SystemInfo], pbc: Mapping[str, Any] | None = None
) -> list[Source]:
    """Every force component of every system, biases included, in i-PI's order.

    Args:
        simulation: bound.
        infos: its systems.
        pbc: forcefield name -> periodicity its potential was told in place of the system's.
    """
    pbc = pbc or {}
    found = []
    for info in infos:
        system = simulation.syslist[info.index]
        components = list(_components(system))
        names = [str(c.name or c.ffield) for c in components]
        for k, (component, name) in enumerate(zip(components, names, strict=True)):
            label = name if names.count(name) == 1 else f"{name}#{names[: k + 1].count(name)}"
            found.append(Source(info, system, component, label, pbc.get(component.ffield)))
    return found


def _components(system: Any) -> Iterator[Any]:
    for forces in (system.forces, getattr(system.ensemble, "bias", None)):
        for component in getattr(forces, "mforces", []):
            if hasattr(component, "_forces"):  # not those that only scale another
                yield component


def may_tell(simulation: Any, told: Mapping[str, bool]) -> bool:
    """Whether a forcefield of a simulation can tell an uncertainty, as far as is known.

    Args:
        simulation: parsed; need not be bound.
        told: socket name -> whether the extras of its daemon tell one.
    """
    from ipi.engine.forcefields import FFCommittee, FFSocket

    for forcefield in simulation.fflist.values():
        inside = list(sockets_within(forcefield))
        if any(told.get(socket.name, False) for socket in inside):
            return True
        if isinstance(forcefield, FFCommittee) and len(forcefield.fflist) > 1:
            return True
        if not isinstance(forcefield, FFSocket) and not inside:
            return True  # i-PI's own drivers: known once they were called
    return False
