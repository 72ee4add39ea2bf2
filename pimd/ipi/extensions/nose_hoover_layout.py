"""Which momenta of a ring polymer, or of a cell, each Nosé–Hoover chain drives. NumPy only.

    massive   a chain for every momentum                     N_f = 1
    mode      a chain for every normal mode                  N_f = 3N
    global    one chain for all                              N_f = 3NP

What is held takes no part. A momentum that is held for good (a fixed atom, a masked component of
the cell) has no chain. Where the centre of mass is at rest, sum_i p_i = 0 takes a degree of
freedom of the centroid in each direction away; atom i is short of the share m_i/M of it:

    <p_i^2/m_i> = kT (1 - m_i/M)

With these numbers as targets the canonical distribution at rest is stationary under
dp_i/dt = F_i - v_i p_i + (m_i/M) sum_j v_j p_j, where v_i is the velocity of the chain: the flow
contracts at the rate sum_i v_i (1 - m_i/M), which is what the chains' energies gain. With kT for
each, N atoms would be hotter by N/(N - 1).
"""

from __future__ import annotations

import numpy as np

from pimd.dynamics.chains import NoseHooverChains
from pimd.dynamics.thermostat import COUPLINGS

__all__ = ["Layout", "free_momenta"]


def free_momenta(
    masses: np.ndarray, fixcom: bool, fixed: np.ndarray, centroid_held: bool
) -> np.ndarray:
    """How free each momentum is, in degrees of freedom, (n_modes, n_dof): 1, less or 0.

    Args:
        masses: of the atoms in the centroid, once for each direction, (n_modes, n_dof).
        fixcom: whether the centre of mass is at rest.
        fixed: indices of the dof that are held in all modes.
        centroid_held: whether mode 0 is.
    """
    free = np.ones(masses.shape)
    if fixcom:
        free[0] -= masses[0] / masses[0].reshape(-1, 3)[:, 0].sum()
    free[:, fixed] = 0.0
    if centroid_held:
        free[0] = 0.0
    return free


class Layout:
    """Chains over an array of momenta [mode, dof].

    Args:
        coupling: one of `COUPLINGS`.
        free: how free each momentum is, (n_modes, n_dof), see `free_momenta`.

    Attributes:
        shape: of the arrays that hold one number for each chain, S.
        freedoms: N_f of each chain, S.
        counts: N_f as it enters the mass of the first link, S; 1 for massive chains.

    Raises:
        ValueError: nothing is free.
    """

    def __init__(self, coupling: str, free: np.ndarray) -> None:
        if coupling not in COUPLINGS:
            raise ValueError(
                f"coupling of Nosé–Hoover chains is '{coupling}', expected one of "
                f"{', '.join(COUPLINGS)}"
            )
        moving = free > 1e-12
        if not moving.any():
            raise ValueError(
                "Nosé–Hoover chains have nothing to act on: every momentum is held; leave the "
                "thermostat out"
            )
        self.coupling = coupling
        self._rows = np.flatnonzero(moving.any(axis=1))
        columns = np.flatnonzero(moving.any(axis=0))
        self._index = np.ix_(self._rows, columns)
        taken = free[self._index]
        self._whole = taken.shape == free.shape
        self._axes = {"massive": (), "mode": (1,), "global": (0, 1)}[coupling]
        self.freedoms = np.asarray(taken.sum(axis=self._axes)) if self._axes else taken
        self.shape: tuple[int, ...] = self.freedoms.shape
        self.counts = np.ones(()) if coupling == "massive" else self.freedoms
        self._work, self._factors = np.empty(taken.shape), np.empty(self.shape)

    def take(self, array: np.ndarray) -> np.ndarray:
        """The part of an array [mode, dof] that chains act on: the array itself, or a copy."""
        return array if self._whole else array[self._index]

    def per_chain(self, modes: np.ndarray, whole: float) -> np.ndarray:
        """A number for each mode, (n_modes,), as it broadcasts to S; `whole` for one chain."""
        if self.coupling == "global":
            return np.asarray(whole)
        rows = np.asarray(modes, dtype=float)[self._rows]
        return rows[:, None] if self.coupling == "massive" else rows

    def step(
        self,
        chains: NoseHooverChains,
        momenta: np.ndarray,
        inverse_masses: np.ndarray | None,
        dt: float,
    ) -> None:
        """Propagate the chains by dt, and scale the momenta [mode, dof] in place.

        Args:
            chains: of this layout's shape.
            inverse_masses: of the momenta that `take` gives, or broadcastable to them; None: the
                momenta are p/sqrt(m).
        """
        p, work = self.take(momenta), self._work
        np.multiply(p, p, out=work)
        if inverse_masses is not None:
            work *= inverse_masses
        kinetic2 = work.sum(axis=self._axes) if self._axes else work
        factors = chains.step(kinetic2, dt, out=self._factors)
        p *= factors[:, None] if self.coupling == "mode" else factors
        if not self._whole:
            momenta[self._index] = p
