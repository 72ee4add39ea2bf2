"""Runs and potentials -> the energies of all samples in all states, in kT.

A state is a potential at the temperature, beads and cell (or pressure) of the runs; those that
were sampled come first, in the order of the runs, then the others. Runs of one potential are
samples of one state. What is missing is evaluated by `pimd.relabel`, and kept with the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pimd.analysis.beginning import first_at, settled
from pimd.analysis.work import reduced_work
from pimd.free_energy.energies_of_run import EnergiesOfRun, MakeProgress
from pimd.free_energy.sampled import (
    Mixture,
    check_canonical,
    mixture_names,
    mixture_of,
    sampled_mixture,
)

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["Part", "StateEnergies", "state_energies"]

NEW_CELL = 1e-4
"""Å by which cells of one volume may differ."""


@dataclass(frozen=True)
class Part:
    """What one run gives to a state.

    Attributes:
        where: the run in words.
        state: index of the state that it sampled.
        n_frames: stored.
        start: frames left out at the beginning.
        note: how its own energies were had, in words.
    """

    where: str
    state: int
    n_frames: int
    start: int
    note: str = ""


@dataclass(frozen=True)
class StateEnergies:
    """All samples in all states.

    Attributes:
        names: (n_states,) of the states.
        states: (n_states,) their potentials.
        tables: for each state (n_states, n_k) kT: energies of its samples in all states, less that
            in their own.
        parts: the runs.
        temperature: K.
        n_beads: P.
        numbers: (n_atoms,) atomic numbers.
        pressure: eV/Å³ of runs at constant pressure: free energies are then Gibbs's, as the
            volume of a frame is the same in all states.
    """

    names: tuple[str, ...]
    states: tuple[Mixture, ...]
    tables: list[np.ndarray]
    parts: tuple[Part, ...]
    temperature: float
    n_beads: int
    numbers: np.ndarray = field(repr=False)
    pressure: float | None = None

    @property
    def counts(self) -> np.ndarray:
        """(n_states,) samples of each state."""
        return np.array([table.shape[1] for table in self.tables])

    def work(self, first: int, last: int) -> np.ndarray:
        """u_last - u_first of the samples of `first`, (n_first,) kT."""
        return self.tables[first][last] - self.tables[first][first]


def state_energies(
    runs: Sequence[Run],
    targets: Sequence[str] = (),
    *,
    potentials: Mapping[str, str] | None = None,
    skip: float | None = None,
    stride: int = 1,
    check: bool = True,
    progress: MakeProgress | None = None,
) -> StateEnergies:
    """Energies of the stored beads of runs in all their potentials and in further ones.

    Args:
        runs: of the same atoms, beads, temperature, and cell or pressure.
        targets: SPECs of further states.
        potentials: forcefield -> SPEC, where runs do not say what they moved on.
        skip: fs to leave out at the beginning of each run; None: found out, from the energy
            differences.
        stride: every so many frames.
        check: evaluate a few frames of each run with its own potential, and compare with what is
            stored.
        progress: as of `pimd.relabel`.

    Raises:
        NotCanonical: a run may not be reweighted.
        ValueError: runs that do not belong together, or nothing to compare.
    """
    _one_ensemble(runs)
    own = [sampled_mixture(run, potentials) for run in runs]
    for run, mixture in zip(runs, own, strict=True):
        check_canonical(run, mixture)
    states = tuple(dict.fromkeys([*own, *(mixture_of({spec: 1.0}) for spec in targets)]))
    if len(states) < 2:
        raise ValueError(
            f"all runs sampled {mixture_names(states)[0]}: name a second potential with --to, or "
            "a run that sampled another one"
        )
    collected: list[list[np.ndarray]] = [[] for _ in states]
    parts = []
    for run, mixture in zip(runs, own, strict=True):
        energies = EnergiesOfRun(run, mixture, stride, check, progress)
        table = np.stack([_work(energies, state) for state in states])  # [state, frame]
        start = _start(table, run.time[energies.frames], skip)
        if table.shape[1] - start < 2:
            raise ValueError(f"{run.where}: {table.shape[1]} frames, and {start} are left out")
        k = states.index(mixture)
        collected[k].append(table[:, start:])
        parts.append(Part(run.where, k, table.shape[1], start, energies.note))
    empty = np.zeros((len(states), 0))
    tables = [np.concatenate([empty, *some], axis=1) for some in collected]
    first = runs[0].setup
    assert first.temperature is not None
    return StateEnergies(
        mixture_names(states), states, tables, tuple(parts), first.temperature, first.n_beads,
        first.numbers, first.pressure,
    )


def _work(energies: EnergiesOfRun, state: Mixture) -> np.ndarray:
    """From the potential that was sampled to a state, (n_frames,) kT."""
    temperature = energies.run.setup.temperature
    assert temperature is not None
    return reduced_work(energies.own, energies.of(state), temperature)


def _start(table: np.ndarray, time: np.ndarray, skip: float | None) -> int:
    """Frames to leave out."""
    if skip is not None:
        return first_at(time, time[0] + skip)
    return max(settled(row) for row in table)


def _one_ensemble(runs: Sequence[Run]) -> None:
    """Raise ValueError unless the runs differ in nothing but the potential."""
    if not runs:
        raise ValueError("expected at least one run")
    first = runs[0]
    for run in runs:
        a, b = first.setup, run.setup
        for what, same in (
            ("atoms", np.array_equal(a.numbers, b.numbers)),
            ("masses", np.allclose(a.masses, b.masses, rtol=1e-6)),
            ("number of beads", a.n_beads == b.n_beads),
            ("temperature", _close(a.temperature, b.temperature)),
            ("pressure", _close(a.pressure, b.pressure)),
            ("cell", a.pressure is not None or _same_cell(first, run)),
        ):
            if not same:
                raise ValueError(
                    f"{first.where} and {run.where} differ in their {what}: states that are "
                    "compared differ in the potential alone"
                )


def _close(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return abs(a - b) <= 1e-5 * max(abs(a), abs(b))


def _same_cell(first: Run, second: Run) -> bool:
    if first is second or not (first.has("cells") and second.has("cells")):
        return True
    if not first.setup.pbc.any():
        return True
    return bool(np.abs(first.read("cells", 0) - second.read("cells", 0)).max() < NEW_CELL)
