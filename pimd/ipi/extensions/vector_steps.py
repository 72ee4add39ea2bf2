"""The thermostat and the centre of mass are done for all beads at once.

i-PI's PILE loops over the beads, with a dozen small operations and as many entries in its
dependency graph for each, and the removal of the centre of mass sums over all beads along the
slow axis, in the bead representation that the thermostat has just left. For large rings the two
are half of i-PI's own time. Here

    p_k <- T_k p_k + S_k sqrt(m_k) xi_k          all modes k in one array operation
    p_0 <- p_0 - sqrt(P) m v,  v = sum p_0/(sqrt(P) M)      in the normal modes, centroid only

with the random numbers in i-PI's order, so that a run is the stock run to rounding. What differs
from the plain case (a thermostat of another kind on a mode, threaded random numbers, fixed
atoms, open paths, bosons) is left to i-PI.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from pimd.ipi.extensions.patching import Extension, Layer

__all__ = ["VectorSteps"]


class VectorSteps(Extension):
    """See the module."""

    name = "vector_steps"
    purpose = "the thermostat and the centre of mass are done for all beads at once"
    relies_on: ClassVar = {
        "ipi.engine.thermostats:ThermoPILE_L.step": "77f3c99c4be4",
        "ipi.engine.thermostats:ThermoPILE_L.bind": "31d341536ce3",
        "ipi.engine.thermostats:ThermoLangevin.step": "6a0dd3aa300e",
        "ipi.engine.motion.dynamics:DummyIntegrator.pconstraints": "5dad2c93a0ff",
        "ipi.utils.prng:Random.gvec_serial": "a7cd1bc8a576",
        "ipi.utils.prng:Random.gfill_serial": "4476aeb399bd",
    }

    def layers(self) -> Mapping[str, Layer]:
        return {
            "ipi.engine.thermostats:ThermoPILE_L.step": _pile_step,
            "ipi.engine.motion.dynamics:DummyIntegrator.pconstraints": _remove_com,
        }


def _pile_step(stock: Any) -> Any:
    def step(self: Any) -> None:
        modes = self.__dict__.get("_pimd_modes")
        if modes is None:
            modes = self._pimd_modes = _modes(self)
        if not modes:
            stock(self)
            return
        modes.step()

    return step


def _modes(thermostat: Any) -> _Modes | bool:
    """The Langevin modes of a PILE, or False where they are not what this was written for."""
    from ipi.engine.thermostats import ThermoLangevin

    thermos = thermostat._thermos
    if len(thermos) < 2 or thermostat.prng.n_threads != 1:
        return False
    if any(type(thermo) is not ThermoLangevin for thermo in thermos[1:]):
        return False
    return _Modes(thermostat, 0 if type(thermos[0]) is ThermoLangevin else 1)


class _Modes:
    """The modes first, first + 1, ... of a ring, each with a Langevin thermostat of its own.

    PILE_G has a thermostat of another kind on the centroid: there the first mode is 1. What the
    thermostats hold one by one is kept as arrays [mode, 3 atom + xyz], which i-PI's dependency
    graph renews when a temperature, a time step or a mass changes.
    """

    def __init__(self, thermostat: Any, first: int) -> None:
        self.nm, self.prng, self.first = thermostat.nm, thermostat.prng, first
        self.others = thermostat._thermos[:first]
        self.thermos = thermostat._thermos[first:]
        self._root_mass = self._stacked("sm")
        self._damping = self._stacked("T_on_sm")
        self._decay = self._stacked("T")
        self._noise = self._stacked("S")

    def _stacked(self, name: str) -> Any:
        """One quantity of all thermostats, first axis the mode."""
        from ipi.utils.depend import depend_array, dstrip

        thermos = self.thermos

        def stack() -> np.ndarray:
            return np.array([dstrip(getattr(thermo, name)) for thermo in thermos])

        return depend_array(
            name=f"{name}_of_modes",
            value=np.zeros_like(stack()),
            func=stack,
            dependencies=[getattr(thermo, f"_{name}") for thermo in thermos],
        )

    def step(self) -> None:
        """One thermostat step; the heat is booked to the first of the modes."""
        from ipi.utils.depend import dstrip

        for thermo in self.others:
            thermo.step()
        p = dstrip(self.nm.pnm)[self.first :] * np.asarray(self._damping)
        heat = (np.einsum("kx,kx->k", p, p) / np.asarray(self._decay) ** 2).sum()
        noise = self.prng.gvec(p.shape)
        noise *= np.asarray(self._noise)[:, None]
        p += noise
        heat -= np.einsum("kx,kx->", p, p)
        p *= np.asarray(self._root_mass)
        self.nm.pnm[self.first :] = p
        self.thermos[0].ethermo += 0.5 * heat


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
