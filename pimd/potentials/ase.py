"""Any ASE calculator as a batched potential, on all cores.

    {potential: ase, calculator: tblite.ase.TBLite, method: GFN2-xTB, verbosity: 0}

`calculator` is the dotted path of a calculator's class (or of a function that returns one); the
options that are not named below are its keywords. Structure k of every batch goes to worker
process k modulo `workers`, and there to a calculator of its own that is kept from round to
round, so that a self-consistent calculation starts from the last solution of the same bead.

Energies are ASE's `free_energy` where the calculator gives it, for forces are its derivative;
otherwise `energy`. Virials are

    W = -V stress                      periodic along any direction
    W = sum_i (r_i - r_mean) F_i       not periodic

the second exact for energies that do not change when all atoms are moved together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pimd.cores import available_cores
from pimd.potentials.ase_worker import AseJob, AseResult, AseSetup
from pimd.potentials.base import (
    Batch,
    Potential,
    Prediction,
    PropertySpec,
    Wanted,
    check_wanted,
)
from pimd.potentials.worker_pool import JobFailed, StartFailed, WorkerPool
from pimd.structure import PotentialError, Structure, StructureFailed

__all__ = ["ASEPool"]

PROPERTIES: Mapping[str, PropertySpec] = {
    "dipole": PropertySpec("e Å", (3,)),
    "charges": PropertySpec("e", (), per_atom=True),
    "energies": PropertySpec("eV", (), per_atom=True),
}
"""ASE's properties that have a fixed shape and unit; offered where the calculator does."""

PIP_NAMES = {
    "dftd3": "dftd3",
    "dftd4": "dftd4",
    "gpaw": "gpaw",
    "mace": "mace-torch",
    "orb_models": "orb-models",
    "sevenn": "sevenn",
    "tblite": "tblite",
    "torchani": "torchani",
    "xtb": "xtb",
}
"""Module -> what to install, where known."""

MAX_SLOTS = 64
"""Calculators kept by each worker; further structures share them."""


