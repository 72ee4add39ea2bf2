"""MACE models of one architecture in one pass: their weights stacked, the network vmapped.

What may differ from member to member: weights, energies of lone atoms, scale and shift, and the
average number of neighbours that messages are divided by, which a network keeps as a plain number
and which becomes one of the stacked buffers here. Whether the models are of one architecture is
found out by evaluating a small cluster both ways.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state
from torch.overrides import TorchFunctionMode

from pimd.potentials.base import Batch, PotentialError, Prediction, Wanted
from pimd.potentials.mace_input import Network
from pimd.potentials.mace_variants import Example, rebuilt
from pimd.potentials.pair_vectors import (
    PairVectorPotential,
    VectorOutputs,
    forces_of_gradients,
    virials_of_gradients,
)

if TYPE_CHECKING:
    from pimd.potentials.mace import MACE

__all__ = ["StackedMACE", "stack"]

PER_MEMBER = "avg_num_neighbors"


def stack(members: Sequence[MACE]) -> StackedMACE | None:
    """One potential of all members, or None where they cannot be stacked."""
    first = members[0]
    if len(members) < 2 or not all(_alike(first, other) for other in members):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = StackedMACE(members)
            return made if made.equals(members) else None
    except (PotentialError, RuntimeError, ValueError):
        return None


def _alike(a: MACE, b: MACE) -> bool:
    """Whether two potentials have their inputs, species and shapes of weights in common."""
    return (
        a.card.kind == b.card.kind
        and a.card.numbers == b.card.numbers
        and (a.cutoff, a.device, a.inputs) == (b.cutoff, b.device, b.inputs)
        and _stored(a) == _stored(b)
    )


def _stored(potential: MACE) -> bool:
    return potential.network is potential.module


class OutOfPlace(TorchFunctionMode):
    """Makes two operations of networks fit for vmap, in this thread and block alone: sums into
    an unstacked tensor, and marking tensors as differentiable, which they need not be."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func is torch.Tensor.scatter_add_:
            func = torch.Tensor.scatter_add
        elif func is torch.Tensor.requires_grad_:
            return args[0]
        return func(*args, **(kwargs or {}))


class StackedMACE(PairVectorPotential):
    """Members of one architecture, evaluated in one pass; `MACE.stacked` makes it.

    Energies, forces and virials are the means of the members'. Their forces and virials come
    from one backward pass, through a copy of the pair vectors for each member.

    Args:
        members: loaded potentials, `_alike`.

    Raises:
        PotentialError, RuntimeError, ValueError: they cannot be stacked.
    """

    def __init__(self, members: Sequence[MACE]) -> None:
        first = members[0]
        self.name = f"{len(members)} mace models"
        self.cutoff, self.device, self.precision = first.cutoff, first.device, first.precision
        self.n_members, self.graph_safe = len(members), first.graph_safe
        self.types, self.inputs, self.card = first.types, first.inputs, first.card
        self.baselines = []
        for member in members:
            assert member.baseline is not None
            self.baselines.append(member.baseline)
        networks = [rebuilt(member.module, member.card) for member in members]
        for network in networks:
            _numbers_to_buffers(network)
        self._network = networks[0]
        self._parameters, self._buffers = stack_module_state(networks)
        for stacked in (self._parameters, self._buffers):
            for value in stacked.values():
                value.requires_grad_(False)

    def equals(self, members: Sequence[MACE]) -> bool:
        """Whether every member, of a small cluster, says what it says alone."""
        example = Example(self.card, self.inputs, self.device)
        return all(
            example.differs(member.network, self._only(k)) is None
            for k, member in enumerate(members)
        )

    def _only(self, k: int) -> Network:
        """The network of member k, out of the stack."""

        def call(data: dict[str, Tensor], compute_force: bool) -> dict[str, Tensor]:
            shifts = data["shifts"].expand(self.n_members, -1, -1)
            return {"energy": self._stacked(data, shifts)[k]}

        return call

    def _stacked(self, data: dict[str, Tensor], shifts: Tensor) -> Tensor:
        """Energies of the atoms, eV, (n_members, n_atoms), of shifts (n_members, n_pairs, 3)."""

        def one(parameters: Any, buffers: Any, own: Tensor) -> Tensor:
            given = ({**data, "shifts": own},)
            options = {"compute_force": False}
            output = functional_call(self._network, (parameters, buffers), given, options)
            return output["energy"]

        with OutOfPlace():
            return torch.vmap(one)(self._parameters, self._buffers, shifts)

    def check(self, batch: Batch) -> None:
        self.types.check(batch)

    def outputs_of_vectors(self, batch: Batch, vectors: Tensor, wanted: Wanted) -> VectorOutputs:
        """Vectors (n_pairs, 3), or (n_members, n_pairs, 3) with a copy for each member."""
        assert batch.pairs is not None
        types = self.types.types(batch)
        shifts = vectors.to(self.inputs.dtype).expand(self.n_members, -1, -1)
        data = self.inputs.of_atoms(types, batch.pairs, shifts[0].detach())
        atoms = self._stacked(data, shifts)
        energies = torch.stack(
            [
                batch.sum_over_atoms(own) + baseline.sum(batch, types)
                for own, baseline in zip(atoms, self.baselines, strict=True)
            ]
        )
        return VectorOutputs(energies.mean(0), energies)

    def predict(
        self,
        batch: Batch,
        wanted: Wanted,
        outputs: Callable[[Batch, Tensor, Wanted], VectorOutputs] | None = None,
    ) -> Prediction:
        if not (wanted.member_forces or wanted.member_virials):
            return super().predict(batch, wanted, outputs)
        with torch.no_grad():
            vectors = batch.pair_vectors()
            copies = vectors.expand(self.n_members, -1, -1).clone()
        copies.requires_grad_(True)
        found = (outputs or self.outputs_of_vectors)(batch, copies, wanted)
        assert found.member_energies is not None
        (gradients,) = torch.autograd.grad(found.member_energies.sum(), copies)
        forces = torch.stack([forces_of_gradients(batch, own) for own in gradients])
        virials = None
        if wanted.virials or wanted.member_virials:
            virials = torch.stack([virials_of_gradients(batch, vectors, own) for own in gradients])
        return Prediction(
            found.energies.detach(),
            forces.mean(0) if wanted.forces else None,
            virials.mean(0) if wanted.virials and virials is not None else None,
            member_energies=found.member_energies.detach(),
            member_forces=forces if wanted.member_forces else None,
            member_virials=virials if wanted.member_virials else None,
        )


def _numbers_to_buffers(network: torch.nn.Module) -> None:
    """Numbers that differ from member to member become buffers, which are stacked."""
    weight = next(network.parameters())
    for module in list(network.modules()):
        value = module.__dict__.pop(PER_MEMBER, None)
        if value is not None:
            number = torch.as_tensor(value, dtype=weight.dtype, device=weight.device)
            module.register_buffer(PER_MEMBER, number)
