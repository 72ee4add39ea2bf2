"""MACE models, the `.model` files of mace-torch.

One forward and one backward pass for all structures of a batch, which may differ in size, cell
and periodicity. The geometry is made in fp64, the network computes in its own precision, and
energies of atoms are summed in fp64 together with those of lone atoms, which are never rounded.

Loading a `.model` file runs the code in it: load only files of people you trust.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from pimd.potentials.base import Batch, Potential, PotentialError, Wanted
from pimd.potentials.mace_dipole import OWN_UNIT, DipoleOutputs, charges_of_types
from pimd.potentials.mace_input import Network, NetworkInput, take_lone_atom_energies
from pimd.potentials.mace_library import Card, load_network
from pimd.potentials.mace_variants import compiled, with_cuequivariance
from pimd.potentials.models import (
    CompositionBaseline,
    SpeciesTable,
    model_device,
    model_file,
    model_precision,
)
from pimd.potentials.options import choice, number
from pimd.potentials.pair_vectors import PairVectorPotential, VectorOutputs

__all__ = ["MACE"]


class MACE(PairVectorPotential):
    """A MACE model: energies, and dipoles and polarizabilities where it predicts them.

    Classes of mace-torch: MACE, ScaleShiftMACE (with several heads, pair repulsion, embeddings
    of the charge and spin), EnergyDipolesMACE, AtomicDipolesMACE, AtomicDielectricMACE, also as
    TorchScript (`*_compiled.model`). Long-range models (MACELES, PolarMACE) are refused.

    float32 is twice as fast as float64. Its noise, measured on 64 waters with random networks of
    16x0e to 32x0e+32x1o features: a structure in a batch differs from the same alone by 8e-7 eV,
    5e-7 of the largest force and 2e-6 eV of virial (float64: 0, 1e-15, 7e-15); from float64 by
    1e-5 eV (5e-8 eV per atom), 1.3e-6 of the largest force and 6e-6 eV of virial.

    Properties of the last three: `dipole` (e Å), `atomic_dipoles` (e Å), `born_charges` (e),
    `charges` (e) and `polarizability` (e² Å²/eV, as mace-torch gives it; times 14.3996 eV Å/e²
    it is a volume in Å³) of AtomicDielectricMACE. The dipole takes positions as they come.

    Args:
        model: file.
        dtype: what the network computes in: `float32`, `float64`, or `model`, as stored.
        device: cpu, cuda, ...; `auto`: the GPU where there is one.
        head: name of the head; needed for a model with several heads, none called `default`.
        compile: run through torch.compile, of ScaleShiftMACE; takes up to a minute at the start,
            and once more for batches of fewer than 29 atoms.
        cuequivariance: run on cuEquivariance's operations, for GPUs; of ScaleShiftMACE made
            where cuEquivariance was installed.
        energy: `model`; or `zero` for a model without energies (AtomicDipolesMACE,
            AtomicDielectricMACE), which is refused otherwise: energies, forces and virials are
            then 0, so that it serves for its properties beside another potential.
        dipole_unit: what the network gives dipoles in, `debye` or `eA`. Default: what
            mace-torch takes in that class, eA for AtomicDielectricMACE and debye for the others.
        fixed_charges: e, by element, (O: -0.8; H: 0.4), for AtomicDipolesMACE and
            EnergyDipolesMACE that were trained with charges beside them; default 0.
        total_charge: e, of every structure, for models that take it.
        total_spin: of every structure, for models that take it, as in training (1: singlet).
        elec_temp: electronic temperature of every structure, for models that take it.

    Raises:
        PotentialError: mace-torch is missing, the file cannot be read or is of a class that
            cannot be evaluated, or for wrong options.
    """

    name = "mace"

    def __init__(
        self,
        model: str | Path,
        dtype: str = "model",
        device: str = "auto",
        head: str | None = None,
        compile: bool = False,
        cuequivariance: bool = False,
        energy: str = "model",
        dipole_unit: str | None = None,
        fixed_charges: Mapping[str, float] | None = None,
        total_charge: float = 0.0,
        total_spin: float = 1.0,
        elec_temp: float = 0.0,
    ) -> None:
        self.file, self.device = model_file(model, "MACE model"), model_device(device)
        module, self.card = load_network(self.file, self.device)
        card = self.card
        self.name, self.cutoff = f"mace {self.file.name}", card.cutoff
        self.precision = model_precision(dtype, card.dtype)
        self.types = SpeciesTable(card.numbers, self.name, self.device)
        given = {"total_charge": total_charge, "total_spin": total_spin, "elec_temp": elec_temp}
        taken = card.features
        if card.kind == "AtomicDielectricMACE":
            taken = ("total_charge",)
        self.inputs = NetworkInput(
            len(card.numbers),
            self.precision,
            head_index(card, head, self.name),
            {name: number(name, given[name]) for name in taken},
        )
        self._zero_energy = self._without_energies(energy)
        self.baseline: CompositionBaseline | None = None
        if card.gives_energies:
            self.baseline = CompositionBaseline(
                take_lone_atom_energies(module, len(card.numbers), self.inputs.head), self.device
            )
        self._dipoles = self._dipole_outputs(module, dipole_unit, fixed_charges)
        if self._dipoles is not None:
            self.properties = self._dipoles.specs
        self.module = module.to(self.precision)
        self.network: Network = self.module
        # networks with dipoles index with tensors on the host
        self.graph_safe = self._dipoles is None and not compile
        if compile and cuequivariance:
            raise PotentialError(
                f"{self.name}: choose one of compile and cuequivariance, not both"
            )
        for wanted, make in ((compile, compiled), (cuequivariance, with_cuequivariance)):
            if wanted:
                self.network = make(self.module, card, self.inputs, self.device)

    def _dipole_outputs(
        self, module: torch.nn.Module, unit: str | None, charges: Mapping[str, float] | None
    ) -> DipoleOutputs | None:
        """What makes properties of the dipoles that the network gives; None: it gives none."""
        if self.card.kind not in OWN_UNIT:
            if unit is not None or charges:
                raise PotentialError(
                    f"{self.name} is a {self.card.kind} and gives no dipoles: leave out "
                    "dipole_unit and fixed_charges"
                )
            return None
        fixed = charges_of_types({} if charges is None else charges, self.card.numbers)
        return DipoleOutputs(
            self.card,
            unit,
            self.inputs.features.get("total_charge", 0.0),
            torch.tensor(fixed, dtype=torch.float64, device=self.device),
            bool(getattr(module, "use_polarizability", False)),
        )

    def _without_energies(self, energy: str) -> bool:
        """Whether energies are zero by request; refuses a model without them otherwise."""
        choice("energy", energy, ("model", "zero"))
        kind = self.card.kind
        if self.card.gives_energies and energy == "zero":
            raise PotentialError(f"{self.name} is a {kind} and has energies: leave out energy")
        if not self.card.gives_energies and energy == "model":
            raise PotentialError(
                f"{self.name} is a {kind}, which predicts dipoles but no energies. To have its "
                "properties beside a potential, add it as a forcefield of its own with the "
                "option energy: zero, whose energies and forces are 0"
            )
        return energy == "zero"

    @classmethod
    def stacked(cls, members: Sequence[Self]) -> Potential | None:
        from pimd.potentials.mace_stacked import stack

        return stack(members)

    def check(self, batch: Batch) -> None:
        self.types.check(batch)

    def outputs_of_vectors(self, batch: Batch, vectors: Tensor, wanted: Wanted) -> VectorOutputs:
        assert batch.pairs is not None
        types = self.types.types(batch)
        if self._dipoles is not None:
            return self._with_dipoles(batch, types, vectors, wanted)
        atoms = self.inputs.atomic_energies(self.network, types, batch.pairs, vectors)
        return VectorOutputs(self._energies(batch, types, atoms))

    def _energies(self, batch: Batch, types: Tensor, atoms: Tensor) -> Tensor:
        """Sums over structures, eV, fp64, of what the network says of atoms, and lone atoms."""
        assert self.baseline is not None
        return batch.sum_over_atoms(atoms) + self.baseline.sum(batch, types)

    def _with_dipoles(
        self, batch: Batch, types: Tensor, vectors: Tensor, wanted: Wanted
    ) -> VectorOutputs:
        """Energies, zero where there are none, and the properties of a dipole model."""
        assert self._dipoles is not None
        assert batch.pairs is not None
        zero = torch.zeros(batch.n_structures, dtype=torch.float64, device=vectors.device)
        if self._zero_energy and not wanted.properties:
            return VectorOutputs(zero)
        born = "born_charges" in wanted.properties
        if born and not vectors.requires_grad:
            vectors = vectors.detach().requires_grad_()
        with torch.set_grad_enabled(torch.is_grad_enabled() or born):
            if self.card.gives_energies:
                output = self.network(
                    self.inputs.of_atoms(types, batch.pairs, vectors), compute_force=False
                )
                energies = self._energies(batch, types, output["energy"])
            else:
                output = self.network(self.inputs.of_structures(batch, types, vectors))
                energies = zero
            properties = self._dipoles.values(batch, types, vectors, output, wanted.properties)
        return VectorOutputs(energies, properties=properties)


def head_index(card: Card, head: str | None, name: str) -> int:
    """Index of a head by name; None: the only one, or the one called default.

    Raises:
        PotentialError: there is no such head, or a choice to make.
    """
    offered = ", ".join(card.heads)
    if head is not None:
        if str(head) not in card.heads:
            raise PotentialError(f"{name} has no head '{head}'; its heads: {offered}")
        return card.heads.index(str(head))
    if len(card.heads) == 1:
        return 0
    default = [k for k, one in enumerate(card.heads) if one.lower() == "default"]
    if len(default) != 1:
        raise PotentialError(f"{name} has several heads; give one as head: NAME, of {offered}")
    return default[0]
