"""What i-PI's properties are called on the page, and the unit they are shown in."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pimd.analysis.run_estimates import NO_AVERAGES
from pimd.units import EV_PER_CUBIC_ANGSTROM_GPA

__all__ = ["Column", "column", "is_averaged"]

WORDS = {
    "potential": "potential energy",
    "kinetic_cv": "kinetic energy, centroid virial",
    "kinetic_td": "kinetic energy, thermodynamic",
    "kinetic_md": "kinetic energy of the ring polymer",
    "kinetic_prsc": "kinetic energy, high order",
    "scaledcoords": "scaled-coordinates estimator",
    "temperature": "temperature",
    "conserved": "conserved quantity",
    "spring": "spring energy",
    "pressure_cv": "pressure, centroid virial",
    "pressure_td": "pressure, thermodynamic",
    "pressure_md": "pressure of the ring polymer",
    "volume": "volume",
    "density": "density",
    "r_gyration": "radius of gyration of i-PI (mean of roots)",
    "ensemble_bias": "bias of the ensemble",
    "ensemble_logweight": "logarithm of the ensemble's weight",
    "pot_component": "potential energy of a component",
    "dipole": "dipole",
    "vcom": "velocity of the centre of mass",
}
SHOWN_IN = {"eV/Å^3": ("MPa", 1000.0 * EV_PER_CUBIC_ANGSTROM_GPA)}


@dataclass(frozen=True)
class Column:
    """How a property is shown: its words, and the unit with the factor that leads to it."""

    words: str
    unit: str
    scale: float


def column(name: str, unit: str) -> Column:
    """Of a property by i-PI's name, `temperature` or `kinetic_cv(O)`, in the unit it is kept in."""
    stem, rest = _split(name)
    words = WORDS.get(stem, stem.replace("_", " "))
    shown, scale = SHOWN_IN.get(unit, (unit, 1.0))
    return Column(words + (f", {rest}" if rest else ""), shown, scale)


def is_averaged(name: str) -> bool:
    """Whether a mean over time says something."""
    return not NO_AVERAGES.fullmatch(_split(name)[0])


def _split(name: str) -> tuple[str, str]:
    """`kinetic_cv(O)` -> `kinetic_cv`, `O`."""
    found = re.fullmatch(r"([^({]+)(?:\(([^)]*)\))?.*", name)
    return (found[1].strip(), found[2] or "") if found else (name, "")
