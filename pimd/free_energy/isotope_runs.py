"""Isotope substitution in a run: ln zeta by each estimator that its data and variance allow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pimd.analysis.beginning import beginning
from pimd.free_energy.isotope_beads import spring_work, work_of_beads
from pimd.free_energy.isotope_columns import Column, isotope_columns
from pimd.free_energy.isotopes import (
    largest_variance,
    one_of_several,
    thermodynamic_work,
)
from pimd.free_energy.perturbation import NoOverlap, OneSided, one_sided
from pimd.free_energy.sampled import Mixture, check_canonical, sampled_mixture
from pimd.free_energy.substitution import Substitution, isotope_labels, read_substitution

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["Estimate", "Zeta", "zeta_of_run"]

SAMPLES_FOR_VARIANCE = 100.0
"""Samples for each unit of the relative variance that an estimator can have, at least."""
SAME_ALPHA = 1e-3
"""Relative, of a column that is taken for a substitution."""
SOURCES = ("auto", "beads", "columns")


@dataclass(frozen=True)
class Estimate:
    """ln zeta by one estimator.

    Attributes:
        estimator: `scaled coordinates` or `thermodynamic`.
        source: `beads`, or the name of i-PI's column.
        log_zeta: ln zeta; its average and error are those of `sided` with the other sign.
        error: standard error.
        sided: the exponential average behind it.
        work: (n,) kT, of the frames, after the start: -log of the average over atoms.
        time: fs, (n,).
        warnings: what should make a reader careful, one line each.
    """

    estimator: str
    source: str
    log_zeta: float
    error: float
    sided: OneSided
    work: np.ndarray
    time: np.ndarray
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Zeta:
    """One substitution in one run.

    Attributes:
        run: name of its directory.
        label: of the atoms.
        alpha: new mass over old one.
        n_atoms: atoms that were substituted, one at a time.
        n_beads: of the run.
        temperature: K.
        estimates: scaled coordinates first; never none.
        refused: why the other estimators are not there.
    """

    run: str
    label: str
    alpha: float
    n_atoms: int
    n_beads: int
    temperature: float
    estimates: tuple[Estimate, ...]
    refused: tuple[str, ...] = ()


def zeta_of_run(
    run: Run,
    substitute: str,
    *,
    potential: str = "",
    source: str = "auto",
    skip: float | None = None,
    stride: int = 1,
    n_atoms: int | None = None,
    keep: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Zeta:
    """ln zeta of a substitution, classical factor left out.

    Args:
        run: sampled with one isotope.
        substitute: `H=2.014`, or `H=D`.
        potential: SPEC that was sampled, where the run does not say it.
        source: `beads` that are stored, i-PI's `columns`, or `auto`: columns where they are.
        skip: fs to leave out at the beginning; None: found out.
        stride, n_atoms, keep, say: of stored beads, as `work_of_beads`.

    Raises:
        NoOverlap: no estimator gives an answer; the message has the reasons.
        NotCanonical: a thermostat, or forces, for which the estimators are not true.
        NotInRecord: neither columns nor beads are there.
        ValueError: a substitution that is none of the run's.
    """
    if source not in SOURCES:
        raise ValueError(f"source is '{source}', expected one of {', '.join(SOURCES)}")
    check_canonical(run)
    labels = isotope_labels(run.setup.symbols, run.setup.masses)
    given = read_substitution(substitute, labels, run.setup.masses)
    columns = [] if source == "beads" else _columns(run, given)
    if columns:
        estimates, refused = _from_columns(run, columns, len(given.atoms), skip)
    elif source == "columns":
        there = ", ".join(column.name for column in isotope_columns(run)) or "none"
        raise ValueError(
            f"{run.where} has no isotope columns for {given}; it has {there}. In <output>, "
            f"<properties> with isotope_zetasc({given.alpha:.5f};{given.label}) write them"
        )
    else:
        mixture = sampled_mixture(run, {"": potential} if potential else None)
        check_canonical(run, mixture)
        estimates, refused = _from_beads(
            run, given, mixture, skip, stride=stride, n_atoms=n_atoms, keep=keep, say=say
        )
    if not estimates:
        raise NoOverlap(f"{run.where}: no estimator of {given} holds: " + "; ".join(refused))
    temperature = run.setup.temperature
    assert temperature is not None  # check_canonical has seen to it
    alpha = columns[0].alpha if columns else given.alpha
    total = len(given.atoms)
    return Zeta(
        "run" if run.directory is None else run.directory.name, given.label, alpha,
        total if columns else min(n_atoms or total, total), run.n_beads, temperature,
        tuple(estimates), tuple(refused),
    )


def _columns(run: Run, given: Substitution) -> list[Column]:
    """Those of a substitution, scaled coordinates first."""
    found = [
        column for column in isotope_columns(run)
        if column.label == given.label and abs(column.alpha / given.alpha - 1.0) < SAME_ALPHA
    ]
    return sorted(found, key=lambda column: not column.scaled)


def _from_columns(
    run: Run, columns: list[Column], n_atoms: int, skip: float | None
) -> tuple[list[Estimate], list[str]]:
    estimates: list[Estimate] = []
    refused: list[str] = []
    for column in columns:
        name = "scaled coordinates" if column.scaled else "thermodynamic"
        x = column.exponentials
        if not (np.isfinite(x).all() and (x > 0).all()):
            refused.append(f"{column.name} has exponentials beyond the range of numbers")
            continue
        why = "" if column.scaled else _too_wide(run.n_beads, column.alpha, len(x) * n_atoms)
        if why:
            refused.append(why)
            continue
        work = -np.log(x)
        _add(estimates, refused, name, column.name, work, column.time, skip)
    return estimates, refused


def _from_beads(
    run: Run, given: Substitution, mixture: Mixture, skip: float | None, *, stride: int,
    n_atoms: int | None, keep: Path | None, say: Callable[[str], None],
) -> tuple[list[Estimate], list[str]]:
    estimates: list[Estimate] = []
    refused: list[str] = []
    found = work_of_beads(
        run, given, mixture, stride=stride, n_atoms=n_atoms, keep=keep, say=say
    )
    time = run.time[::stride]
    work = one_of_several(found.work)
    _add(estimates, refused, "scaled coordinates", "beads", work, time, skip)
    temperature = run.setup.temperature
    assert temperature is not None
    springs = spring_work(run, given, stride)
    why = _too_wide(run.n_beads, given.alpha, springs.size)
    if why:
        return estimates, [*refused, why]
    work = one_of_several(thermodynamic_work(springs, run.n_beads, given.alpha, temperature))
    _add(estimates, refused, "thermodynamic", "beads", work, time, skip)
    return estimates, refused


def _add(
    estimates: list[Estimate], refused: list[str], name: str, source: str, work: np.ndarray,
    time: np.ndarray, skip: float | None,
) -> None:
    """Add an estimate, or why there is none."""
    if len(work) < 2:
        refused.append(f"{name}: {len(work)} frames")
        return
    try:
        start = beginning(work, time, skip)
        sided = one_sided(work[start:])
    except (NoOverlap, ValueError) as error:
        refused.append(f"{name}: {error}")
        return
    estimates.append(Estimate(
        name, source, -sided.difference, sided.error, sided, work[start:], time[start:],
        sided.warnings,
    ))


def _too_wide(n_beads: int, alpha: float, n_samples: int) -> str:
    """Why the thermodynamic estimator is not to be used; empty: it may be."""
    variance = largest_variance(n_beads, alpha)
    if variance * SAMPLES_FOR_VARIANCE <= n_samples:
        return ""
    if math.isinf(variance) and alpha <= 0.5:
        return f"thermodynamic: its variance is infinite at alpha = {alpha:.4g} (at most 1/2)"
    return (
        f"thermodynamic: its relative variance may be {variance:.2g} at alpha = {alpha:.4g} with "
        f"{n_beads} beads, too much for {n_samples} samples"
    )
