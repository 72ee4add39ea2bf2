"""Lennard-Jones particles, with every usual choice of what happens at the cutoff."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from pimd.potentials.base import Batch, PotentialError, Prediction, Wanted
from pimd.potentials.options import choice, length, number, torch_device, torch_dtype
from pimd.potentials.pair_vectors import PairVectorPotential, squared_lengths
from pimd.units import KB_EV_PER_KELVIN

__all__ = ["LennardJones"]

T = TypeVar("T", float, Tensor)

ARGON_EPSILON = 119.8 * KB_EV_PER_KELVIN
"""eV."""
ARGON_SIGMA = 3.405
"""Å."""

MODES = ("shift", "truncate", "smooth")


class LennardJones(PairVectorPotential):
    """v(r) = 4 eps [(sigma/r)^12 - (sigma/r)^6] for r < cutoff.

    Args:
        epsilon: eV, a number for all atoms or by element, {Ar: 0.0103, Ne: 0.0031}. The default
            is argon, eps/k = 119.8 K, sigma = 3.405 Å.
        sigma: Å, likewise. Unlike pairs take the Lorentz-Berthelot means,
            eps_ab = sqrt(eps_a eps_b), sigma_ab = (sigma_a + sigma_b)/2.
        cutoff: Å; 2.5 times the largest sigma if not given.
        mode: what happens at the cutoff.
            `shift`: v(r) - v(cutoff); the energy has no jump, the force has one.
            `truncate`: v(r), with a jump of both; for comparison with Monte Carlo data.
            `smooth`: v(r) s(r) with s = 1 - 10 t³ + 15 t⁴ - 6 t⁵, t = (r - r_on)/switch from
            r_on = cutoff - switch; energy, force and its slope are continuous, as dynamics
            that conserves energy wants.
        switch: Å, the width of the switch of `smooth`; 1 Å if not given.
        tail: whether to add, for structures periodic along all three vectors, what the cutoff
            takes away from a uniform fluid, in the energy and consistently in the virial,
            E = (2 pi/V) sum_ab N_a N_b I_ab, W = E 1, I = int_0^inf r² [v_LJ(r) - v(r)] dr.
            With `shift` this is the usual correction of the pressure too; with `truncate` it
            is not, since pairs that cross the cutoff push without appearing in W.
        dtype: float64 or float32.
        device: cpu, cuda, ...

    Raises:
        PotentialError: for options that contradict each other, and for elements without
            parameters.

    Source: M. P. Allen, D. J. Tildesley, Computer Simulation of Liquids (1987), sections 1.3.2,
    2.8 and 5.2.4.
    """

    name = "lennard_jones"

    def __init__(
        self,
        epsilon: float | Mapping[str, float] = ARGON_EPSILON,
        sigma: float | Mapping[str, float] = ARGON_SIGMA,
        cutoff: float | None = None,
        mode: str = "shift",
        switch: float | None = None,
        tail: bool = False,
        dtype: str = "float64",
        device: str = "cpu",
    ) -> None:
        self.dtype, self.device = torch_dtype(dtype), torch_device(device)
        self.mode = choice("mode", mode, MODES)
        kinds, epsilons, sigmas = _parameters(epsilon, sigma)
        self.cutoff = 2.5 * max(sigmas) if cutoff is None else length("cutoff", cutoff)
        if switch is not None and mode != "smooth":
            raise PotentialError(f"switch belongs to mode: smooth, but mode is {mode}")
        self.switch = length("switch", 1.0 if switch is None else switch)
        if mode == "smooth" and self.switch >= self.cutoff:
            raise PotentialError(
                f"the switch, {self.switch} Å, must be shorter than the cutoff, {self.cutoff} Å"
            )
        self.tail = bool(tail)
        self.graph_safe = not self.tail  # determinants of cells may wait for the device
        self._kinds = kinds.to(self.device)  # [atomic number]
        eps, sig = (torch.tensor(v, dtype=torch.float64) for v in (epsilons, sigmas))
        # [kind, kind], fp64
        self._four_epsilon = (4.0 * (eps[:, None] * eps).sqrt()).to(self.device)
        self._sigma = (0.5 * (sig[:, None] + sig)).to(self.device)
        self._missing = self._integral_taken_away()

    def check(self, batch: Batch) -> None:
        kinds = self._kinds[batch.numbers]
        if bool((kinds < 0).any()):
            from ase.data import chemical_symbols

            unknown = torch.unique(batch.numbers[kinds < 0]).tolist()
            raise PotentialError(
                "lennard_jones has no epsilon and sigma for "
                f"{', '.join(chemical_symbols[z] for z in unknown)}"
            )

    def energies_of_vectors(self, batch: Batch, vectors: Tensor) -> Tensor:
        return batch.sum_over_pairs(0.5 * self._pair_energies(batch, vectors)) + self._tail(batch)

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        prediction = super().compute(batch, wanted)
        if not self.tail or prediction.virials is None:
            return prediction
        one = torch.eye(3, dtype=torch.float64, device=self.device)
        tail = (self._tail(batch)[:, None, None] * one).to(prediction.virials.dtype)
        return replace(prediction, virials=prediction.virials + tail)

    def _pair_energies(self, batch: Batch, vectors: Tensor) -> Tensor:
        """v(r) of each pair, eV, (n_pairs,)."""
        four_epsilon, sigma = (t.to(self.dtype) for t in (self._four_epsilon, self._sigma))
        if len(sigma) == 1:
            four_epsilon, sigma = four_epsilon[0, 0], sigma[0, 0]
        else:
            assert batch.pairs is not None
            i, j = self._kinds[batch.numbers[batch.pairs]]
            four_epsilon, sigma = four_epsilon[i, j], sigma[i, j]
        squared = squared_lengths(vectors)
        sixth = (sigma * sigma / squared) ** 3
        energies = four_epsilon * (sixth * sixth - sixth)
        if self.mode == "shift":
            at_cutoff = (sigma / self.cutoff) ** 6
            energies = energies - four_epsilon * (at_cutoff * at_cutoff - at_cutoff)
        elif self.mode == "smooth":
            t = (squared.sqrt() - (self.cutoff - self.switch)) / self.switch
            t = t.clamp(0.0, 1.0)
            energies = energies * switching(t)
        return energies

    def _tail(self, batch: Batch) -> Tensor:
        """The tail correction of each structure, eV, (n_structures,)."""
        if not self.tail:
            return batch.cells.new_zeros(batch.n_structures, dtype=torch.float64)
        member = torch.nn.functional.one_hot(self._kinds[batch.numbers], len(self._sigma))
        counts = batch.sum_over_atoms(member.to(torch.float64))  # [structure, kind]
        energy = 2.0 * math.pi * torch.einsum("sa,ab,sb->s", counts, self._missing, counts)
        volumes = torch.linalg.det(batch.cells.to(torch.float64)).abs()
        return torch.where(batch.pbc.all(1), energy / volumes, 0.0)

    def _integral_taken_away(self) -> Tensor:
        """I = int_0^inf r² [v_LJ(r) - v(r)] dr of each pair of kinds, eV Å³, [kind, kind]."""
        s6, rc = self._sigma**6, self.cutoff
        beyond = self._four_epsilon * (s6 * s6 / (9.0 * rc**9) - s6 / (3.0 * rc**3))
        if self.mode == "shift":
            at_cutoff = s6 / rc**6
            return beyond + self._four_epsilon * (at_cutoff**2 - at_cutoff) * rc**3 / 3.0
        if self.mode == "smooth":
            nodes, weights = np.polynomial.legendre.leggauss(64)
            for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
                t = 0.5 * (node + 1.0)
                r = rc + (t - 1.0) * self.switch
                sixth = s6 / r**6
                within = self._four_epsilon * (sixth * sixth - sixth) * (1.0 - switching(t))
                beyond = beyond + 0.5 * weight * self.switch * r**2 * within
        return beyond


def switching(t: T) -> T:
    """s(t) = 1 - 10 t³ + 15 t⁴ - 6 t⁵, from 1 at t = 0 to 0 at t = 1, flat at both."""
    return 1.0 - t**3 * (10.0 - 15.0 * t + 6.0 * t * t)


def _parameters(
    epsilon: float | Mapping[str, float], sigma: float | Mapping[str, float]
) -> tuple[Tensor, list[float], list[float]]:
    """Kind of each atomic number (119,), -1 for none, and epsilon and sigma of each kind."""
    tables = [v for v in (epsilon, sigma) if isinstance(v, Mapping)]
    if not tables:
        return torch.zeros(119, dtype=torch.int64), *_checked([epsilon], [sigma])
    from ase.data import atomic_numbers

    symbols = sorted(tables[0])
    if any(sorted(table) != symbols for table in tables):
        raise PotentialError(
            f"epsilon and sigma name different elements: {sorted(tables[0])}, {sorted(tables[1])}"
        )
    kinds = torch.full((119,), -1, dtype=torch.int64)
    for kind, symbol in enumerate(symbols):
        if symbol not in atomic_numbers:
            raise PotentialError(f"epsilon and sigma are given by element; {symbol} is none")
        kinds[atomic_numbers[symbol]] = kind
    columns = [
        [v[symbol] if isinstance(v, Mapping) else v for symbol in symbols] for v in (epsilon, sigma)
    ]
    return kinds, *_checked(*columns)


def _checked(epsilons: list, sigmas: list) -> tuple[list[float], list[float]]:
    found = [number("epsilon", value) for value in epsilons]
    if min(found) < 0.0:
        raise PotentialError(f"epsilon is an energy in eV, >= 0, got {min(found)}")
    return found, [length("sigma", value) for value in sigmas]
