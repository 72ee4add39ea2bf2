"""Tiny metatomic models, made in a second: a pair potential with an ensemble, one of many bodies
on half lists, one of positions and cells, and one that asks for the charge.

Their units, precision and outputs are arguments. Import this only where metatomic is installed.
"""

# TorchScript and metatomic read the annotations: no deferred ones, and the names of `typing`
# ruff: noqa: UP006, UP035, UP045

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, List, Optional

import metatomic.torch as mta
import torch
from metatensor.torch import Labels, TensorMap
from metatomic.torch import ModelOutput, NeighborListOptions, System
from metatomic_pair import N_MEMBERS, PairEnsemble, as_map, ends, total, vectors

__all__ = [
    "N_MEMBERS", "PairEnsemble", "cell_energy", "charged", "energy", "many_body",
    "pair_ensemble", "save", "with_operator",
]


class ManyBody(torch.nn.Module):
    """E = sum_a -sqrt(1 + rho_a) + 1/2 sum_ab B u(r)^2, the density from a half list.

    Two lists: a half, non-strict one of the whole cutoff, and a full, strict one of 0.7 of it.
    """

    def __init__(self, cutoff: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.half = NeighborListOptions(cutoff, full_list=False, strict=False)
        self.short = NeighborListOptions(0.7 * cutoff, full_list=True, strict=True)
        self.cutoff = cutoff
        weights = torch.linspace(0.5, 1.5, 100, dtype=torch.float64)
        self.register_buffer("weights", weights.to(dtype))

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        return [self.half, self.short]

    def smooth(self, v: torch.Tensor, cutoff: float) -> torch.Tensor:
        return torch.clamp(1.0 - (v * v).sum(1) / cutoff**2, min=0.0) ** 3

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels] = None,
    ) -> Dict[str, TensorMap]:
        types = torch.cat([s.types for s in systems]).long()
        weights = self.weights[types]
        i, j = ends(systems, self.half, "first_atom"), ends(systems, self.half, "second_atom")
        w = self.smooth(vectors(systems, self.half), self.cutoff)
        density = torch.zeros_like(weights).index_add(0, i, weights[j] * w)
        density = density.index_add(0, j, weights[i] * w)
        i, j = ends(systems, self.short, "first_atom"), ends(systems, self.short, "second_atom")
        v = vectors(systems, self.short)
        # no clamp: a pair beyond this cutoff would spoil the energy
        repulsion = 0.5 * (1.0 - (v * v).sum(1) / (0.7 * self.cutoff) ** 2) ** 4
        atomic = torch.zeros_like(weights).index_add(0, i, weights[i] * weights[j] * repulsion)
        atomic = (atomic - torch.sqrt(1.0 + density))[:, None]
        none: List[Labels] = []
        results: Dict[str, TensorMap] = {}
        for name, output in outputs.items():
            per_atom = output.sample_kind == "atom"
            values = atomic if per_atom else total(atomic, systems)
            results[name] = as_map(values, systems, per_atom, none, "energy")
        return results


