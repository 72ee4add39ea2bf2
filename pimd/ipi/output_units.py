"""The units of i-PI's outputs, made those of pimd: eV, Å, fs, amu, K, e Å.

What i-PI writes in a unit of its own tables is taken back to atomic units by the same tables, and
from there to eV and Å by CODATA's, so that the rounding of i-PI's constants (its electronvolt is
1.04e-7 off) cancels. Kelvin, seconds and daltons stay as i-PI has them: 300 K in an input are 300 K
here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pimd.units import (
    AMU_ELECTRON_MASS,
    ATOMIC_TIME_FS,
    BOHR_ANGSTROM,
    FORCE_AU_EV_PER_ANGSTROM,
    HARTREE_EV,
)

__all__ = [
    "EXTRAS",
    "TRAJECTORIES",
    "extras_factor",
    "from_ipi",
    "property_dimension",
    "quantity_of",
    "split_name",
    "trajectory_dimension",
]

VELOCITY = BOHR_ANGSTROM / ATOMIC_TIME_FS

INSIDE: dict[str, tuple[float, str]] = {
    "energy": (HARTREE_EV, "eV"),
    "length": (BOHR_ANGSTROM, "Å"),
    "velocity": (VELOCITY, "Å/fs"),
    "momentum": (VELOCITY / AMU_ELECTRON_MASS, "amu Å/fs"),
    "force": (FORCE_AU_EV_PER_ANGSTROM, "eV/Å"),
    "pressure": (HARTREE_EV / BOHR_ANGSTROM**3, "eV/Å^3"),
    "volume": (BOHR_ANGSTROM**3, "Å^3"),
    "electric-dipole": (BOHR_ANGSTROM, "e Å"),
    "electric-field": (FORCE_AU_EV_PER_ANGSTROM, "V/Å"),
    "frequency": (1.0 / ATOMIC_TIME_FS, "1/fs"),
    "hessian": (HARTREE_EV / BOHR_ANGSTROM**2, "eV/Å^2"),
}
"""Dimension of i-PI -> (factor from atomic units, unit here)."""

AS_IPI: dict[str, tuple[str, float, str]] = {
    "temperature": ("kelvin", 1.0, "K"),
    "time": ("femtosecond", 1.0, "fs"),
    "mass": ("dalton", 1.0, "amu"),
    "density": ("g/cm3", 1.0, "g/cm^3"),
}
"""Dimension -> (unit of i-PI, factor, unit here) where i-PI's own constant is kept."""

IN_ATOMIC_UNITS = ("scaledcoords", "cell_abcABC")
"""Properties that i-PI calls without dimension, but are not."""

EXTRAS: dict[str, tuple[str, float, str]] = {
    "committee_pot": ("member_energies", HARTREE_EV, "eV"),
    "committee_uncertainty": ("committee_uncertainty", HARTREE_EV, "eV"),
    "committee_force": ("committee_force", FORCE_AU_EV_PER_ANGSTROM, "eV/Å"),
    "committee_virial": ("committee_virial", HARTREE_EV, "eV"),
    "baseline_pot": ("baseline_energy", HARTREE_EV, "eV"),
    "dipole": ("dipole", BOHR_ANGSTROM, "e Å"),
    "polarizability": ("polarizability", BOHR_ANGSTROM**2 / HARTREE_EV, "e^2Å^2/eV"),
    "BEC": ("BEC", 1.0, "e"),
}
"""Key of the extras -> (name here, factor from atomic units, unit)."""

TRAJECTORIES = {
    "x_centroid": "centroids",
    "v_centroid": "centroid_velocities",
    "f_centroid": "centroid_forces",
}
"""i-PI's name of a trajectory -> name here, where it is another."""


def from_ipi(dimension: str, unit: str = "") -> tuple[float, str]:
    """Factor from a unit of i-PI to that of pimd, and what the latter is called.

    Args:
        dimension: as i-PI names it: `energy`, `length`, ...; others are pure numbers.
        unit: as in the XML, such as `picosecond`; empty: atomic units.

    Raises:
        ValueError: i-PI has no such unit for that dimension.
    """
    if dimension in AS_IPI:
        target, factor, name = AS_IPI[dimension]
        return factor * _to_atomic(dimension, unit) / _to_atomic(dimension, target), name
    if dimension in INSIDE:
        factor, name = INSIDE[dimension]
        return factor * _to_atomic(dimension, unit), name
    return 1.0, ""


def _to_atomic(dimension: str, unit: str) -> float:
    from ipi.utils.units import UnitMap, UnitPrefix, UnitPrefixRE

    # i-PI's own function prints its table when it does not know a unit
    match = UnitPrefixRE.match(unit)
    prefix, base = (match.group(1), match.group(2)) if match else ("", unit)
    known = UnitMap[dimension]
    if base.lower() not in known or prefix not in UnitPrefix:
        names = ", ".join(name for name in known if name not in ("", "automatic"))
        raise ValueError(f"i-PI has no unit '{unit}' of {dimension}; it has {names}")
    return float(known[base.lower()] * UnitPrefix[prefix])


def split_name(text: str) -> tuple[str, str, str]:
    """Key, unit and arguments of `kinetic_cv{electronvolt}(H)`, as i-PI reads them."""
    from ipi.engine.properties import getall

    try:
        key, unit, arguments, keywords = getall(text)
    except (ValueError, TypeError) as error:
        raise ValueError(f"'{text}' is no name of a property: {error}") from error
    words = [*map(str, arguments), *(f"{name}={value}" for name, value in keywords.items())]
    return key, unit, ";".join("".join(word.split()) for word in words)


def quantity_of(text: str) -> tuple[str, float, str]:
    """Name, factor to pimd's unit, and that unit, of a property as the XML names it.

    Raises:
        ValueError: i-PI has no such unit.
    """
    key, unit, arguments = split_name(text)
    factor, name = from_ipi(property_dimension(key, unit), unit)
    if key.endswith(IN_ATOMIC_UNITS):
        name = "a.u."
    return f"{key}({arguments})" if arguments else key, factor, name


@cache
def _dictionaries() -> tuple[dict[str, Any], dict[str, Any]]:
    from ipi.engine.properties import Properties, Trajectories

    return Properties().property_dict, Trajectories().traj_dict


def property_dimension(key: str, unit: str = "") -> str:
    """The dimension of a property; of one i-PI does not know, that of its unit."""
    known = _dictionaries()[0].get(key)
    return str(known.get("dimension", "")) if known else _dimension_of_unit(unit)


def trajectory_dimension(key: str, unit: str = "") -> str:
    """The dimension of a trajectory; of one i-PI does not know, that of its unit."""
    known = _dictionaries()[1].get(key)
    return str(known.get("dimension", "")) if known else _dimension_of_unit(unit)


def _dimension_of_unit(unit: str) -> str:
    """The first dimension that has this unit; empty for pure numbers and atomic units."""
    for dimension in (*INSIDE, *AS_IPI) if unit not in ("", "automatic", "atomic_unit") else ():
        try:
            _to_atomic(dimension, unit)
        except ValueError:
            continue
        return dimension
    return ""


def extras_factor(key: str) -> tuple[str, float, str]:
    """Name, factor and unit of an entry of the extras, which are in atomic units."""
    return EXTRAS.get(key, (key, 1.0, "a.u."))
