"""The i-PI inputs of a ladder: one input, with other masses or between two potentials.

At every node all is as in the input but the masses (or the forces), the seed, so that the errors
of the nodes are independent, and one more file of properties, `ti`, with what is integrated.
"""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pimd.ipi.initial_masses import initial_atoms
from pimd.ipi.input import InputError, InputFile
from pimd.ipi.run_input import Atoms
from pimd.potentials.registry import Spec, parse_spec, split_items

__all__ = ["check_ladder_input", "mass_node", "potential_node", "split_specs"]

DEFAULT_STRIDE = 10
DEFAULT_SEED = 123456
CANONICAL = ("nvt", "npt", "nst", "nvt-cc", "sc", "scnpt")
"""Dynamics with a temperature."""


def check_ladder_input(document: InputFile) -> Atoms:
    """The atoms of an input of which a ladder can be made.

    Raises:
        InputError: it has several systems, no temperature, or is a checkpoint.
    """
    systems = list(document.root.iter("system"))
    if len(systems) != 1 or document.root.find("system_template") is not None:
        raise InputError(
            f"{document.path}: a ladder is made of an input with one <system>, not "
            f"{len(systems) or 'a template'}"
        )
    system = systems[0]
    if system.find("initialize") is None:
        raise InputError(
            f"{document.path} is a checkpoint: its atoms have masses and momenta. Give an input, "
            "and let it start from the checkpoint: <initialize nbeads='P'> <file mode='chk'> "
            "RESTART </file> </initialize>"
        )
    dynamics = system.find("motion/dynamics")
    mode = "nve" if dynamics is None else dynamics.get("mode", "nve").strip()
    if mode not in CANONICAL:
        raise InputError(
            f"{document.path}: its motion is {mode}; integration over averages at a temperature "
            f"needs one of {', '.join(CANONICAL)}"
        )
    for socket in document.sockets:
        refuse_non_conservative(socket.spec)
    return initial_atoms(system, document.path.resolve().parent)


def refuse_non_conservative(spec: Spec | None) -> None:
    """Raise InputError for forces that are the derivative of no energy."""
    if spec is not None and not spec.is_conservative:
        raise InputError(
            f"{spec}: forces that are no derivatives of an energy (non_conservative) have no free "
            "energy, and no virial estimators; take conservative ones"
        )


def mass_node(
    document: InputFile, atoms: Atoms, factors: Mapping[str, float], number: int
) -> str:
    """The XML of a node with other masses.

    Args:
        document: as `read_input` gives it, so that its file names are absolute.
        atoms: of `check_ladder_input`.
        factors: label of an element -> by what its mass is multiplied.
        number: of the node, from 1.
    """
    root = copy.deepcopy(document.root)
    initialize = root.find("system/initialize")
    assert initialize is not None  # check_ladder_input has seen to it
    masses = np.array([
        mass * factors.get(label, 1.0)
        for label, mass in zip(atoms.labels, atoms.masses, strict=True)
    ])
    for given in initialize.findall("masses"):  # they are among those of `atoms`
        initialize.remove(given)
    # last of all: i-PI then rescales momenta that it has, and draws others with these masses
    element = ET.SubElement(initialize, "masses", mode="manual", units="dalton")
    element.text = _array(masses)
    # i-PI has a kinetic energy for a label, but none for a label that is a number
    labels = [label for label in dict.fromkeys(atoms.labels) if not label.isdigit()]
    names = ["kinetic_cv", *(f"kinetic_cv({label})" for label in labels)]
    _write_properties(root, names)
    _shift_seed(root, number)
    return ET.tostring(root, encoding="unicode") + "\n"


