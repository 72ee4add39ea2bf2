"""What a `<trajectory format='h5md'>` asks of a system, read from i-PI as arrays in eV, Å, fs, K.

Each name in the list becomes a `Quantity`; what it gives is known when the forces of the first
structures are there, since only then the extras of a forcefield are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pimd.ipi.output_units import EXTRAS, extras_factor
from pimd.ipi.systems import numbers_of_labels
from pimd.record.h5md_layout import CELLS, UNITS, Field, SystemLayout
from pimd.units import (
    AMU_ELECTRON_MASS,
    ATOMIC_TIME_FS,
    BOHR_ANGSTROM,
    FORCE_AU_EV_PER_ANGSTROM,
    HARTREE_EV,
)

__all__ = ["Quantity", "layout_of", "quantities_of", "split_names"]

VELOCITY = BOHR_ANGSTROM / ATOMIC_TIME_FS
MEMBERS = "members"

_ATOMS: dict[str, tuple[str, float, str]] = {  # name -> kind, factor, unit
    "positions": ("beads", BOHR_ANGSTROM, "Angstrom"),
    "velocities": ("beads", VELOCITY, "Angstrom fs-1"),
    "forces": ("beads", FORCE_AU_EV_PER_ANGSTROM, "eV Angstrom-1"),
    "x_centroid": ("centroid", BOHR_ANGSTROM, "Angstrom"),
    "v_centroid": ("centroid", VELOCITY, "Angstrom fs-1"),
    "f_centroid": ("centroid", FORCE_AU_EV_PER_ANGSTROM, "eV Angstrom-1"),
}
_PROPERTIES: dict[str, tuple[str, float | None, str]] = {
    # dimension -> i-PI's name of the unit, factor (None: i-PI's own, with which inputs are read),
    # name in the file
    "energy": ("electronvolt", HARTREE_EV, "eV"),
    "length": ("angstrom", BOHR_ANGSTROM, "Angstrom"),
    "volume": ("angstrom3", BOHR_ANGSTROM**3, "Angstrom3"),
    "force": ("ev/ang", FORCE_AU_EV_PER_ANGSTROM, "eV Angstrom-1"),
    "pressure": ("ev/ang3", HARTREE_EV / BOHR_ANGSTROM**3, "eV Angstrom-3"),
    "mass": ("dalton", 1.0 / AMU_ELECTRON_MASS, "amu"),
    "density": ("g/cm3", None, "g cm-3"),
    "time": ("femtosecond", None, "fs"),
    "temperature": ("kelvin", None, "K"),
    "electric-dipole": ("eang", BOHR_ANGSTROM, "e Angstrom"),
    "number": ("", 1.0, ""),
    "undefined": ("", 1.0, ""),
    "": ("", 1.0, ""),
}
_ATOMIC = "a.u."
_WORDS = {ours: theirs for theirs, ours in UNITS.items()}
"""Units of pimd -> words of H5MD."""


@dataclass(frozen=True)
class Quantity:
    """One name of the list.

    Attributes:
        name: of the field in the file.
        kind: of the field.
        unit: in the file.
        read: gives the present value, an array of its own.
    """

    name: str
    kind: str
    unit: str
    read: Callable[[], np.ndarray]


def split_names(text: str) -> list[str]:
    """The names of a list `[a, b(x=1; y=2), c{unit}]`.

    Raises:
        ValueError: it is empty, or has a name twice.
    """
    names, depth, current = [], 0, ""
    for character in [*text.strip().removeprefix("[").removesuffix("]"), ","]:
        if character == "," and depth == 0:
            names.append(current.strip())
            current = ""
            continue
        depth += (character in "({") - (character in ")}")
        current += character
    names = [name for name in names if name]
    if not names or depth != 0:
        raise ValueError(
            f"<trajectory format='h5md'> has '{text.strip()}', expected a list as in "
            "[ positions, velocities, energies, temperature ]"
        )
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"<trajectory format='h5md'> lists {', '.join(sorted(twice))} twice")
    return names


def quantities_of(system: Any, names: list[str]) -> list[Quantity]:
    """What to read of a system that is bound.

    Raises:
        ValueError: a unit is not one of the quantity's.
    """
    return [_quantity(system, name) for name in names]


def layout_of(
    system: Any, quantities: list[Quantity], frame: dict[str, np.ndarray]
) -> SystemLayout:
    """How the first frame of a system, and so every frame, lies in the file."""
    from ipi.utils.units import unit_to_user

    fields = [Field(CELLS, "cell", (3, 3), "Angstrom")]
    fields += [Field(q.name, q.kind, frame[q.name].shape, q.unit) for q in quantities]
    labels = tuple(str(name) for name in system.beads.names)
    cell = frame[CELLS]
    temperature = float(system.ensemble.temp)
    timestep = getattr(system.motion, "dt", None)
    return SystemLayout(
        numbers_of_labels(list(labels)),
        np.array(system.beads.m, dtype=float) / AMU_ELECTRON_MASS,
        labels, np.full(3, abs(np.linalg.det(cell)) > 1e-12), int(system.beads.nbeads),
        float(unit_to_user("temperature", "kelvin", temperature)) if temperature > 0 else np.nan,
        np.nan if timestep is None else float(unit_to_user("time", "femtosecond", float(timestep))),
        tuple(fields),
    )


def _quantity(system: Any, asked: str) -> Quantity:
    from ipi.engine.properties import getall

    name, unit, arguments, keywords = getall(asked)
    if name in _ATOMS and not (arguments or keywords):
        _refuse_unit(asked, unit)
        kind, factor, own = _ATOMS[name]
        return Quantity(name, kind, own, lambda: _of_atoms(system, name, kind) * factor)
    if name == "energies":
        _refuse_unit(asked, unit)
        return Quantity(name, name, "eV", lambda: _array(system.forces.pots) * HARTREE_EV)
    if name == MEMBERS:
        _refuse_unit(asked, unit)
        forcefield = str(arguments[0]).strip() if arguments else ""
        stored = f"member_energies({forcefield})" if forcefield else "member_energies"
        return Quantity(stored, MEMBERS, "eV", lambda: _member_energies(system, forcefield))
    is_extra = name in EXTRAS and not (unit or arguments or keywords)
    if name in system.properties.property_dict and not is_extra:  # i-PI has a `dipole` of its own
        return _property(system, asked, unit)
    _refuse_unit(asked, unit)
    _, factor, ours = extras_factor(name)
    return Quantity(name, "extra", _WORDS.get(ours, ours), lambda: _extra(system, name) * factor)


def _refuse_unit(asked: str, unit: str) -> None:
    if unit:
        raise ValueError(
            f"<trajectory format='h5md'> has {asked}, but only properties can be had in a unit; "
            "everything else is in eV, Å and fs: leave the braces out"
        )


def _of_atoms(system: Any, name: str, kind: str) -> np.ndarray:
    """(n_beads, n_atoms, 3) or (n_atoms, 3), in i-PI's units."""
    flat = _array(system.trajs[name][0])
    return flat.reshape(len(flat), -1, 3) if kind == "beads" else flat.reshape(-1, 3)


