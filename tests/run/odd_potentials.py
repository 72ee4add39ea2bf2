"""Potentials that misbehave on purpose, named in inputs as `odd_potentials.py:Class`."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor

from pimd.potentials.base import Batch, EnergyPotential, PotentialError


class Trap(EnergyPotential):
    """V = k/2 sum |x|^2, and `pause` seconds for each call with more than one structure."""

    name = "trap"
    invariant = False

    def __init__(self, k: float = 1.0, pause: float = 0.0) -> None:
        self.k, self.pause = k, pause

    def energies(self, batch: Batch) -> Tensor:
        if self.pause and batch.n_structures > 1:
            time.sleep(self.pause)
        return 0.5 * self.k * batch.sum_over_atoms((batch.positions**2).sum(1))


class NaNInBead(Trap):
    """Structure `bead` of a batch becomes NaN at call `call`."""

    def __init__(self, bead: int = 3, call: int = 10) -> None:
        super().__init__()
        self.bead, self.call, self.calls = bead, call, 0

    def energies(self, batch: Batch) -> Tensor:
        energies = super().energies(batch)
        self.calls += 1
        if self.calls > self.call and batch.n_structures > self.bead:
            bad = torch.zeros_like(energies)
            bad[self.bead] = float("nan")
            energies = energies + bad
        return energies


class Hangs(Trap):
    """Computes for ever at call `call`, unless `marker` exists, which it makes first."""

    def __init__(self, call: int = 10, marker: str = "") -> None:
        super().__init__()
        self.call, self.calls, self.marker = call, 0, Path(marker)

    def energies(self, batch: Batch) -> Tensor:
        self.calls += 1
        if self.calls > self.call and not self.marker.exists():
            self.marker.touch()
            time.sleep(3600.0)
        return super().energies(batch)


class Refuses(Trap):
    """Cannot be loaded."""

    def __init__(self) -> None:
        raise PotentialError("this model wants helium")


class SlowToLoad(Trap):
    """Takes a minute to load."""

    def __init__(self) -> None:
        time.sleep(60.0)
        super().__init__()
