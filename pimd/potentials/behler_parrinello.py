"""Behler–Parrinello neural networks, one or a committee that shares its descriptors.

    E_m = sum_i [ baseline_t(i) + NN_m,t(i)(G_i) ]

with the symmetry functions G_i of `symmetry_functions` and members m; the energy that is sampled
is the members' mean, and their spread, calibrated by alpha, is its uncertainty.

Source: J. Behler, M. Parrinello, Phys. Rev. Lett. 98, 146401 (2007),
https://doi.org/10.1103/PhysRevLett.98.146401.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pimd.potentials.base import Batch, Prediction, PropertySpec, Wanted
from pimd.potentials.bp_file import load_model, save_model
from pimd.potentials.bp_model import BPModel
from pimd.potentials.bp_stacking import stack_models
from pimd.potentials.models import asked_precision, model_device
from pimd.potentials.pair_vectors import (
    PairVectorPotential,
    VectorOutputs,
    forces_of_gradients,
    virials_of_gradients,
)

__all__ = ["EMBEDDED_MODEL", "BPModel", "BehlerParrinello", "load_model", "save_model"]

EMBEDDED_MODEL = Path(__file__).parents[1] / "data" / "water_committee.npz"
"""A committee for water that comes with pimd."""


class BehlerParrinello(PairVectorPotential):
    """A trained model.

    Args:
        model: file as written by `pimd train`; None: the water committee that comes with pimd.
        dtype: `model`, as stored, `float32` or `float64`.
        device: `auto`, `cpu`, `cuda`, ...
        calibrated: whether members are moved from their mean by alpha, the calibration stored
            with the model.

    Attributes:
        model: networks and all that belongs to them.
        card: what the file says of the model.
    """

    name = "behler_parrinello"

    def __init__(
        self,
        model: str | Path | None = None,
        dtype: str | None = None,
        device: str | torch.device | None = None,
        calibrated: bool = True,
    ) -> None:
        found, card = load_model(
            model or EMBEDDED_MODEL, asked_precision(dtype), model_device(device)
        )
        self._take(found, card, calibrated)

    @classmethod
    def of_model(
        cls, model: BPModel, card: dict[str, Any] | None = None, *, calibrated: bool = True
    ) -> BehlerParrinello:
        """The potential of a model in memory."""
        found = cls.__new__(cls)
        found._take(model, card or {}, calibrated)
        return found

    def _take(self, model: BPModel, card: dict[str, Any], calibrated: bool) -> None:
        self.model = model.eval().requires_grad_(False)
        self.card, self.calibrated = card, calibrated
        self.device, self.precision = model.device, model.dtype
        self.cutoff = model.settings.range
        self.n_members = model.n_members if model.n_members > 1 else 0
        self.properties = {"extrapolation": PropertySpec("1", ())}
        self.graph_safe = model.symmetry.graph_safe
        self._species = model.species(self.name)

    @classmethod
    def stacked(cls, members: Sequence[BehlerParrinello]) -> BehlerParrinello | None:
        """One committee of single models with the same descriptors and sizes of layers."""
        model = stack_models([member.model for member in members])
        if model is None:
            return None
        return cls.of_model(model, {"members": [member.card for member in members]})

    def check(self, batch: Batch) -> None:
        self._species.check(batch)

    def outputs_of_vectors(self, batch: Batch, vectors: Tensor, wanted: Wanted) -> VectorOutputs:
        assert batch.pairs is not None
        model, types = self.model, self._species.types(batch)
        descriptors = model.symmetry(types, batch.pairs, vectors.to(model.dtype))
        atomic = model.of_descriptors(descriptors, types)
        return self._outputs(batch, types, atomic, descriptors.detach(), wanted)

    def predict(
        self,
        batch: Batch,
        wanted: Wanted,
        outputs: Callable[[Batch, Tensor, Wanted], VectorOutputs] | None = None,
    ) -> Prediction:
        of_members = self.n_members > 0 and (wanted.member_forces or wanted.member_virials)
        if not of_members or outputs is not None:
            return super().predict(batch, wanted, outputs)
        return self._predict_members(batch, wanted)

    @torch.no_grad()
    def _predict_members(self, batch: Batch, wanted: Wanted) -> Prediction:
        """All members in one pass over the pairs, and the mean as their mean."""
        assert batch.pairs is not None
        types, vectors = self._species.types(batch), batch.pair_vectors()
        atomic, gradients, descriptors = self.model.with_gradients(types, batch.pairs, vectors)
        found = self._outputs(batch, types, atomic, descriptors, wanted)
        forces, virials = [], []
        for one in gradients:
            of_member = one.to(vectors.dtype)
            if wanted.forces or wanted.member_forces:
                forces.append(forces_of_gradients(batch, of_member))
            if wanted.virials or wanted.member_virials:
                virials.append(virials_of_gradients(batch, vectors, of_member))
        prediction = Prediction(
            found.energies, member_energies=found.member_energies, properties=found.properties
        )
        if forces:
            members = torch.stack(forces)
            prediction.forces = members.mean(0) if wanted.forces else None
            prediction.member_forces = self._calibrated(members) if wanted.member_forces else None
        if virials:
            members = torch.stack(virials)
            prediction.virials = members.mean(0) if wanted.virials else None
            prediction.member_virials = self._calibrated(members) if wanted.member_virials else None
        return prediction

    def _outputs(
        self, batch: Batch, types: Tensor, atomic: Tensor, descriptors: Tensor, wanted: Wanted
    ) -> VectorOutputs:
        """Sums of atomic energies (n_members, n_atoms), and properties."""
        members = self.model.summed(batch, types, atomic)
        properties = {}
        if "extrapolation" in wanted.properties:
            sums = batch.sum_over_atoms(self.model.outside(descriptors, types))
            properties["extrapolation"] = sums / batch.n_atoms_per_structure
        energies = members.mean(0)
        of_members = self._calibrated(members) if self.n_members else None
        return VectorOutputs(energies, of_members, properties)

    def _calibrated(self, members: Tensor) -> Tensor:
        """V_mean + alpha (V_m - V_mean) of what members (n_members, ...) say, if wanted so."""
        if not self.calibrated:
            return members
        mean = members.mean(0)
        return mean + self.model.alpha * (members - mean)
