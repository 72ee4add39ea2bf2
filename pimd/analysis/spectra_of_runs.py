"""Which spectra runs allow, and all of them: vibrations, infrared, Raman."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from pimd.analysis.quantum_correction import CORRECTIONS
from pimd.analysis.spectra import WAVENUMBER, Spectrum, even_spacing, window
from pimd.analysis.spectra_kinds import infrared, raman, scaled, vibrations
from pimd.analysis.spectra_series import (
    TimeSeries,
    collected,
    dynamics_of,
    unwrapped_dipoles,
    velocities_of,
)
from pimd.analysis.statistics import FEWEST
from pimd.record.missing import NotInRecord

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["KINDS", "Spectra", "SpectraOptions", "spectra_of_runs"]

Series = TypeVar("Series")

KINDS = ("vibrations", "infrared", "raman")
LONGEST_TIME = 1000.0
"""fs, of correlation functions unless told otherwise: lines 33 cm^-1 wide."""
COARSE = 100.0
"""cm^-1, a resolution that is worth a warning."""
ALIASED = 0.01
"""Of the highest line, what a spectrum may be at its end."""
DEVIATION = 0.05
"""Of the temperature, by which the motion of the centroids may miss it."""


@dataclass(frozen=True)
class SpectraOptions:
    """What is asked for.

    Attributes:
        kinds: of `KINDS`; None: those that the runs have stored the quantities for.
        longest_time: fs, of the correlation functions; None: 1 ps, or so much less that there are
            ten stretches.
        window: see `pimd.analysis.spectra`.
        correction: see `pimd.analysis.quantum_correction`.
        temperature: K; None: that of the runs, or of the centroids' motion.
        skip: fs left out at the beginning of each run.
        library: where arrays live: numpy, cupy, torch or auto.
    """

    kinds: Sequence[str] | None = None
    longest_time: float | None = None
    window: str = "hann"
    correction: str = "kubo"
    temperature: float | None = None
    skip: float = 0.0
    library: str = "numpy"

    def __post_init__(self) -> None:
        for kind in self.kinds or ():
            if kind not in KINDS:
                raise ValueError(f"spectra are {', '.join(KINDS)}, got '{kind}'")
        if self.correction not in CORRECTIONS:
            raise ValueError(
                f"quantum correction is one of {', '.join(CORRECTIONS)}, got '{self.correction}'"
            )
        window(self.window, 2)


@dataclass(frozen=True)
class Spectra:
    """Spectra of runs.

    Attributes:
        dynamics: `classical`, `RPMD`, `thermostatted RPMD`.
        temperature: K.
        centroid_temperature: K, of the motion of the centroids; NaN without velocities.
        vibrations: group of atoms, `all` among them -> degrees of freedom per cm^-1.
        degrees: of freedom of each group.
        infrared: n alpha in cm^-1, or Å^2 without a volume; None: no dipoles.
        raman: `isotropic`, `depolarised`, `polarised`; empty: no polarizabilities.
        polarizability_unit: of the polarizability.
        volume: Å^3 of the cell, mean; None: not periodic, or not needed.
        options: what was asked for.
        notes, warnings: one line each.
    """

    dynamics: str
    temperature: float
    centroid_temperature: float
    vibrations: Mapping[str, Spectrum]
    degrees: Mapping[str, int]
    infrared: Spectrum | None
    raman: Mapping[str, Spectrum]
    polarizability_unit: str
    volume: float | None
    options: SpectraOptions
    notes: tuple[str, ...] = field(default=())
    warnings: tuple[str, ...] = field(default=())


def spectra_of_runs(runs: Sequence[Run], options: SpectraOptions | None = None) -> Spectra:
    """Spectra of one run, or of several independent ones of the same system.

    Raises:
        NotInRecord: what was asked for needs something that was not stored.
        ValueError: runs of different systems, or too short ones.
    """
    options = options or SpectraOptions()
    if not runs:
        raise ValueError("no runs")
    _check_same(runs)
    dynamics, careful = dynamics_of(runs)
    velocities = _try(options, "vibrations", velocities_of, runs)
    dipoles = _try(options, "infrared", unwrapped_dipoles, runs)
    tensors = _try(options, "raman", _polarizabilities, runs)
    if velocities is dipoles is tensors is None:
        velocities_of(runs[0], options.skip)  # says what is missing
    groups = _groups(runs[0])
    temperature, vib, centroids, notes, said = _vibrations(runs, velocities, groups, options)
    careful += said
    volume = None if dipoles is None else _volume(runs)
    notes.append(f"{dynamics} dynamics; quantum correction: {_named(options.correction, dynamics)}")
    ir = None
    if dipoles is not None:
        series = [one for one, _ in dipoles]
        careful += [line for _, said in dipoles for line in said]
        ir = infrared(
            series, temperature, volume, _lags(series, options), options.window,
            options.correction, options.library,
        )  # fmt: skip
    lines = {} if tensors is None else raman(
        tensors, temperature, _lags(tensors, options), options.window, options.correction,
        options.library,
    )  # fmt: skip
    shown = [*vib.values(), *([ir] if ir is not None else []), *lines.values()]
    careful += _cautions(shown)
    return Spectra(
        dynamics, temperature, centroids, vib, {name: 3 * len(g) for name, g in groups.items()}, ir,
        lines, runs[0].unit("polarizability") if lines else "", volume, options, tuple(notes),
        tuple(dict.fromkeys(careful)),
    )  # fmt: skip


def _check_same(runs: Sequence[Run]) -> None:
    first = runs[0].setup
    for run in runs[1:]:
        same = np.array_equal(run.setup.numbers, first.numbers)
        if not same or run.setup.temperature != first.temperature:
            raise ValueError(
                f"{run.where} and {runs[0].where} are of different atoms or temperatures: their "
                "spectra cannot be averaged"
            )


def _try(
    options: SpectraOptions,
    kind: str,
    read: Callable[[Run, float], Series],
    runs: Sequence[Run],
) -> list[Series] | None:
    """The series of a kind of spectrum; None: not asked for, or not stored and not asked for."""
    if options.kinds is not None and kind not in options.kinds:
        return None
    try:
        return [read(run, options.skip) for run in runs]
    except NotInRecord:
        if options.kinds is not None:
            raise
        return None


def _polarizabilities(run: Run, skip: float) -> TimeSeries:
    values, times = collected(run, "polarizability", skip)
    if values.shape[1] != 9:
        raise ValueError(
            f"{run.where}: a polarizability has 9 components, got {values.shape[1]}"
        )
    return TimeSeries(values, even_spacing(times))


def _vibrations(
    runs: Sequence[Run],
    series: Sequence[TimeSeries] | None,
    groups: Mapping[str, np.ndarray],
    options: SpectraOptions,
) -> tuple[float, dict[str, Spectrum], float, list[str], list[str]]:
    """Temperature, densities of states, temperature of the centroids' motion; notes, warnings."""
    setup = runs[0].setup
    given = options.temperature if options.temperature is not None else setup.temperature
    notes = [] if options.temperature is None else [f"{given:g} K, as given"]
    if series is None:
        if given is None:
            raise ValueError(
                f"{runs[0].where} has no temperature (dynamics {setup.mode}) and no velocities: "
                "give --temperature"
            )
        return given, {}, math.nan, notes, []
    found = vibrations(
        series, setup.masses, groups, given or 1.0, _lags(series, options), options.window,
        options.library,
    )  # fmt: skip
    free = 3 * setup.n_atoms - (3 if setup.fixcom and setup.n_atoms > 1 else 0)
    degrees, error = found["all"].integral()
    moving = (given or 1.0) * degrees / free
    if given is None:
        notes.append(f"{moving:.1f} K, by the motion of the centroids")
        return moving, {k: scaled(s, 1.0 / moving) for k, s in found.items()}, moving, notes, []
    off = abs(degrees / free - 1.0)
    if off <= DEVIATION or (error > 0 and off * free <= 4.0 * error):
        return given, found, moving, notes, []
    why = "not in equilibrium, or too short"
    if runs[0].n_beads > 1:
        why += ", or beads with masses of their own"
    return given, found, moving, notes, [
        f"the centroids move at {moving:.1f} K, not at {given:g} K: {why}; the density of states "
        "is normalised with the latter"
    ]  # fmt: skip


