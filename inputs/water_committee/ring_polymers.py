"""Batched path-integral Langevin dynamics, to sample structures for training.

Many replicas of a system, each with its own cell and all of its beads, are one batch of the
potential. The splitting is OBABO with exact propagation of the free ring polymer and the
thermostat of PILE (M. Ceriotti et al., J. Chem. Phys. 133, 124104 (2010)): every normal mode
has the friction 2 omega_k, the centroid 1 / tau.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pimd.evaluator import Evaluator
from pimd.potentials.base import Batch, Potential, Wanted
from pimd.structure import Structure
from pimd.units import KB_EV_PER_KELVIN

AMU = 103.642696562
"""One atomic mass unit in eV fs²/Å²."""
HBAR = 0.6582119569509066
"""eV fs."""
MASSES = {1: 1.00794, 8: 15.9994}


class RingPolymers:
    """Ring polymers of several structures that differ only in positions and cell.

    Args:
        potential: what gives the forces.
        structures: one for each replica; all beads start on it.
        temperature: K; of classical replicas also one for each.
        n_beads: of each replica; 1 is classical.
        timestep: fs.
        seed: of velocities and noise.
        tau: fs, relaxation time of the centroid.
    """

    def __init__(
        self,
        potential: Potential,
        structures: Sequence[Structure],
        temperature: float | Sequence[float],
        n_beads: int,
        timestep: float,
        seed: int,
        tau: float = 50.0,
    ) -> None:
        self.evaluator, self.structures = Evaluator(potential, skin=0.0), list(structures)
        self.n_beads, self.timestep = n_beads, timestep
        self.noise = torch.Generator().manual_seed(seed)
        numbers = structures[0].numbers
        start = torch.from_numpy(np.stack([s.positions for s in structures]))
        self.x = start[:, None].repeat(1, n_beads, 1, 1)  # [replica, bead, atom, xyz]
        self.mass = torch.tensor([MASSES[int(z)] * AMU for z in numbers], dtype=torch.float64)
        self._batch = Batch.from_structures([s for s in structures for _ in range(n_beads)])
        kelvin = torch.as_tensor(temperature, dtype=torch.float64)
        self._modes, frequencies = normal_modes(n_beads, float(kelvin.mean()))
        friction = torch.where(frequencies > 0, 2 * frequencies, 1.0 / tau)
        self._keep = torch.exp(-0.5 * timestep * friction)[:, None, None]
        thermal = n_beads * KB_EV_PER_KELVIN * kelvin.view(-1, 1, 1, 1) * self.mass[:, None]
        self._kick = ((1 - self._keep**2) * thermal).sqrt()  # [replica, mode, atom, 1]
        self._cos = torch.cos(frequencies * timestep)[:, None, None]
        self._sin = torch.sin(frequencies * timestep)[:, None, None]
        self._omega = frequencies[:, None, None]
        self.p = thermal.sqrt() * self._normal()
        self._forces = self._evaluate()

    def run(self, steps: int) -> None:
        """Move on by so many steps."""
        half = 0.5 * self.timestep
        for _ in range(steps):
            self._thermostat()
            self.p += half * self._forces
            self._free_ring_polymers()
            self._forces = self._evaluate()
            self.p += half * self._forces
            self._thermostat()

    def snapshot(self, beads: Sequence[int]) -> list[Structure]:
        """Those beads of every replica."""
        return [
            Structure(s.numbers, self.x[k, b].numpy(), s.cell, s.pbc)
            for k, s in enumerate(self.structures)
            for b in beads
        ]

    def _normal(self) -> Tensor:
        return torch.randn(self.x.shape, dtype=torch.float64, generator=self.noise)

    def _evaluate(self) -> Tensor:
        self._batch.positions = self.x.reshape(-1, 3).clone()
        found = self.evaluator.evaluate(self._batch, Wanted(forces=True, virials=False))
        assert found.forces is not None
        return torch.from_numpy(found.forces).view(self.x.shape)

    def _to_modes(self, values: Tensor) -> Tensor:
        return torch.einsum("kb,rbax->rkax", self._modes, values)

    def _to_beads(self, values: Tensor) -> Tensor:
        return torch.einsum("kb,rkax->rbax", self._modes, values)

    def _thermostat(self) -> None:
        """Half a step of the Ornstein-Uhlenbeck process of every mode."""
        modes = self._keep * self._to_modes(self.p) + self._kick * self._normal()
        self.p = self._to_beads(modes)

    def _free_ring_polymers(self) -> None:
        """A step of the springs alone, exact."""
        x, p, mass = self._to_modes(self.x), self._to_modes(self.p), self.mass[:, None]
        inertia = mass * self._omega
        centroid = self._omega == 0
        moved = self._cos * x + self._sin * p / torch.where(centroid, 1.0, inertia)
        moved = torch.where(centroid, x + self.timestep * p / mass, moved)
        self.p = self._to_beads(self._cos * p - self._sin * inertia * x)
        self.x = self._to_beads(moved)


def normal_modes(n_beads: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Orthogonal matrix (n_modes, n_beads) and frequencies (n_modes,), rad/fs, of a free ring."""
    omega = n_beads * KB_EV_PER_KELVIN * temperature / HBAR
    k = torch.arange(n_beads, dtype=torch.float64)
    turns = 2 * torch.pi * k[:, None] * k / n_beads  # [mode, bead]
    modes = torch.where(k[:, None] <= n_beads // 2, torch.cos(turns), torch.sin(turns))
    modes /= modes.norm(dim=1, keepdim=True)
    return modes, 2 * omega * torch.sin(torch.pi * k / n_beads)
