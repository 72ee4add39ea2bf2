"""Properties and committees as i-PI's extras: one JSON object per structure, in atomic units.

`<trajectory extra_type='dipole'> extras </trajectory>` writes one of them to a file. The keys
are those that i-PI itself reads where it reads one:

    dipole            [3]             e bohr
    BEC               [3 n_atoms][3]  e; row 3a + i holds d(dipole)/d(x of atom a, component i);
                                      the property born_charges, Z[a, j, i] = d mu_j / d x_ai
    baseline_pot      []              hartree; the property baseline_energy
    any other         as the property's shape, (n_atoms, ...) for a property of atoms

and of a committee always the first two, the others where `member_forces` was asked for:

    committee_pot          [n_members]             hartree, with the mean that is sampled
    committee_uncertainty  []                      hartree, standard deviation, ddof 1
    committee_force        [n_members][3 n_atoms]  hartree/bohr
    committee_virial       [n_members][9]          hartree, -dV/dstrain of column vectors

so that `<ffcommittee> <parse_json> True` takes them apart. A model that gives an uncertainty but
no members has it as the property energy_uncertainty, and sends it as committee_uncertainty.

Members are sent centred, V_samp + (V_i - V): what is reweighted must be what was sampled, and
i-PI takes their mean for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pimd.daemon.numbers import json_rows
from pimd.evaluator import Evaluated
from pimd.potentials.base import Potential, PotentialError, PropertySpec, Wanted
from pimd.potentials.committee_statistics import centred, spread
from pimd.units import BOHR_ANGSTROM, FORCE_AU_EV_PER_ANGSTROM, HARTREE_EV

__all__ = ["ExtrasWriter", "wanted_for"]

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

_KEYS = {"born_charges": "BEC", "baseline_energy": "baseline_pot"}
_UNCERTAINTY = "energy_uncertainty"
_FORBIDDEN = "raw"


def _normalised(unit: str) -> str:
    unit = unit.replace("angstrom", "Å").replace("Angstrom", "Å").replace("²", "^2")
    return unit.replace("³", "^3").translate(str.maketrans("", "", " *·.")).replace("^^", "^")


def wanted_for(
    potential: Potential, properties: Sequence[str] = (), member_forces: bool = False
) -> Wanted:
    """What a round of dynamics asks of a potential so that the extras can be written."""
    names = list(properties)
    if potential.n_members == 0 and _UNCERTAINTY in potential.properties:
        names += [] if _UNCERTAINTY in names else [_UNCERTAINTY]
    members = member_forces and potential.n_members > 0
    return Wanted(True, True, tuple(names), members, members)


class ExtrasWriter:
    """Writes the extras of every structure of a batch.

    Args:
        potential: whose properties they are.
        properties: names asked for.
        member_forces: whether forces and virials of committee members are sent.

    Raises:
        PotentialError: the potential does not give one of them, or gives it in a unit that has
            no factor here.
    """

    def __init__(
        self, potential: Potential, properties: Sequence[str] = (), member_forces: bool = False
    ) -> None:
        self.member_forces = member_forces
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
            ValueError: a property, or what is sent of the members, is not finite.
        """
        uncertain = _UNCERTAINTY in evaluated.properties
        if not self.specs and evaluated.member_energies is None and not uncertain:
            return None
        objects: list[dict[str, Any]] = [{} for _ in range(len(starts) - 1)]
        self._add_properties(objects, evaluated, starts)
        if evaluated.member_energies is not None:
            _add_members(objects, evaluated.member_energies, evaluated.energies)
        elif uncertain:
            sigmas = evaluated.properties[_UNCERTAINTY].reshape(-1) / HARTREE_EV
            _add_numbers(objects, "committee_uncertainty", sigmas)
        texts = [json.dumps(entry).encode() for entry in objects]
        if self.member_forces and evaluated.member_forces is not None:
            texts = _with_forces(texts, evaluated, starts)
        return texts

    def _add_properties(
        self, objects: list[dict[str, Any]], evaluated: Evaluated, starts: np.ndarray
    ) -> None:
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


def _add_members(objects: list[dict[str, Any]], members: np.ndarray, sampled: np.ndarray) -> None:
    """Energies of members (n_members, n_structures), eV, and their spread."""
    if not np.isfinite(members).all():
        raise ValueError("the energy of a member of the committee is not finite")
    own = centred(members, sampled) / HARTREE_EV
    _add_numbers(objects, "committee_pot", own.T)
    if len(members) > 1:
        _add_numbers(objects, "committee_uncertainty", spread(members) / HARTREE_EV)


def _add_numbers(objects: list[dict[str, Any]], key: str, values: np.ndarray) -> None:
    """One value or row of `values` to each object."""
    if not np.isfinite(values).all():
        raise ValueError(f"{key} of a structure is not finite")
    for entry, value in zip(objects, values.tolist(), strict=True):
        entry[key] = value


def _with_forces(texts: list[bytes], evaluated: Evaluated, starts: np.ndarray) -> list[bytes]:
    """The objects with forces and virials of members added to their end."""
    assert evaluated.member_forces is not None
    forces, virials = evaluated.member_forces, evaluated.member_virials
    if not (np.isfinite(forces).all() and (virials is None or np.isfinite(virials).all())):
        raise ValueError("a force or virial of a member of the committee is not finite")
    if evaluated.forces is not None:
        forces = centred(forces, evaluated.forces)
    forces_au = forces / FORCE_AU_EV_PER_ANGSTROM  # [member, atom, xyz]
    if virials is not None:
        if evaluated.virials is not None:
            virials = centred(virials, evaluated.virials)
        # [member, structure, strain of columns]
        virials = virials.swapaxes(2, 3).reshape(*virials.shape[:2], 9) / HARTREE_EV
    whole = []
    for k, text in enumerate(texts):
        own = forces_au[:, starts[k] : starts[k + 1]].reshape(len(forces_au), -1)
        text = text[:-1] + b', "committee_force": ' + json_rows(own)
        if virials is not None:
            text += b', "committee_virial": ' + json_rows(virials[:, k])
        whole.append(text + b"}")
    return whole
