"""Averages of one run: energies, temperatures, pressures, sizes of paths, all with errors."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pimd.analysis.bead_series import elements
from pimd.analysis.beginning import first_at
from pimd.analysis.ensemble_check import Sampled
from pimd.analysis.equilibrium import averaged, drop_ended, find_equilibrium
from pimd.analysis.heat_capacity import HeatCapacity
from pimd.analysis.momenta_check import MomentaCheck, check_momenta, kinetic_of_temperature
from pimd.analysis.run_ensemble import sample_of, why_not_canonical
from pimd.analysis.run_heat_capacity import run_heat_capacity
from pimd.analysis.run_series import Gathered, gather
from pimd.analysis.temperature import temperature_of
from pimd.record.series import Series
from pimd.results.quantity import Quantity
from pimd.units import EV_PER_CUBIC_ANGSTROM_GPA

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["RunEstimates", "estimates_of"]

MPA = 1000 * EV_PER_CUBIC_ANGSTROM_GPA
"""eV/Å^3 -> MPa."""
GRAM_PER_CM3 = 1.66053906660
"""amu/Å^3 -> g/cm^3."""
APART = 4.0
"""Standard errors by which two estimators of one thing may differ."""
NO_AVERAGES = re.compile(
    r"step|time|conserved|ensemble_lp|cell_abcABC|atom_\w+|bead_potentials|hweights\w*|bweights\w*"
)
"""Columns whose mean means nothing."""


@dataclass
class RunEstimates:
    """What a run says of its averages.

    Attributes:
        name: of the run, for tables.
        n_atoms, n_beads, timestep, temperature, pressure: of the run; fs, K, eV/Å^3.
        quantities: by name; per-atom energies in meV, pressures in MPa, lengths in Å.
        tensors: element -> the six components xx, yy, zz, xy, xz, yz of the kinetic energy tensor
            of one atom, meV.
        heat_capacity: of the whole system, C/k; None where there is none to be given.
        momenta: check of the distribution of their kinetic energy; None: not made.
        columns: averages of what else i-PI wrote.
        series: those that were averaged, for figures.
        sample: what it sampled, for the check of its ensemble; or why that cannot be told.
        begin: time, fs, from which on averages were taken.
        notes, warnings: one line each.
    """

    name: str
    n_atoms: int
    n_beads: int
    timestep: float
    temperature: float
    pressure: float | None
    quantities: dict[str, Quantity] = field(default_factory=dict)
    tensors: dict[str, list[Quantity]] = field(default_factory=dict)
    heat_capacity: HeatCapacity | None = None
    momenta: MomentaCheck | None = None
    columns: list[Quantity] = field(default_factory=list)
    series: dict[str, Series] = field(default_factory=dict)
    sample: Sampled | str = ""
    begin: float = 0.0
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, quantity: Quantity) -> None:
        self.quantities[quantity.name] = quantity


def estimates_of(
    run: Run,
    *,
    potential: str | Mapping[str, Any] | None = None,
    skip: float | None = None,
    stride: int = 1,
    temperature: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RunEstimates:
    """Everything that can be averaged of a run.

    Args:
        run: as stored.
        potential: SPEC of the potential that moved the beads, to evaluate stored beads with: for
            forces that were not stored, pressures, and the heat capacity by scaled coordinates.
        skip: fs to leave out at the beginning; None: found out, see `begin`.
        stride: take every so many of the stored frames.
        temperature: K; None: that of the run.
        progress: told how many beads, and atoms, have been evaluated.

    Raises:
        ValueError: the run has no temperature, or nothing to average.
    """
    kelvin = temperature_of(
        run, temperature, "estimators of ring polymers need one; give it with --temperature"
    )
    given = gather(run, kelvin, potential, stride=stride, progress=progress)
    if not given.series and not given.columns:
        raise ValueError(
            f"{run.where} holds nothing that can be averaged: neither properties nor positions of "
            "beads" + "".join(f"; {line}" for line in given.warnings)
        )
    setup = run.setup
    found = RunEstimates(
        run.where if run.directory is None else run.directory.name, run.n_atoms, run.n_beads,
        setup.timestep, kelvin, setup.pressure, warnings=list(given.warnings),
    )
    equilibrium = find_equilibrium(given, skip)
    found.begin = begin = equilibrium.begin
    (found.warnings if equilibrium.late else found.notes).append(equilibrium.note)
    found.notes += drop_ended(given, begin)
    _energies(found, given)
    _of_elements(found, given, run)
    _state(found, given, run)
    _heat(found, given, run)
    _others(found, given)
    found.sample = sample_of(run, given, kelvin, lambda one: averaged(one, begin).start)
    return found


def _energies(found: RunEstimates, given: Gathered) -> None:
    both = given.together("potential", "kinetic_cv")
    names = {
        "potential": "potential energy",
        "kinetic_cv": "kinetic energy, centroid virial",
        "kinetic_td": "kinetic energy, thermodynamic",
    }
    if both is not None:
        total = replace(both[0], name="energy", values=both[0].values + both[1].values)
        _add(found, "energy", total, "eV", note="V + K, centroid virial")
    for key, name in names.items():
        if key in given.series and not (key == "kinetic_td" and found.n_beads == 1):
            _add(found, name, given.series[key], "eV", note=_by(given, key))
    cv = found.quantities.get(names["kinetic_cv"])
    td = found.quantities.get(names["kinetic_td"])
    if cv is not None and td is not None and cv.error >= 0 and td.error >= 0:
        apart = abs(td.value - cv.value) / max(math.hypot(cv.error, td.error), 1e-300)
        if apart > APART:
            found.warnings.append(
                f"the two kinetic energies differ by {apart:.1f} standard errors: the time step is "
                f"long for the springs of {found.n_beads} beads, whose estimator is the "
                "thermodynamic one; trust the centroid virial, or shorten the step"
            )


def _of_elements(found: RunEstimates, given: Gathered, run: Run) -> None:
    """Kinetic energies, their tensors, and sizes of paths, of one atom of each element."""
    for symbol, atoms in elements(run).items():
        n, key = len(atoms), f"kinetic_cv({symbol})"
        if key in given.series:
            _add(
                found, f"kinetic energy of {symbol}, per atom", given.series[key], "meV",
                1000.0 / n, note=_by(given, key),
            )
        key = f"kinetic_tens({symbol})"
        if key in given.series and found.n_beads > 1:
            tensor = given.series[key]
            found.tensors[symbol] = [
                Quantity.of(
                    component, averaged(tensor, found.begin, tensor.values[:, k]), "meV", 1000.0 / n
                )
                for k, component in enumerate(("xx", "yy", "zz", "xy", "xz", "yz"))
            ]
        key = f"squared_gyration({symbol})"
        if key in given.series:
            found.add(Quantity.root_of(
                f"radius of gyration of {symbol}", averaged(given.series[key], found.begin), "Å",
                "root of the mean square, beads",
            ))


def _state(found: RunEstimates, given: Gathered, run: Run) -> None:
    """Temperature, pressure, volume."""
    if "temperature" in given.series:
        _temperature(found, given.series["temperature"], run)
    if "pressure_cv" in given.series:
        _add(
            found, "pressure", given.series["pressure_cv"], "MPa", MPA,
            note=f"centroid virial, {_by(given, 'pressure_cv')}",
        )
    volume = given.series.get("volume")
    if volume is not None and len(volume) and np.ptp(volume.values) > 1e-9 * volume.values[0]:
        _add(found, "volume", volume, "Å^3", note=_by(given, "volume"))
        density = run.setup.masses.sum() * GRAM_PER_CM3 / volume.values
        found.add(Quantity.of("density", averaged(volume, found.begin, density), "g/cm^3"))


def _temperature(found: RunEstimates, series: Series, run: Run) -> None:
    """Of the momenta, and whether its distribution is that of a canonical ensemble."""
    _add(found, "temperature", series, "K", note="column")
    measured, by_design = found.quantities["temperature"], run.setup.splitting.lower() == "baoab"
    off = measured.value - found.temperature
    if measured.error > 0 and abs(off) > APART * measured.error:
        said = f"the temperature of the momenta is {off:+.3g} K off"
        if by_design:
            found.notes.append(
                f"{said}: of BAOAB so by design, with the square of the time step; its positions "
                "are right"
            )
        else:
            found.warnings.append(
                f"{said}: the run is not equilibrated, or its time step is long"
            )
    if run.setup.mode not in ("nvt", "npt") or by_design:
        return
    kept = series.values[first_at(series.time, found.begin) :]
    kinetic, freedoms = kinetic_of_temperature(
        kept, run.n_atoms, run.n_beads, run.setup.fixcom, found.temperature
    )
    check = check_momenta(kinetic, freedoms, found.temperature)
    found.momenta = check
    if check is not None and not check.passed:
        found.warnings.append(
            f"kinetic energies are not distributed as at {found.temperature:g} K (p = "
            f"{check.probability:.1g}; mean {check.mean:.4f}, variance {check.variance:.3f} of "
            "what they should be): a thermostat that is not canonical, or no equilibrium"
        )


def _heat(found: RunEstimates, given: Gathered, run: Run) -> None:
    """C_V of a run at constant volume, C_p at constant pressure."""
    if not {"potential", "eps"} & set(given.series):
        return
    reason = why_not_canonical(run)
    if reason:
        found.notes.append(f"no heat capacity: {reason}")
        return
    heat = run_heat_capacity(
        run, given, found.temperature, lambda one: averaged(one, found.begin).start
    )
    if heat is None:
        return
    found.heat_capacity = heat
    label = "C_V" if run.setup.pressure is None else "C_p"
    for name, scale, warnings in (
        (f"heat capacity {label}", 1.0, heat.warnings), (f"{label} per atom", 1 / run.n_atoms, ()),
    ):
        found.add(Quantity(
            name, scale * heat.value, scale * heat.error, "k", heat.n_effective, heat.n_samples,
            warnings, heat.method,
        ))  # fmt: skip


def _others(found: RunEstimates, given: Gathered) -> None:
    """What else i-PI wrote, under its own name."""
    for name, series in given.columns.items():
        if NO_AVERAGES.fullmatch(name.partition("(")[0]) or not len(series):
            continue
        if series.values.ndim == 1 and np.isfinite(series.values).all():
            note = ""
            if name.startswith("r_gyration"):
                note = "mean of the radius, less than the root of the mean square"
            found.columns.append(
                Quantity.of(name, averaged(series, found.begin), series.unit, note=note)
            )


def _add(
    found: RunEstimates, name: str, series: Series, unit: str, scale: float = 1.0, note: str = ""
) -> None:
    mean = averaged(series, found.begin)
    found.add(Quantity.of(name, mean, unit, scale, note))
    found.series[name] = replace(series, values=scale * series.values, unit=unit)


def _by(given: Gathered, name: str) -> str:
    """Where a series is from."""
    if given.source[name] == "beads":
        return f"{len(given.series[name])} stored frames"
    return "column"
