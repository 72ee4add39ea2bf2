"""Models in metatomic's format (`.pt`): PET-MAD and what else metatrain exports, and others.

The file says which neighbour lists, units and precision the model wants. Energies are those of
its output `energy`; all structures of a batch go through one forward pass, and one backward pass
gives

    F_a = -dE/dx_a,   W = -dE/dstrain = -sum_a x_a (outer) dE/dx_a - C^T dE/dC
                                        - sum_ij r_ij (outer) dE/dr_ij

with x, C and the pair vectors r_ij of every list as the leaves: a model may use all of them.

Precision. The file fixes it. A model in float32 is asked for atomic energies where it gives
them, and these are summed in float64; one that gives only totals returns them rounded to one
part in 1.7e7, 8e-3 eV for 64 waters with the energies of lone atoms in them.

Ensembles. A model with `energy_ensemble` gives its members with every call. They are centred on
the output `energy`, which is what is sampled: V_k + E - mean_k V_k. Where the two differ, energies
of the members and forces of the head would belong to different potentials.

Format and library: F. Bigi et al., https://docs.metatensor.org/metatomic.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pimd.potentials.base import (
    Batch,
    Potential,
    PotentialError,
    Prediction,
    Wanted,
    check_wanted,
)
from pimd.potentials.committee_statistics import centred
from pimd.potentials.metatomic_direct import DirectForces
from pimd.potentials.metatomic_inputs import system_inputs
from pimd.potentials.metatomic_members import MemberGradients, gradients
from pimd.potentials.metatomic_model import MetatomicModel, Request
from pimd.potentials.metatomic_outputs import (
    Properties,
    companions,
    property_requests,
    rows,
    sums,
)
from pimd.potentials.metatomic_systems import Geometry, SystemBuilder, probes
from pimd.potentials.models import SpeciesTable

__all__ = ["Metatomic"]


class Metatomic(Potential):
    """A metatomic model.

    Args:
        model: the `.pt` file.
        extensions: folder of compiled extensions the model needs; default: those installed.
        dtype: `model`, or the precision the file has.
        device: `auto`, cpu, cuda, cuda:1, ...
        check_consistency: let metatomic check inputs and outputs at every call; slow.
        variant: head of a model with several: energies are `energy/VARIANT`.
        uncertainty_variant: the same for the ensemble and the uncertainty; default: `variant`.
        ensemble: True: the model must give members; False: none; `auto`: where it has them.
        non_conservative: take forces (and virials, where there is a stress) from the outputs
            `non_conservative_force` and `non_conservative_stress` instead of the derivatives of
            the energy. The mean force on each structure is taken off. Forces that belong to no
            energy sample no known distribution: never use them for free energies, kinetic
            energies or pressures; only for the inner steps of multiple time stepping.
        non_conservative_variant: the same for these outputs; default: `variant`.
        charge: of every structure, e; for models that ask for it.
        spin_multiplicity: 2 S + 1, likewise.

    Raises:
        PotentialError: a file, library, extension, output, precision or device that is not
            there.
    """

    name = "metatomic"

    def __init__(
        self,
        model: str | Path,
        extensions: str | Path | None = None,
        dtype: str | None = "model",
        device: str | None = "auto",
        check_consistency: bool = False,
        variant: str | None = None,
        uncertainty_variant: str | None = None,
        ensemble: bool | str = "auto",
        non_conservative: bool = False,
        non_conservative_variant: str | None = None,
        charge: float = 0.0,
        spin_multiplicity: float = 1.0,
    ) -> None:
        self.model = MetatomicModel(
            model,
            extensions=extensions,
            dtype=dtype,
            device=device,
            check_consistency=check_consistency,
        )
        self.device, self.precision = self.model.device, self.model.dtype
        self.cutoff = max((one.cutoff for one in self.model.lists), default=0.0)
        self._species = SpeciesTable(self.model.numbers, self.name, self.device)
        given = {"charge": charge, "spin_multiplicity": spin_multiplicity}
        self._systems = SystemBuilder(
            self.model.lists, self.model.length_factor, self.precision, self.device,
            system_inputs(self.model, given),
        )  # fmt: skip
        self._direct = None
        if non_conservative:
            own = variant if non_conservative_variant is None else non_conservative_variant
            self._direct = DirectForces(self.model, _text(own))
            self.gives_virials = self._direct.gives_virials
        uncertain = _text(variant if uncertainty_variant is None else uncertainty_variant)
        self._choose_outputs(_text(variant), uncertain, ensemble)
        self._member_gradients = MemberGradients()
        if self._members is not None:
            (self.n_members,) = self._shape_of(self._members) or (1,)

    def _choose_outputs(
        self, variant: str | None, uncertain: str | None, ensemble: bool | str
    ) -> None:
        """Which outputs are energies, members, uncertainties and properties."""
        model = self.model
        energy = model.pick("energy", variant)
        if energy is None:
            wanted = "energy" if variant is None else f"energy/{variant}"
            heads = [name for name in model.outputs if name.split("/")[0] == "energy"]
            raise PotentialError(
                f"{model.file} does not give {wanted}; its energies: {', '.join(heads) or 'none'}"
                f"{'; choose one with variant: NAME' if heads else ''}"
            )
        members = model.pick("energy_ensemble", uncertain)
        uncertainty = model.pick("energy_uncertainty", uncertain)
        if ensemble not in (True, False, "auto"):
            raise PotentialError(f"ensemble is auto, true or false; got {ensemble!r}")
        if ensemble is False:
            members = None
        elif ensemble is True and members is None:
            raise PotentialError(
                f"{model.file} has no ensemble of {energy}; leave out `ensemble`, or make a "
                "committee of several models"
            )
        # some models give the ensemble only together with the uncertainty, and want one kind
        # of samples for all of them
        names = [energy] if members is None else [energy, members, uncertainty]
        asked = [name for name in names if name is not None]
        atomic = self.precision == torch.float32 and all(model.gives(n, "atom") for n in asked)
        kind = "atom" if atomic else "system"
        self._requests = [model.request(name, kind) for name in asked]
        self._energy = self._requests[0]
        self._members = None if members is None else self._requests[1]
        self._properties = Properties(
            model,
            property_requests(model, (energy, members), uncertainty),
            self._requests,
            self._shape_of,
        )
        self.properties = self._properties

    def _shape_of(self, request: Request) -> tuple[int, ...]:
        """Shape of one row of an output, from an evaluation of two atoms."""
        error: Exception | None = None
        for batch in probes(self.model.numbers[0], self.cutoff, self.device):
            systems = self._systems.build(Geometry.of(batch, self.model.lists, grad=False))
            others = companions(self.model, self._requests, request)
            try:
                with torch.no_grad():
                    found = self.model.run(systems, [*others, request])
                return tuple(rows(found, batch, request).shape[1:])
            except Exception as caught:  # a model may raise anything
                error = caught
        raise PotentialError(
            f"{self.model.file} cannot give {request.name} of two atoms: {error}"
            f"{'; leave it out with ensemble: false' if request == self._members else ''}"
        ) from error

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        check_wanted(self, wanted)
        self._species.check(batch)
        derivatives = wanted.forces or wanted.virials
        of_members = self.n_members > 0 and (wanted.member_forces or wanted.member_virials)
        if of_members and self._direct is not None:
            raise PotentialError(
                "forces of members are derivatives of their energies: leave out non_conservative"
            )
        requests = [*self._requests]
        if self._direct is not None and derivatives:
            requests += self._direct.requests
        requests += self._properties.with_others(wanted.properties, requests)
        grad = of_members or (derivatives and self._direct is None)
        geometry = Geometry.of(batch, self.model.lists, grad=grad)
        systems = self._systems.build(geometry)
        with torch.set_grad_enabled(grad):
            found = self.model.run(systems, requests)
            energies = sums(found, batch, self._energy)[:, 0]
            members = None if self._members is None else sums(found, batch, self._members).T
        prediction = Prediction(energies.detach())
        if members is not None:
            prediction.member_energies = centred(members.detach(), prediction.energies)
        prediction.properties = self._properties.evaluate(
            wanted.properties, batch, found, requests, systems
        )
        if self._direct is not None and derivatives:
            self._direct.add(found, batch, wanted, into=prediction)
        elif grad:
            self._add_derivatives(geometry, energies, members, wanted, into=prediction)
        return prediction

    def _add_derivatives(
        self,
        geometry: Geometry,
        energies: Tensor,
        members: Tensor | None,
        wanted: Wanted,
        into: Prediction,
    ) -> None:
        """Forces and virials of the energies, and of the members (n_members, n_structures)."""
        of_members = members is not None and (wanted.member_forces or wanted.member_virials)
        sampled = gradients(energies.sum(), geometry.leaves, keep=of_members)
        by_member = []
        if members is not None and of_members:
            by_member = self._member_gradients(members.sum(1), geometry.leaves)
        if wanted.forces or wanted.member_forces:
            forces = geometry.forces(sampled)
            into.forces = forces if wanted.forces else None
            if wanted.member_forces and by_member:
                own = torch.stack([geometry.forces(one) for one in by_member])
                into.member_forces = centred(own, forces)
        if wanted.virials or wanted.member_virials:
            virials = geometry.virials(sampled)
            into.virials = virials if wanted.virials else None
            if wanted.member_virials and by_member:
                own = torch.stack([geometry.virials(one) for one in by_member])
                into.member_virials = centred(own, virials)


def _text(variant: str | None) -> str | None:
    """A variant's name; names that look like numbers come as such from a SPEC."""
    return None if variant is None else str(variant)