class ASEPool(Potential):
    """An ASE calculator in worker processes.

    Args:
        calculator: dotted path, such as `tblite.ase.TBLite` or `ase.calculators.emt.EMT`.
        workers: processes; None: the cores at hand over `threads_per_worker`.
        threads_per_worker: OMP_NUM_THREADS of each process.
        timeout: seconds one structure may take before the run is ended with an error.
        virial: `auto` as above, or `zero` for calculators without a stress, where no pressure
            is wanted.
        reuse: keep calculators from round to round; False makes a new one for each structure.
        directory: each worker works in a folder of its own, `worker-K`, in this one; None: in a
            temporary one. For calculators that write files.
        options: keywords of the calculator. Strings that name an existing file are made
            absolute.

    Raises:
        PotentialError: if the calculator cannot be imported or made.
    """

    name = "ase"

    def __init__(
        self,
        calculator: str,
        *,
        workers: int | None = None,
        threads_per_worker: int = 1,
        timeout: float = 3600.0,
        virial: str = "auto",
        reuse: bool = True,
        directory: str | None = None,
        **options: Any,
    ) -> None:
        self._check_options(calculator, workers, threads_per_worker, timeout, virial)
        self.calculator = calculator
        self.name = f"ase ({calculator})"
        self.virial = virial
        if workers is None:
            workers = max(1, available_cores() // int(threads_per_worker))
        setup = AseSetup(calculator, {k: _absolute(v) for k, v in options.items()}, bool(reuse))
        try:
            self._pool = WorkerPool(
                "pimd.potentials.ase_worker:load",
                setup,
                workers=int(workers),
                threads=int(threads_per_worker),
                timeout=float(timeout),
                folder=None if directory is None else Path(directory).resolve(),
            )
        except StartFailed as error:
            raise PotentialError(_start_message(calculator, error)) from None
        implemented: tuple[str, ...] = self._pool.info
        self._has_stress = "stress" in implemented
        self._has_forces = "forces" in implemented
        self.gives_virials = virial != "zero"
        self.properties = {k: v for k, v in PROPERTIES.items() if k in implemented}

    @staticmethod
    def _check_options(
        calculator: str, workers: int | None, threads: int, timeout: float, virial: str
    ) -> None:
        if "." not in str(calculator).strip("."):
            raise PotentialError(
                f"calculator: expected the dotted path of an ASE calculator, such as "
                f"tblite.ase.TBLite or ase.calculators.emt.EMT, got '{calculator}'"
            )
        numbers = {"workers": workers, "threads_per_worker": threads, "timeout": timeout}
        for name, value in numbers.items():
            if value is not None and not (isinstance(value, (int, float)) and value > 0):
                raise PotentialError(f"{name}: expected a number above 0, got '{value}'")
        if virial not in ("auto", "zero"):
            raise PotentialError(f"virial: expected auto or zero, got '{virial}'")

    @property
    def workers(self) -> int:
        """Processes at most; they are started as batches need them."""
        return len(self._pool)

    def process_ids(self) -> list[int]:
        """Of the worker processes that are running."""
        return self._pool.process_ids()

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        check_wanted(self, wanted)
        structures = [batch.structure(k) for k in range(batch.n_structures)]
        if wanted.forces and not self._has_forces:
            raise PotentialError(f"{self.calculator} gives no forces")
        jobs = [self._job(k, s, wanted) for k, s in enumerate(structures)]
        lanes = [(k, job) for k, job in enumerate(jobs)]
        try:
            results: list[AseResult] = self._pool.run(lanes)
        except JobFailed as error:
            failed = structures[error.index]
            raise StructureFailed(
                error.index,
                f"structure {error.index} of the batch ({failed.to_ase().symbols}): "
                f"{self.calculator}: {error}",
            ) from None
        except StartFailed as error:
            raise PotentialError(_start_message(self.calculator, error)) from None
        return self._prediction(batch, jobs, results, wanted)

    def close(self) -> None:
        self._pool.close()

    def _job(self, k: int, structure: Structure, wanted: Wanted) -> AseJob:
        periodic = bool(structure.pbc.any())
        virial = wanted.virials and self.virial == "auto"
        if virial and periodic and not self._has_stress:
            raise PotentialError(
                f"{self.calculator} gives no stress, so there is no pressure: add `virial: zero` "
                "to its options if none is needed, or `pbc: false` if this is a cluster"
            )
        return AseJob(
            slot=k // self.workers % MAX_SLOTS,
            numbers=structure.numbers,
            positions=structure.positions,
            cell=structure.cell,
            pbc=structure.pbc,
            forces=wanted.forces or (virial and not periodic),
            stress=virial and periodic,
            properties=tuple(wanted.properties),
        )

    def _prediction(
        self, batch: Batch, jobs: list[AseJob], results: list[AseResult], wanted: Wanted
    ) -> Prediction:
        forces = virials = None
        if wanted.forces:
            forces = torch.from_numpy(np.concatenate([_forces(r) for r in results]))
        if wanted.virials:
            both = zip(jobs, results, strict=True)
            virials = torch.from_numpy(np.stack([self._virial(j, r) for j, r in both]))
        properties = {}
        for name in wanted.properties:
            spec = self.properties[name]
            values = [_property(name, spec, j, r) for j, r in zip(jobs, results, strict=True)]
            joined = np.concatenate(values) if spec.per_atom else np.stack(values)
            properties[name] = torch.from_numpy(joined)
        energies = torch.tensor([r.energy for r in results], dtype=torch.float64)
        return Prediction(energies, forces, virials, properties=properties)

    def _virial(self, job: AseJob, result: AseResult) -> np.ndarray:
        """W, eV, (3, 3), as in the module's docstring."""
        if self.virial == "zero":
            return np.zeros((3, 3))
        if result.stress_volume is not None:
            return -result.stress_volume
        arms = job.positions - job.positions.mean(axis=0)  # [atom, xyz]
        moment = arms.T @ _forces(result)
        return 0.5 * (moment + moment.T)


def _forces(result: AseResult) -> np.ndarray:
    assert result.forces is not None
    return result.forces


def _property(name: str, spec: PropertySpec, job: AseJob, result: AseResult) -> np.ndarray:
    shape = (len(job.numbers), *spec.shape) if spec.per_atom else spec.shape
    value = result.properties[name]
    if value.shape != shape:
        raise PotentialError(f"expected the calculator's {name} as {shape}, got {value.shape}")
    return value


def _absolute(value: Any) -> Any:
    """Strings that name a file become absolute, for workers have folders of their own."""
    if isinstance(value, str) and value and os.path.isfile(value):
        return os.path.abspath(value)
    if isinstance(value, list):
        return [_absolute(v) for v in value]
    return value


def _start_message(calculator: str, error: StartFailed) -> str:
    message = f"cannot make the ASE calculator {calculator}: {error}"
    if error.kind == "ModuleNotFoundError":
        module = calculator.replace(":", ".").split(".")[0]
        if module in PIP_NAMES:
            message += f"\nIf it is not installed: pip install {PIP_NAMES[module]}"
        else:
            message += (
                f"\nIf it is not installed: install the package that provides '{module}' into "
                "the environment pimd runs in"
            )
    return message
