"""Forces on the normal modes: one transform for each force, whoever asks for it how often.

    dp~_k = (dt/2) sum_j C_kj f_j / sqrt(m_k)         [mode, 3 atom + xyz]

is what the forces of one level of a multiple time step add to the scaled momenta in half the
level's time step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pimd.ipi.extensions.normal_modes import to_modes
from pimd.ipi.extensions.random_ahead import prepare
from pimd.ipi.extensions.scaled_momenta import ScaledMomenta

__all__ = ["RELIES_ON", "ModeKick"]

RELIES_ON = {
    "ipi.engine.motion.dynamics:DummyIntegrator.get_pdt": "ad2f3a44886e",
    "ipi.engine.motion.dynamics:NVEIntegrator.pstep": "d4acdc267395",
    "ipi.engine.forces:MTSForces.__init__": "5af8b27d4fcc",
    "ipi.engine.forces:MTSForces.queue_mts": "ec0b2ed30434",
    "ipi.engine.forces:MTSForces.get_forces_mts": "133227010ec2",
}
"""What of i-PI this was written for: target -> digest."""


class ModeKick:
    """The kick of one level, part of i-PI's dependency graph: renewed when a force, a time step
    or a mass changes."""

    def __init__(self, integrator: Any, momenta: ScaledMomenta, level: int) -> None:
        from ipi.utils.depend import depend_value

        self.level = level
        self._integrator, self._momenta = integrator, momenta
        self._fixed = integrator.fixatoms_dof
        self._values = np.empty_like(momenta.values)
        self._total = integrator.forces.mts_forces[level]
        self._only = self._only_component()
        self._kick = depend_value(
            name="scaled_kick",
            func=self._transformed,
            dependencies=[
                *(component._f for component in integrator.forces.mforces),
                self._total._f,
                integrator._pdt,
                momenta.mass_dependence,
            ],
        )

    def values(self) -> np.ndarray:
        """dp~, to be read only; asks for the forces if positions have changed."""
        found: np.ndarray = self._kick.get()
        return found

    def _transformed(self) -> np.ndarray:
        from ipi.utils.depend import dstrip

        prepare(self._integrator.prng, self._total.queue_mts)
        only = self._only
        alone = only is not None and only.weight == 1
        force = dstrip(only.f if alone else self._total.f)
        to_modes(self._integrator.nm.transform, force, self._values)
        self._values *= self._integrator.pdt[self.level] / self._momenta.root_mass
        if len(self._fixed) > 0:
            self._values[:, self._fixed] = 0.0
        return self._values

    def _only_component(self) -> Any:
        """The one component of the level, if it is not contracted or weighted by level."""
        forces, level = self._integrator.forces, self.level
        own = [
            (component, rescale)
            for component, rescale in zip(forces.mforces, forces.mrpc, strict=True)
            if len(component.mts_weights) <= level or component.mts_weights[level] != 0
        ]
        if len(own) != 1:
            return None
        component, rescale = own[0]
        weights = component.mts_weights
        plain = len(weights) > level and weights[level] == 1 and rescale.noop
        return component if plain else None
