"""The contract of a potential: Structure, Batch, Wanted, Prediction, Potential.

A potential takes one flat `Batch` of structures, which may differ in size, species, cell and
periodicity, and returns a `Prediction`: energies, forces and virials of all of them from one
call. Units are eV and Å; cells hold lattice vectors as rows; W = -dE/dstrain.

`EnergyPotential` writes the derivatives once for all: a potential that derives from it gives
energies only, and gets forces and virials from one backward pass through a symmetric strain.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from pimd.potentials.batch import Batch
from pimd.structure import PotentialError, Structure

__all__ = [
    "Batch",
    "EnergyPotential",
    "Potential",
    "PotentialError",
    "Prediction",
    "PropertySpec",
    "Structure",
    "Wanted",
]


@dataclass(frozen=True)
class Wanted:
    """What the caller asks for; nothing else is computed.

    Energies are always given. `properties` names what the potential lists under
    `Potential.properties`.
    """

    forces: bool = True
    virials: bool = True
    properties: tuple[str, ...] = ()
    member_forces: bool = False
    member_virials: bool = False


@dataclass
class Prediction:
    """What a potential returns, as tensors on its device.

    Attributes:
        energies: eV, (n_structures,) float64.
        forces: eV/Å, (n_atoms, 3), or None where not wanted.
        virials: W = -dE/dstrain, eV, (n_structures, 3, 3), or None where not wanted.
        member_energies: eV, (n_members, n_structures), of a committee.
        member_forces: eV/Å, (n_members, n_atoms, 3).
        member_virials: eV, (n_members, n_structures, 3, 3).
        properties: name -> values, first axis atoms or structures as `PropertySpec` says.
    """

    energies: Tensor
    forces: Tensor | None = None
    virials: Tensor | None = None
    member_energies: Tensor | None = None
    member_forces: Tensor | None = None
    member_virials: Tensor | None = None
    properties: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class PropertySpec:
    """What a property is: its unit, its shape per structure or per atom, and which of the two."""

    unit: str
    shape: tuple[int, ...]
    per_atom: bool = False


class Potential(abc.ABC):
    """From a batch to energies, forces and virials.

    Attributes:
        name: for messages.
        cutoff: Å; pairs within it are attached to the batch before `compute`. 0.0: the
            potential needs no pairs.
        dtype, device: where the batch must live.
        precision: what the potential computes in, where that is not `dtype`: a network in fp32
            that takes the geometry in fp64. None: the same as `dtype`.
        n_members: members of the committee that the potential is; 0 for a single potential.
            A committee gives `member_energies` with every prediction.
        properties: what `Wanted.properties` may name.
        invariant: False for a potential that depends on absolute positions (an external
            field), so that translations and rotations change the energy.
        gives_virials: False if the virials it gives are placeholders, so that no pressure or
            stress may be made from them.
    """

    name: str = "potential"
    cutoff: float = 0.0
    dtype: torch.dtype = torch.float64
    device: torch.device = torch.device("cpu")
    precision: torch.dtype | None = None
    n_members: int = 0
    properties: Mapping[str, PropertySpec] = {}
    invariant: bool = True
    gives_virials: bool = True

    @abc.abstractmethod
    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        """Evaluate every structure of the batch; never changes the batch.

        Raises:
            PotentialError: for structures it cannot evaluate (species, periodicity, ...).
        """

    @classmethod
    def stacked(cls, members: Sequence[Self]) -> Potential | None:
        """One potential that evaluates all these members in one pass, or None.

        It gives their `member_energies` in this order (and member forces and virials where
        wanted), and their mean as energies, forces and virials. None: there is no such way for
        these members (another architecture, say), and they are evaluated one after another.
        """
        return None

    def close(self) -> None:  # noqa: B027  (most potentials hold nothing)
        """Give back what the potential holds (processes, files)."""


class EnergyPotential(Potential):
    """A potential given by its energy; forces and virials by one backward pass.

    With a symmetric strain e of each structure, x -> x (1 + e), C -> C (1 + e):
        F = -dE/dx,  W = -dE/de  at e = 0.
    """

    @abc.abstractmethod
    def energies(self, batch: Batch) -> Tensor:
        """Energies of all structures, eV, (n_structures,) float64, differentiable."""

    def property_values(self, batch: Batch, names: tuple[str, ...]) -> dict[str, Tensor]:
        """The properties asked for; a potential with properties overrides this."""
        raise PotentialError(f"{self.name} gives no properties, but {', '.join(names)} was asked")

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        check_wanted(self, wanted)
        properties: dict[str, Tensor] = {}
        if wanted.properties:
            with torch.no_grad():
                properties = self.property_values(batch, wanted.properties)
        if not (wanted.forces or wanted.virials):
            with torch.no_grad():
                return Prediction(self.energies(batch), properties=properties)
        positions = batch.positions.detach().clone().requires_grad_(wanted.forces)
        strain = torch.zeros_like(batch.cells)
        strained = replace(batch, positions=positions)
        inputs = [positions] if wanted.forces else []
        if wanted.virials:
            strain.requires_grad_(True)
            inputs.append(strain)
            symmetric = 0.5 * (strain + strain.transpose(1, 2))  # [structure, xyz, xyz]
            per_atom = symmetric[batch.structure_index]
            strained = replace(
                batch,
                positions=positions + torch.einsum("ax,axy->ay", positions, per_atom),
                cells=batch.cells + batch.cells @ symmetric,
            )
        energies = self.energies(strained)
        if energies.requires_grad:
            found = torch.autograd.grad(energies.sum(), inputs, allow_unused=True)
            grads: list[Tensor | None] = list(found)
        else:  # nothing to differentiate: free particles, or atoms without pairs
            grads = [None] * len(inputs)
        forces = virials = None
        if wanted.forces:
            grad = grads.pop(0)
            forces = torch.zeros_like(positions) if grad is None else -grad
        if wanted.virials:
            grad = grads.pop(0)
            virials = torch.zeros_like(strain) if grad is None else -grad
        return Prediction(
            energies=energies.detach(),
            forces=None if forces is None else forces.detach(),
            virials=None if virials is None else virials.detach(),
            properties=properties,
        )


def check_wanted(potential: Potential, wanted: Wanted) -> None:
    """Raise PotentialError where `wanted` names a property the potential does not give."""
    unknown = [name for name in wanted.properties if name not in potential.properties]
    if unknown:
        offered = ", ".join(sorted(potential.properties)) or "none"
        raise PotentialError(
            f"{potential.name} does not give {', '.join(unknown)}; its properties: {offered}"
        )