class CellEnergy(torch.nn.Module):
    """An energy of positions and cells alone, without any list.

    Periodic: sum over eight k of exp(-k²/2) |sum_a b_a exp(i k.x_a)|² / V. Without a cell:
    springs to the centre.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        waves = torch.tensor(
            [
                [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, -1], [1, 1, 1],
                [2, 0, 1],
            ]
        )  # fmt: skip
        self.register_buffer("waves", waves.to(dtype))
        weights = torch.linspace(0.5, 1.5, 100, dtype=torch.float64)
        self.register_buffer("weights", weights.to(dtype))

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels] = None,
    ) -> Dict[str, TensorMap]:
        energies: List[torch.Tensor] = []
        for system in systems:
            b, x = self.weights[system.types.long()], system.positions
            if bool(system.pbc.all()):
                k = 6.283185307179586 * self.waves @ torch.inverse(system.cell).T
                phase = x @ k.T
                real = (b[:, None] * phase.cos()).sum(0)
                imaginary = (b[:, None] * phase.sin()).sum(0)
                damped = torch.exp(-0.5 * (k * k).sum(1)) * (real**2 + imaginary**2)
                energies.append(30.0 * damped.sum() / torch.det(system.cell).abs())
            else:
                energies.append(0.1 * ((x - x.mean(0)) ** 2).sum() * b.mean())
        none: List[Labels] = []
        results: Dict[str, TensorMap] = {}
        for name in outputs:
            results[name] = as_map(torch.stack(energies)[:, None], systems, False, none, "energy")
        return results


class Charged(torch.nn.Module):
    """E = (charge + 10 spin multiplicity) sum_a |x_a - mean|²; may ask for one thing more."""

    def __init__(self, besides: str) -> None:
        super().__init__()
        self.besides = besides

    def requested_inputs(self) -> Dict[str, ModelOutput]:
        inputs = {
            "charge": ModelOutput(unit="e", sample_kind="system"),
            "spin_multiplicity": ModelOutput(sample_kind="system"),
        }
        if self.besides != "":
            inputs[self.besides] = ModelOutput(sample_kind="atom")
        return inputs

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels] = None,
    ) -> Dict[str, TensorMap]:
        energies: List[torch.Tensor] = []
        for system in systems:
            charge = system.get_data("charge").block().values[0, 0]
            spin = system.get_data("spin_multiplicity").block().values[0, 0]
            x = system.positions
            energies.append((charge + 10.0 * spin) * ((x - x.mean(0)) ** 2).sum())
        none: List[Labels] = []
        results: Dict[str, TensorMap] = {}
        for name in outputs:
            results[name] = as_map(torch.stack(energies)[:, None], systems, False, none, "energy")
        return results


def save(
    module: torch.nn.Module,
    file: Path,
    outputs: Dict[str, ModelOutput],
    *,
    interaction_range: float,
    dtype: torch.dtype,
    length_unit: str = "angstrom",
    atomic_types: Optional[List[int]] = None,
) -> Path:
    capabilities = mta.ModelCapabilities(
        outputs=outputs,
        atomic_types=atomic_types or [1, 8, 18],
        interaction_range=interaction_range,
        length_unit=length_unit,
        supported_devices=["cpu", "cuda"],
        dtype=str(dtype).removeprefix("torch."),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = mta.AtomisticModel(module.eval(), mta.ModelMetadata(name=file.stem), capabilities)
        model.save(file)
    return file


def energy(unit: str = "eV", kind: str = "atom", description: str = "") -> ModelOutput:
    return ModelOutput(unit=unit, sample_kind=kind, description=description)


def pair_ensemble(
    file: Path,
    *,
    cutoff: float = 4.0,
    dtype: torch.dtype = torch.float64,
    length_unit: str = "angstrom",
    unit: str = "eV",
    baseline: float = 0.0,
    strict: bool = True,
    head: Optional[int] = None,
    direct: str = "force and stress",
) -> Path:
    """Tiny, with all that a model may give.

    Args:
        file: to write.
        cutoff: in the model's unit of length.
        dtype: of the model.
        length_unit: of the model.
        unit: of its energies.
        baseline: energy of an atom, times Z, in `unit`.
        strict: whether its list must end at the cutoff.
        head: the member that is the energy; None: an energy that is not the mean of them.
        direct: what it predicts directly: `force and stress`, `force` or `no`.
    """
    outputs = {
        name + variant: energy(unit, description=f"{name}{variant} of a test")
        for variant in ("", "/scaled")
        for name in ("energy", "energy_ensemble", "energy_uncertainty")
    }
    if direct != "no":
        outputs["non_conservative_force"] = ModelOutput(
            unit=f"{unit}/{length_unit}", sample_kind="atom"
        )
    if direct == "force and stress":
        outputs["non_conservative_stress"] = ModelOutput(
            unit=f"{unit}/{length_unit}^3", sample_kind="system"
        )
    outputs["test::dipole"] = ModelOutput(unit=f"e*{length_unit}", sample_kind="system")
    outputs["test::spherical"] = ModelOutput(sample_kind="system")
    outputs["feature"] = ModelOutput(sample_kind="atom")
    module = PairEnsemble(cutoff, dtype, baseline, strict, head)
    return save(
        module, file, outputs, interaction_range=cutoff, dtype=dtype, length_unit=length_unit
    )


def many_body(
    file: Path,
    *,
    cutoff: float = 5.0,
    dtype: torch.dtype = torch.float64,
    length_unit: str = "angstrom",
    unit: str = "eV",
) -> Path:
    return save(
        ManyBody(cutoff, dtype), file, {"energy": energy(unit)},
        interaction_range=cutoff, dtype=dtype, length_unit=length_unit,
    )  # fmt: skip


def cell_energy(file: Path, dtype: torch.dtype = torch.float64) -> Path:
    return save(
        CellEnergy(dtype), file, {"energy": energy(kind="system")},
        interaction_range=math.inf, dtype=dtype,
    )  # fmt: skip


def charged(file: Path, besides: str = "") -> Path:
    return save(
        Charged(besides), file, {"energy": energy(kind="system")},
        interaction_range=math.inf, dtype=torch.float64,
    )  # fmt: skip


class WithOperator(torch.nn.Module):
    """Springs to the centre, by an operator of a library."""

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels] = None,
    ) -> Dict[str, TensorMap]:
        energies: List[torch.Tensor] = []
        for system in systems:
            x = system.positions - system.positions.mean(0)
            energies.append(torch.ops.pimd_test.squares(x).sum())
        none: List[Labels] = []
        results: Dict[str, TensorMap] = {}
        for name in outputs:
            results[name] = as_map(torch.stack(energies)[:, None], systems, False, none, "energy")
        return results


@contextmanager
def with_operator(file: Path) -> Iterator[Path]:
    """A model that needs an operator, which is there only inside the block."""
    library = torch.library.Library("pimd_test", "DEF")
    library.define("squares(Tensor x) -> Tensor")
    library.impl("squares", lambda x: x * x, "CompositeImplicitAutograd")
    try:
        yield save(
            WithOperator(), file, {"energy": energy(kind="system")},
            interaction_range=math.inf, dtype=torch.float64,
        )  # fmt: skip
    finally:
        library._destroy()
