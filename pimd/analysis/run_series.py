"""The series an estimate is made of: what i-PI wrote where it did, from stored beads otherwise."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pimd.analysis.bead_potential import BeadPotential
from pimd.analysis.bead_series import bead_series, elements
from pimd.analysis.run_caveats import caveats
from pimd.record.missing import NotInRecord
from pimd.record.series import Series
from pimd.units import HARTREE_EV, KB_EV_PER_KELVIN

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["Gathered", "gather"]

ARGUMENT = re.compile(r"(?:atom\s*=\s*)?(\w+)")
ALIKE = 0.1
"""kT by which the energies of a potential may scatter about those of the run."""


@dataclass
class Gathered:
    """Series by name, and where each is from.

    Attributes:
        series: i-PI's name, with the element in brackets, -> series; `eps` and `eps_prime` of
            scaled coordinates (eV, eV^2), `squared_gyration(H)` (Å^2).
        source: name -> `column` or `beads`.
        columns: everything else that i-PI wrote.
        warnings: what should make a reader careful, one line each.
    """

    series: dict[str, Series] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)
    columns: dict[str, Series] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, name: str, series: Series, source: str) -> None:
        """Add a series, unless there is one of that name."""
        if len(series) and name not in self.series:
            self.series[name], self.source[name] = series, source

    def together(self, *names: str) -> list[Series] | None:
        """These series at the steps that all of them have; None: one is missing."""
        if not all(name in self.series for name in names):
            return None
        chosen = [self.series[name] for name in names]
        step = chosen[0].step
        for one in chosen[1:]:
            step = np.intersect1d(step, one.step)
        if not len(step):
            return None
        time = chosen[0].time[np.searchsorted(chosen[0].step, step)]
        return [
            dataclasses.replace(one, step=step, time=time, values=one.at(step)) for one in chosen
        ]


def gather(
    run: Run,
    temperature: float,
    potential: str | Mapping[str, Any] | None = None,
    *,
    stride: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Gathered:
    """Everything a run has to say of its averages.

    Args:
        run: of any kind.
        temperature: K, of the quantum system.
        potential: SPEC of the potential that moved the beads, to evaluate stored beads with;
            `run`: the one that the input of the run names.
        stride: take every so many of the stored frames.
        progress: told how many beads, and atoms, are done.

    Raises:
        NotInRecord: a potential is given, but no positions are stored.
        PotentialError: what is wrong with the SPEC.
    """
    found = Gathered()
    for name, series in run.properties.items():
        _add_column(run, found, name, series)
    beads: dict[str, Series] = {}
    if potential is not None:
        potential = own_potential(run) if potential == "run" else potential
        with BeadPotential(potential, run.setup) as evaluates:
            beads = bead_series(
                run, temperature, evaluates, stride=stride, progress=progress
            )
        _compare(run, found, beads, temperature)
    else:
        with contextlib.suppress(NotInRecord):  # columns alone may do
            beads = bead_series(run, temperature, stride=stride, progress=progress)
    for name, series in beads.items():
        found.add(name, series, "beads")
    _leave_out(run, found)
    return found


def _leave_out(run: Run, found: Gathered) -> None:
    """Remove what means nothing because of how the run was run."""
    for caveat in caveats(run):
        gone = [name for name in found.series if name.partition("(")[0] in caveat.names]
        for name in gone:
            del found.series[name], found.source[name]
        if gone:
            found.warnings.append(
                f"{', '.join(name for name in gone if '(' not in name)} left out: {caveat.reason}"
            )


def own_potential(run: Run) -> str:
    """SPEC of the potential that moved the beads.

    Raises:
        ValueError: it is not known, or a sum of several.
    """
    from pimd.free_energy.sampled import sampled_mixture

    mixture = sampled_mixture(run)
    if len(mixture.terms) > 1 or mixture.terms[0][1] != 1.0:
        terms = " + ".join(f"{weight:g} {spec}" for spec, weight in mixture.terms)
        raise ValueError(
            f"{run.where} moved on {terms}, not on one potential with the weight 1: its beads "
            "cannot be evaluated with --evaluate"
        )
    return mixture.evaluated_as[0]


def _add_column(run: Run, found: Gathered, name: str, series: Series) -> None:
    base, _, arguments = name.partition("(")
    if base in ("step", "time"):
        return
    if base == "scaledcoords":
        _add_scaled(found, series)
        return
    if arguments and base in ("kinetic_cv", "kinetic_td", "kinetic_tens"):
        match = ARGUMENT.fullmatch(arguments.rstrip(")").strip())
        if match and match[1] in elements(run):
            found.add(f"{base}({match[1]})", series, "column")
            return
    if not arguments and base in (
        "potential", "spring", "kinetic_cv", "kinetic_td", "kinetic_tens", "kinetic_md",
        "pressure_cv", "stress_cv", "volume", "temperature",
    ):
        found.add(base, series, "column")
        return
    found.columns[name] = series


def _add_scaled(found: Gathered, series: Series) -> None:
    """eps and eps' are written in atomic units, and as exact zeros where they did not converge."""
    good = (series.values != 0).any(axis=1)
    if not good.all():
        found.warnings.append(
            f"scaledcoords: {(~good).sum()} of {len(good)} rows are 0, which is how i-PI says that "
            "its finite differences did not converge; they are left out"
        )
    step, time = series.step[good], series.time[good]
    for k, (name, unit) in enumerate((("eps", "eV"), ("eps_prime", "eV^2"))):
        values = series.values[good, k] * HARTREE_EV ** (k + 1)
        found.add(name, Series(name, step, time, values, unit), "column")


def _compare(
    run: Run, found: Gathered, beads: Mapping[str, Series], temperature: float
) -> None:
    """Whether the potential given is the one that moved the beads, up to a constant."""
    steps = beads["potential"].step
    if "potential" in found.series:
        own = found.series["potential"].at(steps)
    elif run.has("energies"):
        own = run.read("energies").mean(axis=1)[np.searchsorted(run.step, steps)]
    else:
        return
    difference = (beads["potential"].values - own)[np.isfinite(own)]
    scatter = float(difference.std()) / (KB_EV_PER_KELVIN * temperature) if len(difference) else 0.0
    if scatter > ALIKE:
        found.warnings.append(
            f"the potential given is not the one that moved the beads: its energies scatter by "
            f"{scatter:.2g} kT about those of the run; estimators with its forces are averages of "
            "neither ensemble"
        )
