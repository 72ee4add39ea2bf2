"""What a training is asked for: everything that decides the weights, in plain numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from pimd.potentials.options import PRECISIONS
from pimd.training.data import DataError
from pimd.training.loss import Schedule

__all__ = ["TrainingOptions"]


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training; with the data they decide the weights, bit by bit.

    Attributes:
        members: of the committee.
        hidden: neurons of the hidden layers of every element's network.
        cutoff, angular_cutoff: Å, of the descriptors.
        radial: functions for each neighbour element.
        angular: widths of functions for each pair of neighbour elements.
        epochs: at most.
        batch: structures in a step.
        subsample: share of the training set that each member learns from, drawn for each.
        patience: epochs without a better validation error after which training stops.
        seed: of the initial weights, the subsamples and the order of the structures.
        dtype: precision of training and of the model.
        schedule: of the learning rate and the prefactors.
    """

    members: int = 8
    hidden: tuple[int, ...] = (24, 24)
    cutoff: float = 6.0
    angular_cutoff: float = 4.0
    radial: int = 8
    angular: int = 3
    epochs: int = 300
    batch: int = 8
    subsample: float = 0.8
    patience: int = 100
    seed: int = 0
    dtype: str = "float32"
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        for name in ("members", "epochs", "batch", "patience", "radial"):
            if getattr(self, name) < 1:
                raise DataError(f"--{name}: expected 1 or more, got {getattr(self, name)}")
        if not self.hidden or min(self.hidden) < 1:
            raise DataError(f"--hidden: expected sizes like 24,24, got {self.hidden}")
        if not 0.0 < self.angular_cutoff <= self.cutoff:
            raise DataError(
                "expected 0 < --angular-cutoff <= --cutoff, got "
                f"{self.angular_cutoff:g} and {self.cutoff:g} Å"
            )
        if self.angular < 0:
            raise DataError(f"--angular: expected 0 or more, got {self.angular}")
        if not 0.0 < self.subsample <= 1.0:
            raise DataError(f"--subsample is a share, above 0 to 1; got {self.subsample:g}")
        if self.dtype not in PRECISIONS:
            raise DataError(f"--dtype: expected float32 or float64, got {self.dtype}")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
