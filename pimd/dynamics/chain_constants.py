"""Targets, temperatures and masses of chains, checked, and as their steps need them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pimd.dynamics.chain_blocks import BLOCK, Block

__all__ = ["LONGEST_STAGE", "ChainConstants", "chain_masses"]

LONGEST_STAGE = 0.15
"""Of a stage, |d| sqrt(kT/Q_j) for the fastest link. With longer ones the stages amplify each
other for the few chains that are far out in equilibrium, and H' creeps up: on a harmonic
oscillator with tau = 1/omega, of order 3, by 6e-4, 3e-5 and 3e-6 kT a chain and tau with stages
of 0.3, 0.2 and 0.15. A chain for which dt is longer gets 2, 4, 8, ... times as many substeps."""

SHORTER_OF_ORDER_1 = 4
"""Without Suzuki-Yoshida weights the errors of the stages do not cancel: H' creeps by 5e-4 with
stages of 0.15, 1e-4 with 0.1, 9e-6 with 0.05, and 2e-6 with a quarter of 0.15."""

MOST_REPETITIONS = 4096
"""A step that needs more substeps than this is an error in the input."""


def chain_masses(target: Any, kT: Any, tau: Any, n_links: int) -> np.ndarray:
    """Q_1 = N_f kT tau^2 and Q_j = kT tau^2, (n_links, *S).

    Args:
        target: N_f kT of the first link, energy, shape S.
        kT: energy, scalar or S.
        tau: time, scalar or S; for a vibration of angular frequency omega 1/omega.
        n_links: of a chain, at least 1.
    """
    if n_links < 1:
        raise ValueError(f"a chain has at least one link, got {n_links}")
    square = np.square(tau)
    links = [np.multiply(target, square)] + [np.multiply(kT, square)] * (n_links - 1)
    shape = np.shape(target)
    return np.array([np.broadcast_to(link, shape) for link in links], dtype=float)


class ChainConstants:
    """What the steps of chains of shape S need; a chain with target 0 has all forces zero.

    Args:
        target, kT, masses, order: as of `pimd.dynamics.chains.NoseHooverChains`.

    Attributes:
        masses: Q_j, (n_links, *S); 0 for a chain with target 0.
        thermal: sqrt(kT/Q_j), 1/time, (n_links, *S); 0 for such a chain.
    """

    def __init__(self, target: Any, kT: Any, masses: Any, order: int) -> None:
        target = np.array(target, dtype=float)
        kT = np.broadcast_to(np.asarray(kT, dtype=float), target.shape)
        given = _with_shape(np.asarray(masses, dtype=float), target.shape)
        moving = target > 0
        if not (target >= 0).all() or not (kT > 0).all() or not np.isfinite(target + kT).all():
            raise ValueError("chains need finite targets, none negative, and kT > 0")
        if not (given[:, moving] > 0).all() or not np.isfinite(given[:, moving]).all():
            raise ValueError("the masses of chains are positive and finite")
        self.masses = np.where(moving, given, 0.0)
        inverse = np.zeros_like(self.masses)  # [link, ...]
        np.divide(1.0, given, out=inverse, where=moving)
        pull = kT * inverse
        self.thermal = np.sqrt(pull)
        pull[0] = target * inverse[0]
        links, chains = len(given), target.size
        ratio = self.masses[:-1] * inverse[1:]
        self._of_links = pull.reshape(links, chains), ratio.reshape(links - 1, chains)
        self._of_chains = [x.reshape(chains) for x in (inverse[0], target, kT)]
        self._rates = np.sqrt(self._of_links[0]).max(axis=0)  # of the fastest link
        self._longest = LONGEST_STAGE / (SHORTER_OF_ORDER_1 if order == 1 else 1)

    def repetitions(self, longest: float) -> np.ndarray:
        """1, 2, 4, ..., by which stages of this length are divided for each chain, (n_chains,).

        Raises:
            ValueError: stages absurdly long for a chain.
        """
        stages = longest * self._rates / self._longest
        worst = stages.max(initial=0.0)
        if not worst <= MOST_REPETITIONS:
            raise ValueError(
                f"a time step is {worst * self._longest:.3g} times as long as the time scale "
                "sqrt(Q/kT) of a Nosé-Hoover chain: the two should be of one order. Check the "
                "units of the time step and of tau"
            )
        return 2 ** np.ceil(np.log2(np.maximum(stages, 1.0))).astype(int)

    def blocks(self, longest: float) -> list[tuple[slice | np.ndarray, Block, int]]:
        """Chains of equal `repetitions`: which, their constants, repetitions."""
        repetitions = self.repetitions(longest)
        return [
            (
                part,
                Block.of(
                    *(array[:, part] for array in self._of_links),
                    *(array[part] for array in self._of_chains),
                ),
                int(number),
            )
            for number in np.unique(repetitions)
            for part in _parts(np.flatnonzero(repetitions == number))
        ]


def _with_shape(masses: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Masses given as (n_links,), (n_links, *shape) or what broadcasts to it, as the latter."""
    if masses.ndim == 1:
        masses = masses.reshape(-1, *[1] * len(shape))
    if masses.ndim != len(shape) + 1 or not len(masses):
        raise ValueError(
            f"the masses of chains of shape {shape} have shape (n_links,) or (n_links, *{shape}), "
            f"got {masses.shape}"
        )
    return np.broadcast_to(masses, (len(masses), *shape))


def _parts(chains: np.ndarray) -> Iterator[slice | np.ndarray]:
    """Chains in blocks; a slice where they follow each other, which saves copies."""
    for start in range(0, len(chains), BLOCK):
        part = chains[start : start + BLOCK]
        first, end = int(part[0]), int(part[-1]) + 1
        yield slice(first, end) if end - first == len(part) else part
