"""In a worker process: an ASE calculator for each lane of structures. No torch here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["AseJob", "AseResult", "AseSetup", "load"]


@dataclass(frozen=True)
class AseSetup:
    """What a worker is told once.

    Attributes:
        calculator: dotted path of the calculator's class, or of a function that returns one.
        options: its keywords.
        reuse: keep one calculator for each lane, so that it starts from its last solution.
    """

    calculator: str
    options: dict[str, Any]
    reuse: bool = True


@dataclass(frozen=True)
class AseJob:
    """One structure; arrays as in `pimd.structure.Structure`.

    Attributes:
        slot: which of the worker's calculators to use.
        stress: whether the stress is wanted.
        properties: names of ASE properties wanted besides.
    """

    slot: int
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    forces: bool
    stress: bool
    properties: tuple[str, ...] = ()


@dataclass(frozen=True)
class AseResult:
    """Energy eV, forces eV/Å (n_atoms, 3), stress * volume eV (3, 3), properties by name."""

    energy: float
    forces: np.ndarray | None
    stress_volume: np.ndarray | None
    properties: dict[str, np.ndarray]


@dataclass
class _Kept:
    """A calculator and the kind of structure it was used for."""

    calculator: Any
    numbers: np.ndarray
    pbc: np.ndarray


def load(setup: AseSetup) -> tuple[tuple[str, ...], Callable[[AseJob], AseResult]]:
    """The properties that the calculator implements, and what evaluates structures with it."""
    factory = import_dotted(setup.calculator)
    first = factory(**setup.options)
    implemented = tuple(getattr(first, "implemented_properties", ("energy", "forces", "stress")))
    return implemented, _Server(factory, setup, implemented, first)


def import_dotted(path: str) -> Any:
    """`package.module.Name` or `package.module:Name`; only that module is imported."""
    module, _, name = path.replace(":", ".").rpartition(".")
    loaded = importlib.import_module(module)
    try:
        return getattr(loaded, name)
    except AttributeError:
        raise ImportError(f"module {module} has no '{name}'", name=module) from None


class _Server:
    """Evaluates structures, keeping a calculator for each slot."""

    def __init__(
        self,
        factory: Callable[..., Any],
        setup: AseSetup,
        implemented: Sequence[str],
        spare: Any,
    ) -> None:
        self.factory, self.setup, self.implemented = factory, setup, implemented
        self._spare = spare
        self._kept: dict[int, _Kept] = {}

    def __call__(self, job: AseJob) -> AseResult:
        from ase import Atoms

        atoms = Atoms(numbers=job.numbers, positions=job.positions, cell=job.cell, pbc=job.pbc)
        if job.pbc.any() and atoms.cell.rank < 3:
            atoms.cell = atoms.cell.complete()  # a volume for the stress of wires and slabs
        kept = self._calculator(job)
        try:
            results = calculate(kept.calculator, atoms, self._names(job))
            result = _collect(results, job, atoms)
        except BaseException:
            self._kept.pop(job.slot, None)  # its state cannot be trusted
            raise
        if self.setup.reuse:
            self._kept[job.slot] = kept
        return result

    def _calculator(self, job: AseJob) -> _Kept:
        kept = self._kept.get(job.slot)
        if kept is not None:
            same = np.array_equal(kept.numbers, job.numbers) and np.array_equal(kept.pbc, job.pbc)
            if same:
                return kept
        spare, self._spare = self._spare, None
        calculator = spare if spare is not None else self.factory(**self.setup.options)
        return _Kept(calculator, job.numbers, job.pbc)

    def _names(self, job: AseJob) -> list[str]:
        names = ["energy"]
        if "free_energy" in self.implemented:
            names.append("free_energy")
        names += ["forces"] if job.forces else []
        names += ["stress"] if job.stress else []
        return [*names, *job.properties]


def calculate(calculator: Any, atoms: Any, names: list[str]) -> dict[str, Any]:
    """Results by name, from one calculation where the calculator's interface allows that."""
    from ase.calculators.calculator import BaseCalculator

    stock = getattr(type(calculator), "get_property", None) is BaseCalculator.get_property
    if not stock:
        results = {name: calculator.get_property(name, atoms) for name in names}
        return {**getattr(calculator, "results", {}), **results}
    changes = calculator.check_state(atoms)
    if changes:
        calculator.atoms = None
        calculator.results = {}
    if any(name not in calculator.results for name in names):
        if calculator.use_cache:
            calculator.atoms = atoms.copy()
        calculator.calculate(atoms, list(names), changes)
    return calculator.results


def _collect(results: dict[str, Any], job: AseJob, atoms: Any) -> AseResult:
    n_atoms = len(job.numbers)
    forces = stress = None
    if job.forces:
        forces = _array(results, "forces", (n_atoms, 3))
    if job.stress:
        raw = np.asarray(results.get("stress"), dtype=np.float64)
        voigt = [[0, 5, 4], [5, 1, 3], [4, 3, 2]]  # xx yy zz yz xz xy
        full = raw[voigt] if raw.shape == (6,) else raw
        if full.shape != (3, 3):
            raise ValueError(f"expected a stress of shape (6,) or (3, 3), got {raw.shape}")
        stress = full * atoms.get_volume()
    energy = results.get("free_energy")
    if energy is None:
        energy = results.get("energy")
    if energy is None:
        raise ValueError("the calculator gave no energy")
    properties = {name: np.array(results.get(name), dtype=np.float64) for name in job.properties}
    return AseResult(float(energy), forces, stress, properties)


def _array(results: dict[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    value = np.array(results.get(name), dtype=np.float64)
    if value.shape != shape:
        raise ValueError(f"expected {name} of shape {shape}, got {value.shape}")
    return value
