"""The checks behind `pimd.testing.check_potential`, one method each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pimd.potentials.base import Potential, PotentialError, Prediction, Structure, Wanted
from pimd.potentials.contract_evaluator import FLOOR, Evaluator, Tolerances, pairs_near

__all__ = ["CHECKS", "ContractChecks"]

CHECKS = {
    "wanted": "what is not wanted is not given, and asking for less changes no value",
    "forces": "F = -dE/dx by finite differences",
    "virials": "W = -dE/dstrain by finite differences, six strains",
    "batch": "a batch equals its structures one by one, in any order",
    "pair_order": "the order of the neighbour list changes nothing",
    "open": "a structure that carries a cell but is not periodic sees no images",
    "one_atom": "a structure of one atom",
    "two_atoms": "a cluster of two atoms",
    "lattice": "atoms moved by lattice vectors (wrapped) change nothing",
    "translation": "a common translation changes nothing",
    "rotation": "E(xR) = E(x), F(xR) = F R, W(xR) = R^T W R, properties likewise",
    "permutation": "renumbered atoms change nothing but their order",
    "net_force": "forces sum to zero, virials are symmetric",
    "properties": "properties have their declared shapes, and a batch equals its structures",
    "reference": "agrees with the reference potential",
}
"""Name -> what it checks. Shapes, finite values and an unchanged input are always checked."""

NEED_INVARIANCE = ("lattice", "translation", "rotation", "permutation", "net_force")

STENCIL = {-2: 1 / 12, -1: -8 / 12, 1: 8 / 12, 2: -1 / 12}
"""Fourth-order central difference: f' = sum_k c_k f(x + k h) / h."""

N_COMPONENTS = 12
"""Force components of one structure checked one by one; two random directions see the rest."""


