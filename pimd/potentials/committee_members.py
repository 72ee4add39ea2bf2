"""The members of a committee: made from SPECs, evaluated on one batch, laid side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pimd.potentials.base import Batch, Potential, PotentialError, Prediction, Wanted
from pimd.potentials.committee_stacking import StackingChoice
from pimd.potentials.committee_statistics import centred
from pimd.potentials.registry import Spec, make_potential

__all__ = ["MemberOutputs", "Members", "Views", "make_member"]


def make_member(what: Any, dtype: str | None, device: torch.device) -> Potential:
    """A potential from a SPEC (text, mapping), a file name, or itself.

    `dtype` and `device` count where the potential takes them and the SPEC does not say.
    """
    if isinstance(what, Potential):
        return what
    if not isinstance(what, str | Mapping | Spec):
        raise PotentialError(
            f"a member of a committee is a model file or a potential, such as a.model or "
            f"(potential: mace; model: a.model); got {what!r}"
        )
    defaults = {"device": str(device)}
    if dtype is not None:
        defaults["dtype"] = dtype
    return make_potential(what, defaults)


class Views:
    """One batch as each potential wants it: its pairs, precision and device; made once each.

    Args:
        batch: with the pairs within `cutoff`.
        cutoff: Å.
    """

    def __init__(self, batch: Batch, cutoff: float) -> None:
        self.batch, self.cutoff = batch, cutoff
        self._squared: Tensor | None = None
        self._made: dict[tuple[float, torch.dtype, torch.device], Batch] = {}

    def of(self, potential: Potential) -> Batch:
        """The batch for one potential. Pairs beyond its cutoff are taken out: there are models
        that give wrong numbers where they get them."""
        cutoff, dtype, device = potential.cutoff, potential.dtype, potential.device
        key = (cutoff, dtype, device)
        if key not in self._made:
            self._made[key] = _moved(self._within(cutoff), dtype, device)
        return self._made[key]

    def _within(self, cutoff: float) -> Batch:
        batch = self.batch
        if cutoff == 0.0:
            return replace(batch, pairs=None, shifts=None, pair_runs=None)
        if cutoff >= self.cutoff or batch.pairs is None or batch.shifts is None:
            return batch
        if self._squared is None:
            with torch.no_grad():
                self._squared = batch.pair_vectors().to(torch.float64).square().sum(1)
        near = (self._squared < cutoff * cutoff).nonzero().squeeze(1)
        runs = batch.pair_runs
        if runs is not None:
            runs = torch.searchsorted(near, runs.to(near.device))
        return batch.with_pairs(
            batch.pairs.index_select(1, near), batch.shifts.index_select(0, near), runs
        )


def _moved(batch: Batch, dtype: torch.dtype, device: torch.device) -> Batch:
    """The batch in another precision and on another device; itself where it is there already."""
    here = batch.positions
    same = here.device.type == device.type and device.index in (None, here.device.index)
    if here.dtype == dtype and same:
        return batch
    return replace(
        batch,
        positions=here.to(device, dtype),
        cells=batch.cells.to(device, dtype),
        pbc=batch.pbc.to(device),
        numbers=batch.numbers.to(device),
        structure_index=batch.structure_index.to(device),
        n_atoms_per_structure=batch.n_atoms_per_structure.to(device),
        pairs=None if batch.pairs is None else batch.pairs.to(device),
        shifts=None if batch.shifts is None else batch.shifts.to(device, dtype),
    )


@dataclass
class MemberOutputs:
    """What the members say of a batch, on the committee's device, in fp64.

    Attributes:
        energies: eV, (n_members, n_structures).
        mean_forces, mean_virials: of the mean energy, shapes as in `Prediction`; None where they
            are not wanted.
        forces: eV/Å, (n_members, n_atoms, 3), where wanted.
        virials: eV, (n_members, n_structures, 3, 3), where wanted.
        properties: means over members.
    """

    energies: Tensor
    mean_forces: Tensor | None = None
    mean_virials: Tensor | None = None
    forces: Tensor | None = None
    virials: Tensor | None = None
    properties: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _Unit:
    """A potential that gives the members `slots` of the committee in one call."""

    potential: Potential
    slots: list[int]


class Members:
    """Evaluates potentials as one row of members.

    A potential that has members itself counts as these, calibrated as it gives them, and centred
    on what it would sample alone: its energy is the mean of what it contributes.

    Args:
        potentials: at least one; together at least two members.
        stacking: how members of one class that can be stacked are evaluated.
        device: of the results.

    Attributes:
        n_members: of the row.
        can_stack: whether some of them can be evaluated in one pass.
    """

    def __init__(
        self, potentials: Sequence[Potential], stacking: StackingChoice, device: torch.device
    ) -> None:
        self.potentials, self.stacking, self.device = list(potentials), stacking, device
        counts = [max(1, p.n_members) for p in self.potentials]
        self.n_members = sum(counts)
        if self.n_members < 2:
            raise PotentialError(
                f"a committee needs at least 2 members, got {self.n_members}: "
                "members: [a.model; b.model]"
            )
        self._one_by_one, at = [], 0
        for potential, count in zip(self.potentials, counts, strict=True):
            self._one_by_one.append(_Unit(potential, list(range(at, at + count))))
            at += count
        self._stacked = None if stacking.mode == "never" else _stack(self._one_by_one)
        self.can_stack = self._stacked is not None

    def evaluate(self, views: Views, wanted: Wanted) -> MemberOutputs:
        """All members; `wanted.member_forces` and `wanted.member_virials` say what is kept of
        each, `wanted.forces` and `wanted.virials` whether the means are given."""
        stacked = self._stacked
        if stacked is None or not all(
            set(wanted.properties) <= set(unit.potential.properties) for unit in stacked
        ):
            return self._evaluate(self._one_by_one, views, wanted)
        batch = views.batch
        size = batch.n_atoms if batch.pairs is None else batch.pairs.shape[1]
        return self.stacking.run(
            lambda together: self._evaluate(
                stacked if together else self._one_by_one, views, wanted
            ),
            kind=wanted,
            size=size,
            synchronize=self._synchronize,
        )

    def close(self) -> None:
        for unit in [*self._one_by_one, *(self._stacked or [])]:
            unit.potential.close()

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _evaluate(self, units: Sequence[_Unit], views: Views, wanted: Wanted) -> MemberOutputs:
        row = _Row(self.n_members, views.batch, wanted, self.device)
        for unit in units:
            potential = unit.potential
            several = potential.n_members > 0
            asked = replace(
                wanted,
                forces=wanted.forces or wanted.member_forces,
                virials=wanted.virials or wanted.member_virials,
                member_forces=several and wanted.member_forces,
                member_virials=several and wanted.member_virials,
            )
            row.add(unit.slots, potential.compute(views.of(potential), asked), potential)
        return row.outputs


class _Row:
    """Outputs of members, filled potential by potential."""

    def __init__(
        self, n_members: int, batch: Batch, wanted: Wanted, device: torch.device
    ) -> None:
        self.n_members, self.wanted = n_members, wanted
        n_structures, n_atoms = batch.n_structures, batch.n_atoms

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.outputs = MemberOutputs(zeros(n_members, n_structures))
        if wanted.forces:
            self.outputs.mean_forces = zeros(n_atoms, 3)
        if wanted.virials:
            self.outputs.mean_virials = zeros(n_structures, 3, 3)
        if wanted.member_forces:
            self.outputs.forces = zeros(n_members, n_atoms, 3)
        if wanted.member_virials:
            self.outputs.virials = zeros(n_members, n_structures, 3, 3)

    def add(self, slots: list[int], found: Prediction, potential: Potential) -> None:
        """Lay what one potential gave into the slots of its members."""
        out, share = self.outputs, len(slots) / self.n_members
        several = potential.n_members > 0
        of_members = [
            (out.energies, found.member_energies, found.energies),
            (out.forces, found.member_forces, found.forces),
            (out.virials, found.member_virials, found.virials),
        ]
        for row, members, sampled in of_members:
            if row is None:
                continue
            values = members if several else sampled
            if values is None or sampled is None:
                raise PotentialError(
                    f"{potential.name} gives no {'member ' if several else ''}forces, virials or "
                    "energies that the committee needs of it"
                )
            sampled = sampled.to(row)
            row[slots] = centred(values.to(row), sampled) if several else sampled[None]
        for total, value in ((out.mean_forces, found.forces), (out.mean_virials, found.virials)):
            if total is not None:
                assert value is not None
                total.add_(value.to(total), alpha=share)
        for name in self.wanted.properties:
            value = share * found.properties[name].to(out.energies)
            out.properties[name] = value + out.properties.get(name, 0.0)


def _stack(units: Sequence[_Unit]) -> list[_Unit] | None:
    """The same members with those of one class and cutoff in one potential; None where nothing
    stacks."""
    groups: dict[tuple[Any, ...], list[_Unit]] = {}
    for unit in units:
        own = unit.potential
        if own.n_members == 0:
            key = (type(own), own.cutoff, own.dtype, own.precision, own.device)
            groups.setdefault(key, []).append(unit)
    stacked: list[_Unit] = []
    for group in (one for one in groups.values() if len(one) > 1):
        alike = [unit.potential for unit in group]
        together = type(alike[0]).stacked(alike)
        if together is not None:
            stacked.append(_Unit(together, [unit.slots[0] for unit in group]))
    if not stacked:
        return None
    covered = {slot for unit in stacked for slot in unit.slots}
    return [*stacked, *(unit for unit in units if unit.slots[0] not in covered)]
