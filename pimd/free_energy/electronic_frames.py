"""Free energy of electrons along a trajectory: an average over frames and beads, with its errors.

The chemical potential is found anew for every frame, bead, member and temperature. Of what
dynamics sampled with the electrons in their ground state,

    <A(T_el)>                               the electrons, the nuclei as they were
    -kT log <exp(-beta <A(T_el)>_b)>        and with the nuclei in equilibrium with them

where the second is free-energy perturbation with the nuclei at T: it is below the first, and the
difference is how much the nuclei would follow the hot electrons.

A density of states that was broadened by sigma_g is that of electrons which are warm already: TS
is contaminated unless sigma_g is well below kT.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pimd.analysis.committee import CommitteeAverage, committee_average
from pimd.analysis.statistics import Average, average
from pimd.free_energy.dos_files import FramesOfStates
from pimd.free_energy.electronic import electrons_of_many
from pimd.free_energy.perturbation import NoOverlap, OneSided, one_sided
from pimd.units import KB_EV_PER_KELVIN

__all__ = ["ElectronicAverages", "ElectronicPoint", "electronic_averages"]

QUANTITIES = ("free_energy", "energy", "entropy_term", "chemical_potential")
BROAD = 0.5
"""Of kT, beyond which a broadening is told."""


@dataclass(frozen=True)
class ElectronicPoint:
    """Electrons at one temperature, averaged over a trajectory, eV.

    Attributes:
        temperature: K, of the electrons.
        averages: `free_energy` A(T) - A(0), `energy`, `entropy_term` TS and `chemical_potential`,
            over frames and beads, each with its statistical error.
        model_errors: the committee's errors of the same; NaN without members.
        committee: A with all of the committee's error; None without members of the potential.
        relaxed: free energy with the nuclei in equilibrium with the electrons, kT of the nuclei;
            None without their temperature, or where it would rest on a few samples.
        warnings: one line each.
    """

    temperature: float
    averages: dict[str, Average]
    model_errors: dict[str, float]
    committee: CommitteeAverage | None = None
    relaxed: OneSided | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ElectronicAverages:
    """Electrons of a trajectory at several temperatures.

    Attributes:
        points: one for each temperature.
        start: frames left out at the beginning.
        n_frames, n_beads, n_members: of the densities of states.
        fermi_level: (T,) eV, mean over beads and members.
        ion_temperature: K; None: not known.
    """

    points: list[ElectronicPoint]
    start: int
    n_frames: int
    n_beads: int
    n_members: int
    fermi_level: np.ndarray
    ion_temperature: float | None = None


def electronic_averages(
    frames: FramesOfStates,
    n_electrons: float,
    temperatures: Sequence[float],
    *,
    h: np.ndarray | None = None,
    ion_temperature: float | None = None,
    broadening: float = 0.0,
    start: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> ElectronicAverages:
    """Electrons along a trajectory.

    Args:
        frames: densities of states.
        n_electrons: that fill each of them.
        temperatures: K, of the electrons.
        h: (n_potentials, T) of the committee of the potential, `pimd.analysis.reweighting`; None:
            there is none.
        ion_temperature: K, of the nuclei, that were sampled.
        broadening: eV, standard deviation of Gaussians that the densities of states were made of.
        start: frames to leave out at the beginning; None: found out.
        say: told what is being done.

    Raises:
        ValueError: densities of states that cannot be filled, or exponents of other frames.
    """
    if not len(temperatures):
        raise ValueError("expected at least one temperature of the electrons")
    n_members, n_frames, n_beads, _ = frames.dos.shape
    if h is not None and h.shape[1] != n_frames:
        raise ValueError(f"exponents of {h.shape[1]} frames, densities of states of {n_frames}")
    points: list[ElectronicPoint] = []
    level = np.zeros(n_frames)
    for temperature in temperatures:
        say(f"{temperature:g} K")
        found = electrons_of_many(frames.energies, frames.dos, n_electrons, temperature)
        # [member, frame], the mean over beads
        series = {name: getattr(found, name).mean(axis=-1) for name in QUANTITIES}
        level = found.fermi_level.mean(axis=(0, 2))
        if start is None:
            start = average(series["free_energy"].mean(axis=0)).start
        kept = {name: values[:, start:] for name, values in series.items()}
        later = None if h is None else h[:, start:]
        points.append(_point(temperature, kept, later, ion_temperature, broadening))
    return ElectronicAverages(
        points, start or 0, n_frames, n_beads, n_members, level, ion_temperature
    )


def _point(
    temperature: float,
    series: dict[str, np.ndarray],
    h: np.ndarray | None,
    ion_temperature: float | None,
    broadening: float,
) -> ElectronicPoint:
    free = series["free_energy"]
    careful = []
    kt = KB_EV_PER_KELVIN * temperature
    if broadening > BROAD * kt:
        careful.append(
            f"{temperature:g} K: the density of states was broadened by {broadening:g} eV, not "
            f"well below kT = {kt:.3g} eV: the entropy holds the broadening"
        )
    averages = {name: average(values.mean(axis=0), start=0) for name, values in series.items()}
    committee = None
    if h is not None and free.shape[1] > 2:
        spreads = {name: committee_average(values, h) for name, values in series.items()}
        committee = spreads["free_energy"]
        errors = {name: one.model_error for name, one in spreads.items()}
        known = averages["free_energy"].warnings
        careful += [line for line in committee.warnings if line not in known]
    else:
        errors = {
            name: float(values.mean(axis=1).std(ddof=1)) if len(values) > 1 else math.nan
            for name, values in series.items()
        }
    relaxed = None
    if ion_temperature is not None and free.shape[1] > 1:
        try:
            relaxed = one_sided(free.mean(axis=0) / (KB_EV_PER_KELVIN * ion_temperature))
            careful += [f"{temperature:g} K, nuclei relaxed: {line}" for line in relaxed.warnings]
        except NoOverlap as error:
            careful.append(f"{temperature:g} K, nuclei relaxed: {error}")
    return ElectronicPoint(temperature, averages, errors, committee, relaxed, tuple(careful))
