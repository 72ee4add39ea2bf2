"""A committee of potentials: their mean, and how far they disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pimd.notices import notice
from pimd.potentials.base import (
    Batch,
    Potential,
    PotentialError,
    Prediction,
    PropertySpec,
    Wanted,
    check_wanted,
)
from pimd.potentials.committee_members import MemberOutputs, Members, Views, make_member
from pimd.potentials.committee_stacking import StackingChoice
from pimd.potentials.committee_statistics import calibrated
from pimd.potentials.models import CompositionBaseline, model_device
from pimd.potentials.options import choice, number
from pimd.potentials.registry import Spec
from pimd.potentials.weighted_baseline import Weighting

__all__ = ["Committee"]

OF_BASELINE = {
    "wb_mixing": PropertySpec("", ()),
    "baseline_energy": PropertySpec("eV", ()),
    "committee_energy": PropertySpec("eV", ()),
}
"""w, V_b and V_b + mean of the learned corrections, which w = 1 would sample."""

LARGE_CORRECTION = 1.0
"""eV per atom; a correction to a baseline is far smaller."""

NOT_AVERAGED = ("energy_uncertainty", *OF_BASELINE)


class Committee(Potential):
    """The mean of several potentials, with the energies of all.

        V = 1/M sum_i V_i,  V_i <- V + alpha (V_i - V)

    One neighbour list and one batch serve all members, whatever their architecture. A member
    that has members itself (a model with an ensemble of heads, another committee) counts as
    these: they are calibrated by its own alpha first, and centred on what it would sample alone.

    With a baseline, the members are a correction to it, weighted by their spread:

        U = V_b + E_0 + w (V - E_0),  w = S_b/(S_b + S),  S_b = N sigma_b²

    with S the calibrated variance of the members, N the number of atoms and E_0 the energy of
    the composition. What is sampled is then U, so the members are given centred on it,
    U + alpha (V_i - V), with the forces and virials that belong to them: their mean is U, their
    spread still that of the models. The properties `wb_mixing` (w), `baseline_energy` (V_b) and
    `committee_energy` (V_b + V) tell how far U is from the models; member i itself has the
    energy committee_energy + (member energy - U).

    Args:
        members: model files, or SPECs; together at least 2 members.
        alpha: calibration of the spread; see `pimd train` and `committee_statistics`.
        baseline: a SPEC; None: the committee alone.
        sigma_b: eV, error of the baseline's energy per square root of the number of atoms. i-PI's
            `baseline_uncertainty` is that of the total energy, sqrt(N) sigma_b.
        learned: what members give, with a baseline: `difference` V_i - V_b, or `total` V_i.
        composition: eV, by element, {H: -13.6, O: -432.0}: the part E_0 of the correction that
            depends on the composition alone. Where it is not small it has to be named, or the
            gradient of w would push with it; needed for members trained on total energies that
            count from another zero than the baseline.
        stacking: `auto`: members of one class whose weights can be stacked are evaluated in one
            pass where that is faster, measured in the first calls; results differ by rounding.
            `always` or `never`: so that a run can be repeated to the last digit.
        dtype, device: passed on to members and baseline that take them and do not say themselves.

    Raises:
        PotentialError: too few members, or options that make no sense.

    Source: Imbalzano et al., J. Chem. Phys. 154, 074102 (2021).
    """

    name = "committee"

    def __init__(
        self,
        members: Sequence[Any],
        alpha: float = 1.0,
        baseline: Any = None,
        sigma_b: float = 0.01,
        learned: str = "difference",
        composition: Mapping[str, float] | None = None,
        stacking: str = "auto",
        dtype: str | None = None,
        device: str = "auto",
    ) -> None:
        self.device = model_device(device)
        self.alpha, self.sigma_b = number("alpha", alpha), number("sigma_b", sigma_b)
        if self.alpha <= 0.0 or self.sigma_b <= 0.0:
            raise PotentialError(f"alpha and sigma_b are > 0, got {alpha} and {sigma_b}")
        self.learned = choice("learned", learned, ("difference", "total"))
        if baseline is None and (learned != "difference" or composition is not None):
            raise PotentialError("learned and composition belong to a committee with a baseline")
        one = isinstance(members, str | Mapping | Spec | Potential)
        named = [members] if one else list(members)
        passed_on = None if dtype == "model" else dtype
        potentials = [make_member(what, passed_on, self.device) for what in named]
        self.members = Members(potentials, StackingChoice(stacking), self.device)
        self.n_members = self.members.n_members
        self.baseline = None
        if baseline is not None:
            self.baseline = make_member(baseline, passed_on, self.device)
        self._warned = False
        self._composition = CompositionBaseline(_by_number(composition), self.device)
        self._describe(potentials if self.baseline is None else [*potentials, self.baseline])

    def _describe(self, parts: Sequence[Potential]) -> None:
        """What the contract tells of the whole, from its parts."""
        self.cutoff = max(part.cutoff for part in parts)
        self.dtype = min((part.dtype for part in parts), key=_rounding)
        coarsest = max((part.precision or part.dtype for part in parts), key=_rounding)
        self.precision = None if coarsest == self.dtype else coarsest
        self.invariant = all(part.invariant for part in parts)
        self.gives_virials = all(part.gives_virials for part in parts)
        first, *others = self.members.potentials
        self.properties = {
            name: spec
            for name, spec in first.properties.items()
            if name not in NOT_AVERAGED and all(p.properties.get(name) == spec for p in others)
        }
        if self.baseline is not None:
            self.properties = {**self.properties, **OF_BASELINE}

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        check_wanted(self, wanted)
        views = Views(batch, self.cutoff)
        if self.baseline is None:
            prediction = self._mean(views, wanted)
        else:
            prediction = self._weighted(self.baseline, views, wanted)
        return _in_precision(prediction, batch.positions.dtype)

    def close(self) -> None:
        self.members.close()
        if self.baseline is not None:
            self.baseline.close()

    def _mean(self, views: Views, wanted: Wanted) -> Prediction:
        found = self.members.evaluate(views, wanted)
        return Prediction(
            found.energies.mean(0),
            found.mean_forces,
            found.mean_virials,
            calibrated(found.energies, self.alpha),
            None if found.forces is None else calibrated(found.forces, self.alpha),
            None if found.virials is None else calibrated(found.virials, self.alpha),
            found.properties,
        )

    def _weighted(self, baseline: Potential, views: Views, wanted: Wanted) -> Prediction:
        """U and its derivatives, which need those of every member."""
        forces = wanted.forces or wanted.member_forces
        virials = wanted.virials or wanted.member_virials
        averaged = tuple(name for name in wanted.properties if name not in OF_BASELINE)
        found = self.members.evaluate(views, Wanted(False, False, averaged, forces, virials))
        base = baseline.compute(views.of(baseline), Wanted(forces, virials))
        base = _moved(base, self.device)
        if self.learned == "total":
            _subtract(found, base)
        batch = views.batch
        offset = self._composition.sum(batch, batch.numbers)
        variance = self.sigma_b**2 * batch.n_atoms_per_structure.to(torch.float64)
        corrections = found.energies - offset
        weighting = Weighting.of(corrections, variance, self.alpha)
        mean = corrections.mean(0)
        self._warn_once(mean, batch)
        energies = base.energies + offset + weighting.weight * mean
        prediction = Prediction(
            energies,
            member_energies=energies + self.alpha * weighting.deviations,
            properties=found.properties,
        )
        known = (weighting.weight, base.energies, base.energies + offset + mean)
        for name, value in zip(OF_BASELINE, known, strict=True):
            if name in wanted.properties:
                prediction.properties[name] = value
        if found.forces is not None and base.forces is not None:
            total = base.forces + weighting.derivative(found.forces, batch.structure_index)
            prediction.forces = total if wanted.forces else None
            if wanted.member_forces:
                prediction.member_forces = self._around(total, found.forces)
        if found.virials is not None and base.virials is not None:
            total = base.virials + weighting.derivative(found.virials)
            prediction.virials = total if wanted.virials else None
            if wanted.member_virials:
                prediction.member_virials = self._around(total, found.virials)
        return prediction

    def _warn_once(self, corrections: Tensor, batch: Batch) -> None:
        """Warn of corrections so large that they must count from another zero; first call only."""
        if self._warned:
            return
        self._warned = True
        largest = float((corrections / batch.n_atoms_per_structure.clamp(min=1)).abs().max())
        if largest > LARGE_CORRECTION:
            notice(
                f"the learned correction to the baseline is {largest:.3g} eV per atom, and the "
                "forces contain its product with the gradient of the weight: if members give "
                "total energies say learned: total, and name the energies of the elements in "
                "composition"
            )

    def _around(self, sampled: Tensor, members: Tensor) -> Tensor:
        """Members with their calibrated deviations from what is sampled."""
        return sampled + self.alpha * (members - members.mean(0))


def _rounding(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def _subtract(found: MemberOutputs, base: Prediction) -> None:
    """From total energies of members to differences from the baseline."""
    found.energies = found.energies - base.energies
    if found.forces is not None and base.forces is not None:
        found.forces = found.forces - base.forces
    if found.virials is not None and base.virials is not None:
        found.virials = found.virials - base.virials


def _moved(prediction: Prediction, device: torch.device) -> Prediction:
    """Energies, forces and virials in fp64 on a device."""
    parts = (prediction.energies, prediction.forces, prediction.virials)
    return Prediction(*(p if p is None else p.to(device, torch.float64) for p in parts))  # type: ignore[arg-type]


def _in_precision(prediction: Prediction, dtype: torch.dtype) -> Prediction:
    """Forces in the precision of the batch, as a potential of that dtype gives them."""
    if dtype == torch.float64:
        return prediction
    for name in ("forces", "virials", "member_forces", "member_virials"):
        value = getattr(prediction, name)
        setattr(prediction, name, None if value is None else value.to(dtype))
    return prediction


def _by_number(composition: Mapping[str, float] | None) -> list[float]:
    """Energy of each atomic number, eV, (119,); 0 for elements not named."""
    from ase.data import atomic_numbers

    energies = [0.0] * 119
    for symbol, energy in (composition or {}).items():
        if symbol not in atomic_numbers:
            raise PotentialError(f"composition names {symbol}, which is no element")
        energies[atomic_numbers[symbol]] = number(f"the energy of {symbol}", energy)
    return energies
