"""Nosé-Hoover chains: any number of them, of any length, propagated together.

A chain of M links drives the kinetic energy of N_f degrees of freedom to N_f kT/2:

    dp/dt   = F - v_1 p
    dv_1/dt = (sum p^2/m - N_f kT)/Q_1                - v_2 v_1
    dv_j/dt = (Q_(j-1) v_(j-1)^2 - kT)/Q_j            - v_(j+1) v_j      1 < j < M
    dv_M/dt = (Q_(M-1) v_(M-1)^2 - kT)/Q_M
    dxi_j/dt = v_j

    H' = H + sum_j Q_j v_j^2/2 + N_f kT xi_1 + kT sum_(j>1) xi_j         is conserved.

`NoseHooverChains.step` propagates everything here but the force F, which the integrator around
it applies: the chains' part exp(i L_NHC dt), by the factorisation of Martyna et al., as

    S(d) = K_M(d/2) D_(M-1)(d/2) ... D_1(d/2)  X(d)  D_1(d/2) ... D_(M-1)(d/2) K_M(d/2)

for every stage d = w_i dt/substeps of Suzuki and Yoshida, with

    K_M(h)  v_M <- v_M + h G_M                              G_j = dv_j/dt without its last term
    D_j(h)  v_j <- (v_j e + h G_j) e,  e = exp(-v_(j+1) h/2)
    X(d)    p <- p exp(-v_1 d),  xi_j <- xi_j + v_j d

The positions xi_j enter nothing but H', so one sum, `potential`, is carried for all of them.

Sources: G. J. Martyna, M. L. Klein and M. E. Tuckerman, J. Chem. Phys. 97, 2635 (1992) (chains);
G. J. Martyna, M. E. Tuckerman, D. J. Tobias and M. L. Klein, Mol. Phys. 87, 1117 (1996) (this
factorisation).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pimd.dynamics.chain_blocks import BLOCK, Block, BlockStep
from pimd.dynamics.chain_constants import ChainConstants, chain_masses
from pimd.dynamics.chain_scalars import propagate
from pimd.dynamics.suzuki_yoshida import suzuki_yoshida

__all__ = ["ChainsRanAway", "NoseHooverChains", "chain_masses"]

FEW = 8
"""Up to so many chains plain floats are faster than numpy's calls."""

LARGEST_TURN = 1.5
"""Of |v_j d|, the exponents of a stage, before and after a step. In equilibrium v_j is about
sqrt(kT/Q_j) and |v_j d| at most 0.15, so that this is ten standard deviations or more: a chain
far from equilibrium, or a step that failed."""

MOST_HALVINGS = 12
"""How often the stages of such a chain are halved before that is an error."""


class ChainsRanAway(FloatingPointError):
    """The numbers of a chain overflow, however short the stages are made."""