def _property(system: Any, asked: str, unit: str) -> Quantity:
    """A property in the unit asked for; where none was, in that of the file."""
    from ipi.utils.units import unit_to_user

    stored = asked.partition("{")[0].strip()
    entry = system.properties.property_dict[stored.partition("(")[0].strip()]
    dimension = entry.get("dimension", "undefined")
    of_file, factor, label = _PROPERTIES.get(dimension, ("", 1.0, _ATOMIC))
    if unit not in ("", of_file):
        unit_to_user(dimension, unit, 1.0)  # a unit that is none is refused here
        factor, label = None, unit
    else:
        unit = of_file

    def read() -> np.ndarray:
        value = np.array(system.properties[stored][0], dtype=float)
        return value * (unit_to_user(dimension, unit, 1.0) if factor is None else factor)

    return Quantity(stored, "property", label, read)


def _extra(system: Any, name: str) -> np.ndarray:
    """(n_beads, ...) as the forcefield sent it.

    Raises:
        ValueError: there is none of this name, or it is not of numbers.
    """
    extras = system.forces.extras
    if name not in extras:
        offered = ", ".join(sorted(key for key in extras if key != "raw")) or "none"
        raise ValueError(
            f"<trajectory format='h5md'> has '{name}', which is neither a property of i-PI nor an "
            f"extra of the forcefield (its extras: {offered}; those of contracted ring polymers "
            "need i-PI's <interpolate_extras>)"
        )
    try:
        return np.array(extras[name], dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"<trajectory format='h5md'> has '{name}', but that is not numbers, the same for "
            f"every bead: {error}"
        ) from error


def _member_energies(system: Any, forcefield: str) -> np.ndarray:
    """(n_members, n_beads) eV: what each bead would have with one member for the committee.

    Raises:
        ValueError: no force component has members, or several have.
    """
    found = list(_committees(system, forcefield))
    if len(found) != 1:
        which = f" called '{forcefield}'" if forcefield else ""
        names = ", ".join(str(component.ffield) for component, _ in found)
        raise ValueError(
            "<trajectory format='h5md'> has members, but "
            + (f"several forcefields have some: say which, as in members({found[0][0].ffield}); "
               f"there are {names}" if found else f"no forcefield{which} tells any in its extras")
        )
    component, contraction = found[0]
    differences = _from_sampled(component)
    weight = float(component.weight) * float(np.sum(component.mts_weights))
    full = np.array([contraction.b2tob1(column) for column in differences.T])
    return (_array(system.forces.pots) + weight * full) * HARTREE_EV


def _from_sampled(component: Any) -> np.ndarray:
    """(n_beads, n_members) hartree: energy with one member, less what the component gave."""
    members = np.array(component.extras["committee_pot"], dtype=float)  # [bead, member]
    baseline = getattr(component.ff, "baseline_name", "")
    if not baseline:
        return np.asarray(members - _array(component.pots)[:, None])
    # <ffcommittee> tells corrections of a baseline V_b, and gave V_b + mixing * their mean
    variance = float(component.ff.baseline_uncertainty) ** 2
    mixing = variance / (variance + members.var(axis=1, ddof=1))
    return np.asarray(members - (mixing * members.mean(axis=1))[:, None])


def _committees(system: Any, forcefield: str) -> Iterator[tuple[Any, Any]]:
    """Force components with members, and how they are contracted."""
    forces = system.forces
    for component, contraction in zip(forces.mforces, forces.mrpc, strict=True):
        if component.weight == 0 or forcefield not in ("", str(component.ffield)):
            continue
        if "committee_pot" in component.extras:
            yield component, contraction


def _array(values: Any) -> np.ndarray:
    """A copy in a plain array."""
    return np.array(values, dtype=float, copy=True)