def _volume(runs: Sequence[Run]) -> float | None:
    if not bool(runs[0].setup.pbc.all()):
        return None
    return float(np.mean([
        np.abs(np.linalg.det(block["cells"])).mean()
        for run in runs for block in run.common("cells").blocks(["cells"])
    ]))  # fmt: skip


def _groups(run: Run) -> dict[str, np.ndarray]:
    symbols = np.array(run.setup.symbols)
    found = {"all": np.arange(len(symbols))}
    elements = sorted(set(run.setup.symbols))
    if len(elements) > 1:
        found |= {symbol: np.flatnonzero(symbols == symbol) for symbol in elements}
    return found


def _lags(series: Sequence[TimeSeries], options: SpectraOptions) -> int:
    """Terms of the correlation functions: at most half of the shortest run."""
    spacing = series[0].spacing
    shortest = min(len(one.values) for one in series)
    if options.longest_time is not None:
        return max(2, math.ceil(options.longest_time / spacing))
    frames = sum(len(one.values) for one in series)
    return max(2, min(math.ceil(LONGEST_TIME / spacing), frames // 20, shortest // 2))


def _named(correction: str, dynamics: str) -> str:
    if correction == "kubo":
        return (
            "kubo, x/(1 - exp(-x)): " + (
                "harmonic, for classical dynamics" if dynamics == "classical"
                else "exact for the Kubo-transformed correlation function that the beads give"
            )
        )  # fmt: skip
    careful = "" if dynamics == "classical" else "; for ring polymers only kubo is right"
    return correction + careful


def _cautions(shown: Sequence[Spectrum]) -> list[str]:
    found = []
    for one in shown:
        width = one.resolution * WAVENUMBER
        if width > COARSE:
            found.append(
                f"lines are {width:.0f} cm^-1 wide by the length of the correlation functions "
                f"({one.time[-1]:.0f} fs): a longer run, or --time, would resolve more"
            )
        if one.n_stretches < FEWEST:
            found.append(
                f"{one.n_stretches} independent stretches of trajectory: no error bars below "
                f"{FEWEST:.0f}; run longer, or take a shorter --time"
            )
        end = np.abs(one.mean[-max(1, len(one.mean) // 50) :]).max()
        if end > ALIASED * np.abs(one.mean).max():
            found.append(
                f"a spectrum does not vanish at its end, {one.wavenumber[-1]:.0f} cm^-1: lines "
                "beyond it appear mirrored below; store frames more often"
            )
    return found
