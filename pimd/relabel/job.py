"""From frames that lack a label to a label: what is missing, batch by batch, kept as it comes."""

from __future__ import annotations

import itertools
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import Any

import numpy as np

from pimd.claim import Claim
from pimd.evaluate_progress import NoProgress, Progress
from pimd.potentials.base import Potential
from pimd.potentials.registry import Spec, make_potential, parse_spec
from pimd.record import open_run
from pimd.record.labels import Label, label_path
from pimd.record.run import Run
from pimd.relabel.errors import RelabelError
from pimd.relabel.parts import LabelParts, joined
from pimd.relabel.tasks import Outcome, Task, evaluate, evaluate_here, evaluator_for

__all__ = ["BATCH_ATOMS", "Job", "label_name"]

BATCH_ATOMS = 20_000
"""Atoms of one batch, at most, unless the beads of one frame have more."""
PART_SECONDS = 20.0
"""Time between parts on disk: what a kill may lose."""
PART_BYTES = 128 * 2**20
TASKS_AHEAD = 3
"""Tasks that wait for each worker, so that none has to wait for them."""


class Job:
    """One run and one potential; arguments as of `pimd.relabel`."""

    def __init__(
        self,
        run: Run | Path | str,
        spec: str | Mapping[str, Any] | Spec | Potential,
        *,
        name: str | None = None,
        forces: bool = False,
        batch_atoms: int | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.whole = run if isinstance(run, Run) else open_run(run)
        # structures without any are not periodic
        self.has_cells = "cells" in self.whole.stored
        self.record = self.whole.common("positions", *(["cells"] if self.has_cells else []))
        self.forces, self.executor = forces, executor
        self.batch_atoms = BATCH_ATOMS if batch_atoms is None else batch_atoms
        if self.batch_atoms < 1:
            raise RelabelError(f"batch_atoms: expected 1 or more, got {batch_atoms}")
        self.potential: Potential | None = None
        self.pbc = self.record.setup.pbc
        if isinstance(spec, Potential):
            if executor is not None:
                raise RelabelError("with an executor the potential is a SPEC, made by each worker")
            if name is None and self.whole.directory is not None:
                raise RelabelError(
                    f"{spec.name} is ready made: nothing would tell its label from that of another "
                    "like it; give a name"
                )
            self.potential, self.spec, kind = spec, spec.name, spec.name
        else:
            parsed = spec if isinstance(spec, Spec) else parse_spec(spec)
            parsed = parsed.resolved(Path.cwd())
            self.spec, kind = str(parsed), parsed.potential
            if parsed.options.get("pbc") is not None:
                self.pbc = np.broadcast_to(np.asarray(parsed.options["pbc"], dtype=bool), (3,))
        self.name = name or self._free_name(kind)

    def _free_name(self, kind: str) -> str:
        """Of the label: that of one of the same SPEC, else one that is not taken."""
        specs = self.whole.label_specs()
        for name, spec in specs.items():
            if spec == self.spec:
                return name
        name = label_name(kind)
        return name if name not in specs else f"{name}-{zlib.crc32(self.spec.encode()):08x}"

    def energies(self, frames: np.ndarray) -> np.ndarray:
        """Of some frames, eV, (n_frames, n_beads), in their order; nothing is kept."""
        steps = self.whole.step[np.asarray(frames)]
        chosen = np.searchsorted(self.record.step, np.unique(steps))
        if len(steps) and (
            chosen.max() >= self.record.n_frames
            or (self.record.step[chosen] != np.unique(steps)).any()
        ):
            raise RelabelError(f"{self.whole.where}: not all of these frames have positions")
        outcomes = list(self._outcomes(chosen, None))
        if not outcomes:
            return np.empty((0, self.record.n_beads))
        label = joined(outcomes, self.spec)
        return label.energies[np.searchsorted(label.step, steps)]

    def run(self, frames: slice, progress: Callable[[int | None], Progress] | None) -> Label:
        """Label these frames, and give back the label of all."""
        self.make(frames, progress)
        return self.whole.label(self.name)

    def make(self, frames: slice, progress: Callable[[int | None], Progress] | None) -> None:
        """Label these frames; nothing is read."""
        if self.whole.directory is None:
            self._in_memory(frames, progress)
            return
        path = label_path(self.whole.directory, self.name, self.whole.system)
        with Claim(path, RelabelError, f"{path} is being made"):
            self._make(LabelParts(path, self.spec, self.record), frames, progress)

    def _make(
        self, parts: LabelParts, frames: slice,
        progress: Callable[[int | None], Progress] | None,
    ) -> None:
        wanted = np.arange(self.record.n_frames)[frames]
        todo = wanted[~np.isin(self.record.step[wanted], parts.done(self.forces))]
        last = time.monotonic()
        try:
            for outcome in self._outcomes(todo, progress):
                parts.add(outcome)
                if (
                    time.monotonic() - last > PART_SECONDS or parts.n_waiting_bytes > PART_BYTES
                ):
                    parts.flush()
                    last = time.monotonic()
        finally:
            parts.merge()

    def _in_memory(
        self, frames: slice, progress: Callable[[int | None], Progress] | None
    ) -> None:
        wanted = np.arange(self.record.n_frames)[frames]
        outcomes = list(self._outcomes(wanted, progress))
        if not outcomes:
            raise RelabelError(f"{self.whole.where} has no frames at {frames}")
        self.whole.keep_label(self.name, joined(outcomes, self.spec))

    def _outcomes(
        self, frames: np.ndarray, progress: Callable[[int | None], Progress] | None
    ) -> Iterator[Outcome]:
        """What comes of some frames, in no certain order."""
        n_beads, n_atoms = self.record.n_beads, self.record.n_atoms
        reporter = NoProgress() if progress is None else progress(len(frames) * n_beads)
        done = 0
        with reporter:
            for outcome in self._evaluated(self._tasks(frames)):
                done += len(outcome.step) * n_beads
                reporter.update(done, done * n_atoms)
                yield outcome

    def _tasks(self, frames: np.ndarray) -> Iterator[Task]:
        atoms = self.record.n_beads * self.record.n_atoms
        size = max(1, self.batch_atoms // atoms)
        for first in range(0, len(frames), size):
            chosen = frames[first : first + size]
            yield Task(
                where=self.whole.where,
                step=self.record.step[chosen],
                positions=self.record.read("positions", chosen),
                cells=(
                    self.record.read("cells", chosen) if self.has_cells
                    else np.zeros((len(chosen), 3, 3))
                ),
                numbers=self.record.setup.numbers,
                pbc=self.pbc,
                forces=self.forces,
                batch_atoms=self.batch_atoms,
            )

    def _evaluated(self, tasks: Iterator[Task]) -> Iterator[Outcome]:
        first = next(tasks, None)
        if first is None:
            return
        tasks = itertools.chain([first], tasks)
        if self.executor is not None:
            yield from _elsewhere(self.executor, tasks, self.spec)
            return
        potential = self.potential or make_potential(parse_spec(self.spec))
        try:
            evaluator = evaluator_for(potential, self.batch_atoms)
            for task in tasks:
                yield evaluate_here(task, evaluator)
        finally:
            if self.potential is None:
                potential.close()


def _elsewhere(executor: Executor, tasks: Iterator[Task], spec: str) -> Iterator[Outcome]:
    """Tasks over the workers of an executor, a few ahead of them; no more than fit memory."""
    workers = int(getattr(executor, "num_workers", 0) or getattr(executor, "_max_workers", 1))
    pending: set[Future[Outcome]] = set()
    try:
        for task in tasks:
            pending.add(executor.submit(evaluate, task, spec))
            if len(pending) >= TASKS_AHEAD * workers:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        for future in pending:
            future.cancel()


def label_name(potential: str) -> str:
    """A file name from the name of a potential: `qtip4pf`, `my.py:Water` -> `Water`."""
    return re.sub(r"[^\w.-]+", "_", potential.rpartition(":")[2] or potential)
