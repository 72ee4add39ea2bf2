"""Evaluating a potential under watch: what `pimd.testing` compares, and the report it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from pimd.potentials.base import Batch, Potential, Prediction, Structure, Wanted
from pimd.potentials.neighbours import NeighbourLists
from pimd.units import HARTREE_EV

__all__ = ["ContractReport", "Evaluator", "Tolerances", "pairs_near"]

EVERYTHING = Wanted()
FLOOR = 1e-2
"""eV/Å or eV: components are compared relative to the largest, but to no less than this."""


@dataclass(frozen=True)
class Tolerances:
    """What is allowed, and the step of finite differences.

    Attributes:
        derivative: of finite differences, relative to the largest component.
        energy: eV, between equal energies of a structure; None: 1e-10 Ha in fp64, 2e-7 eV per
            atom in fp32.
        relative: between equal forces and virials, relative to the largest component.
        step: Å.
    """

    derivative: float
    energy: float | None
    relative: float
    step: float

    @classmethod
    def of(cls, dtype: torch.dtype) -> Tolerances:
        """The defaults of a dtype."""
        if dtype == torch.float64:
            return cls(1e-6, None, 1e-9, 3e-3)
        return cls(1e-3, None, 2e-5, 2e-2)


@dataclass
class ContractReport:
    """What `check_potential` measured.

    Attributes:
        potential, dtype: what was checked.
        deviations: check -> largest deviation over its tolerance, so that 1 is the limit.
        noise: largest difference between equal results summed in another order or in another
            batch: energy (eV), forces (eV/Å), virials (eV).
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
        lines = [f"{self.potential} ({self.dtype}): largest deviation over its tolerance"]
        lines += [f"  {name:12s} {value:9.2e}" for name, value in self.deviations.items()]
        if self.noise:
            noise = ", ".join(f"{name} {value:.1e}" for name, value in self.noise.items())
            lines.append(f"  noise floor: {noise} (eV, eV/Å, eV)")
        if self.skipped:
            lines.append(f"  skipped: {', '.join(self.skipped)}")
        lines += [f"  FAILED {failure}" for failure in self.failures]
        return "\n".join(lines)


