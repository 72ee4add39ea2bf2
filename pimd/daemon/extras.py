"""Properties as i-PI's extras: one JSON object per structure, in atomic units.

`<trajectory extra_type='dipole'> extras </trajectory>` writes one of them to a file. The keys
are those that i-PI itself reads where it reads one:

    dipole            [3]             e bohr
    BEC               [3 n_atoms][3]  e; row 3a + i holds d(dipole)/d(x of atom a, component i);
                                      the property born_charges, Z[a, j, i] = d mu_j / d x_ai
    committee_pot     [n_members]     hartree, if the potential is a committee
    any other         as the property's shape, (n_atoms, ...) for a property of atoms
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pimd.evaluator import Evaluated
from pimd.potentials.base import Potential, PotentialError, PropertySpec
from pimd.units import BOHR_ANGSTROM, FORCE_AU_EV_PER_ANGSTROM, HARTREE_EV

__all__ = ["ExtrasWriter"]

_ATOMIC_UNITS: dict[str, float] = {
    "": 1.0,
    "1": 1.0,
    "e": 1.0,
    "eV": 1.0 / HARTREE_EV,
    "Å": 1.0 / BOHR_ANGSTROM,
    "Å^2": 1.0 / BOHR_ANGSTROM**2,
    "Å^3": 1.0 / BOHR_ANGSTROM**3,
    "eÅ": 1.0 / BOHR_ANGSTROM,
    "eÅ^2": 1.0 / BOHR_ANGSTROM**2,
    "eV/Å": 1.0 / FORCE_AU_EV_PER_ANGSTROM,
    "e^2Å^2/eV": HARTREE_EV / BOHR_ANGSTROM**2,
}
"""Unit -> factor to atomic units; units are compared without blanks, dots and asterisks."""

_KEYS = {"born_charges": "BEC"}
_FORBIDDEN = "raw"


def _normalised(unit: str) -> str:
    unit = unit.replace("angstrom", "Å").replace("Angstrom", "Å").replace("²", "^2")
    return unit.replace("³", "^3").translate(str.maketrans("", "", " *·.")).replace("^^", "^")


class ExtrasWriter:
    """Writes the extras of every structure of a batch.

    Args:
        potential: whose properties they are.
        properties: names asked for.

    Raises:
        PotentialError: the potential does not give one of them, or gives it in a unit that has
            no factor here.
    """

    def __init__(self, potential: Potential, properties: Sequence[str] = ()) -> None:
        self.specs: Mapping[str, PropertySpec] = {}
        self.factors: dict[str, float] = {}
        specs = {}
        for name in properties:
            spec = potential.properties.get(name)
            if spec is None:
                offered = ", ".join(sorted(potential.properties)) or "none"
                raise PotentialError(
                    f"{potential.name} does not give {name}; its properties: {offered}"
                )
            factor = _ATOMIC_UNITS.get(_normalised(spec.unit))
            if factor is None:
                raise PotentialError(
                    f"no factor to atomic units for {name} in '{spec.unit}'; "
                    f"known: {', '.join(u for u in _ATOMIC_UNITS if u)}"
                )
            if name == _FORBIDDEN:
                raise PotentialError(f"i-PI refuses extras with the key '{_FORBIDDEN}'")
            specs[name] = spec
            self.factors[name] = factor
        self.specs = specs

    def write(self, evaluated: Evaluated, starts: np.ndarray) -> list[bytes] | None:
        """The extras of each structure, or None where there is nothing to say.

        Args:
            evaluated: the whole batch.
            starts: (n_structures + 1,) first atom of each structure, and the end.

        Raises:
            ValueError: a property is not finite.
        """
        members = evaluated.member_energies  # [member, structure]
        if not self.specs and members is None:
            return None
        n_structures = len(starts) - 1
        objects: list[dict[str, Any]] = [{} for _ in range(n_structures)]
        for name, spec in self.specs.items():
            values = evaluated.properties[name] * self.factors[name]
            if not np.isfinite(values).all():
                raise ValueError(f"the property {name} is not finite")
            key = _KEYS.get(name, name)
            if name == "born_charges":
                values = values.swapaxes(-1, -2)  # [atom, component of x, component of mu]
            for k, entry in enumerate(objects):
                own = values[starts[k] : starts[k + 1]] if spec.per_atom else values[k]
                entry[key] = (own.reshape(-1, 3) if key == "BEC" else own).tolist()
        if members is not None:
            for entry, energies_hartree in zip(objects, (members.T / HARTREE_EV), strict=True):
                entry["committee_pot"] = energies_hartree.tolist()
        return [json.dumps(entry).encode() for entry in objects]