class ContractChecks(Evaluator):
    """Each check is a method `check_NAME`."""

    def __init__(
        self,
        potential: Potential,
        structures: Sequence[Structure],
        tolerances: Tolerances,
        reference: Potential | None,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(potential, tolerances)
        self.structures, self.reference, self.rng = list(structures), reference, rng

    def applies(self, name: str) -> bool:
        """Whether a check makes sense for this potential and these structures."""
        if name in NEED_INVARIANCE and not self.potential.invariant:
            return False
        periodic = any(s.pbc.any() for s in self.structures)
        return {
            "virials": self.potential.gives_virials,
            "lattice": periodic,
            "open": periodic,
            "pair_order": self.potential.cutoff > 0.0,
            "properties": bool(self.potential.properties),
            "reference": self.reference is not None,
        }.get(name, True)

    def run(self, name: str) -> None:
        """One check; what the potential raises is a failure too."""
        self.current = f"{name} ({CHECKS[name]})"
        try:
            getattr(self, f"check_{name}")()
        except Exception as error:  # anyone's potential may raise anything
            self.fail(f"raised {type(error).__name__}: {error}")
        self.report.deviations[name] = self.report.deviations.pop(self.current, 0.0)

    def check_wanted(self) -> None:
        full = self.evaluate(self.structures)
        kept = full.energies.clone()
        for forces, virials in ((False, False), (True, False), (False, True)):
            part = self.evaluate(self.structures, Wanted(forces=forces, virials=virials))
            self.close("energies", part.energies, full.energies, self.scaled(full.energies))
            for name, asked in (("forces", forces), ("virials", virials)):
                value, whole = getattr(part, name), getattr(full, name)
                if asked:
                    self.close(name, value, whole, self.scaled(whole))
                elif value is not None:
                    self.fail(f"{name} given though not wanted")
            if part.properties:
                self.fail(f"properties {sorted(part.properties)} given though not wanted")
        self.evaluate(self.structures[::-1])
        if not torch.equal(full.energies, kept):
            self.fail("a later call changed the energies given before; return new tensors")
        try:
            self.evaluate(self.structures[:1], Wanted(properties=("no such property",)))
        except PotentialError:
            return
        self.fail("an unknown property must raise PotentialError")

    def check_forces(self) -> None:
        self.forces_of(self.structures)

    def forces_of(self, structures: Sequence[Structure]) -> None:
        """Components one by one, and two random directions."""
        forces = self.evaluate(structures).forces
        assert forces is not None
        got, want, start = [], [], 0
        for structure in structures:
            n = len(structure)
            components = self.rng.permutation(3 * n)[:N_COMPONENTS]
            random = self.rng.normal(size=(2, 3 * n))
            # no atom moves by more than half a step: pairs change by a step at most
            random *= 0.5 / np.linalg.norm(random.reshape(2, n, 3), axis=2).max()
            directions = np.concatenate([np.eye(3 * n)[components], random])
            moved = [
                Structure(
                    structure.numbers,
                    structure.positions + k * self.tolerances.step * u.reshape(n, 3),
                    structure.cell,
                    structure.pbc,
                )
                for u in directions
                for k in STENCIL
            ]
            want.append(-self.slopes(moved))
            own = forces[start : start + n].double().cpu().reshape(-1)
            got.append(torch.tensor(directions) @ own)
            start += n
        self.derivatives("forces", torch.cat(got), torch.cat(want), structures)

    def check_virials(self) -> None:
        self.virials_of(self.structures)

    def virials_of(self, structures: Sequence[Structure]) -> None:
        """Six symmetric strains, so small that pairs at the cutoff change by a step."""
        if not self.potential.gives_virials:
            return
        virials = self.evaluate(structures).virials
        assert virials is not None
        got, want = [], []
        for structure, virial in zip(structures, virials.double().cpu(), strict=True):
            span = float(np.ptp(structure.positions, axis=0).max(initial=0.0))
            h = self.tolerances.step / max(self.potential.cutoff or span, 3.0)
            strained = []
            for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
                strain = np.zeros((3, 3))
                strain[a, b] = strain[b, a] = 1.0 if a == b else 0.5
                got.append(float((virial * torch.tensor(strain)).sum()))
                for k in STENCIL:
                    deform = np.eye(3) + k * h * strain
                    strained.append(
                        Structure(
                            structure.numbers,
                            structure.positions @ deform,
                            structure.cell @ deform,
                            structure.pbc,
                        )
                    )
            want.append(-self.slopes(strained) * self.tolerances.step / h)
        self.derivatives(
            "virials", torch.tensor(got, dtype=torch.float64), torch.cat(want), structures
        )

    def slopes(self, moved: Sequence[Structure]) -> Tensor:
        """dE/dstep of every group of displaced structures, from one batch."""
        energies = self.evaluate(moved, Wanted(forces=False, virials=False)).energies
        weights = torch.tensor(list(STENCIL.values()), dtype=torch.float64)
        return energies.cpu().double().reshape(-1, len(STENCIL)) @ weights / self.tolerances.step

    def derivatives(
        self, what: str, got: Tensor, want: Tensor, structures: Sequence[Structure]
    ) -> None:
        scale = max(float(want.abs().max()) if want.numel() else 0.0, FLOOR)
        n_failures = len(self.report.failures)
        self.close(what, got, want, self.tolerances.derivative * scale)
        if len(self.report.failures) > n_failures:
            margin = 2.5 * self.tolerances.step
            near = sum(pairs_near(s, self.potential.cutoff, margin) for s in structures)
            if near:
                self.report.failures[-1] += (
                    f" ({near} pairs lie at the cutoff, where a truncated potential jumps)"
                )

    def check_batch(self) -> None:
        singles = [self.evaluate([s]) for s in self.structures]
        n = len(self.structures)
        orders = [list(range(n)), self.rng.permutation(n).tolist(), [0, 0, n - 1, 0, n - 1]]
        for order in orders:
            chosen = [self.structures[k] for k in order]
            alone = _joined([singles[k] for k in order])
            self.same(f"batch {order} and single", self.evaluate(chosen), alone, chosen)

    def check_pair_order(self) -> None:
        batch = self.batch_of(self.structures, self.potential)
        want = self.evaluate(self.structures, batch=batch)
        assert batch.pairs is not None
        assert batch.shifts is not None
        order = torch.tensor(self.rng.permutation(batch.pairs.shape[1]), device=batch.pairs.device)
        mixed = batch.with_pairs(batch.pairs[:, order].contiguous(), batch.shifts[order])
        got = self.evaluate(self.structures, batch=mixed)
        self.same("pairs in another order", got, want, self.structures)

    def check_open(self) -> None:
        periodic = next(s for s in self.structures if s.pbc.any())
        carrying = Structure(periodic.numbers, periodic.positions, periodic.cell, np.zeros(3, bool))
        bare = Structure(periodic.numbers, periodic.positions)
        got, want = self.evaluate([carrying]), self.evaluate([bare])
        self.same("with and without a cell", got, want, [bare])
        self.virials_of([carrying])

    def check_one_atom(self) -> None:
        first = self.structures[0]
        lone = Structure(first.numbers[:1], first.positions[:1])
        boxed = Structure(first.numbers[:1], first.positions[:1], first.cell, first.pbc)
        prediction = self.evaluate([lone, boxed])
        if self.potential.invariant:
            assert prediction.forces is not None
            none = torch.zeros_like(prediction.forces)
            self.close("forces on a lone atom", prediction.forces, none, self.tolerances.relative)
        self.virials_of([lone, boxed])

    def check_two_atoms(self) -> None:
        first = max(self.structures, key=len)
        distances = np.linalg.norm(first.positions - first.positions[0], axis=1)
        nearest = np.argsort(distances)[:2]  # atom 0 and the nearest to it
        pair = Structure(first.numbers[nearest], first.positions[nearest])
        self.forces_of([pair])
        self.virials_of([pair])

    def check_lattice(self) -> None:
        jumped = [
            Structure(
                s.numbers,
                s.positions + (self.rng.integers(-2, 3, (len(s), 3)) * s.pbc) @ s.cell,
                s.cell,
                s.pbc,
            )
            for s in self.structures
        ]
        got, want = self.evaluate(jumped), self.evaluate(self.structures)
        self.same("atoms moved by lattice vectors", got, want, jumped, moved=True)

    def check_translation(self) -> None:
        moved = [
            Structure(s.numbers, s.positions + self.rng.uniform(-3, 3, 3), s.cell, s.pbc)
            for s in self.structures
        ]
        got, want = self.evaluate(moved), self.evaluate(self.structures)
        self.same("translated structures", got, want, moved, moved=True)

    def check_rotation(self) -> None:
        rotation = np.linalg.qr(self.rng.normal(size=(3, 3)))[0]
        rotation *= np.sign(np.linalg.det(rotation))
        turned = [
            Structure(s.numbers, s.positions @ rotation, s.cell @ rotation, s.pbc)
            for s in self.structures
        ]
        properties = self.potential.properties
        # properties with axes of three are taken for Cartesian tensors
        names = tuple(name for name, spec in properties.items() if set(spec.shape) == {3})
        wanted = Wanted(properties=names)
        want, got = self.evaluate(self.structures, wanted), self.evaluate(turned, wanted)
        assert want.forces is not None
        assert want.virials is not None
        r = torch.tensor(rotation)
        want.forces = want.forces.double().cpu() @ r
        want.virials = r.T @ want.virials.double().cpu() @ r
        self.same("rotated structures", got, want, turned, moved=True)
        for name in names:
            value = want.properties[name].double().cpu()
            for axis in range(1, value.ndim):
                value = torch.tensordot(value, r, dims=([axis], [0])).movedim(-1, axis)
            self.close(f"{name} of rotated structures", got.properties[name], value,
                       self.scaled(value))  # fmt: skip

    def check_permutation(self) -> None:
        orders = [self.rng.permutation(len(s)) for s in self.structures]
        mixed = [
            Structure(s.numbers[order], s.positions[order], s.cell, s.pbc)
            for s, order in zip(self.structures, orders, strict=True)
        ]
        want = self.evaluate(self.structures)
        assert want.forces is not None
        starts = np.cumsum([0, *map(len, self.structures)])[:-1]
        flat = np.concatenate([o + start for o, start in zip(orders, starts, strict=True)])
        want.forces = want.forces[torch.tensor(flat, device=want.forces.device)]
        self.same("renumbered atoms", self.evaluate(mixed), want, mixed)

    def check_net_force(self) -> None:
        prediction = self.evaluate(self.structures)
        assert prediction.forces is not None
        assert prediction.virials is not None
        sizes = list(map(len, self.structures))
        for k, own in enumerate(prediction.forces.double().split(sizes)):
            allowed = self.scaled(own) * max(1, sizes[k]) ** 0.5
            self.close(f"net force on structure {k}", own.sum(0), torch.zeros(3), allowed)
        if self.potential.gives_virials:
            virials = prediction.virials
            self.close("W and W^T", virials, virials.transpose(1, 2), self.scaled(virials))

    def check_properties(self) -> None:
        specs = dict(self.potential.properties)
        wanted = Wanted(properties=tuple(specs))
        got = self.evaluate(self.structures, wanted).properties
        if set(got) != set(specs):
            self.fail(f"asked for {sorted(specs)}, got {sorted(got)}")
        n_atoms = sum(map(len, self.structures))
        singles = [self.evaluate([s], wanted).properties for s in self.structures]
        for name, spec in specs.items():
            rows = n_atoms if spec.per_atom else len(self.structures)
            self.well_formed(name, got.get(name), (rows, *spec.shape))
            joined = torch.cat([single[name] for single in singles])
            self.close(f"{name} in a batch and single", got[name], joined, self.scaled(joined))

    def check_reference(self) -> None:
        want = self.evaluate(self.structures, potential=self.reference)
        got = self.evaluate(self.structures)
        self.same("this and the reference", got, want, self.structures, moved=True)


def _joined(predictions: Sequence[Prediction]) -> Prediction:
    """Predictions of single structures as one."""
    forces = [p.forces for p in predictions if p.forces is not None]
    virials = [p.virials for p in predictions if p.virials is not None]
    return Prediction(
        torch.cat([p.energies for p in predictions]), torch.cat(forces), torch.cat(virials)
    )