class Evaluator:
    """Calls the potential, looks after what every call must keep, and records deviations."""

    def __init__(self, potential: Potential, tolerances: Tolerances) -> None:
        self.potential, self.tolerances = potential, tolerances
        self.report = ContractReport(potential.name, str(potential.dtype).removeprefix("torch."))
        self.current = ""  # name of the check that runs

    def fail(self, what: str) -> None:
        self.report.failures.append(f"{self.current}: {what}")

    def batch_of(self, structures: Sequence[Structure], potential: Potential) -> Batch:
        batch = Batch.from_structures(structures, dtype=potential.dtype, device=potential.device)
        return NeighbourLists(potential.cutoff, skin=0.0, threads=1).attach(batch)

    def evaluate(
        self,
        structures: Sequence[Structure],
        wanted: Wanted = EVERYTHING,
        *,
        batch: Batch | None = None,
        potential: Potential | None = None,
    ) -> Prediction:
        """Compute; check shapes, dtype, finite values, and that the input is left alone."""
        potential = potential or self.potential
        batch = self.batch_of(structures, potential) if batch is None else batch
        given = {f.name: getattr(batch, f.name) for f in fields(batch)}
        before = {name: value.clone() for name, value in given.items() if value is not None}
        prediction = potential.compute(batch, wanted)
        for name, value in before.items():
            if not torch.equal(getattr(batch, name), value):
                self.fail(f"compute changed {name} of the batch it was given")
        n_structures, n_atoms = batch.n_structures, batch.n_atoms
        self.well_formed("energies", prediction.energies, (n_structures,))
        if wanted.forces:
            self.well_formed("forces", prediction.forces, (n_atoms, 3))
        if wanted.virials:
            self.well_formed("virials", prediction.virials, (n_structures, 3, 3))
        if prediction.member_energies is not None:
            n_members = len(prediction.member_energies)
            self.well_formed(
                "member_energies", prediction.member_energies, (n_members, n_structures)
            )
        if prediction.energies.dtype != torch.float64:
            self.fail(f"energies are {prediction.energies.dtype}; sum them in float64")
        return prediction

    def well_formed(self, name: str, value: Tensor | None, shape: tuple[int, ...]) -> None:
        """Record what is wrong with a result; raises TypeError where it cannot be used."""
        if value is None:
            raise TypeError(f"{name} wanted but not given")
        if tuple(value.shape) != shape:
            raise TypeError(f"{name} should be {shape}, got {tuple(value.shape)}")
        if not bool(torch.isfinite(value).all()):
            self.fail(f"{name} contain NaN or infinity")
        if value.requires_grad:
            self.fail(f"{name} still carry a graph; detach them")
        if value.device.type != self.potential.device.type:
            self.fail(f"{name} are on {value.device}, the potential on {self.potential.device}")

    def close(self, what: str, got: Tensor, want: Tensor, tolerance: float) -> float:
        """Record max |got - want| over the tolerance; returns max |got - want|."""
        got, want = got.detach().double().cpu(), want.detach().double().cpu()
        difference = (got - want).abs()
        if not difference.numel():
            return 0.0
        at = tuple(int(k) for k in np.unravel_index(int(difference.argmax()), got.shape))
        largest = float(difference[at])
        deviations = self.report.deviations
        deviations[self.current] = max(deviations.get(self.current, 0.0), largest / tolerance)
        if not largest <= tolerance:
            self.fail(
                f"{what} differ by {largest:.3g}, allowed {tolerance:.3g}; at {list(at)}: got "
                f"{float(got[at]):.10g}, expected {float(want[at]):.10g}"
            )
        return largest

    def scaled(self, value: Tensor) -> float:
        """Tolerance between equal values of this size."""
        largest = float(value.detach().abs().max()) if value.numel() else 0.0
        return self.tolerances.relative * max(FLOOR, largest)

    def same(
        self,
        what: str,
        got: Prediction,
        want: Prediction,
        structures: Sequence[Structure],
        *,
        moved: bool = False,
    ) -> None:
        """Compare whole predictions; without motion the differences are the noise floor.

        Atoms that were moved sit on other rounded positions, so energies may differ by
        |F| eps |x| per atom besides.
        """
        assert want.forces is not None
        n_atoms = max(map(len, structures))
        single = (self.potential.precision or self.potential.dtype) != torch.float64
        allowed = self.tolerances.energy
        if allowed is None:
            allowed = 2e-7 * n_atoms if single else 1e-10 * HARTREE_EV
        if moved:
            farthest = max(float(np.abs(s.positions).max(initial=10.0)) for s in structures)
            force = float(want.forces.abs().max()) if want.forces.numel() else 0.0
            allowed += n_atoms * force * torch.finfo(self.potential.dtype).eps * farthest
        found = {"energy": self.close(f"{what}: energies", got.energies, want.energies, allowed)}
        for name in ("forces", "virials") if self.potential.gives_virials else ("forces",):
            a, b = getattr(got, name), getattr(want, name)
            found[name] = self.close(f"{what}: {name}", a, b, self.scaled(b))
        if not moved:
            for name, value in found.items():
                self.report.noise[name] = max(self.report.noise.get(name, 0.0), value)


def pairs_near(structure: Structure, cutoff: float, margin: float) -> int:
    """Pairs whose distance is within `margin` (Å) of the cutoff."""
    if cutoff <= 0.0:
        return 0
    lists = NeighbourLists(cutoff + margin, skin=0.0, threads=1)
    batch = lists.attach(Batch.from_structures([structure]))
    return int((batch.pair_vectors().norm(dim=1) > cutoff - margin).sum()) // 2
