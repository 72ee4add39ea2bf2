"""Averages of a run with the committee's error and the statistical one side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pimd.analysis.beginning import first_at, settled
from pimd.analysis.committee import CommitteeAverage, committee_average
from pimd.analysis.committee_curves import CommitteeCurve, committee_curve
from pimd.analysis.member_forces import MemberForces
from pimd.analysis.observables import Observable, observable_of_run, potential_energy
from pimd.analysis.run_members import RunMembers, members_of_labels, members_of_run
from pimd.analysis.start import first_frame
from pimd.free_energy.sampled import check_canonical
from pimd.record.missing import NotInRecord

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["Curve", "Scalar", "Uncertainty", "UncertaintyOptions", "uncertainty_of_run"]

FEWEST_FRAMES = 10
OF_MEMBERS = ("potential", "kinetic", "pressure")
"""Observables that each member has of its own."""


@dataclass(frozen=True)
class UncertaintyOptions:
    """What is asked of a run.

    Attributes:
        observables: names, see `pimd.analysis.observables`; empty: `potential`, and `kinetic` or
            what i-PI wrote of the kinetic energy.
        alpha: factor of the members' deviations, on top of what they have.
        about: `auto`, `own` or `centred`, see `pimd.analysis.run_members`.
        method: `direct` or `cumulant`; None: by the variance of h.
        labels: labels that are the members; empty: what the run has stored.
        skip: fs left out at the beginning; None: found out.
        seed: of the bootstrap.
    """

    observables: tuple[str, ...] = ()
    alpha: float = 1.0
    about: str = "auto"
    method: str | None = None
    labels: tuple[str, ...] = ()
    skip: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Scalar:
    """An observable of one number and its average."""

    observable: Observable
    found: CommitteeAverage


@dataclass(frozen=True)
class Curve:
    """An observable of many points and its average."""

    observable: Observable
    found: CommitteeCurve


@dataclass(frozen=True)
class Uncertainty:
    """What is known of a run's averages.

    Attributes:
        members: the committee, with its exponents from `start` on.
        start: first step that counts.
        scalars, curves: in the order they were asked for.
        sigma: (T, P) eV, spread of the members for every bead, ddof 1.
        notes: one line each.
    """

    members: RunMembers
    start: int
    scalars: list[Scalar] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    sigma: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    notes: tuple[str, ...] = ()


def uncertainty_of_run(
    run: Run,
    options: UncertaintyOptions | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Uncertainty:
    """Averages of a run, each with the error of its committee and that of the sampling.

    Args:
        run: of `pimd.open_run`.
        options: what is wanted.
        say: told what is being done.

    Raises:
        NotInRecord: no members, or an observable that was not stored.
        NotCanonical: nothing can be reweighted from this run.
        ValueError: too few frames, or what cannot be understood.
    """
    options = options or UncertaintyOptions()
    check_canonical(run)
    forces = None if options.labels else _member_forces(run, options)
    members = _members(run, options, forces)
    start, begun = _start(run, members, options)
    members = _from(members, start)
    found = Uncertainty(
        members, start, sigma=members.energies.std(axis=0, ddof=1),
        notes=(*begun, *members.notes),
    )
    for name in options.observables or _default(run, forces):
        say(name)
        of_members, one = _observable(run, name, members, forces, options)
        here, there = of_members.rows(one.step)
        if len(here) < FEWEST_FRAMES:
            raise ValueError(
                f"{name}: {len(here)} frames from step {start} on have both it and energies of "
                f"members; at least {FEWEST_FRAMES} are needed (what is before was left out as not "
                "in equilibrium: run longer, or say where it begins with --skip)"
            )
        h = of_members.h[:, here]
        if one.is_curve:
            curve = committee_curve(
                one.values[there], h, method=options.method, seed=options.seed
            )
            found.curves.append(Curve(one, curve))
        else:
            scalar = committee_average(
                one.values[:, there], h, method=options.method, paired=one.paired,
                seed=options.seed,
            )
            found.scalars.append(Scalar(one, scalar))
    return found


def _member_forces(run: Run, options: UncertaintyOptions) -> MemberForces | None:
    """members.h5, where it can be used; what keeps it from that is told if it was asked for."""
    try:
        return MemberForces.of(run)
    except ValueError:
        if {"kinetic", "pressure"} & set(options.observables):
            raise
        return None


def _members(run: Run, options: UncertaintyOptions, forces: MemberForces | None) -> RunMembers:
    if options.labels:
        return members_of_labels(run, options.labels, alpha=options.alpha, about=options.about)
    try:
        return members_of_run(run, alpha=options.alpha, about=options.about)
    except NotInRecord:
        if forces is None:
            raise
        return forces.members(alpha=options.alpha)


def _start(
    run: Run, members: RunMembers, options: UncertaintyOptions
) -> tuple[int, tuple[str, ...]]:
    """First step that counts, and how it was found."""
    if run.n_frames:
        frame, said = first_frame(run, options.skip)
        return int(run.step[frame]), said
    if options.skip is not None:  # members.h5 alone
        time = members.step * run.setup.timestep
        first = first_at(time, time[0] + options.skip)
        if first == len(time):
            raise ValueError(f"all of {run.where} is within the {options.skip:g} fs left out")
        return int(members.step[first]), ()
    energies = members.energies.mean(axis=(0, 2))
    start = settled(energies)
    return int(members.step[start]), (f"{start} of {len(members.step)} records left out",)


def _from(members: RunMembers, start: int) -> RunMembers:
    """The frames from a step on."""
    kept = members.step >= start
    sampled = None if members.sampled is None else members.sampled[kept]
    return RunMembers(
        members.step[kept], sampled, members.energies[:, kept], members.h[:, kept],
        members.temperature, members.about, members.notes,
    )


def _default(run: Run, forces: MemberForces | None) -> Sequence[str]:
    if forces is not None:
        return "potential", "kinetic"
    written = [name for name in ("kinetic_cv", "kinetic_td") if name in run.properties]
    return ("potential", *written)


def _observable(
    run: Run,
    name: str,
    members: RunMembers,
    forces: MemberForces | None,
    options: UncertaintyOptions,
) -> tuple[RunMembers, Observable]:
    """An observable, and the members on its frames."""
    if name not in OF_MEMBERS:
        return members, observable_of_run(run, name)
    if name == "potential":
        return members, potential_energy(members)
    if forces is None:
        raise ValueError(
            f"{name} of the members needs their forces, which `pimd run --member-forces-every` "
            f"writes; without them take {name}_cv, which holds those of what was sampled"
        )
    at = _from(forces.members(alpha=options.alpha), int(members.step[0]))
    values = forces.kinetic if name == "kinetic" else forces.pressure
    kept = forces.step >= at.step[0]
    one = Observable(
        name, at.step, values(options.alpha)[:, kept],
        "eV" if name == "kinetic" else "eV/Å^3", paired=True,
        note="centroid virial, forces of each member in its own ensemble",
    )
    return at, one