class NoseHooverChains:
    """Independent chains, one for each entry of an array of shape S: (), (n,), (P, 3N), ...

    Units are the caller's: energies, times and masses that fit each other. A chain whose target
    is 0 has no degrees of freedom: it rests, and its momenta keep what they have.

    No dt is too long for the numbers to stay finite. A chain that is fast against dt gets more
    substeps (`repetitions`); how many depends on its masses alone, so that steps stay
    reversible and the chains independent. A chain that is found far out of equilibrium before or
    after a step, `LARGEST_TURN`, repeats that step with its stages halved, until it is not;
    one that starts at a thousand times its temperature still keeps H' to a few per cent.

    Args:
        target: N_f kT of each chain, energy, S. Never negative.
        kT: energy, scalar or S; positive.
        masses: Q_j, energy times time squared, (n_links, *S), or (n_links,), or any of as many
            axes that broadcasts to it; positive. See `chain_masses`.
        order: number of Suzuki-Yoshida stages: 1, 3, 5 or 7.
        substeps: repetitions of the stages, each with dt/substeps; at least, see above.
        velocities: v_j, 1/time, (n_links, *S); zeros where not given.
        potential: energy, see below.

    Attributes:
        velocities: v_j, (n_links, *S), changed in place by `step`.
        potential: sum over the chains of N_f kT xi_1 + kT sum_(j>1) xi_j.

    Raises:
        ValueError: shapes that do not fit, masses or kT not positive, targets negative, an
            order or a number of substeps that there is not.
    """

    _constants: ChainConstants

    def __init__(
        self,
        target: Any,
        kT: Any,
        masses: Any,
        *,
        order: int = 3,
        substeps: int = 1,
        velocities: Any = None,
        potential: float = 0.0,
    ) -> None:
        if substeps < 1:
            raise ValueError(f"a step has at least one substep, got {substeps}")
        self.order, self.substeps = order, substeps
        self._weights = np.tile(suzuki_yoshida(order), substeps) / substeps
        self.retarget(target, kT, masses)
        self._velocities = np.zeros_like(self._constants.masses)
        if velocities is not None:
            self.velocities = velocities
        self.potential = float(potential)

    @property
    def velocities(self) -> np.ndarray:
        """v_j, 1/time, (n_links, *S); what is assigned is copied."""
        return self._velocities

    @velocities.setter
    def velocities(self, given: Any) -> None:
        given = np.asarray(given, dtype=float)
        if given.shape != self._velocities.shape:
            raise ValueError(
                f"the velocities of these chains have shape (n_links, ...) = "
                f"{self._velocities.shape}, got {given.shape}"
            )
        self._velocities[...] = given

    @property
    def thermal(self) -> np.ndarray:
        """sqrt(kT/Q_j), the standard deviation of v_j in equilibrium, (n_links, *S)."""
        return self._constants.thermal

    @property
    def shape(self) -> tuple[int, ...]:
        """S, one entry for a chain."""
        return self._constants.masses.shape[1:]

    @property
    def n_links(self) -> int:
        """Links of a chain, M."""
        return len(self._constants.masses)

    def retarget(self, target: Any, kT: Any, masses: Any) -> None:
        """Another temperature or other masses, from the next step on; velocities stay.

        With Q_j proportional to kT the velocities are those of the new temperature if they
        were of the old. `potential` stays too: what H' jumps by is the caller's to book.
        """
        constants = ChainConstants(target, kT, masses, self.order)
        shape = constants.masses.shape
        if hasattr(self, "_velocities") and shape != self._velocities.shape:
            raise ValueError(
                f"these chains have masses of shape {self._velocities.shape}, got {shape}"
            )
        self._constants = constants
        self._n_chains = int(np.prod(shape[1:]))
        self._worker = BlockStep(shape[0], min(BLOCK, self._n_chains))
        self._blocks_for: tuple[float, list[tuple[slice | np.ndarray, Block, int]]] | None = None

    def repetitions(self, dt: float) -> np.ndarray:
        """How many times as many substeps as asked for each chain gets in a step of dt, S."""
        return self._constants.repetitions(self._longest(dt)).reshape(self.shape)

    def _longest(self, dt: float) -> float:
        """The longest stage of a step."""
        return abs(dt) * float(np.abs(self._weights).max())

    def _blocks(self, dt: float) -> list[tuple[slice | np.ndarray, Block, int]]:
        """The blocks of `ChainConstants.blocks`, made anew when dt changes."""
        if self._blocks_for is None or self._blocks_for[0] != abs(dt):
            self._blocks_for = abs(dt), self._constants.blocks(self._longest(dt))
        return self._blocks_for[1]

    def step(self, kinetic2: Any, dt: float, out: np.ndarray | None = None) -> Any:
        """Propagate the chains by dt, the whole interval, and say what the momenta become.

        Args:
            kinetic2: sum of p^2/m over the degrees of freedom of each chain, S.
            dt: time; may be negative.
            out: where to write the factors, S, float64, contiguous.

        Returns:
            The factors by which each chain's momenta have to be multiplied, S; a float where
            S is ().

        Raises:
            ChainsRanAway: kinetic2 is not finite, or so large against what the masses can take
                in dt that no stage is short enough.
            ValueError: kinetic2 or out of another shape; dt absurdly long for the masses.
        """
        given = np.asarray(kinetic2, dtype=float)
        if given.shape != self.shape:
            raise ValueError(f"kinetic2 has one entry a chain, {self.shape}; got {given.shape}")
        if out is None:
            out = np.empty(self.shape)
        elif out.shape != self.shape or out.dtype != float or not out.flags.c_contiguous:
            raise ValueError(f"out must be contiguous float64 of shape {self.shape}")
        twice, scale = given.reshape(-1), out.reshape(-1)
        links = self._velocities.reshape(self.n_links, self._n_chains)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for part, block, repetitions in self._blocks(dt):
                velocities, factors = links[:, part], scale[part]
                self.potential += self._step_block(
                    block, velocities, twice[part], factors, dt, repetitions, 0
                )
                if not isinstance(part, slice):  # copies
                    links[:, part], scale[part] = velocities, factors
        return out if self.shape else float(out)

    def _step_block(
        self,
        block: Block,
        velocities: np.ndarray,
        twice: np.ndarray,
        scale: np.ndarray,
        dt: float,
        repetitions: int,
        halvings: int,
    ) -> float:
        """Step the chains of one block; the change of their potential."""
        durations = (dt / repetitions * self._weights).tolist() * repetitions
        largest = LARGEST_TURN / max(map(abs, durations)) if dt else np.inf
        before = velocities.copy()
        run = propagate if len(twice) <= FEW else self._worker.propagate
        change = run(block, velocities, twice, durations, scale)
        if _within(before, largest) and _within(velocities, largest):
            return change
        failed = ~((np.abs(before) <= largest) & (np.abs(velocities) <= largest)).all(axis=0)
        if halvings == MOST_HALVINGS or not np.isfinite(twice[failed]).all():
            raise ChainsRanAway(_far_out(block, before, twice, dt, int(np.argmax(failed))))
        change = 0.0
        for chains, more in ((np.flatnonzero(~failed), 0), (np.flatnonzero(failed), 1)):
            if chains.size:
                part, factors = before[:, chains], np.empty(chains.size)
                change += self._step_block(
                    block.take(chains), part, twice[chains], factors, dt,
                    repetitions * 2**more, halvings + more,
                )
                velocities[:, chains], scale[chains] = part, factors
        return change

    @property
    def energy(self) -> float:
        """The chains' part of H': sum Q_j v_j^2/2 + potential."""
        kinetic = sum(
            float(np.vdot(mass, velocity * velocity))
            for mass, velocity in zip(self._constants.masses, self._velocities, strict=True)
        )
        return 0.5 * kinetic + self.potential

    def draw(self, rng: np.random.Generator) -> None:
        """Draw the velocities from their canonical distribution, N(0, kT/Q_j)."""
        self.velocities[...] = rng.standard_normal(self._velocities.shape) * self.thermal


def _within(velocities: np.ndarray, largest: float) -> bool:
    """Whether all are finite and no larger than that."""
    if velocities.size <= 16:  # numpy's reductions take a microsecond each
        return all(-largest <= v <= largest for v in velocities.ravel().tolist())
    return bool(velocities.max() <= largest and velocities.min() >= -largest)


def _far_out(
    block: Block, velocities: np.ndarray, twice: np.ndarray, dt: float, chain: int
) -> str:
    return (
        f"a Nosé-Hoover chain ran away: sum p^2/m is {twice[chain]:g} where "
        f"{block.target[chain]:g} is expected, with velocities of its links "
        f"{velocities[:, chain].tolist()} and a step of {dt:g}. Look for overlapping atoms or a "
        "failed potential; else take a smaller time step, a larger tau or more substeps"
    )
