"""Thermostat, kicks and the centre of mass are done for all beads at once, in normal modes.

What is left of i-PI's steps where `fused_steps` does not take them whole: constant pressure,
Suzuki-Chin, a bias on some atoms. i-PI's PILE loops over the beads, with a dozen small operations
and as many entries in its dependency graph for each; a kick takes the momenta to the beads and
back; the removal of the centre of mass sums over all beads. Here

    p~_k <- T_k p~_k + S_k xi_k          p~_k = p_k / sqrt(m_k), all modes in one array operation
    p_k  <- p_k + (dt/2) C f             the transformed force is kept for the next kick
    p_0  <- p_0 - sqrt(P) m v,  v = sum p_0/(sqrt(P) M)      the centroid only
    p_c   = p_0 / sqrt(P)                the centroid's momenta, which barostats ask for

with the random numbers in i-PI's order, so that a run is the stock run to rounding. What differs
from the plain case (a thermostat of another kind on a mode, threaded random numbers, fixed
atoms, open paths, bosons) is left to i-PI.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from pimd.ipi.extensions import mode_kicks
from pimd.ipi.extensions import mode_thermostats as thermostats
from pimd.ipi.extensions import scaled_momenta as scaled
from pimd.ipi.extensions.mode_thermostats import mode_thermostats
from pimd.ipi.extensions.patching import Extension, Layer

__all__ = ["VectorSteps"]


class VectorSteps(Extension):
    """See the module."""

    name = "vector_steps"
    purpose = "thermostat, kicks and the centre of mass are done for all beads at once"
    relies_on: ClassVar = {
        **scaled.RELIES_ON,
        **thermostats.RELIES_ON,
        **mode_kicks.RELIES_ON,
        "ipi.engine.motion.dynamics:DummyIntegrator.pconstraints": "5dad2c93a0ff",
        "ipi.engine.motion.dynamics:NVEIntegrator.pstep": "d4acdc267395",
        "ipi.engine.beads:Beads.get_pc": "309b11cb206a",
        "ipi.engine.normalmodes:NormalModes.bind": "fc1a465ebcce",
    }

    def layers(self) -> Mapping[str, Layer]:
        return {
            "ipi.engine.thermostats:ThermoPILE_L.step": _pile_step,
            "ipi.engine.motion.dynamics:DummyIntegrator.pconstraints": _remove_com,
            "ipi.engine.motion.dynamics:NVEIntegrator.pstep": _kick,
            "ipi.engine.beads:Beads.get_pc": _centroid_momenta,
        }


def _pile_step(stock: Any) -> Any:
    def step(self: Any) -> None:
        thermos, modes = self.__dict__.get("_pimd_modes", (None, None))
        if thermos is not self._thermos:  # the first step
            modes = mode_thermostats(self, self.nm.nbeads)
            self._pimd_modes = (self._thermos, modes)
        if modes is None:
            stock(self)
            return
        momenta = scaled.scaled_momenta(self.nm)
        modes.step(momenta)
        momenta.changed(momenta.twice_kinetic)

    return step


def _remove_com(stock: Any) -> Any:
    def pconstraints(self: Any) -> None:
        from ipi.utils.depend import dstrip

        nm = self.nm
        if not self.fixcom:
            if len(self.fixatoms_dof) > 0:
                stock(self)
            return
        if len(self.fixatoms_dof) > 0 or len(nm.open_paths) > 0 or len(nm.bosons) > 0:
            stock(self)
            return
        beads = self.beads
        root_beads, total_mass = np.sqrt(beads.nbeads), beads[0].M
        centroid = dstrip(nm.pnm)[0].reshape(-1, 3)  # [atom, xyz]
        velocity = centroid.sum(axis=0) / (root_beads * total_mass)
        mass = dstrip(beads.m3)[0].reshape(-1, 3)
        nm.pnm[0] = (centroid - root_beads * mass * velocity).ravel()
        heat = 0.5 * beads.nbeads * total_mass * (velocity**2).sum()
        self.ensemble.eens += heat

    return pconstraints


def _kick(stock: Any) -> Any:
    """NVEIntegrator.pstep, which constant pressure uses too."""

    def pstep(self: Any, level: int = 0) -> None:
        nm = self.nm
        if (
            nm.nbeads == 1
            or len(nm.bosons) > 0
            or len(nm.open_paths) > 0
            or (level == 0 and self.ensemble.has_bias)
        ):
            stock(self, level)
            return
        bound, momenta, kicks = self.__dict__.get("_pimd_kicks", (None, None, []))
        if bound is not nm:  # the first step
            momenta = scaled.scaled_momenta(nm)
            kicks = [mode_kicks.ModeKick(self, momenta, i) for i in range(len(self.nmts))]
            self._pimd_kicks = (nm, momenta, kicks)
        kick = kicks[level].values() * momenta.root_mass
        pnm = nm.pnm
        pnm._value += kick
        pnm.update_man()
        pnm.taint(taintme=False)

    return pstep


def _centroid_momenta(stock: Any) -> Any:
    """Beads.get_pc: from the modes, where the beads' own momenta are stale."""

    def get_pc(self: Any) -> Any:
        synchro = self._p._synchro
        pnm = synchro.synced.get("pnm") if synchro is not None else None
        if pnm is None or not self._p._tainted[0]:
            return stock(self)
        if "_pimd_pc" not in self.__dict__:
            # what changes the modes finds the beads stale already and stops there
            self._pc.add_dependency(pnm)
            self._pimd_pc = True
        return pnm.get()._value[0] / np.sqrt(self.nbeads)

    return get_pc
