"""Dipoles, polarizabilities and Born charges of MACE networks.

    mu = sum_a mu_a + sum_a q_a x_a
    Z_a,ji = d mu_j / d x_ai = q_a delta_ij + (through the vectors of pairs: mu_a and q_a)

mu_a and q_a are functions of pair vectors; only the sum over q_a x_a takes the positions, in
fp64, as they come: where an atom with a charge is wrapped into the cell, the dipole jumps by q_a
times the lattice vector (and Born charges do, where q_a depends on positions). i-PI never wraps
what it sends, unless a forcefield says pbc='True'.
Born charges take one backward pass for each component of mu, for all structures at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pimd.potentials.base import Batch, PotentialError, PropertySpec
from pimd.potentials.mace_library import Card
from pimd.potentials.options import choice, number
from pimd.potentials.pair_vectors import forces_of_gradients

__all__ = ["DIPOLE_UNITS", "OWN_UNIT", "DipoleOutputs", "charges_of_types"]

DEBYE = 0.20819433442462576
"""e Å."""

DIPOLE_UNITS = {"debye": DEBYE, "eA": 1.0}
"""Name -> factor to e Å."""

OWN_UNIT = {
    "AtomicDipolesMACE": "debye",
    "EnergyDipolesMACE": "debye",
    "AtomicDielectricMACE": "eA",
}
"""Class with dipoles -> unit it gives them in, that of what mace-torch adds for charges at
positions."""


def charges_of_types(charges: Mapping[str, float], numbers: Sequence[int]) -> list[float]:
    """Charge of each type, e, of symbol -> charge. Raises PotentialError for other elements."""
    from ase.data import chemical_symbols as symbols

    known = [symbols[z] for z in numbers]
    if not isinstance(charges, Mapping) or any(symbol not in known for symbol in charges):
        raise PotentialError(
            f"fixed_charges are charges in e by element, such as (O: -0.8; H: 0.4), for "
            f"{', '.join(known)}; got {charges!r}"
        )
    return [number(f"fixed_charges of {symbol}", charges.get(symbol, 0.0)) for symbol in known]


@dataclass
class DipoleOutputs:
    """Makes properties of what a network says of dipoles.

    Args:
        card: of the network.
        unit: what the network gives dipoles in, of `DIPOLE_UNITS`; None: that of its class.
        total_charge: of each structure, e, for networks that predict charges.
        fixed_charges: of each type, e, (n_types,) float64, for networks that do not.
        polarizability: whether the network gives it.
    """

    card: Card
    unit: str | None
    total_charge: float
    fixed_charges: Tensor
    polarizability: bool

    def __post_init__(self) -> None:
        unit = OWN_UNIT[self.card.kind] if self.unit is None else self.unit
        self.factor = DIPOLE_UNITS[choice("dipole_unit", unit, tuple(DIPOLE_UNITS))]
        self.predicts_charges = self.card.kind == "AtomicDielectricMACE"
        self.specs = {
            "dipole": PropertySpec("e Å", (3,)),
            "atomic_dipoles": PropertySpec("e Å", (3,), per_atom=True),
            "born_charges": PropertySpec("e", (3, 3), per_atom=True),
        }
        if self.predicts_charges:
            self.specs["charges"] = PropertySpec("e", (), per_atom=True)
        if self.polarizability:
            self.specs["polarizability"] = PropertySpec("e^2 Å^2/eV", (3, 3))

    def values(
        self,
        batch: Batch,
        types: Tensor,
        vectors: Tensor,
        output: Mapping[str, Tensor],
        names: Sequence[str],
    ) -> dict[str, Tensor]:
        """The properties asked for.

        Args:
            batch: with pairs.
            types: (n_atoms,) int64.
            vectors: (n_pairs, 3), Å; the output must be differentiable by them for Born charges.
            output: of the network.
            names: of properties.
        """
        dipoles = output["atomic_dipoles"].to(torch.float64) * self.factor  # [atom, xyz]
        charges = self._charges(batch, types, output)  # [atom]
        moments = dipoles + charges[:, None] * batch.positions.detach()
        values: dict[str, Tensor] = {}
        for name in names:
            if name == "dipole":
                values[name] = batch.sum_over_atoms(moments)
            elif name == "atomic_dipoles":
                values[name] = dipoles
            elif name == "charges":
                values[name] = charges
            elif name == "polarizability":
                values[name] = output["polarizability"].to(torch.float64)
            elif name == "born_charges":
                values[name] = self._born_charges(batch, vectors, moments, charges)
        return values

    def _charges(self, batch: Batch, types: Tensor, output: Mapping[str, Tensor]) -> Tensor:
        """e, (n_atoms,) float64. Predicted charges add up to the total charge exactly, so that
        rounding does not make the dipole depend on where the origin is."""
        if not self.predicts_charges:
            return self.fixed_charges.index_select(0, types)
        charges = output["charges"].to(torch.float64)
        excess = (batch.sum_over_atoms(charges) - self.total_charge) / batch.n_atoms_per_structure
        return charges - excess.index_select(0, batch.structure_index)

    @staticmethod
    def _born_charges(batch: Batch, vectors: Tensor, moments: Tensor, charges: Tensor) -> Tensor:
        """[atom, component of mu, component of x], e."""
        born = charges.detach()[:, None, None] * torch.eye(3).to(moments)
        if not moments.requires_grad:  # no pairs
            return born
        for j in range(3):
            (gradients,) = torch.autograd.grad(
                moments[:, j].sum(), vectors, retain_graph=True, allow_unused=True
            )
            if gradients is not None:
                born[:, j] -= forces_of_gradients(batch, gradients)
        return born
