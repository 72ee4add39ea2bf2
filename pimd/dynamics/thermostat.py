"""A thermostat of Nosé-Hoover chains for momenta in an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimd.dynamics.chains import NoseHooverChains, chain_masses

__all__ = ["COUPLINGS", "NoseHooverThermostat"]

COUPLINGS = ("massive", "mode", "global")
"""A chain for every momentum; one for all momenta of a normal mode; one for all."""


class NoseHooverThermostat:
    """Chains coupled to momenta, and their energy.

    Args:
        masses: of the momenta, broadcasts to `shape`.
        shape: of the momenta; the first axis is the normal mode for coupling `mode`.
        kT: energy; of a ring polymer that of P T.
        tau: time, broadcasts to `shape`; of coupling `mode` equal for all momenta of a mode, of
            `global` for all.
        coupling: one of `COUPLINGS`.
        removed: degrees of freedom that do not move, taken off the (first) chain of `mode` and
            `global`: 3 where the total momentum is zero and conserved.
        n_links, order, substeps: of the chains.
        rng: draws their first velocities; None: they start at rest.

    Attributes:
        chains: the chains.
    """

    chains: NoseHooverChains

    def __init__(
        self,
        masses: Any,
        shape: tuple[int, ...],
        kT: float,
        tau: Any,
        *,
        coupling: str = "massive",
        removed: int = 0,
        n_links: int = 4,
        order: int = 3,
        substeps: int = 1,
        rng: np.random.Generator | None = None,
    ) -> None:
        if coupling not in COUPLINGS:
            raise ValueError(f"the coupling is one of {', '.join(COUPLINGS)}; got {coupling!r}")
        if removed and coupling == "massive":
            raise ValueError("massive chains take no degrees of freedom off: removed must be 0")
        first = {"massive": len(shape), "mode": 1, "global": 0}[coupling]
        self._axes = tuple(range(first, len(shape)))
        self._inverse_mass = 1.0 / np.asarray(masses, dtype=float)
        dof = np.ones(shape).sum(axis=self._axes, keepdims=True)
        dof.flat[0] -= removed
        target = kT * dof
        times = np.broadcast_to(tau, shape).mean(axis=self._axes, keepdims=True)
        self.chains = NoseHooverChains(
            target, kT, chain_masses(target, kT, times, n_links), order=order, substeps=substeps
        )
        if rng is not None:
            self.chains.draw(rng)

    def step(self, momenta: np.ndarray, dt: float) -> None:
        """exp(i L_NHC dt): scales the momenta in place."""
        kinetic2 = momenta * momenta * self._inverse_mass
        if self._axes:
            kinetic2 = kinetic2.sum(axis=self._axes, keepdims=True)
        momenta *= self.chains.step(kinetic2, dt)

    @property
    def energy(self) -> float:
        """What makes the conserved quantity conserve, `NoseHooverChains.energy`."""
        return self.chains.energy
