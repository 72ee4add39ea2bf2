"""Free particles: the ideal gas."""

from __future__ import annotations

import torch
from torch import Tensor

from pimd.potentials.base import Batch, EnergyPotential, Prediction, Wanted, check_wanted
from pimd.potentials.options import torch_device, torch_dtype

__all__ = ["Free"]


class Free(EnergyPotential):
    """V = 0: no forces and no virials, for particles of any species in any cell.

    Args:
        dtype: float64 or float32.
        device: cpu, cuda, ...
    """

    name = "free"
    cutoff = 0.0

    def __init__(self, dtype: str = "float64", device: str = "cpu") -> None:
        self.dtype, self.device = torch_dtype(dtype), torch_device(device)

    def energies(self, batch: Batch) -> Tensor:
        return torch.zeros(batch.n_structures, dtype=torch.float64, device=batch.cells.device)

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        check_wanted(self, wanted)
        return Prediction(
            self.energies(batch),
            torch.zeros_like(batch.positions) if wanted.forces else None,
            torch.zeros_like(batch.cells) if wanted.virials else None,
        )