def potential_node(
    document: InputFile, specs: tuple[Spec | None, Spec], weight: float, number: int
) -> str:
    """The XML of a node at (1 - weight) U_0 + weight U_1.

    Args:
        document: with one force, from a socket.
        specs: of the two potentials; None: that of the input.
        weight: lambda, from 0 to 1.
        number: of the node, from 1.

    Raises:
        InputError: forces that are not of that kind.
    """
    root = copy.deepcopy(document.root)
    forces = root.find("system/forces")
    forces = ET.Element("forces") if forces is None else forces
    force, socket = _single_force(document, root, forces)
    place = list(root).index(socket)
    root.remove(socket)
    forces.remove(force)
    for k, (spec, share) in enumerate(zip(specs, (1.0 - weight, weight), strict=True)):
        name = f"potential_{k}"
        one = copy.deepcopy(socket)
        one.set("name", name)
        address = _child(one, "address")
        address.text = f" {(address.text or 'driver').strip()}_{k} "
        if spec is not None:
            _child(one, "parameters").text = f" {spec.in_xml()} "
        root.insert(place + k, one)
        part = copy.deepcopy(force)
        part.set("forcefield", name)
        part.set("weight", repr(share))
        forces.append(part)
    _write_properties(root, ["pot_component_raw(0)", "pot_component_raw(1)"])
    _shift_seed(root, number)
    return ET.tostring(root, encoding="unicode") + "\n"


def split_specs(text: str) -> tuple[Spec | None, Spec]:
    """The two potentials of `--between`: `SPEC0,SPEC1`, or `SPEC1` from the input's own.

    Commas between brackets belong to a SPEC.

    Raises:
        InputError: neither one nor two.
        PotentialError: a SPEC that is none.
    """
    parts = [part.strip() for part in split_items(text)]
    if len(parts) not in (1, 2):
        raise InputError(
            f"--between {text}: expected SPEC0,SPEC1, or SPEC1 alone to go there from the "
            "potential of the input"
        )
    found = [parse_spec(part).resolved(Path.cwd()) for part in parts]
    for spec in found:
        refuse_non_conservative(spec)
    return (found[0], found[1]) if len(found) == 2 else (None, found[0])


def _single_force(
    document: InputFile, root: ET.Element, forces: ET.Element
) -> tuple[ET.Element, ET.Element]:
    """The one force of a system and the socket it comes from."""
    found = list(forces)
    sockets = {
        socket.get("name", "").strip(): socket for socket in root if socket.tag == "ffsocket"
    }
    name = found[0].get("forcefield", "").strip() if len(found) == 1 else ""
    if name not in sockets:
        raise InputError(
            f"{document.path}: to integrate between two potentials its <forces> must be one "
            f"<force> from an <ffsocket>; it has {len(found)}, and the sockets "
            f"{', '.join(sockets) or '(none)'}"
        )
    return found[0], sockets[name]


def _write_properties(root: ET.Element, names: list[str]) -> None:
    """Have i-PI write these energies as often as the input writes properties."""
    output = root.find("output")
    if output is None:
        output = ET.Element("output")
        root.insert(0, output)
    strides = [int(float(e.get("stride", "1"))) for e in output.findall("properties")]
    element = ET.Element(
        "properties", filename="ti", stride=str(min(strides, default=DEFAULT_STRIDE))
    )
    columns = ["step", "time{femtosecond}", *(f"{name}{{electronvolt}}" for name in names)]
    element.text = f" [ {', '.join(columns)} ] "
    output.append(element)


def _shift_seed(root: ET.Element, number: int) -> None:
    prng = root.find("prng")
    if prng is None:
        prng = ET.SubElement(root, "prng")
    seed = prng.find("seed")
    if seed is None:
        seed = ET.SubElement(prng, "seed")
    before = int(float((seed.text or "").strip() or DEFAULT_SEED))
    seed.text = f" {before + number} "


def _child(element: ET.Element, tag: str) -> ET.Element:
    """A child, made where it is missing."""
    found = element.find(tag)
    return ET.SubElement(element, tag) if found is None else found


def _array(values: np.ndarray) -> str:
    """Numbers as i-PI reads an array, eight in a line."""
    words = [f"{value:.12g}" for value in values]
    lines = [", ".join(words[k : k + 8]) for k in range(0, len(words), 8)]
    return " [ " + ",\n          ".join(lines) + " ] "
