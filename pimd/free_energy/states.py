"""MBAR: free energies of any number of states from the samples of all of them (by pymbar).

    exp(-F_i) = sum_n exp(-u_i(x_n)) / sum_k N_k exp(F_k - u_k(x_n))

M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008). u in kT; of a ring polymer
u = beta/P sum_b U(q_b), see `pimd.analysis.work`.

With w_k(x) = exp(F_k - u_k(x)) / sum_l N_l exp(F_l - u_l(x)) the equations read sum_n w_k(x_n) = 1,
and a sample moves the free energies by -J^-1 w(x), J_kl = delta_kl - N_l sum_n w_k w_l, to first
order. Errors are the sums of what the samples of each state move, with the statistical
inefficiency of just that series; for independent samples they are those of Shirts and Chodera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pimd.analysis.quiet_pymbar import using_pymbar
from pimd.analysis.statistics import long_run_variance
from pimd.free_energy.perturbation import (
    FEW_EFFECTIVE,
    FEWEST_EFFECTIVE,
    LEAST_OVERLAP,
    SMALL_OVERLAP,
    NoOverlap,
)

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
            inefficiency of their weights.
        weights: (n_states, n_samples), [i] the weights of all samples, one state after the other,
            in averages over state i; rows add up to 1.
        warnings: what should make a reader careful, one line each.
    """

    differences: np.ndarray
    errors: np.ndarray
    overlap: np.ndarray
    n_effective: np.ndarray
    weights: np.ndarray
    warnings: tuple[str, ...] = ()


def mbar(energies: Sequence[np.ndarray]) -> States:
    """Free energies from energies of all samples in all states.

    Args:
        energies: for each state the samples of it, in the order of time: (n_states, n_k) kT,
            row i their energy in state i; n_k may be 0.

    Raises:
        NoOverlap: the states fall apart into groups that have too little in common, or the average
            of one would rest on fewer than `FEWEST_EFFECTIVE` samples.
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
        f = np.asarray(solved.f_k)
        weights = np.asarray(solved.weights()).T  # [state, sample]
    errors, inefficiencies = _errors(weights, counts)
    n_effective = 1.0 / np.square(weights).sum(axis=1) / inefficiencies
    for k in np.flatnonzero(n_effective < FEWEST_EFFECTIVE):
        raise NoOverlap(
            f"the average over state {k} rests on {n_effective[k]:.2g} of {counts.sum()} samples, "
            f"the heaviest with {100 * weights[k].max():.0f} % of the weight: sample that state, "
            "or states nearer to it"
        )
    careful = [
        f"state {k} rests on {n_effective[k]:.0f} effective samples"
        for k in np.flatnonzero(n_effective < FEW_EFFECTIVE)
    ]
    for i in range(n - 1):
        if overlap[i, i + 1] < SMALL_OVERLAP and overlap[i + 1, i] < SMALL_OVERLAP:
            careful.append(
                f"states {i} and {i + 1} overlap by {max(overlap[i, i + 1], overlap[i + 1, i]):.3f}"
                f", below {SMALL_OVERLAP}: put a state between them"
            )
    return States(
        f[None, :] - f[:, None], errors, overlap, n_effective, weights, tuple(careful)
    )


def _errors(weights: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors of all differences, and the inefficiency of the weights of each state."""
    n = len(counts)
    parts = np.split(weights, np.cumsum(counts)[:-1], axis=1)
    sampled = [part for part in parts if part.shape[1] > 1]

    def variance(vector: np.ndarray) -> float:
        """Of vector . sum_n w(x_n)."""
        return sum(part.shape[1] * long_run_variance(vector @ part) for part in sampled)

    slope = np.linalg.pinv(np.eye(n) - weights @ weights.T * counts)
    errors = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            errors[i, j] = errors[j, i] = np.sqrt(variance(slope[i] - slope[j]))
    found = []
    for unit in np.eye(n):
        independent = sum(part.shape[1] * np.var(unit @ part, ddof=1) for part in sampled)
        found.append(max(1.0, variance(unit) / independent) if independent > 0 else 1.0)
    return errors, np.array(found)


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
