"""The forces of all beads are one object: asked for together, kept in one array.

i-PI has an object for each bead and force component, with five entries in its dependency graph
and a lock of its own, and copies forces from bead to bead into the component's array. For 64
beads that is several thousand Python calls a step. Here a component has one `Round`:

    positions of all beads, cell  ->  round  ->  f, pots, virs, extras of the component

A component that is not contracted takes the positions from the ring polymer itself, not from a
copy. What i-PI and others read of single beads is made from the round (`bead_forces`). A round
is asked for with i-PI's own requests, or, where that is possible, without them
(`direct_rounds`). Results are i-PI's, to the last bit.

Only components of an `<ffsocket>` are done so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from ipi.engine.forcefields import FFSocket
from ipi.utils.depend import depend_array, depend_value

from pimd.ipi.extensions.bead_forces import ForcesOfBeads
from pimd.ipi.extensions.bead_rounds import Round
from pimd.ipi.extensions.patching import Extension, Layer

__all__ = ["RoundForces"]


def _bind_component(stock: Any) -> Any:
    """ForceComponent.bind: one round in place of an object for each bead."""

    def bind(self: Any, beads: Any, cell: Any, fflist: Any, output_maker: Any) -> None:
        forcefield = fflist.get(self.ffield)
        if type(forcefield) is not FFSocket or self.nbeads != beads.nbeads:
            self.pimd_round = None
            stock(self, beads, cell, fflist, output_maker)
            return
        self.natoms, self.beads, self.ff = beads.natoms, beads, forcefield
        found = Round(self.nbeads, self.natoms, beads, cell, forcefield)
        self.pimd_round, self._forces = found, ForcesOfBeads(found)
        of_round = [found.depend]
        self._f = depend_array(
            name="f", value=found.forces, func=lambda: found.evaluated().forces,
            dependencies=of_round,
        )
        self._pots = depend_array(
            name="pots", value=np.zeros(self.nbeads), func=lambda: found.evaluated().energies,
            dependencies=of_round,
        )
        self._virs = depend_array(
            name="virs", value=np.zeros((self.nbeads, 3, 3)),
            func=lambda: np.triu(found.evaluated().virials), dependencies=of_round,
        )
        self._extras = depend_value(
            name="extras", value={}, func=self.extra_gather, dependencies=of_round
        )
        self._pot = depend_value(
            name="pot", func=lambda: self.pots.sum(), dependencies=[self._pots]
        )
        self._vir = depend_array(
            name="vir", value=np.zeros((3, 3)), func=self.get_vir, dependencies=[self._virs]
        )

    return bind


def _queue(stock: Any) -> Any:
    """ForceComponent.queue."""

    def queue(self: Any) -> bool:
        found = self.__dict__.get("pimd_round")
        return bool(stock(self) if found is None else found.queue())

    return queue


def _bind_forces(stock: Any) -> Any:
    """Forces.bind: components that are not contracted take the positions where they are made."""

    def bind(self: Any, beads: Any, *args: Any, **kwargs: Any) -> None:
        stock(self, beads, *args, **kwargs)
        users = [id(component.ff) for component in self.mforces]
        for component, rescale in zip(self.mforces, self.mrpc, strict=True):
            found = component.pimd_round
            if found is None:
                continue
            found.alone = users.count(id(component.ff)) == 1
            if rescale.noop:
                found.follow(beads)

    return bind


class RoundForces(Extension):
    """See the module."""

    name = "round_forces"
    purpose = "the forces of all beads are one object"
    relies_on: ClassVar = {
        "ipi.engine.forces:ForceComponent.bind": "989e7f1292a3",
        "ipi.engine.forces:ForceComponent.queue": "48038aa7711b",
        "ipi.engine.forces:ForceComponent.f_gather": "222b288a87fa",
        "ipi.engine.forces:ForceComponent.pot_gather": "db816533b9ee",
        "ipi.engine.forces:ForceComponent.vir_gather": "19d7b315b3fb",
        "ipi.engine.forces:ForceComponent.extra_gather": "ffa8f4262b2e",
        "ipi.engine.forces:ForceComponent.get_vir": "5aed68d137d2",
        "ipi.engine.forces:Forces.bind": "da6b8f234547",
        "ipi.engine.forces:Forces.dump_state": "3d40d02eaeb4",
        "ipi.engine.forces:Forces.load_state": "70c2df1a1201",
        "ipi.engine.forces:Forces.transfer_forces_manual": "2d8cbca0e6fc",
        "ipi.engine.forces:ForceBead.bind": "6476f824a3fc",
        "ipi.engine.forces:ForceBead.queue": "3bcf9bafb107",
        "ipi.engine.forces:ForceBead.get_all": "9f132db00766",
        "ipi.engine.forces:ForceBead.get_vir": "b8ffe0027bb9",
        "ipi.engine.forcefields:ForceField.queue": "c728d7756030",
        "ipi.engine.forcefields:ForceField.release": "d8cc847cc26b",
        "ipi.utils.nmtransform:nm_rescale.__init__": "9a442b94d9be",
        "ipi.utils.nmtransform:nm_rescale.b1tob2": "7edaa3c5f2de",
        "ipi.engine.smotion.metad:MetaDyn.step": "6114f4f21ebb",
        "ipi.engine.beads:Beads.__init__": "8fcf731c2bc7",
        "ipi.utils.depend:depend_base.taint": "5cf10cf45af5",
        "ipi.utils.depend:depend_base._refresh": "631f801c6722",
        "ipi.utils.depend:depend_array.set": "2f70df1e63ee",
    }

    def layers(self) -> Mapping[str, Layer]:
        module = "ipi.engine.forces"
        return {
            f"{module}:ForceComponent.bind": _bind_component,
            f"{module}:ForceComponent.queue": _queue,
            f"{module}:Forces.bind": _bind_forces,
        }
