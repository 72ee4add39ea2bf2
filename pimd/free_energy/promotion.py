"""From the potential that was sampled to the one that is meant: free energies per atom or molecule.

    F_ref = F_ML + (F_ref - F_ML)

F_ML is what sampling a cheap potential gave; the difference is small, and comes from energies of
the stored beads in both. It is an extensive quantity, and so is the variance of the work: per
molecule the difference must not depend on the size of the box, while its error for a given number
of samples grows with it (B. Cheng, E. A. Engel, J. Behler, C. Dellago and M. Ceriotti, Proc. Natl.
Acad. Sci. 116, 1110 (2019)). Runs of several sizes are compared for that.

The zeros of energy of the two potentials are part of the difference: it is only meaningful between
phases, or after the difference at a common reference is taken off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pimd.free_energy.diagnostics import Convergence, convergence, crossing
from pimd.free_energy.energies_of_run import MakeProgress
from pimd.free_energy.perturbation import (
    Bidirectional,
    NoOverlap,
    OneSided,
    bidirectional,
    one_sided,
)
from pimd.free_energy.size_consistency import count_units
from pimd.free_energy.state_energies import StateEnergies, state_energies
from pimd.free_energy.states import States, mbar

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["Difference", "FreeEnergies", "free_energies", "of_states"]

DRIFTING = 3.0
"""Standard errors between the halves of the samples."""


@dataclass(frozen=True)
class Difference:
    """One state against the first, kT.

    Attributes:
        first, last: indices of the states.
        value, error: F_last - F_first and its standard error.
        method: EXP, BAR or MBAR.
        n_effective: samples that it rests on.
        one_way: from the samples of `first` alone; None: there are none.
        both_ways: BAR with the one-sided answers, where both were sampled and overlap.
        crossing: where the distributions of the work cross; NaN where they do not.
        convergence: the answer from parts of the samples.
        warnings: what should make a reader careful, one line each.
    """

    first: int
    last: int
    value: float
    error: float
    method: str
    n_effective: float
    one_way: OneSided | None
    both_ways: Bidirectional | None
    crossing: float
    convergence: Convergence
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class FreeEnergies:
    """Free energies of all states of one system.

    Attributes:
        energies: the samples.
        differences: of every state against the first.
        solved: by MBAR; None for two states.
        units: how many atoms or molecules there are.
        per: what is counted.
    """

    energies: StateEnergies
    differences: tuple[Difference, ...]
    solved: States | None
    units: int
    per: str


def free_energies(
    runs: Sequence[Run],
    targets: Sequence[str] = (),
    *,
    per: str = "atom",
    potentials: Mapping[str, str] | None = None,
    skip: float | None = None,
    stride: int = 1,
    check: bool = True,
    progress: MakeProgress | None = None,
) -> list[FreeEnergies]:
    """Free energies of potentials, for each size among the runs.

    Args:
        runs: of one system or of several sizes of it.
        targets: SPECs of states that were not sampled.
        per: "system", "atom", or a molecule as its formula, H2O.
        potentials, skip, stride, check, progress: as `state_energies`.

    Returns:
        One for each size, the smallest first.

    Raises:
        NotCanonical: a run may not be reweighted.
        NoOverlap: potentials have too little in common.
        ValueError: as `state_energies`; a molecule that the atoms are not made of.
    """
    sizes: dict[bytes, list[Run]] = {}
    for run in runs:
        sizes.setdefault(np.sort(run.setup.numbers).tobytes(), []).append(run)
    groups = sorted(sizes.values(), key=lambda group: group[0].n_atoms)
    for group in groups:
        count_units(group[0].setup.numbers, per)
    return [
        of_states(
            state_energies(
                group, targets, potentials=potentials, skip=skip, stride=stride, check=check,
                progress=progress,
            ),
            per,
        )
        for group in groups
    ]


def of_states(energies: StateEnergies, per: str = "atom") -> FreeEnergies:
    """Free energies from the energies of all samples in all states.

    Two states of which one was sampled: EXP; both: BAR; more than two: MBAR.

    Raises:
        NoOverlap: states have too little in common.
        ValueError: the first state has no samples.
    """
    units = count_units(energies.numbers, per)
    n = len(energies.states)
    if not energies.counts[0]:
        raise ValueError(f"no samples of {energies.names[0]}")
    if n == 2:
        single = (_pair if energies.counts[1] else _one)(energies)
        return FreeEnergies(energies, (single,), None, units, per)

    def again(tables: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        part = mbar(tables)
        return part.differences[0, 1:], part.errors[0, 1:]

    solved = mbar(energies.tables)
    parts = convergence(again, energies.tables)
    found = tuple(_of_many(energies, solved, k + 1, part) for k, part in enumerate(parts))
    return FreeEnergies(energies, found, solved, units, per)


def _one(energies: StateEnergies) -> Difference:
    work = energies.work(0, 1)
    found = one_sided(work)

    def again(series: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        part = one_sided(series[0])
        return np.array([part.difference]), np.array([part.error])

    (parts,) = convergence(again, [work])
    return _difference(
        0, 1, (found.difference, found.error), "EXP", found.n_effective, found, None, math.nan,
        parts, found.warnings,
    )


def _pair(energies: StateEnergies) -> Difference:
    works = [energies.work(0, 1), energies.work(1, 0)]
    found = bidirectional(*works)

    def again(series: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        part = bidirectional(*series)
        return np.array([part.difference]), np.array([part.error])

    n_effective = sum(
        len(work) / side.inefficiency
        for work, side in zip(works, (found.forward, found.reverse), strict=True)
    )
    (parts,) = convergence(again, works)
    return _difference(
        0, 1, (found.difference, found.error), "BAR", n_effective, found.forward, found,
        crossing(*works), parts, found.warnings,
    )


def _of_many(energies: StateEnergies, solved: States, k: int, parts: Convergence) -> Difference:
    """State k against state 0, by MBAR, with what the two alone say."""
    both, one, cross = None, None, math.nan
    forward = energies.work(0, k)
    try:
        if energies.counts[k]:
            reverse = energies.work(k, 0)
            both = bidirectional(forward, reverse)
            one, cross = both.forward, crossing(forward, reverse)
        else:
            one = one_sided(forward)
    except NoOverlap:
        pass  # the states between them make up for it, or `mbar` would have said so
    return _difference(
        0, k, (float(solved.differences[0, k]), float(solved.errors[0, k])), "MBAR",
        float(min(solved.n_effective[0], solved.n_effective[k])), one, both, cross,
        parts, (),
    )


def _difference(
    first: int, last: int, answer: tuple[float, float], method: str, n_effective: float,
    one_way: OneSided | None, both_ways: Bidirectional | None, cross: float,
    parts: Convergence, warnings: tuple[str, ...],
) -> Difference:
    if abs(parts.drift) > DRIFTING:
        warnings += (
            f"the two halves of the samples differ by {abs(parts.drift):.1f} standard errors: "
            "they were not in equilibrium, or are too few",
        )
    return Difference(
        first, last, *answer, method, n_effective, one_way, both_ways, cross, parts, warnings
    )
