"""Structure from a run: radial distribution functions, bonds, angles, momentum widths, with errors.

Over the beads, which is what a diffraction experiment sees, and over the centroids, whose
distributions are narrower; with one bead the two are the same and there is one, classical. Each
curve carries its standard error, and, where the run has the energies of a committee's members, the
error of the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pimd.analysis.curves import Curve, measured_curve, said_once
from pimd.analysis.distribution_sampling import (
    BEADS,
    Distances,
    Internal,
    plan_internals,
    plan_pairs,
    sample,
)
from pimd.analysis.momentum import MomentumWidth, momentum_width
from pimd.analysis.peaks import Peak, highest_peak, minimum_after
from pimd.analysis.run_members import RunMembers, members_of_run
from pimd.analysis.start import first_frame
from pimd.analysis.statistics import Average, TooFewSamples, average, bootstrap
from pimd.record.missing import NotInRecord

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["Distribution", "DistributionOptions", "Distributions", "distributions_of_run"]

BROKEN = 1.5
"""A bond this many times its first length is none any more."""


@dataclass(frozen=True)
class DistributionOptions:
    """What to look at.

    Attributes:
        pairs: of elements, like `O-H`; None: all.
        r_max: Å; None: half of the smallest width of the cell, at most 10 Å.
        n_bins: of radial distribution functions.
        internals: whether bonds and angles are looked at.
        skip: fs left out at the beginning; None: found out.
        stride: take every so many of the stored frames.
        library: where arrays live: numpy, cupy, torch or auto.
        alpha: factor of the deviations of the committee's members, on top of what they have.
    """

    pairs: Sequence[str] | None = None
    r_max: float | None = None
    n_bins: int = 200
    internals: bool = True
    skip: float | None = None
    stride: int = 1
    library: str = "auto"
    alpha: float = 1.0


@dataclass(frozen=True)
class Distribution:
    """One distribution of one kind of pair, bond or angle.

    Attributes:
        kind: `rdf`, `distance` (no cell, so no density), `bond` or `angle`.
        name: `H-O`, `H-O-H`.
        of: `beads`, `centroids` or `classical`.
        curve: g(r), or a density per Å or degree that integrates to 1.
        peak: of the curve; of g(r) only.
        minimum: Å, first minimum of g(r) after the peak; NaN: none.
        neighbours: number of second atoms within `minimum` of a first one; None: no minimum.
        mean, width: of a bond or an angle: average and standard deviation.
        width_error: standard error of `width`; NaN: too few samples.
        model_error: spread over the committee's members of `mean`; NaN: no committee.
    """

    kind: str
    name: str
    of: str
    curve: Curve
    peak: Peak | None = None
    minimum: float = math.nan
    neighbours: Average | None = None
    mean: Average | None = None
    width: float = math.nan
    width_error: float = math.nan
    model_error: float = math.nan


@dataclass(frozen=True)
class Distributions:
    """What a run has to say of its structure.

    Attributes:
        found: the distributions.
        momenta: widths of momentum distributions, one for each element; empty where no forces or
            kinetic energies were stored.
        n_frames, n_beads: that were looked at.
        notes, warnings: one line each.
    """

    found: tuple[Distribution, ...]
    momenta: tuple[MomentumWidth, ...]
    n_frames: int
    n_beads: int
    notes: tuple[str, ...] = field(default=())
    warnings: tuple[str, ...] = field(default=())


def distributions_of_run(
    run: Run,
    options: DistributionOptions | None = None,
    progress: Callable[[int, int], None] = lambda structures, atoms: None,
) -> Distributions:
    """Distributions of a run.

    Args:
        run: with positions, or centroids alone.
        options: what to look at.
        progress: told how many structures and atoms are done.

    Raises:
        NotInRecord: neither positions nor centroids are stored.
        ValueError: a pair that the run does not have, or r_max beyond nearest images.
    """
    options = options or DistributionOptions()
    run = _with_positions(run)
    start, notes = first_frame(run, options.skip)
    kinds = _plan(run, start, options)
    step = sample(
        run, kinds, start=start, stride=options.stride, library=options.library, progress=progress
    )
    members, said = _members(run, options.alpha)
    found: list[Distribution] = []
    said_of: list[tuple[str, str]] = []
    careful: list[str] = []
    for kind in kinds:
        for of in kind.curves:
            one = _distribution(run, kind, of, step, members)
            found.append(one)
            said_of += [(f"{one.kind} {one.name}, {one.of}", w) for w in one.curve.warnings]
        if isinstance(kind, Internal) and kind.kind == "bond":
            careful += _broken(kind)
    momenta, no_momenta = _momenta(run, start, options.stride)
    return Distributions(
        tuple(found), momenta, len(step), run.n_beads, (*notes, *said, *no_momenta),
        (*careful, *said_once(said_of)),
    )


def _with_positions(run: Run) -> Run:
    """The run with those frames that have positions and cells, or centroids and cells."""
    try:
        return run.common("positions", "cells")
    except NotInRecord as missing:
        try:
            return run.common("centroids", "cells")
        except NotInRecord:
            raise missing from None


def _plan(run: Run, start: int, options: DistributionOptions) -> list[Distances | Internal]:
    if run.has("positions"):
        first = run.read("positions", slice(start, start + 1))[0].mean(axis=0)
    else:
        first = run.read("centroids", slice(start, start + 1))[0]
    cells = run.read("cells", slice(start, None)) if bool(run.setup.pbc.all()) else None
    extent = 1.5 * float(np.linalg.norm(np.ptp(first, axis=0)))
    kinds: list[Distances | Internal] = []
    if run.n_atoms > 1:
        kinds += plan_pairs(
            run.setup.symbols, cells, extent,
            pairs=options.pairs, r_max=options.r_max, n_bins=options.n_bins,
        )  # fmt: skip
    if options.internals:
        kinds += plan_internals(first, run.setup.symbols, None if cells is None else cells[0])
    if not kinds:
        raise ValueError(f"{run.where}: one atom has no distances, bonds or angles")
    return kinds


def _members(run: Run, alpha: float) -> tuple[RunMembers | None, tuple[str, ...]]:
    try:
        members = members_of_run(run, alpha=alpha)
    except NotInRecord:
        return None, ()
    except ValueError as error:
        return None, (f"no error of the model: {error}",)
    return members, (f"error of the model from {members.n_members} members", *members.notes)


def _distribution(
    run: Run, kind: Distances | Internal, of: str, step: np.ndarray, members: RunMembers | None
) -> Distribution:
    series = np.concatenate(kind.curves[of])
    curve = measured_curve(kind.bins, series, step, members)
    shown = "classical" if of == BEADS and run.n_beads == 1 else of
    if isinstance(kind, Internal):
        return _internal(kind, of, shown, curve, step, members)
    if not kind.periodic:
        return Distribution("distance", kind.name, shown, curve)
    lowest = minimum_after(kind.bins, curve.mean)
    return Distribution(
        "rdf", kind.name, shown, curve,
        peak=highest_peak(kind.bins, series),
        minimum=math.nan if lowest is None else float(kind.bins.centres[lowest]),
        neighbours=None if lowest is None else average(
            np.concatenate(kind.neighbours[of])[:, : lowest + 1].sum(axis=1), start=0
        ),
    )  # fmt: skip


def _internal(
    kind: Internal, of: str, shown: str, curve: Curve, step: np.ndarray, members: RunMembers | None
) -> Distribution:
    """Mean and width from the values themselves, not from the bins."""
    moments = np.concatenate(kind.moments[of])

    def width(rows: np.ndarray) -> float:
        mean, square = rows.mean(axis=0)
        return math.sqrt(max(0.0, square - mean**2))

    try:
        width_error = float(bootstrap(width, moments).std(ddof=1))
    except TooFewSamples:
        width_error = math.nan
    model = measured_curve(kind.bins, moments[:, :1], step, members).model_error
    return Distribution(
        kind.kind, kind.name, shown, curve, mean=average(moments[:, 0], start=0),
        width=width(moments), width_error=width_error,
        model_error=math.nan if model is None else float(model[0]),
    )  # fmt: skip


def _broken(kind: Internal) -> list[str]:
    first = kind.bins.start / 0.5  # plan_internals begins at half of the first mean length
    if kind.largest <= BROKEN * first:
        return []
    return [
        f"bond {kind.name}: up to {kind.largest:.3g} Å, {kind.largest / first:.2g} times as long "
        "as in the first frame; what is bonded is found there once, and bonds that break are "
        "followed all the same"
    ]


def _momenta(
    run: Run, start: int, stride: int
) -> tuple[tuple[MomentumWidth, ...], tuple[str, ...]]:
    """Widths of the momentum distributions, or why there are none."""
    from pimd.analysis.bead_series import elements
    from pimd.analysis.run_series import gather

    if run.setup.temperature is None:
        return (), ("no momentum widths: the run has no temperature",)
    series = gather(run, run.setup.temperature, stride=stride).series
    since, widths = run.step[start], []
    groups = elements(run)
    for symbol, atoms in groups.items():
        names = [f"kinetic_tens({symbol})", f"kinetic_cv({symbol})"]
        names += ["kinetic_tens", "kinetic_cv"] if len(groups) == 1 else []
        chosen = next((series[name] for name in names if name in series), None)
        if chosen is None:
            continue
        values = chosen.values[chosen.step >= since] / len(atoms)
        if values.ndim == 2:  # xx yy zz xy xz yz
            i, j = np.array([[0, 3, 4], [3, 1, 5], [4, 5, 2]]), np.arange(len(values))
            values = values[j[:, None, None], i[None]]
        if len(values):
            mass = float(run.setup.masses[atoms].mean())
            try:
                widths.append(momentum_width(symbol, mass, values, run.setup.temperature))
            except ValueError as error:
                return (), (f"no momentum widths: {symbol}: {error}",)
    if widths:
        return tuple(widths), ()
    return (), (
        "no momentum widths: they need kinetic energies of the elements, a property "
        f"kinetic_cv({next(iter(groups))}), or forces stored with the positions",
    )


