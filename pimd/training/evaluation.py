"""Errors of a trained committee, and the calibration of its spread."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pimd.potentials.committee_statistics import calibrate, expected_z, spread
from pimd.potentials.element_networks import ElementNetworks
from pimd.training.samples import Sample, committee_of

__all__ = [
    "CalibrationFit", "Errors", "Evaluation", "calibration_of", "evaluate_set", "expected_z",
]


@dataclass(frozen=True)
class Errors:
    """Root mean square and mean absolute errors, energies in eV per atom, forces in eV/Å.

    Attributes:
        n_structures, n_atoms: of the set.
        energy_rmse, energy_mae, force_rmse, force_mae: of the committee's mean.
        member_energy_rmse, member_force_rmse: of single members, over all of them.
        force_rms: of the reference forces themselves.
    """

    n_structures: int
    n_atoms: int
    energy_rmse: float
    energy_mae: float
    force_rmse: float
    force_mae: float
    member_energy_rmse: float
    member_force_rmse: float
    force_rms: float


@dataclass(frozen=True)
class Evaluation:
    """A committee on a set of structures.

    Attributes:
        n_atoms: (n_structures,).
        energies, reference: eV beyond the baseline, (n_members, n_structures) and (n_structures,).
        forces, reference_forces: eV/Å, the mean's and the reference's, (n_atoms, 3).
        errors: in short.
    """

    n_atoms: np.ndarray
    energies: np.ndarray
    reference: np.ndarray
    forces: np.ndarray
    reference_forces: np.ndarray
    errors: Errors

    @property
    def sigma(self) -> np.ndarray:
        """Spread of the members, not calibrated, eV, (n_structures,)."""
        return spread(self.energies)

    @property
    def deviations(self) -> np.ndarray:
        """Reference minus mean, eV, (n_structures,)."""
        return self.reference - self.energies.mean(0)


@dataclass(frozen=True)
class CalibrationFit:
    """The factor of the members' deviations from their mean.

    Attributes:
        alpha: 1 where none could be found.
        error: standard error of alpha, NaN where there is none.
        n_structures: it was fitted to.
        note: how it was found, or why there is none.
    """

    alpha: float
    error: float
    n_structures: int
    note: str


def evaluate_set(
    networks: ElementNetworks, scale: float, samples: Sequence[Sample]
) -> Evaluation:
    """The committee with its present weights on samples, at least one."""
    members, member_forces = committee_of(networks, scale, samples)
    energies = members.cpu().numpy()
    reference = torch.stack([one.energy for one in samples]).double().cpu().numpy()
    forces = member_forces.cpu().numpy()
    truth = torch.cat([one.forces for one in samples]).double().cpu().numpy()
    n_atoms = np.array([one.n_atoms for one in samples])
    of_mean = (energies.mean(0) - reference) / n_atoms
    force_errors = forces.mean(0) - truth
    errors = Errors(
        len(samples),
        int(n_atoms.sum()),
        _rms(of_mean),
        float(np.abs(of_mean).mean()),
        _rms(force_errors),
        float(np.abs(force_errors).mean()),
        _rms((energies - reference) / n_atoms),
        _rms(forces - truth),
        _rms(truth),
    )
    return Evaluation(n_atoms, energies, reference, forces.mean(0), truth, errors)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def calibration_of(validation: Evaluation) -> CalibrationFit:
    """alpha of the energies by the finite-M formula, on structures no member was trained on."""
    n = len(validation.reference)
    n_members = len(validation.energies)
    if n_members < 2:
        return CalibrationFit(1.0, float("nan"), n, "one member has no spread to calibrate")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = calibrate(validation.energies, validation.reference)
        except ValueError as error:
            return CalibrationFit(1.0, float("nan"), n, f"not calibrated: {error}")
    note = f"method {found.method}, {n_members} members"
    note = "; ".join([note, *dict.fromkeys(str(w.message) for w in said)])
    return CalibrationFit(found.alpha, found.error, n, note)


def mean_square_z(evaluation: Evaluation, alpha: float) -> float:
    """<(error / alpha sigma)²> over structures; NaN without members or structures."""
    if len(evaluation.energies) < 2 or not len(evaluation.reference):
        return float("nan")
    z = evaluation.deviations / (alpha * evaluation.sigma)
    return float(np.mean(z**2))


def as_numbers(errors: Errors) -> dict[str, Any]:
    """Errors in the units people quote: meV per atom and meV/Å."""
    thousand = 1000.0
    return {
        "structures": errors.n_structures,
        "atoms": errors.n_atoms,
        "energy_rmse_mev_per_atom": round(thousand * errors.energy_rmse, 4),
        "energy_mae_mev_per_atom": round(thousand * errors.energy_mae, 4),
        "force_rmse_mev_per_angstrom": round(thousand * errors.force_rmse, 3),
        "force_mae_mev_per_angstrom": round(thousand * errors.force_mae, 3),
        "member_energy_rmse_mev_per_atom": round(thousand * errors.member_energy_rmse, 4),
        "member_force_rmse_mev_per_angstrom": round(thousand * errors.member_force_rmse, 3),
        "reference_force_rms_mev_per_angstrom": round(thousand * errors.force_rms, 1),
    }
