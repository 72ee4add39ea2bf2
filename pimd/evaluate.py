"""Evaluate the structures of a file in batches: energies, forces, stress, properties.

    pimd evaluate STRUCTURES --potential SPEC --out FILE

Structures stream from any file ASE reads (or i-PI's own xyz) through one potential into an
extended xyz, batch by batch. Each frame keeps its cell, its other columns and its info; energy,
forces and stress it came with are replaced. Written are

    energy   eV
    forces   eV/Å
    stress   eV/Å³, ASE's sign: stress = -W / V, where the structure is periodic
    ...      the properties asked for, in the units that `units` of each frame names
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from pimd.daemon.child import property_names
from pimd.evaluate_progress import NoProgress, Progress, make_progress
from pimd.evaluator import BadPrediction, Evaluated, Evaluator
from pimd.ipi.structure_files import count_frames, iter_frames, split_index
from pimd.potentials.base import Potential, Wanted
from pimd.potentials.registry import Spec, make_potential, parse_spec
from pimd.structure import PotentialError, Structure
from pimd.whole_file import whole_file

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["BATCH_ATOMS", "EvaluateError", "EvaluationSummary", "evaluate_command", "evaluate_file"]

BATCH_ATOMS = 20_000
"""Atoms of one batch, at most, unless one structure alone has more."""

RESULT_NAMES = ("energy", "free_energy", "forces", "stress")
SUFFIXES = (".xyz", ".extxyz")


class EvaluateError(ValueError):
    """The file could not be evaluated; the message names the frame and says what to do."""


@dataclass(frozen=True)
class EvaluationSummary:
    """What was done.

    Attributes:
        path: the file written.
        n_structures, n_atoms: evaluated, summed over all frames.
        n_batches: calls of the potential.
        seconds: wall time, reading and writing included, loading the potential not.
        model_seconds: of these, in the potential and its neighbour lists.
    """

    path: Path
    n_structures: int
    n_atoms: int
    n_batches: int
    seconds: float
    model_seconds: float

    @property
    def atoms_per_second(self) -> float:
        """Atoms evaluated per second of wall time."""
        return self.n_atoms / self.seconds if self.seconds > 0 else float("nan")

    def __str__(self) -> str:
        return (
            f"{self.n_structures} structures ({self.n_atoms} atoms) in {self.seconds:.1f} s, "
            f"{self.atoms_per_second:.3g} atoms/s, {self.model_seconds:.1f} s of it in the "
            f"model; written to {self.path}"
        )


def evaluate_file(
    structures_path: str | Path,
    spec: str | Mapping[str, Any] | Spec | Potential,
    out_path: str | Path,
    *,
    batch_atoms: int = BATCH_ATOMS,
    properties: Sequence[str] = (),
    force: bool = False,
    progress: Callable[[int | None], Progress] | None = None,
) -> EvaluationSummary:
    """Evaluate every structure of a file and write an extended xyz.

    Args:
        structures_path: a file, or `file@index` such as `traj.extxyz@::10`.
        spec: the potential, as a SPEC or ready; one made here is closed here.
        out_path: a new .xyz or .extxyz file; it appears when all is done.
        batch_atoms: atoms of one batch, at most, unless one structure alone has more.
        properties: names the potential lists, besides those in the SPEC's `properties`.
        force: overwrite `out_path`.
        progress: makes what is told about each batch, from the number of frames (None: not
            known).

    Structures are periodic as the file says, unless the SPEC's `pbc` says otherwise.

    Returns:
        What was done.

    Raises:
        EvaluateError: what is wrong with the files, or the frame that cannot be evaluated.
        PotentialError: what is wrong with the SPEC.
    """
    out = Path(out_path)
    _check_paths(structures_path, out, force)
    if batch_atoms < 1:
        raise EvaluateError(f"batch_atoms: expected 1 or more, got {batch_atoms}")
    if isinstance(spec, Potential):
        job = _Job(structures_path, spec, tuple(properties), spec.name)
        return job.run(out, batch_atoms, progress)
    parsed = spec if isinstance(spec, Spec) else parse_spec(spec)
    names = (*property_names(parsed), *properties)
    potential = make_potential(parsed)
    try:
        job = _Job(structures_path, potential, names, str(parsed), parsed.options.get("pbc"))
        return job.run(out, batch_atoms, progress)
    finally:
        potential.close()


def evaluate_command(
    structures: str | Path,
    spec: str,
    out: str | Path,
    *,
    properties: Sequence[str] = (),
    batch_atoms: int = BATCH_ATOMS,
    force: bool = False,
    console: Console,
) -> int:
    """`pimd evaluate`: evaluate with progress, print the summary; the exit status."""
    from pimd.evaluator import OutOfMemory

    try:
        summary = evaluate_file(
            structures,
            spec,
            out,
            batch_atoms=batch_atoms,
            properties=properties,
            force=force,
            progress=lambda total: make_progress(console, total),
        )
    except (EvaluateError, PotentialError, OutOfMemory) as error:
        message = f"pimd evaluate: {error}"
        console.print(message, style="bold red", markup=False, highlight=False, soft_wrap=True)
        return 1 if isinstance(error, OutOfMemory) else 2
    console.print(str(summary), markup=False, highlight=False, soft_wrap=True)
    return 0


class _Job:
    """The structures of one file through one potential.

    Args:
        source: file, or file@index.
        potential: what evaluates.
        names: properties.
        label: of the potential, for the file written.
        pbc: overrides the periodicity of the frames; None: as they come.
    """

    def __init__(
        self,
        source: str | Path,
        potential: Potential,
        names: Sequence[str],
        label: str,
        pbc: Any = None,
    ) -> None:
        self.source, self.potential, self.pbc = source, potential, pbc
        self.names = tuple(dict.fromkeys(names))
        unknown = [name for name in self.names if name not in potential.properties]
        if unknown:
            offered = ", ".join(sorted(potential.properties)) or "none"
            raise EvaluateError(
                f"{potential.name} does not give {', '.join(unknown)}; its properties: {offered}"
            )
        self.info = {"potential": label, "units": self._units()}
        self.wanted = Wanted(
            forces=True, virials=potential.gives_virials, properties=self.names
        )
        self.evaluator = Evaluator(potential, skin=0.0, force_limit=float("inf"))
        self.structures = self.atoms = self.batches = 0

    def run(
        self,
        out: Path,
        batch_atoms: int,
        progress: Callable[[int | None], Progress] | None,
    ) -> EvaluationSummary:
        """Evaluate all, then let `out` appear."""
        start = time.perf_counter()
        reporter = NoProgress() if progress is None else progress(count_frames(self.source))
        with (
            whole_file(out, sync=True) as temporary,
            reporter,
            open(temporary, "w", encoding="utf-8") as file,
        ):
            for frames in _batches(self.source, batch_atoms):
                if self.pbc is not None:
                    for frame in frames:
                        frame.pbc = self.pbc
                self._write(file, frames, self._evaluate(frames))
                self.structures += len(frames)
                self.atoms += sum(map(len, frames))
                self.batches += 1
                reporter.update(self.structures, self.atoms)
        spent = self.evaluator.budget.snapshot()
        return EvaluationSummary(
            path=out,
            n_structures=self.structures,
            n_atoms=self.atoms,
            n_batches=self.batches,
            seconds=time.perf_counter() - start,
            model_seconds=spent["model"] + spent["neighbours"],
        )

    def _units(self) -> str:
        units = {"energy": "eV", "forces": "eV/Å"}
        if self.potential.gives_virials:
            units["stress"] = "eV/Å^3"
        units.update({name: self.potential.properties[name].unit for name in self.names})
        text = ", ".join(f"{name} {unit}".strip() for name, unit in units.items())
        # readers of extxyz differ in the encoding they expect
        return text.replace("Å", "angstrom").replace("μ", "mu")

    def _evaluate(self, frames: Sequence[Any]) -> Evaluated:
        """One batch; what goes wrong is traced to its frame."""
        structures = []
        for k, frame in enumerate(frames):
            try:
                structures.append(Structure.from_ase(frame))
            except PotentialError as error:
                raise self._of_frame(k, error) from error
        try:
            return self.evaluator.evaluate_structures(structures, self.wanted)
        except BadPrediction as error:
            raise self._of_frame(error.index, error.what) from error
        except PotentialError as error:
            index = getattr(error, "index", None)
            if index is None:
                index = self._guilty(structures)
            if index is None:
                raise EvaluateError(f"{self.source}: {error}") from error
            raise self._of_frame(index, error) from error

    def _guilty(self, structures: Sequence[Structure]) -> int | None:
        """The first structure that cannot be evaluated on its own."""
        for k, structure in enumerate(structures):
            try:
                self.evaluator.evaluate_structures([structure], self.wanted)
            except (PotentialError, BadPrediction):
                return k
        return None

    def _of_frame(self, index: int, problem: object) -> EvaluateError:
        frame = self.structures + index
        return EvaluateError(f"{self.source}, frame {frame} of those chosen (from 0): {problem}")

    def _write(self, file: TextIO, frames: Sequence[Any], evaluated: Evaluated) -> None:
        from ase.io.extxyz import write_extxyz

        assert evaluated.forces is not None
        start = 0
        for k, frame in enumerate(frames):
            own = slice(start, start + len(frame))  # atoms of the batch
            start += len(frame)
            out = frame.copy()
            for name in RESULT_NAMES:
                out.info.pop(name, None)
                out.arrays.pop(name, None)
            out.info.update(self.info, energy=float(evaluated.energies[k]))
            periodic = frame.pbc.any() and frame.cell.rank == 3
            if periodic and evaluated.virials is not None:
                out.info["stress"] = -evaluated.virials[k] / frame.get_volume()
            for name in self.names:
                value = evaluated.properties[name]
                if self.potential.properties[name].per_atom:
                    out.arrays[name] = _columns(value[own])
                else:
                    out.info[name] = value[k]
            out.arrays["forces"] = np.array(evaluated.forces[own])
            write_extxyz(file, [out], write_results=False)


def _columns(values: np.ndarray) -> np.ndarray:
    """Values of atoms (n_atoms, ...) as the columns of an xyz."""
    return values.reshape(len(values), -1) if values.ndim > 1 else values


def _check_paths(source: str | Path, out: Path, force: bool) -> None:
    name, _ = split_index(source)
    if not Path(name).is_file():
        raise EvaluateError(f"{name}: no such file")
    if out.suffix not in SUFFIXES:
        raise EvaluateError(
            f"{out}: the output is extended xyz; give it a name ending in .extxyz or .xyz"
        )
    if out.exists() and out.resolve() == Path(name).resolve():
        raise EvaluateError(f"{out} is the file to read from; give another --out")
    if out.exists() and not force:
        raise EvaluateError(f"{out} exists; use --force to overwrite it, or another --out")
    if not out.parent.is_dir():
        raise EvaluateError(f"{out.parent}: no such folder to write to")


def _batches(source: str | Path, batch_atoms: int) -> Iterator[list[Any]]:
    """Frames in groups of at most `batch_atoms` atoms."""
    frames: list[Any] = []
    atoms = 0
    try:
        for frame in iter_frames(source):
            if frames and atoms + len(frame) > batch_atoms:
                yield frames
                frames, atoms = [], 0
            frames.append(frame)
            atoms += len(frame)
    except PotentialError as error:
        raise EvaluateError(str(error)) from error
    if frames:
        yield frames
