"""Nosé–Hoover chains as a thermostat of i-PI.

The chains are those of `pimd.dynamics.chains`; here they meet i-PI's dependency graph. For the
beads they act on the normal modes `nm.pnm[k]` with masses `nm.dynm3[k]`, at T_P = P T:

    Q_1 = N_f kT_P tau_k^2,  Q_j = kT_P tau_k^2;  tau_0 = tau,  tau_k = 1/omega_k for k >= 1

(omega_k: i-PI's dynamical frequencies; a global chain has tau; N_f = 1 in the mass of a massive
chain, whose target may be less where the centre of mass is at rest). For a barostat they act on the
momenta of the cell, with tau. G. J. Martyna, M. L. Klein and M. Tuckerman, J. Chem. Phys. 97,
2635 (1992); G. J. Martyna, M. E. Tuckerman, D. J. Tobias and M. L. Klein, Mol. Phys. 87, 1117
(1996).

`ethermo` is the energy of the chains, set to what it was (0, or the number in a checkpoint) when
they are made and whenever a temperature, a mass or tau changes: it is the heat given to the bath,
as with i-PI's own thermostats. Masses are proportional to kT and velocities are kept in units of
1/tau, so that the chains stay canonical when replica exchange changes the temperature.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ipi.engine.thermostats import Thermostat
from ipi.utils.depend import depend_value, dproperties, dstrip
from ipi.utils.units import Constants

from pimd.dynamics.chains import NoseHooverChains
from pimd.ipi.extensions.nose_hoover_layout import Layout, free_momenta

__all__ = ["Held", "ThermoNHC"]


@dataclass(frozen=True)
class Held:
    """What the motion holds, which i-PI tells its thermostats only as a number.

    Attributes:
        fixcom: the centre of mass is at rest.
        fixed: indices of the dof that do not move, in all modes.
        centroid: the centroid does not move.
        cell: how free the momenta of the cell are, in i-PI's order; None: all are.
    """

    fixcom: bool = False
    fixed: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    centroid: bool = False
    cell: np.ndarray | None = None

    def count(self, n_beads: int) -> int:
        """The fixdof that i-PI makes of it."""
        return 3 * self.fixcom + len(self.fixed) * n_beads


class ThermoNHC(Thermostat):
    """Nosé–Hoover chains.

    Args:
        temp, dt, ethermo: as in i-PI's other thermostats, atomic units.
        tau: time constant of the centroid, of a cell, or of a global chain.
        chain: links of each chain.
        order, substeps: Suzuki–Yoshida order and number of substeps of one thermostat step.
        coupling: `massive`, `mode` or `global`.
        velocities: of the links, (chain * chains,), 1/time; None or empty: drawn from their
            canonical distribution.

    Attributes:
        held: what takes no part, told by the motion before `bind`.
    """

    def __init__(
        self, temp: float = 1.0, dt: float = 1.0, tau: float = 1.0, ethermo: float = 0.0,
        chain: int = 4, order: int = 3, substeps: int = 1, coupling: str = "massive",
        velocities: np.ndarray | None = None,
    ) -> None:
        super().__init__(temp, dt, ethermo)
        self._tau = depend_value(value=tau, name="tau")
        self.chain, self.order, self.substeps = chain, order, substeps
        self.coupling = coupling
        self.held: Held | None = None
        self.nm: Any = None
        self._start = velocities if velocities is not None and len(velocities) else None
        self._run: NoseHooverChains | None = None
        self._times: np.ndarray | None = None

    def bind(
        self, beads: Any = None, atoms: Any = None, pm: Any = None, nm: Any = None,
        prng: Any = None, fixdof: int | None = None, fixcom: bool | None = None,
    ) -> None:
        """Attach to the normal modes of a ring polymer, or to the momenta of a cell.

        Raises:
            TypeError: neither is given.
            ValueError: momenta are held and nobody said which.
        """
        if pm is not None:
            super().bind(pm=pm, prng=prng)
            sources = [self._temp, self._tau, self._m]
        elif nm is not None and beads is not None:
            super().bind(beads=beads, prng=prng, fixdof=fixdof)
            self.nm = nm
            self._refuse_unknown(fixdof, bool(fixcom))
            sources = [self._temp, self._tau, nm._dynm3, nm._dynomegak]
        else:
            raise TypeError(
                "Nosé–Hoover chains act on the normal modes of beads or on (p, m) of a cell; "
                "they got neither"
            )
        self._chains = depend_value(name="chains", func=self._renewed, dependencies=sources)
        self.chains  # noqa: B018  (draws the first velocities now: the random stream is i-PI's)
        if self.nm is not None:
            self._ethermo._func = lambda: self.chains.energy

    def _refuse_unknown(self, fixdof: int | None, fixcom: bool) -> None:
        if self.held is None:
            self.held = Held(fixcom=fixcom)
        known = self.held.count(self.nm.nbeads)
        if fixdof is not None and fixdof != known:
            raise ValueError(
                f"the motion holds {fixdof} degrees of freedom, but Nosé–Hoover chains know of "
                f"{known} (centre of mass and fixed atoms); with other constraints use a "
                "stochastic thermostat"
            )

    def _renewed(self) -> NoseHooverChains:
        """The chains at the present temperature, tau, masses and frequencies."""
        if self.temp <= 0:
            raise ValueError(
                "Nosé–Hoover chains need a temperature: give one in <ensemble><temperature>"
            )
        kt = Constants.kb * self.temp
        self.layout = layout = Layout(self.coupling, self._free())
        self._inverse = _as_small_as_may_be(layout.take(1.0 / self._masses()))
        times = layout.per_chain(self._mode_times(), float(self.tau))
        masses = np.broadcast_to(kt * times**2, (self.chain, *layout.shape)).copy()
        masses[0] *= layout.counts
        chains, target = self._run, layout.freedoms * kt
        if chains is None:
            heat = float(self.ethermo)
            chains = self._run = NoseHooverChains(
                target, kt, masses, order=self.order, substeps=self.substeps,
                velocities=self._first_velocities(layout, times),
            )
        else:
            heat = chains.energy
            chains.velocities *= self._times / times
            chains.retarget(target, kt, masses)
        self._times = times
        chains.potential += heat - chains.energy
        return chains

    def _first_velocities(self, layout: Layout, times: np.ndarray) -> np.ndarray:
        """Velocities of a checkpoint, or new ones, (chain, *S)."""
        shape = (self.chain, *layout.shape)
        size = int(np.prod(shape))
        if self._start is None:
            drawn = self.prng.gvec(size).reshape(shape)
            drawn /= times
            drawn[0] /= np.sqrt(layout.counts)
            return np.asarray(drawn)
        if np.size(self._start) != size:
            raise ValueError(
                f"<chain_velocities> has {np.size(self._start)} numbers, expected {size} "
                f"({self.chain} links of {size // self.chain} chains); leave it out to have them "
                "drawn"
            )
        return np.reshape(self._start, shape)

    def _free(self) -> np.ndarray:
        held = self.held or Held()
        if self.nm is None:
            n = np.size(self.m)
            return np.ones((1, n)) if held.cell is None else held.cell.reshape(1, n)
        return free_momenta(np.asarray(self.nm.dynm3), held.fixcom, held.fixed, held.centroid)

    def _masses(self) -> np.ndarray:
        return np.asarray(self.m)[None] if self.nm is None else np.asarray(self.nm.dynm3)

    def _mode_times(self) -> np.ndarray:
        if self.nm is None:
            return np.array([self.tau])
        return np.array([self.tau, *(1.0 / dstrip(self.nm.dynomegak)[1:])])

    @property
    def chain_velocities(self) -> np.ndarray:
        """Velocities of all links, as a checkpoint holds them, (chain * chains,)."""
        if self._run is None:
            return np.zeros(0) if self._start is None else self._start
        return np.ravel(self.chains.velocities)

    def advance(self, momenta: np.ndarray, mass_scaled: bool = False) -> None:
        """One thermostat step on raw momenta [mode, dof], in place; the heat is booked.

        Args:
            momenta: p, or with `mass_scaled` p/sqrt(m).
        """
        chains = self.chains  # first: it renews the layout
        self.layout.step(chains, momenta, None if mass_scaled else self._inverse, self.dt)
        if self.nm is not None:
            self._ethermo.taint()

    def step(self) -> None:
        """One thermostat step on the momenta that i-PI holds."""
        if self.nm is None:
            self._step_cell()
            return
        pnm = self.nm.pnm
        with pnm._threadlock:
            self.advance(pnm._value)
            pnm.update_man()
            pnm.taint(taintme=False)

    def _step_cell(self) -> None:
        """As `step`; barostats add to `ethermo` themselves, so here it is a plain number."""
        before = self.chains.energy
        momenta = np.array(dstrip(self.p))[None]
        self.advance(momenta)
        self.p[:] = momenta[0]
        self.ethermo += self.chains.energy - before


dproperties(ThermoNHC, ["tau", "chains"])


def _as_small_as_may_be(array: np.ndarray) -> np.ndarray:
    """One row for all modes where they are alike, which is less to read in each step."""
    return array[:1].copy() if (array == array[:1]).all() else array
