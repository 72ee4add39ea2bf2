"""The step of `pimd.dynamics.chains` for many chains: arrays in blocks that fit the cache.

Every operation writes into an array that exists already. Of the factorisation only what changes
is computed: the factor exp(-v_(j+1) d/4) is the same on the way down the chain and on the way
up, the force G_j on the way up is the one on the next way down, and the two kicks of the last
link that meet between two stages are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["BLOCK", "Block", "BlockStep"]

BLOCK = 8192
"""Chains of a block: arrays of 64 kB. Smaller ones spend more on numpy's calls than the faster
cache gives back, larger ones gain little."""


@dataclass(frozen=True)
class Block:
    """The constants of a run of chains, n of them.

    Attributes:
        pull: N_f kT/Q_1, kT/Q_2, ..., kT/Q_M, (n_links, n).
        ratio: Q_1/Q_2, ..., Q_(M-1)/Q_M, (n_links - 1, n).
        equal: whether all `ratio` of a link are 1, (n_links - 1,).
        inverse_mass: 1/Q_1, (n,).
        target, kT: N_f kT and kT, energy, (n,).
    """

    pull: np.ndarray
    ratio: np.ndarray
    equal: tuple[bool, ...]
    inverse_mass: np.ndarray
    target: np.ndarray
    kT: np.ndarray

    @classmethod
    def of(
        cls,
        pull: np.ndarray,
        ratio: np.ndarray,
        inverse_mass: np.ndarray,
        target: np.ndarray,
        kT: np.ndarray,
    ) -> Block:
        """Copies of these constants, each link's next to each other."""
        resting = inverse_mass == 0
        equal = tuple(bool((resting | (link == 1.0)).all()) for link in ratio)
        return cls(
            pull=np.array(pull, order="C"),
            ratio=np.array(ratio, order="C"),
            equal=equal,
            inverse_mass=np.array(inverse_mass),
            target=np.array(target),
            kT=np.array(kT),
        )

    def take(self, chains: np.ndarray) -> Block:
        """The constants of some of the chains."""
        return Block.of(
            self.pull[:, chains], self.ratio[:, chains], self.inverse_mass[chains],
            self.target[chains], self.kT[chains],
        )

    @cached_property
    def rows(self) -> list[tuple[list[float], list[float], float, float, float]]:
        """pull, ratio, inverse_mass, target and kT of each chain."""
        arrays = self.pull.T, self.ratio.T, self.inverse_mass, self.target, self.kT
        return list(zip(*(array.tolist() for array in arrays), strict=True))


class BlockStep:
    """Steps blocks of up to `size` chains, in working arrays of its own."""

    def __init__(self, n_links: int, size: int) -> None:
        self._forces = np.empty((n_links, size))
        self._factors = np.empty((n_links - 1, size))
        self._drive, self._log, self._work = np.empty((3, size))
        # zero-dimensional arrays: numpy takes them faster than numbers
        self._half, self._last, self._exponent, self._double = map(np.array, [0.0] * 4)

    def propagate(
        self,
        block: Block,
        velocities: np.ndarray,
        twice: np.ndarray,
        durations: Sequence[float],
        scale: np.ndarray,
    ) -> float:
        """Propagate the chains of a block by the stages of these durations.

        Args:
            block: constants of the n chains.
            velocities: v_j, (n_links, n), changed in place.
            twice: sum p^2/m of each chain, (n,).
            durations: of the stages, time.
            scale: the factors for the momenta are written here, (n,).

        Returns:
            The change of sum N_f kT xi_1 + kT sum_(j>1) xi_j. A chain that overflows has
            velocities that are not finite, and so may be this.
        """
        n, n_links = len(twice), len(velocities)
        v, force = list(velocities), list(self._forces[:, :n])
        drive, log, work = self._drive[:n], self._log[:n], self._work[:n]
        half, last = self._half, self._last
        np.multiply(twice, block.inverse_mass, drive)
        log[...] = 0.0  # 2 ln(scale)
        np.subtract(drive, block.pull[0], force[0])
        links = [
            (v[j], v[j + 1], self._factors[j, :n], force[j], force[j + 1], block.ratio[j],
             block.equal[j], block.pull[j + 1])
            for j in range(n_links - 1)
        ]
        for vj, _, _, _, after, ratio, equal, pull in links:
            np.multiply(vj, vj, after)
            if not equal:
                np.multiply(after, ratio, after)
            np.subtract(after, pull, after)
        shift = before = 0.0
        for d in durations:
            half[()], last[()] = 0.5 * d, 0.5 * (before + d)
            self._exponent[()], self._double[()] = -0.25 * d, -2.0 * d
            np.multiply(force[-1], last, work)
            np.add(v[-1], work, v[-1])
            self._down(links, work)
            np.multiply(v[0], self._double, work)
            np.add(log, work, log)
            np.exp(log, work)
            np.multiply(drive, work, work)
            np.subtract(work, block.pull[0], force[0])
            shift += d * sum([float(np.dot(block.kT, link)) for link in v[1:]])
            self._up(links, work)
            before = d
        last[()] = 0.5 * before
        np.multiply(force[-1], last, work)
        np.add(v[-1], work, v[-1])
        half[()] = 0.5
        np.multiply(log, half, log)
        np.exp(log, scale)
        return shift - float(np.dot(block.target, log))

    def _down(self, links: list[tuple], work: np.ndarray) -> None:
        """D_(M-1) ... D_1: v <- (v e + h G) e, with new factors e."""
        half, exponent = self._half, self._exponent
        for vj, v_next, factor, force, *_ in reversed(links):
            np.multiply(v_next, exponent, factor)
            np.exp(factor, factor)
            np.multiply(vj, factor, vj)
            np.multiply(force, half, work)
            np.add(vj, work, vj)
            np.multiply(vj, factor, vj)

    def _up(self, links: list[tuple], work: np.ndarray) -> None:
        """D_1 ... D_(M-1), with the same factors, and the force on the next link after each."""
        half = self._half
        for vj, _, factor, force, after, ratio, equal, pull in links:
            np.multiply(vj, factor, vj)
            np.multiply(force, half, work)
            np.add(vj, work, vj)
            np.multiply(vj, factor, vj)
            np.multiply(vj, vj, after)
            if not equal:
                np.multiply(after, ratio, after)
            np.subtract(after, pull, after)
