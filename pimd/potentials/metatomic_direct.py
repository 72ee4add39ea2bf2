"""Forces and stresses that a metatomic model predicts directly, not as derivatives.

    F_a = f_a - mean over the structure,   W = -V stress, symmetrised
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pimd.notices import notice
from pimd.potentials.base import Batch, PotentialError, Prediction, Wanted
from pimd.potentials.metatomic_model import MetatomicModel
from pimd.potentials.metatomic_outputs import rows

__all__ = ["DirectForces"]


class DirectForces:
    """Forces, and virials where the model gives a stress; zeros where it does not.

    Args:
        model: the model.
        variant: of the outputs.

    Attributes:
        requests: what the model must be asked for.
        gives_virials: whether it gives a stress.

    Raises:
        PotentialError: the model predicts no forces.
    """

    def __init__(self, model: MetatomicModel, variant: str | None) -> None:
        # (older files have the plural)
        force = model.pick("non_conservative_force", variant)
        force = force or model.pick("non_conservative_forces", variant)
        stress = model.pick("non_conservative_stress", variant)
        if force is None:
            raise PotentialError(
                f"{model.file} predicts no forces directly"
                f"{'' if variant is None else f' for the variant {variant}'}: leave out "
                "non_conservative"
            )
        self.gives_virials = stress is not None
        self.requests = [model.request(force, "atom")]
        if stress is not None:
            self.requests.append(model.request(stress, "system"))
        notice(
            "NON-CONSERVATIVE FORCES: they are the derivative of no energy, so the simulation "
            "samples no known distribution. Never use it for free energies, kinetic energies, "
            "pressures or reweighting; take them only for the inner steps of multiple time "
            "stepping."
            + ("" if self.gives_virials else " The model gives no stress: virials are zero.")
        )

    def add(
        self, found: Mapping[str, Any], batch: Batch, wanted: Wanted, into: Prediction
    ) -> None:
        """Forces and virials out of what the model gave."""
        if wanted.forces:
            forces = rows(found, batch, self.requests[0]).detach()
            mean = batch.sum_over_atoms(forces) / batch.n_atoms_per_structure[:, None]
            into.forces = forces - mean.index_select(0, batch.structure_index)
        if wanted.virials:
            into.virials = torch.zeros_like(batch.cells)
            if self.gives_virials:
                stress = rows(found, batch, self.requests[1]).detach()
                volumes = (batch.volumes() * batch.pbc.all(1))[:, None, None]
                into.virials -= 0.5 * (stress + stress.transpose(1, 2)) * volumes
