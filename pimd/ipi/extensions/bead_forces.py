"""The forces of single beads, as i-PI's `ForceBead` shows them, made from those of a round."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pimd.ipi.extensions.bead_rounds import Round

__all__ = ["BeadForces", "ForcesOfBeads"]


class ForcesOfBeads(Sequence["BeadForces"]):
    """What a `ForceComponent` has as `_forces`: one object a bead, made when it is asked for."""

    def __init__(self, forces: Round) -> None:
        self._round = forces

    def __len__(self) -> int:
        return self._round.n_beads

    def __getitem__(self, index: Any) -> Any:
        found = range(len(self))[index]
        if isinstance(found, range):
            return [BeadForces(self._round, bead) for bead in found]
        return BeadForces(self._round, found)


class BeadForces:
    """One bead of a round; in hartree and bohr.

    Attributes:
        uid: unique over all beads of all systems and components, as in the requests.
        atoms: i-PI's Atoms, whose positions are those of the bead.
        request: i-PI's request while one is under way, else None.
    """

    def __init__(self, forces: Round, bead: int) -> None:
        self._round, self._bead = forces, bead
        self.uid = forces.uids[bead]
        self.cell, self.ff = forces.cell, forces.forcefield
        self._ufvx = _Results(forces, bead)

    @property
    def atoms(self) -> Any:
        return self._round.beads[self._bead]

    @property
    def request(self) -> Any:
        return self._round.request_of(self._bead)

    @property
    def pot(self) -> float:
        return float(self._round.evaluated().energies[self._bead])

    @property
    def f(self) -> np.ndarray:
        """(3 n_atoms,)"""
        return self._round.evaluated().forces[self._bead]

    @property
    def vir(self) -> np.ndarray:
        """(3, 3), upper triangular."""
        return np.triu(self._round.evaluated().virials[self._bead])

    @property
    def extra(self) -> dict[str, Any]:
        return self._round.evaluated().extra(self._bead)

    @property
    def ufvx(self) -> list[Any]:
        """Energy, forces, virial as the driver sent it, extras."""
        self._round.evaluated()
        return self._ufvx._value

    def queue(self) -> bool:
        """Ask for the forces of all beads, if they are not of the present positions."""
        return self._round.queue()


class _Results:
    """Stands for the depend value that i-PI has for each bead: the round's, seen from a bead."""

    def __init__(self, forces: Round, bead: int) -> None:
        self._round, self._bead = forces, bead

    @property
    def _value(self) -> _Numbers:
        forces, bead = self._round, self._bead
        return _Numbers(self, [
            float(forces.energies[bead]), forces.forces[bead], forces.virials[bead],
            forces.extra(bead),
        ])

    def tainted(self) -> bool:
        """Whether the results are not of the present positions."""
        return self._round.tainted(self._bead)

    def taint(self, taintme: bool = True) -> None:
        """Mark what is made from the results; and with `taintme` the results themselves."""
        depend = self._round.depend
        depend.taint(taintme=bool(taintme or depend._tainted[0]))

    def set(self, value: Sequence[Any], manual: bool = True) -> None:
        """Take these results for the present positions."""
        if manual:
            raise NameError("forces are evaluated: they cannot be set by hand")
        self._round.load(self._bead, value)


class _Numbers(list[Any]):
    """Energy, forces, virial and extras of a bead; what is assigned goes into the round."""

    def __init__(self, results: _Results, values: list[Any]) -> None:
        super().__init__(values)
        self._results = results

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(index, value)
        results = self._results
        results._round.store(results._bead, self)

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return [deepcopy(value, memo) for value in self]
