"""Predictions as numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from pimd.potentials.base import Prediction
from pimd.transfer import fetch

__all__ = ["Evaluated"]

AXES = {
    "energies": 0,
    "forces": 0,
    "virials": 0,
    "member_energies": 1,
    "member_forces": 1,
    "member_virials": 1,
}
"""Axis of structures or atoms."""


@dataclass
class Evaluated:
    """A prediction as numpy arrays, eV and Å; shapes as in `Prediction`."""

    energies: np.ndarray
    forces: np.ndarray | None = None
    virials: np.ndarray | None = None
    member_energies: np.ndarray | None = None
    member_forces: np.ndarray | None = None
    member_virials: np.ndarray | None = None
    properties: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, prediction: Prediction, *, packed: bool | None = None) -> Self:
        """A prediction on the host, by one copy; `packed` as in `pimd.transfer.fetch`."""
        given = [name for name in AXES if getattr(prediction, name) is not None]
        properties = prediction.properties
        tensors = [*(getattr(prediction, name) for name in given), *properties.values()]
        arrays = fetch(tensors, packed=packed)
        n = len(given)
        return cls(
            **dict(zip(given, arrays[:n], strict=True)),
            properties=dict(zip(properties, arrays[n:], strict=True)),
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The structures of all parts, one part after another."""
        if len(parts) == 1:
            return parts[0]
        arrays = {
            name: np.concatenate([getattr(part, name) for part in parts], axis=axis)
            for name, axis in AXES.items()
            if getattr(parts[0], name) is not None
        }
        properties = {
            name: np.concatenate([part.properties[name] for part in parts])
            for name in parts[0].properties
        }
        return cls(**arrays, properties=properties)
