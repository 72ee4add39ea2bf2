"""i-PI's stochastic thermostats on scaled momenta: all modes of a ring in one operation.

With p~_k = p_k / sqrt(m_k) a Langevin thermostat on each mode k is

    p~_k <- T_k p~_k + S_k xi_k,   T_k = exp(-dt/tau_k),   S_k = sqrt(kT (1 - T_k^2))

and stochastic velocity rescaling of the centroid multiplies p~_0 by one number. The random
numbers come in i-PI's order, so that a run is the stock run to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pimd.ipi.extensions.scaled_momenta import ScaledMomenta

__all__ = ["RELIES_ON", "ModeThermostats", "mode_thermostats"]

RELIES_ON = {
    "ipi.engine.thermostats:ThermoPILE_L.step": "77f3c99c4be4",
    "ipi.engine.thermostats:ThermoPILE_L.bind": "31d341536ce3",
    "ipi.engine.thermostats:ThermoPILE_G.bind": "5cfd6879ba5b",
    "ipi.engine.thermostats:ThermoLangevin.step": "6a0dd3aa300e",
    "ipi.engine.thermostats:ThermoLangevin.bind": "dc33af3ed555",
    "ipi.engine.thermostats:ThermoLangevin.get_T": "b7d70833d1f7",
    "ipi.engine.thermostats:ThermoLangevin.get_S": "ba8e7c49e2c3",
    "ipi.engine.thermostats:ThermoSVR.step": "5e02b98b3aa9",
    "ipi.engine.thermostats:ThermoSVR.get_et": "d9f8d974ab18",
    "ipi.engine.thermostats:ThermoSVR.get_K": "f8736ca5e04f",
    "ipi.utils.prng:Random.gvec_serial": "a7cd1bc8a576",
    "ipi.utils.prng:Random.gfill_serial": "4476aeb399bd",
}
"""What of i-PI this was written for: target -> digest."""


def mode_thermostats(thermostat: Any, n_beads: int) -> ModeThermostats | None:
    """The thermostats of a system's modes, or None where they are of another kind."""
    from ipi.engine.thermostats import (
        ThermoLangevin,
        ThermoPILE_G,
        ThermoPILE_L,
        Thermostat,
        ThermoSVR,
    )

    kind = type(thermostat)
    if kind in (ThermoPILE_L, ThermoPILE_G):
        thermos = thermostat._thermos
    elif kind is Thermostat:
        thermos = []
    elif n_beads == 1 and kind in (ThermoLangevin, ThermoSVR):
        thermos = [thermostat]
    else:
        return None
    if thermostat.prng.n_threads != 1:
        return None  # threads share out each mode's numbers by themselves
    rescaling = thermos[:1] if thermos and type(thermos[0]) is ThermoSVR else []
    langevin = thermos[len(rescaling) :]
    if any(type(thermo) is not ThermoLangevin for thermo in langevin):
        return None
    return ModeThermostats(thermostat.prng, rescaling, langevin)


class ModeThermostats:
    """Stochastic velocity rescaling on the centroid, or not, and Langevin on the other modes.

    The heat is booked to the first thermostat of a kind.
    """

    def __init__(self, prng: Any, rescaling: Sequence[Any], langevin: Sequence[Any]) -> None:
        from ipi.utils.depend import depend_value

        self._prng = prng
        self._rescaling, self._langevin = rescaling, langevin
        self._coefficients = depend_value(
            name="langevin_coefficients",
            func=self._collect,
            dependencies=[d for thermo in langevin for d in (thermo._T, thermo._S)],
        )

    def _collect(self) -> tuple[np.ndarray, np.ndarray]:
        """T and S of the modes, [mode, 1]."""
        damping = np.array([[thermo.T] for thermo in self._langevin])
        noise = np.array([[thermo.S] for thermo in self._langevin])
        return damping, noise

    def step(self, momenta: ScaledMomenta) -> None:
        """One thermostat step on all modes; `momenta.changed` is left to the caller."""
        p = momenta.get()
        before = momenta.kinetic()
        for thermo in self._rescaling:
            centroid = p[0]
            first = float(np.vdot(centroid, centroid))
            factor = _rescaling_factor(thermo, first)
            centroid *= factor
            thermo.ethermo += 0.5 * first * (1.0 - factor**2)
            before -= first * (1.0 - factor**2)
            momenta.twice_kinetic = before
        if self._langevin:
            damping, noise = self._coefficients.get()
            modes = p[len(self._rescaling) :]
            numbers = self._prng.gvec(modes.shape)
            modes *= damping
            numbers *= noise
            modes += numbers
            momenta.twice_kinetic = after = float(np.vdot(p, p))
            self._langevin[0].ethermo += 0.5 * (before - after)


def _rescaling_factor(thermo: Any, twice_kinetic: float) -> float:
    """The factor of Bussi, Donadio and Parrinello, J. Chem. Phys. 126, 014101 (2007).

    Args:
        thermo: a ThermoSVR.
        twice_kinetic: |p~|^2 before; zero stays zero, and no number is drawn.
    """
    if twice_kinetic == 0.0:
        return 1.0
    prng, decay = thermo.prng, thermo.et
    per_dof = 2.0 * thermo.K / twice_kinetic  # mean kinetic energy of a dof over that of all
    normal = prng.g
    if (thermo.ndof - 1) % 2 == 0:
        others = 2.0 * prng.gamma((thermo.ndof - 1) / 2)
    else:
        others = 2.0 * prng.gamma((thermo.ndof - 2) / 2) + prng.g**2
    squared = (
        decay
        + per_dof * (1.0 - decay) * (normal**2 + others)
        + 2.0 * normal * np.sqrt(per_dof * decay * (1.0 - decay))
    )
    turned = normal + np.sqrt(2.0 / per_dof * decay / (1.0 - decay)) < 0.0
    return float(-np.sqrt(squared) if turned else np.sqrt(squared))
