"""Check anyone's potential against the contract of `pimd.potentials.base`.

    from pimd.testing import check_potential

    print(check_potential(MyPotential(cutoff=5.0), [structure, other]))

raises AssertionError with everything that failed, or returns what was measured.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from pimd.potentials.base import Batch, Potential, PotentialError, Prediction, Structure, Wanted
from pimd.potentials.neighbours import NeighbourLists
from pimd.units import HARTREE_EV

__all__ = ["CHECKS", "ContractReport", "check_potential", "example_structures"]

CHECKS = {
    "wanted": "what is not wanted is not given, and asking for less changes no value",
    "forces": "F = -dE/dx by finite differences",
    "virials": "W = -dE/dstrain by finite differences, six strains",
    "batch": "a batch equals its structures one by one, in any order",
    "pair_order": "the order of the neighbour list changes nothing",
    "open": "a structure that is not periodic but carries a cell sees no images",
    "one_atom": "a structure of one atom",
    "two_atoms": "a cluster of two atoms",
    "lattice": "atoms moved by lattice vectors (wrapped) change nothing",
    "translation": "a common translation changes nothing",
    "rotation": "E(xR) = E(x), F(xR) = F R, W(xR) = R^T W R",
    "permutation": "renumbered atoms change nothing but their order",
    "net_force": "forces sum to zero",
    "properties": "properties have the shapes and the dtype they are declared with",
    "reference": "agrees with the reference potential",
}
"""Name -> what it checks. Shapes, finite values and an unchanged input are always checked."""

_NEEDS_INVARIANCE = ("lattice", "translation", "rotation", "permutation", "net_force")

# stencil of the fourth-order central difference: f' = sum_k c_k f(x + k h) / h
_STENCIL = {-2: 1 / 12, -1: -8 / 12, 1: 8 / 12, 2: -1 / 12}


@dataclass(frozen=True)
class _Tolerances:
    """Defaults by dtype: fp64 and fp32."""

    derivative: float  # relative to the largest component of the structures checked
    energy_per_atom: float  # eV
    relative: float  # of forces and virials against each other
    step: float  # Å


_TOLERANCES = {
    torch.float64: _Tolerances(1e-6, 0.0, 1e-9, 3e-3),
    torch.float32: _Tolerances(1e-3, 2e-7, 2e-5, 3e-2),
}
_ENERGY_FP64 = 1e-10 * HARTREE_EV  # eV, whatever the number of atoms


@dataclass
class ContractReport:
    """What `check_potential` measured.

    Attributes:
        potential, dtype: what was checked.
        deviations: check -> largest deviation over its tolerance (1 is the limit), or 0.0
            where a check has no number.
        noise: largest differences between equal calls in other batches: energy (eV), forces
            (eV/Å), virials (eV).
        skipped: checks left out, by request or since they do not apply.
        failures: what failed, in words.
    """

    potential: str
    dtype: str
    deviations: dict[str, float] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.potential} ({self.dtype}): deviations in units of the tolerance"]
        lines += [f"  {name:12s} {value:9.2e}" for name, value in self.deviations.items()]
        if self.noise:
            floor = ", ".join(f"{name} {value:.1e}" for name, value in self.noise.items())
            lines.append(f"  batch noise: {floor} (eV, eV/Å, eV)")
        if self.skipped:
            lines.append(f"  skipped: {', '.join(self.skipped)}")
        lines += [f"  FAILED {failure}" for failure in self.failures]
        return "\n".join(lines)


def check_potential(
    potential: Potential,
    structures: Sequence[Structure] | None = None,
    *,
    skip: Collection[str] = (),
    reference: Potential | None = None,
    derivative_tolerance: float | None = None,
    energy_tolerance: float | None = None,
    relative_tolerance: float | None = None,
    step: float | None = None,
    seed: int = 0,
) -> ContractReport:
    """Check a potential against the whole contract; neighbour lists are attached here.

    Args:
        potential: what to check, in its own dtype and on its own device.
        structures: structures it can evaluate, best of different sizes and cells, one of them
            triclinic and periodic if it takes such; None: `example_structures`. No pair of a
            potential that jumps at its cutoff may lie within a few steps of it.
        skip: names from `CHECKS` to leave out, for a potential that does not take lone atoms,
            clusters or renumbered molecules, say.
        reference: a potential that must agree: the same in fp64, or on the CPU.
        derivative_tolerance: of finite differences, relative to the largest component;
            default 1e-6 in fp64, 1e-3 in fp32.
        energy_tolerance: eV, between equal energies; default 1e-10 Ha in fp64, 2e-7 eV per
            atom in fp32.
        relative_tolerance: between equal forces and virials, relative to the largest
            component; default 1e-9 in fp64, 2e-5 in fp32.
        step: Å, of the finite differences; default 0.003 in fp64, 0.03 in fp32.
        seed: of the random displacements, rotations and orders.

    Returns:
        The measured deviations.

    Raises:
        AssertionError: with a report of everything that failed.
        ValueError: for a name in `skip` that is no check.
    """
    unknown = set(skip) - set(CHECKS)
    if unknown:
        raise ValueError(f"no such check: {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    default = _TOLERANCES[potential.dtype]
    if structures is None:
        structures = example_structures(potential.cutoff, seed=seed)
    checker = _Checker(
        potential,
        list(structures),
        np.random.default_rng(seed),
        derivative_tolerance or default.derivative,
        energy_tolerance,
        relative_tolerance or default.relative,
        step or default.step,
        reference,
    )
    for name in CHECKS:
        if name in skip or not checker.applies(name):
            checker.report.skipped.append(name)
            continue
        checker.run(name)
    if checker.report.failures:
        raise AssertionError(str(checker.report))
    return checker.report


def example_structures(
    cutoff: float = 0.0, number: int = 18, spacing: float = 3.6, seed: int = 0
) -> list[Structure]:
    """Small structures of one element: a triclinic crystal with disorder, a cluster, a slab.

    Distances are near `spacing` (Å), and none is within 0.01 Å of the cutoff, where a
    truncated potential has no derivative.
    """
    rng = np.random.default_rng(seed)
    sites = spacing * np.array([[0, 0, 0], [0.1, 1, 0], [0, 0.05, 1], [1, 0, 0.1], [1, 1, 1.05]])
    cell = spacing * np.array([[2.0, 0.0, 0.0], [0.3, 2.1, 0.0], [-0.2, 0.25, 2.2]])
    kinds = [
        (5, cell, (True, True, True)),
        (4, 0.9 * cell.T, (True, True, True)),
        (5, np.zeros((3, 3)), (False, False, False)),
        (3, cell, (True, True, False)),
    ]
    structures = []
    for n, box, pbc in kinds:
        for _ in range(200):
            positions = sites[:n] + rng.uniform(-0.1, 0.1, (n, 3)) * spacing
            structure = Structure(np.full(n, number), positions, box, np.array(pbc))
            if not _pairs_near(structure, cutoff, 0.01):
                break
        structures.append(structure)
    return structures


def _pairs_near(structure: Structure, cutoff: float, margin: float) -> int:
    """Pairs whose distance is within `margin` (Å) of the cutoff."""
    if cutoff <= 0.0:
        return 0
    batch = NeighbourLists(cutoff + margin, skin=0.0).attach(Batch.from_structures([structure]))
    return int((batch.pair_vectors().norm(dim=1) > cutoff - margin).sum()) // 2


class _Checker:
    """The checks, each a method of its name; `close` records deviations."""

    def __init__(
        self,
        potential: Potential,
        structures: list[Structure],
        rng: np.random.Generator,
        derivative: float,
        energy: float | None,
        relative: float,
        step: float,
        reference: Potential | None,
    ) -> None:
        self.potential, self.structures, self.rng = potential, structures, rng
        self.derivative, self.energy, self.relative = derivative, energy, relative
        self.step, self.reference_potential = step, reference
        self.report = ContractReport(potential.name, str(potential.dtype).removeprefix("torch."))
        self.current = "shapes"

    def applies(self, name: str) -> bool:
        if name in _NEEDS_INVARIANCE and not self.potential.invariant:
            return False
        periodic = any(s.pbc.any() for s in self.structures)
        return {
            "lattice": periodic,
            "open": periodic,
            "pair_order": self.potential.cutoff > 0.0,
            "properties": bool(self.potential.properties),
            "reference": self.reference_potential is not None,
        }.get(name, True)

    def run(self, name: str) -> None:
        """One check; what it raises is a failure too."""
        self.current = name
        self.report.deviations.setdefault(name, 0.0)
        try:
            getattr(self, f"check_{name}")()
        except (PotentialError, RuntimeError, IndexError, TypeError, KeyError) as error:
            self.fail(f"raised {type(error).__name__}: {error}")

    def fail(self, what: str) -> None:
        self.report.failures.append(f"{self.current} ({CHECKS[self.current]}): {what}")

    def close(self, what: str, got: Tensor, want: Tensor, tolerance: float) -> float:
        """Record max |got - want| against the tolerance; the deviation."""
        difference = (got.double().cpu() - want.double().cpu()).abs()
        largest = float(difference.max()) if difference.numel() else 0.0
        share = largest / tolerance
        worst = self.report.deviations
        worst[self.current] = max(worst[self.current], share)
        if not share <= 1.0:
            at = tuple(int(k) for k in np.unravel_index(int(difference.argmax()), got.shape))
            self.fail(
                f"{what} differ by {largest:.3g}, allowed {tolerance:.3g}; at {list(at)} got "
                f"{float(got[at]):.10g}, expected {float(want[at]):.10g}"
            )
        return largest

    # -- evaluation ----------------------------------------------------------------------

    def batch_of(self, structures: Sequence[Structure], potential: Potential) -> Batch:
        batch = Batch.from_structures(structures, dtype=potential.dtype, device=potential.device)
        return NeighbourLists(potential.cutoff, skin=0.0, threads=1).attach(batch)

    def evaluate(
        self,
        structures: Sequence[Structure],
        wanted: Wanted = Wanted(),  # noqa: B008 - frozen
        *,
        batch: Batch | None = None,
        potential: Potential | None = None,
    ) -> Prediction:
        """Compute, and check shapes, finite values and that the input is left alone."""
        potential = potential or self.potential
        batch = self.batch_of(structures, potential) if batch is None else batch
        before = {f.name: getattr(batch, f.name).clone() for f in fields(batch)}
        prediction = potential.compute(batch, wanted)
        for name, value in before.items():
            if not torch.equal(getattr(batch, name), value):
                self.fail(f"compute changed the batch's {name}; copy before writing")
                setattr(batch, name, value)
        shapes = {"energies": (batch.n_structures,)}
        if wanted.forces:
            shapes["forces"] = (batch.n_atoms, 3)
        if wanted.virials:
            shapes["virials"] = (batch.n_structures, 3, 3)
        for name, shape in shapes.items():
            self.well_formed(name, getattr(prediction, name), shape)
        if prediction.energies.dtype != torch.float64:
            self.fail(f"energies are {prediction.energies.dtype}; sum them in float64")
        return prediction

    def well_formed(self, name: str, value: Tensor | None, shape: tuple[int, ...]) -> None:
        if value is None:
            raise TypeError(f"{name} wanted but not given")
        if tuple(value.shape) != shape:
            raise TypeError(f"{name} should be {shape}, got {tuple(value.shape)}")
        if not bool(torch.isfinite(value).all()):
            self.fail(f"{name} contain NaN or infinity")
        if value.requires_grad:
            self.fail(f"{name} still carry a graph; detach them")

    def same(self, what: str, got: Prediction, want: Prediction, n_atoms: int) -> None:
        """Compare whole predictions; the largest differences become the noise floor."""
        energy = self.energy
        if energy is None:
            per_atom = _TOLERANCES[self.potential.dtype].energy_per_atom
            energy = per_atom * n_atoms if per_atom else _ENERGY_FP64
        found = {"energy": self.close(f"{what}: energies", got.energies, want.energies, energy)}
        for name in ("forces", "virials"):
            a, b = getattr(got, name), getattr(want, name)
            scale = max(1.0, float(b.abs().max()) if b.numel() else 0.0)
            found[name] = self.close(f"{what}: {name}", a, b, self.relative * scale)
        for name, value in found.items():
            self.report.noise[name] = max(self.report.noise.get(name, 0.0), value)

    # -- checks --------------------------------------------------------------------------

    def check_wanted(self) -> None:
        full = self.evaluate(self.structures)
        for forces, virials in ((False, False), (True, False), (False, True)):
            wanted = Wanted(forces=forces, virials=virials)
            part = self.evaluate(self.structures, wanted)
            for name, asked in (("forces", forces), ("virials", virials)):
                value = getattr(part, name)
                if not asked and value is not None:
                    self.fail(f"{name} given though not wanted")
                elif asked:
                    self.close(name, value, getattr(full, name), self._scaled(getattr(full, name)))
            if part.properties:
                self.fail(f"properties {sorted(part.properties)} given though not wanted")
        try:
            self.evaluate(self.structures[:1], Wanted(properties=("no such property",)))
        except PotentialError:
            return
        self.fail("an unknown property must raise PotentialError")

    def _scaled(self, value: Tensor) -> float:
        return self.relative * max(1.0, float(value.abs().max()) if value.numel() else 0.0)

    def check_forces(self) -> None:
        self.forces_of(self.structures)

    def forces_of(self, structures: Sequence[Structure]) -> None:
        """All components of small structures, a dozen of others, and two random directions."""
        forces = self.evaluate(structures).forces
        assert forces is not None
        got, want, start = [], [], 0
        for structure in structures:
            n = len(structure)
            which = self.rng.permutation(3 * n)[:12]
            directions = list(np.eye(3 * n)[which]) if n else []
            directions += list(self.rng.normal(size=(2, 3 * n)) / np.sqrt(3 * n or 1))
            moved = [
                Structure(
                    structure.numbers,
                    structure.positions + k * self.step * u.reshape(-1, 3),
                    structure.cell,
                    structure.pbc,
                )
                for u in directions
                for k in _STENCIL
            ]
            want.append(-self.slopes(moved))
            own = forces[start : start + n].double().cpu().numpy().ravel()
            got.append(torch.tensor(np.array(directions) @ own))
            start += n
        self.derivatives("forces", torch.cat(got), torch.cat(want))

    def check_virials(self) -> None:
        self.virials_of(self.structures)

    def virials_of(self, structures: Sequence[Structure]) -> None:
        """Six symmetric strains; the step moves the outermost atoms and images by `step`."""
        virials = self.evaluate(structures).virials
        assert virials is not None
        got, want = [], []
        for structure, virial in zip(structures, virials.double().cpu(), strict=True):
            reach = max(self.potential.cutoff, np.ptp(structure.positions, axis=0).max(), 3.0)
            h = self.step / reach
            strained = []
            for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
                strain = np.zeros((3, 3))
                strain[a, b] = strain[b, a] = 1.0 if a == b else 0.5
                got.append(float((virial * torch.tensor(strain)).sum()))
                for k in _STENCIL:
                    deform = np.eye(3) + k * h * strain
                    strained.append(
                        Structure(
                            structure.numbers,
                            structure.positions @ deform,
                            structure.cell @ deform,
                            structure.pbc,
                        )
                    )
            want.append(-self.slopes(strained) * self.step / h)
        self.derivatives("virials", torch.tensor(got, dtype=torch.float64), torch.cat(want))

    def slopes(self, moved: Sequence[Structure]) -> Tensor:
        """Fourth-order central differences of the energies, per `step`."""
        energies = self.evaluate(moved, Wanted(forces=False, virials=False)).energies
        weights = torch.tensor(list(_STENCIL.values()), dtype=torch.float64)
        return energies.double().cpu().reshape(-1, len(_STENCIL)) @ weights / self.step

    def derivatives(self, what: str, got: Tensor, want: Tensor) -> None:
        scale = max(float(want.abs().max()) if want.numel() else 0.0, 1e-2)
        n_failed = len(self.report.failures)
        self.close(what, got, want, self.derivative * scale)
        near = sum(
            _pairs_near(s, self.potential.cutoff, 4 * self.step) for s in self.structures
        )
        if len(self.report.failures) > n_failed and near:
            self.report.failures[-1] += (
                f" ({near} pairs lie at the cutoff, where a truncated potential jumps)"
            )

    def check_batch(self) -> None:
        singles = [self.evaluate([s]) for s in self.structures]
        n = len(self.structures)
        orders = [list(range(n)), list(self.rng.permutation(n)), [0] * 3 + [n - 1] * 2]
        for order in orders:
            batch = self.evaluate([self.structures[k] for k in order])
            self.same(
                f"batch in order {[int(k) for k in order]} and single structures",
                batch,
                _joined([singles[k] for k in order]),
                max(len(s) for s in self.structures),
            )

    def check_pair_order(self) -> None:
        batch = self.batch_of(self.structures, self.potential)
        want = self.evaluate(self.structures, batch=batch)
        assert batch.pairs is not None
        assert batch.shifts is not None
        order = torch.tensor(self.rng.permutation(batch.pairs.shape[1]), device=batch.pairs.device)
        mixed = batch.with_pairs(batch.pairs[:, order].contiguous(), batch.shifts[order])
        self.same(
            "pairs in another order", self.evaluate(self.structures, batch=mixed), want,
            max(len(s) for s in self.structures),
        )  # fmt: skip

    def check_open(self) -> None:
        periodic = next(s for s in self.structures if s.pbc.any())
        carrying = Structure(periodic.numbers, periodic.positions, periodic.cell, False)
        bare = Structure(periodic.numbers, periodic.positions)
        self.same(
            "with and without a cell", self.evaluate([carrying]), self.evaluate([bare]), len(bare)
        )
        self.virials_of([carrying])

    def check_one_atom(self) -> None:
        first = self.structures[0]
        lone = Structure(first.numbers[:1], first.positions[:1])
        boxed = Structure(first.numbers[:1], first.positions[:1], first.cell, first.pbc)
        prediction = self.evaluate([lone, boxed])
        if self.potential.invariant:
            assert prediction.forces is not None
            zero = torch.zeros_like(prediction.forces)
            self.close("forces on a lone atom", prediction.forces, zero, self.relative)
        self.virials_of([lone, boxed])

    def check_two_atoms(self) -> None:
        first = self.structures[0]
        if len(first) < 2:
            return
        distances = np.linalg.norm(first.positions - first.positions[0], axis=1)
        own = [0, 1 + int(distances[1:].argmin())]
        pair = Structure(first.numbers[own], first.positions[own])
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
        self.compare("atoms moved by lattice vectors", jumped)

    def check_translation(self) -> None:
        moved = [
            Structure(s.numbers, s.positions + self.rng.uniform(-3, 3, 3), s.cell, s.pbc)
            for s in self.structures
        ]
        self.compare("translated structures", moved)

    def compare(self, what: str, changed: Sequence[Structure]) -> None:
        """Changed structures must give what the unchanged ones give."""
        largest = max(len(s) for s in self.structures)
        self.same(what, self.evaluate(changed), self.evaluate(self.structures), largest)

    def check_rotation(self) -> None:
        rotation = np.linalg.qr(self.rng.normal(size=(3, 3)))[0]
        rotation *= np.sign(np.linalg.det(rotation))
        turned = [
            Structure(s.numbers, s.positions @ rotation, s.cell @ rotation, s.pbc)
            for s in self.structures
        ]
        names = tuple(
            name for name, spec in self.potential.properties.items() if set(spec.shape) == {3}
        )
        wanted = Wanted(properties=names)
        want, got = self.evaluate(self.structures, wanted), self.evaluate(turned, wanted)
        assert want.forces is not None
        assert want.virials is not None
        r = torch.tensor(rotation)
        want.forces = want.forces.double().cpu() @ r
        want.virials = r.T @ want.virials.double().cpu() @ r
        self.same("rotated structures", got, want, max(len(s) for s in self.structures))
        for name in names:
            value = want.properties[name].double().cpu()
            for axis in range(1, value.ndim):  # each axis after the first is Cartesian
                value = torch.tensordot(value, r, dims=([axis], [0])).movedim(-1, axis)
            scale = self._scaled(value)
            self.close(f"{name} of rotated structures", got.properties[name], value, scale)

    def check_permutation(self) -> None:
        orders = [self.rng.permutation(len(s)) for s in self.structures]
        mixed = [
            Structure(s.numbers[o], s.positions[o], s.cell, s.pbc)
            for s, o in zip(self.structures, orders, strict=True)
        ]
        want = self.evaluate(self.structures)
        assert want.forces is not None
        starts = np.cumsum([0] + [len(s) for s in self.structures])[:-1]
        flat = np.concatenate([o + start for o, start in zip(orders, starts, strict=True)])
        want.forces = want.forces[torch.tensor(flat, device=want.forces.device)]
        largest = max(len(s) for s in self.structures)
        self.same("renumbered atoms", self.evaluate(mixed), want, largest)

    def check_net_force(self) -> None:
        forces = self.evaluate(self.structures).forces
        assert forces is not None
        start = 0
        for structure in self.structures:
            own = forces[start : start + len(structure)].double()
            start += len(structure)
            tolerance = self._scaled(own) * max(1, len(structure)) ** 0.5
            self.close("net force", own.sum(0), torch.zeros(3), tolerance)

    def check_properties(self) -> None:
        specs = dict(self.potential.properties)
        got = self.evaluate(self.structures, Wanted(properties=tuple(specs))).properties
        n_atoms = sum(map(len, self.structures))
        for name, spec in specs.items():
            rows = n_atoms if spec.per_atom else len(self.structures)
            self.well_formed(name, got.get(name), (rows, *spec.shape))
        singles = [
            self.evaluate([s], Wanted(properties=tuple(specs))).properties for s in self.structures
        ]
        for name in specs:
            joined = torch.cat([single[name] for single in singles])
            self.close(f"{name} in a batch and single", got[name], joined, self._scaled(joined))
        if set(got) != set(specs):
            self.fail(f"asked for {sorted(specs)}, got {sorted(got)}")

    def check_reference(self) -> None:
        assert self.reference_potential is not None
        want = self.evaluate(self.structures, potential=self.reference_potential)
        got = self.evaluate(self.structures)
        self.same("the potential and its reference", got, want, max(map(len, self.structures)))


def _joined(predictions: Sequence[Prediction]) -> Prediction:
    """Predictions of single structures as one."""
    forces = [p.forces for p in predictions if p.forces is not None]
    virials = [p.virials for p in predictions if p.virials is not None]
    return Prediction(
        torch.cat([p.energies for p in predictions]), torch.cat(forces), torch.cat(virials)
    )
