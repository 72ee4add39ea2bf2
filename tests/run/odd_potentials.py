"""Potentials that misbehave on purpose, named in inputs as `odd_potentials.py:Class`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pimd.potentials.base import (
    Batch,
    EnergyPotential,
    PotentialError,
    Prediction,
    PropertySpec,
    Wanted,
)


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


class Committee(Trap):
    """Traps of different stiffness, k (1 + d_i) with sum d_i = 0: sigma is std(d) V exactly."""

    deviations = (-0.06, -0.02, 0.03, 0.05)
    n_members = len(deviations)

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        found = super().compute(batch, wanted)
        factors = 1.0 + torch.tensor(self.deviations, dtype=torch.float64)
        found.member_energies = factors[:, None] * found.energies
        if wanted.member_forces:
            assert found.forces is not None
            found.member_forces = factors[:, None, None] * found.forces
        if wanted.member_virials:
            assert found.virials is not None
            found.member_virials = factors[:, None, None, None] * found.virials
        return found


class NoMemberForces(Committee):
    """Says how sure it is, and no more."""

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        found = super().compute(batch, wanted)
        found.member_forces = None
        return found


class DiesAtMembers(Committee):
    """Is killed when asked for the forces of members of a round, unless `marker` exists, which
    it makes first."""

    def __init__(self, marker: str, k: float = 1.0) -> None:
        super().__init__(k)
        self.marker = Path(marker)

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        if wanted.member_forces and batch.n_structures > 1 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().compute(batch, wanted)


class HangsAtMembers(Committee):
    """Takes for ever when asked for the forces of members of a round, after `calls` times."""

    def __init__(self, calls: int = 0) -> None:
        super().__init__()
        self.calls = calls

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        if wanted.member_forces and batch.n_structures > 1:
            if self.calls == 0:
                time.sleep(3600.0)
            self.calls -= 1
        return super().compute(batch, wanted)


class KnowsItsError(Trap):
    """No members, but an uncertainty of a tenth of the energy."""

    properties: Mapping[str, PropertySpec] = {"energy_uncertainty": PropertySpec("eV", ())}

    def property_values(self, batch: Batch, names: tuple[str, ...]) -> dict[str, Tensor]:
        return {"energy_uncertainty": 0.1 * self.energies(batch)}
