"""MBAR: free energies of any number of states from the samples of all of them (by pymbar).

    exp(-F_i) = sum_n exp(-u_i(x_n)) / sum_k N_k exp(F_k - u_k(x_n))

M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008). u in kT; of a ring polymer
u = beta/P sum_b U(q_b), see `pimd.analysis.work`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pimd.analysis.quiet_pymbar import using_pymbar
from pimd.analysis.statistics import inefficiency
from pimd.free_energy.perturbation import LEAST_OVERLAP, SMALL_OVERLAP, NoOverlap

__all__ = ["States", "mbar"]


@dataclass(frozen=True)
class States:
    """Free energies of states, kT.

    Attributes:
        differences: (n_states, n_states), [i, j] is F_j - F_i.
        errors: (n_states, n_states), their standard errors, correlation counted.
        overlap: (n_states, n_states), [i, j] is the chance that a sample of i is taken for one of
            j; rows add up to 1.
        n_effective: (n_states,), Kish samples that the average of each state rests on, over the
            inefficiency.
        warnings: what should make a reader careful, one line each.
    """

    differences: np.ndarray
    errors: np.ndarray
    overlap: np.ndarray
    n_effective: np.ndarray
    warnings: tuple[str, ...] = ()


def mbar(energies: Sequence[np.ndarray]) -> States:
    """Free energies from energies of all samples in all states.

    Args:
        energies: for each state the samples of it, in the order of time: (n_states, n_k) kT,
            row i their energy in state i; n_k may be 0.

    Raises:
        NoOverlap: the states fall apart into groups that have too little in common.
        ValueError: energies that are no such table.
    """
    tables = [np.asarray(table, dtype=float) for table in energies]
    n = len(tables)
    if n < 2 or any(table.ndim != 2 or len(table) != n for table in tables):
        raise ValueError(
            "expected for each of at least 2 states its samples' energies in all of them, "
            f"(n_states, n_samples), got {[table.shape for table in tables]}"
        )
    counts = np.array([table.shape[1] for table in tables])
    u = np.concatenate(tables, axis=1)
    if counts.max() < 2 or not np.isfinite(u).all():
        raise ValueError("an energy is not finite, or there are no samples")
    with using_pymbar() as pymbar:
        solved = pymbar.MBAR(u, counts, solver_protocol="robust")
        overlap = np.asarray(solved.compute_overlap()["matrix"])
        _refuse_groups(overlap, counts)
        found = solved.compute_free_energy_differences()
        kish = np.asarray(solved.compute_effective_sample_number())
    g = np.array([_inefficiency(table, k) for k, table in enumerate(tables)])
    scale = math.sqrt(float(counts @ g) / float(counts.sum()))
    careful = []
    for i in range(n - 1):
        if overlap[i, i + 1] < SMALL_OVERLAP and overlap[i + 1, i] < SMALL_OVERLAP:
            careful.append(
                f"states {i} and {i + 1} overlap by {max(overlap[i, i + 1], overlap[i + 1, i]):.3f}"
                f", below {SMALL_OVERLAP}: put a state between them"
            )
    return States(
        np.asarray(found["Delta_f"]), scale * np.asarray(found["dDelta_f"]), overlap,
        kish / scale**2, tuple(careful),
    )


def _inefficiency(table: np.ndarray, own: int) -> float:
    """Of the samples of one state: that of their energy difference to the next state."""
    if table.shape[1] < 3:
        return 1.0
    other = own + 1 if own + 1 < len(table) else own - 1
    return inefficiency(table[other] - table[own])


def _refuse_groups(overlap: np.ndarray, counts: np.ndarray) -> None:
    """Raise NoOverlap unless every state can be reached from the first sampled one."""
    linked = (overlap >= LEAST_OVERLAP) | (overlap.T >= LEAST_OVERLAP)
    reached = {int(np.argmax(counts))}
    while True:
        more = {j for i in reached for j in np.flatnonzero(linked[i]).tolist()} - reached
        if not more:
            break
        reached |= more
    missing = sorted(set(range(len(counts))) - reached)
    if missing:
        raise NoOverlap(
            f"states {missing} have no overlap with the others (at least {LEAST_OVERLAP:g} is "
            "needed): put states between them"
        )
