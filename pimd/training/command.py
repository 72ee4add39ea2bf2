"""The command `pimd train`: files in, progress, a table of errors, files out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pimd.structure import PotentialError
from pimd.training.baseline import fit_baseline, given_baseline
from pimd.training.data import MAX_FORCE, DataError, Labelled, elements_of, read_labels, split
from pimd.training.loss import Schedule
from pimd.training.options import TrainingOptions

if TYPE_CHECKING:
    from rich.console import Console

    from pimd.training.job import Job, Trained

__all__ = ["TrainRequest", "train_command"]


@dataclass(frozen=True)
class TrainRequest:
    """What `pimd train` was asked for.

    Attributes:
        data: labelled structures.
        out: the model file, .npz or .pt.
        options: of `TrainingOptions`, those that are single numbers.
        hidden: sizes of hidden layers, `24,24`.
        rates: learning rates, first and last.
        energy_prefactors, force_prefactors: first and last, `0.02,2`.
        validation, test: a share of `data`, or a file.
        baseline: energies of the elements, `H=-13.6,O=-2041.8`; None: by least squares.
        energy_key, forces_key, max_force: see `read_labels`.
        resume: go on from the checkpoint beside `out`.
        force: overwrite `out`, and an unfinished training of the same name.
        device: auto, cpu, cuda, ...
        threads: of torch on the CPU; None: as it is.
    """

    data: str
    out: Path
    options: Mapping[str, Any]
    hidden: str = "24,24"
    rates: tuple[float, float] = (5e-3, 2e-5)
    energy_prefactors: str = "0.02,2"
    force_prefactors: str = "1,1"
    validation: str = "0.1"
    test: str = "0.1"
    baseline: str | None = None
    energy_key: str | None = None
    forces_key: str | None = None
    max_force: float = MAX_FORCE
    resume: bool = False
    force: bool = False
    device: str = "auto"
    threads: int | None = None


def train_command(request: TrainRequest, console: Console) -> int:
    """`pimd train`: the exit status, 0 trained, 2 wrong data or usage, 130 stopped by Ctrl-C."""
    from pimd.evaluate_progress import make_progress
    from pimd.interrupts import StopAtInterrupt
    from pimd.training.progress import TrainingProgress

    if request.threads is not None:
        torch.set_num_threads(request.threads)
    try:
        _check_paths(request)
        job = _job(request, console)
        n = sum(map(len, (job.split.train, job.split.validation, job.split.test)))
        _say(console, f"working out the descriptors of {n} structures and their derivatives")
        with make_progress(console, n) as reporter:
            job.prepare(reporter.update)
        if request.resume:
            job.resume()
    except (DataError, PotentialError) as error:
        message = f"pimd train: {error}"
        console.print(message, style="bold red", markup=False, highlight=False, soft_wrap=True)
        return 2
    _say(console, _about(job))
    with StopAtInterrupt() as interrupt, TrainingProgress(console, job.options.epochs) as progress:
        try:
            job.run(progress.show, interrupt.stopped)
        except KeyboardInterrupt:
            _say(console, "stopped within an epoch: what it had learnt is dropped")
    if not job.trainer.history:
        _say(console, "stopped before the end of the first epoch: nothing is written")
        return 130
    trained = job.finish()
    _report(console, trained)
    if job.trainer.done:
        return 0
    _say(
        console,
        f"Stopped after epoch {len(trained.history)}; {request.out} holds the best so far. The "
        "same command with --resume goes on.",
    )
    return 130


def _check_paths(request: TrainRequest) -> None:
    from pimd.potentials.bp_file import SUFFIXES
    from pimd.training.job import Files

    out, files = request.out, Files(request.out)
    if out.suffix not in SUFFIXES:
        raise DataError(
            f"--out {out}: models are written as {' or '.join(SUFFIXES)} (arrays and JSON, no "
            f"pickle); take --out {out.with_suffix(SUFFIXES[0])}"
        )
    if not out.parent.is_dir():
        raise DataError(f"--out {out}: there is no folder {out.parent}")
    if request.resume or request.force:
        return
    if files.checkpoint.exists():
        raise DataError(
            f"{files.checkpoint} is of an unfinished training: give --resume to go on with it, or "
            "--force to start again"
        )
    if out.exists():
        raise DataError(f"{out} exists; give --force to overwrite it, or another --out")


def _job(request: TrainRequest, console: Console) -> Job:
    """Read and split the data."""
    from pimd.potentials.models import model_device
    from pimd.training.job import Job

    def read(path: str) -> list[Labelled]:
        found, left_out = read_labels(
            path,
            energy_key=request.energy_key,
            forces_key=request.forces_key,
            max_force=request.max_force,
        )
        if left_out:
            _say(console, f"left out {len(left_out)} frames, the first is {left_out[0]}")
        return found

    options = _options(request)
    data = read(request.data)
    shares: list[float | Sequence[Labelled]] = []
    sources = {"train": request.data}
    for name in ("validation", "test"):
        given = getattr(request, name)
        share = _share(given)
        shares.append(read(given) if share is None else share)
        sources[name] = given if share is None else f"{100 * share:g} % of {request.data}"
    parts = split(data, shares[0], shares[1], options.seed)
    elements = elements_of(parts.train)
    if request.baseline is None:
        baseline = fit_baseline(parts.train, elements)
    else:
        baseline = given_baseline(_energies(request.baseline), elements)
    device = model_device(request.device)
    return Job(parts, sources, options, baseline, request.out, device)


def _options(request: TrainRequest) -> TrainingOptions:
    """What decides the weights. Raises DataError for what cannot be read or makes no sense."""
    energy = _numbers("--energy-prefactors", request.energy_prefactors, 2)
    force = _numbers("--force-prefactors", request.force_prefactors, 2)
    hidden = _numbers("--hidden", request.hidden)
    try:
        schedule = Schedule(*request.rates, *energy, *force)
    except ValueError as error:
        raise DataError(str(error)) from error
    return TrainingOptions(
        **request.options, hidden=tuple(int(n) for n in hidden), schedule=schedule
    )


def _numbers(name: str, text: str, count: int | None = None) -> list[float]:
    """Numbers separated by commas."""
    try:
        found = [float(item) for item in text.split(",")]
    except ValueError:
        found = []
    if not found or count not in (None, len(found)):
        wanted = "numbers" if count is None else f"{count} numbers"
        raise DataError(f"{name} '{text}': expected {wanted} separated by commas")
    return found


def _share(text: str) -> float | None:
    """A number, or None for the name of a file."""
    try:
        return float(text)
    except ValueError:
        return None


def _energies(text: str) -> dict[str, float]:
    """`H=-13.6,O=-2041.8` as a mapping."""
    try:
        items = (item.split("=") for item in text.split(",") if item.strip())
        return {symbol.strip(): float(value) for symbol, value in items}
    except ValueError as error:
        raise DataError(
            f"--baseline '{text}': expected energies in eV like H=-13.6,O=-2041.8"
        ) from error


def _about(job: Job) -> str:
    """What is trained on what, in one line."""
    from ase.data import chemical_symbols

    counts = ", ".join(f"{len(part)} {name}" for name, part in job.samples.items())
    atoms = sum(one.n_atoms for one in job.samples["train"])
    symbols = ", ".join(chemical_symbols[z] for z in job.elements)
    weights = sum(p.numel() for p in job.trainer.parameters) // job.options.members
    return (
        f"{counts} structures, {atoms} atoms to train on ({symbols}); "
        f"{job.settings.n_descriptors} descriptors; {job.options.members} members of "
        f"{weights} weights; {job.options.dtype} on {job.device}"
    )


def _report(console: Console, trained: Trained) -> None:
    """A table of errors, the calibration, the files."""
    from rich.table import Table

    table = Table(title="errors of the committee's mean (RMSE, MAE)", title_justify="left")
    for heading in ("set", "structures", "energy, meV/atom", "forces, meV/Å"):
        table.add_column(heading, justify="left" if heading == "set" else "right")
    for name, found in trained.sets.items():
        e = found.errors
        table.add_row(
            name,
            str(e.n_structures),
            f"{1000 * e.energy_rmse:.3f}, {1000 * e.energy_mae:.3f}",
            f"{1000 * e.force_rmse:.1f}, {1000 * e.force_mae:.1f}",
        )
    console.print(table)
    fit = trained.calibration
    _say(console, f"weights of epoch {trained.best_epoch} of {len(trained.history)}")
    _say(console, f"alpha {fit.alpha:.4g} ± {fit.error:.2g} ({fit.note})")
    _say(console, "written: " + ", ".join(map(str, trained.written)))


def _say(console: Any, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
