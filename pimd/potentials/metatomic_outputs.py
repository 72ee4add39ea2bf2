"""From a model's outputs, metatensor TensorMaps, to flat tensors; and which there are.

Every output of a model that is not its energy is a property. Its name is the output's, without
the domain before `::` (`mtt::dipole` is `dipole`); its shape is learnt from one small evaluation
when somebody asks. Values of several blocks are laid flat one after another. A spherical vector
(o3_lambda = 1) comes as x, y, z.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pimd.potentials.base import Batch, PotentialError, PropertySpec
from pimd.potentials.metatomic_model import MetatomicModel, Request

__all__ = ["Properties", "companions", "property_requests", "rows", "sums"]

ENSEMBLE = ("energy_ensemble", "energy_uncertainty")
"""Outputs that models give only together with their energy, and for one kind of samples."""

ATOMIC_UNCERTAINTY = "atomic_energy_uncertainty"
"""Property: `energy_uncertainty` for each atom, of models that give it."""

FROM_SPHERICAL = [2, 0, 1]
"""Place of x, y, z among the components m = -1, 0, 1: y, z, x."""


def sums(found: Mapping[str, Any], batch: Batch, request: Request) -> Tensor:
    """An output of one block summed over the atoms of each structure in fp64.

    Returns:
        (n_structures, n_properties) float64, in `request.unit`.
    """
    block = _tensor_map(found, request).block()
    system = block.samples.column("system").to(torch.int64)
    values = block.values.to(torch.float64)
    out = values.new_zeros((batch.n_structures, values.shape[-1]))
    return out.index_add(0, system, values) * request.factor


def rows(found: Mapping[str, Any], batch: Batch, request: Request) -> Tensor:
    """An output for each structure or each atom, as `request.kind` says.

    Returns:
        (n, *components, n_properties) float64, in `request.unit`; where there are several
        blocks (n, size of all). A last axis of one property is dropped. Rows that the model
        leaves out are zero.
    """
    per_atom = request.kind == "atom"
    n = batch.n_atoms if per_atom else batch.n_structures
    parts = []
    for key, block in _tensor_map(found, request).items():
        row = block.samples.column("system").to(torch.int64)
        if per_atom:
            row = batch.offsets.index_select(0, row) + block.samples.column("atom")
        values = block.values.to(torch.float64)
        out = values.new_zeros((n, *values.shape[1:])).index_add(0, row, values)
        components = [name for labels in block.components for name in labels.names]
        if components == ["o3_mu"] and values.shape[1] == 3 and _sigma(key) == 1:
            out = out[:, FROM_SPHERICAL]
        parts.append(out * request.factor)
    if len(parts) > 1:
        return torch.cat([part.reshape(n, -1) for part in parts], dim=1)
    (part,) = parts
    return part.squeeze(-1) if part.shape[-1] == 1 else part


def _sigma(key: Any) -> int:
    """o3_sigma of a block: 1 for a true tensor, -1 for a pseudotensor."""
    names = key.names
    return int(key["o3_sigma"]) if "o3_sigma" in names else 1


def property_requests(
    model: MetatomicModel, used: Collection[str | None], uncertainty: str | None
) -> dict[str, Request]:
    """Property -> what to ask the model for.

    Args:
        model: the model.
        used: outputs that are no properties.
        uncertainty: output that is the property `energy_uncertainty`.
    """
    found = {}
    if uncertainty is not None:
        found["energy_uncertainty"] = model.request(uncertainty, "system")
        if model.gives(uncertainty, "atom"):
            found[ATOMIC_UNCERTAINTY] = model.request(uncertainty, "atom")
    for name, output in model.outputs.items():
        kind = output.sample_kind
        quantity = name.split("/")[0]
        if name in used or quantity in ENSEMBLE or kind not in ("system", "atom"):
            continue
        if quantity == "energy":  # of another variant
            kind = "system"
        short = name.rpartition("::")[2]
        unique = sum(other.rpartition("::")[2] == short for other in model.outputs) == 1
        found.setdefault(short if unique else name, model.request(name, kind))
    return found


class Properties(Mapping[str, PropertySpec]):
    """What a model gives besides its energy; shapes are found out when they are asked for.

    Args:
        model: the model.
        requests: property -> what to ask it for.
        energies: what it is asked for besides, in every call.
        shape: gives the shape of one row of an output.
    """

    def __init__(
        self,
        model: MetatomicModel,
        requests: Mapping[str, Request],
        energies: Sequence[Request],
        shape: Callable[[Request], tuple[int, ...]],
    ) -> None:
        self._model, self._requests, self._energies = model, requests, energies
        self._shape = shape
        self._known: dict[str, PropertySpec] = {}

    def __getitem__(self, name: str) -> PropertySpec:
        if name not in self._known:
            one = self._requests[name]
            self._known[name] = PropertySpec(one.unit, self._shape(one), one.kind == "atom")
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._requests)

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, name: object) -> bool:
        return name in self._requests  # (without an evaluation)

    def with_others(self, names: Sequence[str], others: Sequence[Request]) -> list[Request]:
        """Requests for properties that can go into one call with others, and are not in it.

        A call has one kind of samples for an output, and models of last-layer uncertainties
        have one for all of ensemble, uncertainty and energy.
        """
        taken = {one.name for one in others}
        kind = self._energies[0].kind
        found: dict[str, Request] = {}
        for one in (self._requests[name] for name in names):
            if one.name not in taken and (one.kind == kind or not _of_ensemble(one)):
                found.setdefault(one.name, one)
        return list(found.values())

    def evaluate(
        self,
        names: Sequence[str],
        batch: Batch,
        found: Mapping[str, Any],
        asked: Sequence[Request],
        systems: Sequence[Any],
    ) -> dict[str, Tensor]:
        """Properties of a batch, out of what was found or by a call of their own.

        Args:
            names: of the properties.
            batch: of the systems.
            found: outputs of the call that is done.
            asked: what it was asked for.
            systems: of the batch.
        """
        out = {}
        for name in names:
            one = self._requests[name]
            source = found
            if one not in asked:
                others = companions(self._model, self._energies, one)
                with torch.no_grad():
                    source = self._model.run(systems, [*others, one])
            out[name] = rows(source, batch, one).detach()
        return out


def companions(
    model: MetatomicModel, energies: Sequence[Request], request: Request
) -> list[Request]:
    """The energies asked for in every call, for the kind of samples that `request` has."""
    names = [one.name for one in energies if one.name != request.name]
    return [model.request(n, request.kind) for n in names if model.gives(n, request.kind)]


def _of_ensemble(request: Request) -> bool:
    return request.name.split("/")[0] in ENSEMBLE


def _tensor_map(found: Mapping[str, Any], request: Request) -> Any:
    if request.name not in found:
        raise PotentialError(f"the model did not return {request.name}, which it declares")
    return found[request.name]
