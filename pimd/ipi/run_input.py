"""What an i-PI input, or a checkpoint, says of a run that is over: systems, dynamics, outputs.

Nothing is run and no file named in the input is needed, so that a run can be read after it was
moved to another machine. Temperatures, times and masses are in i-PI's constants, as the input
has them.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pimd.ipi.input import InputError
from pimd.ipi.output_units import from_ipi

__all__ = ["FILENAMES", "Atoms", "Output", "SystemInput", "outputs_of", "read_systems", "root_of"]

FILENAMES = {"properties": "out", "trajectory": "traj"}
"""Kind of an output -> i-PI's own choice of its name, where the input gives none."""


@dataclass(frozen=True)
class Atoms:
    """The atoms of a system as a checkpoint has them.

    Attributes:
        labels: of each atom.
        masses: amu, (n_atoms,).
        n_beads: beads.
    """

    labels: list[str]
    masses: np.ndarray
    n_beads: int


@dataclass(frozen=True)
class Output:
    """One `<properties>` or `<trajectory>` of the input.

    Attributes:
        kind: `properties` or `trajectory`.
        path: the file, without bead number and suffix.
        stride: steps.
        names: what is written, as the XML names it: columns, or the one trajectory.
        format: `xyz`, `ase`, `h5md`, ...
        extra_type: of a trajectory of extras.
        bead: which beads are written: one, or every -bead'th.
    """

    kind: str
    path: Path
    stride: int
    names: tuple[str, ...]
    format: str = "xyz"
    extra_type: str = "raw"
    bead: int = -1


class SystemInput:
    """One `<system>`: its element, with what can be read from it."""

    def __init__(self, element: ET.Element) -> None:
        self.element = element

    @property
    def prefix(self) -> str:
        return self.element.get("prefix", "").strip()

    @property
    def n_beads(self) -> int | None:
        """Beads, where the input says so."""
        for tag, attribute in (("beads", "nbeads"), ("initialize", "nbeads")):
            found = self.element.find(tag)
            if found is not None and found.get(attribute):
                return int(found.get(attribute, "0"))
        return None

    @property
    def forcefields(self) -> list[str]:
        """Names of the forcefields that act on it."""
        return [
            force.get("forcefield", "").strip() for force in self.element.iterfind("forces/force")
        ]

    def number(self, path: str, dimension: str) -> float | None:
        """A number with units at some place below the system; None: it is not there."""
        return _number(self.element.find(path), dimension)

    @property
    def motion(self) -> str:
        """i-PI's motion mode; of several motions that of the one that is dynamics."""
        return self._motion.get("mode", "dynamics").strip()

    @property
    def _motion(self) -> ET.Element:
        motions = list(self.element.iter("motion"))
        for motion in motions:
            if motion.get("mode", "").strip() == "dynamics":
                return motion
        return motions[0] if motions else ET.Element("motion")

    @property
    def dynamics(self) -> ET.Element | None:
        """The `<dynamics>` of the system, or what stands for it in other kinds of motion."""
        found = self._motion.find("dynamics")
        if found is None:
            found = next((e for e in self._motion if e.find("timestep") is not None), None)
        return found

    @property
    def fixcom(self) -> bool:
        """Whether the centre of mass is held; i-PI's default is that it is."""
        found = self._motion.find("fixcom")
        return found is None or (found.text or "").strip().lower() != "false"

    @property
    def timestep(self) -> float:
        """fs; NaN where there is none."""
        dynamics = self.dynamics
        step = None if dynamics is None else _number(dynamics.find("timestep"), "time")
        return math.nan if step is None else step

    @property
    def thermostats(self) -> tuple[str, ...]:
        """Modes of the thermostats of the system; one made of several counts as those."""
        dynamics = self.dynamics
        found = None if dynamics is None else dynamics.find("thermostat")
        return () if found is None else tuple(_thermostat_modes(found))

    def atoms(self) -> Atoms | None:
        """Labels, masses and beads of a checkpoint; None: this is an input."""
        beads = self.element.find("beads")
        if beads is None or beads.find("names") is None or beads.find("m") is None:
            return None
        labels = _list(beads.findtext("names", ""))
        masses = np.array([float(word) for word in _list(beads.findtext("m", ""))])
        if len(labels) != len(masses):
            raise InputError(f"a checkpoint with {len(labels)} names and {len(masses)} masses")
        factor, _ = from_ipi("mass")
        return Atoms(labels, masses * factor, int(beads.get("nbeads", "1")))


def root_of(path: Path) -> ET.Element:
    """The `<simulation>` of an input or checkpoint.

    Raises:
        InputError: it is none, or cannot be read.
    """
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} is no XML that can be read: {error}") from None
    if root.tag != "simulation":
        raise InputError(f"{path} is no input of i-PI: its outermost element is <{root.tag}>")
    return root


def read_systems(root: ET.Element) -> list[SystemInput]:
    """The systems of an input in i-PI's order, those made from templates included."""
    systems = []
    for element in root:
        if element.tag == "system":
            systems.append(SystemInput(element))
        elif element.tag == "system_template":
            systems += [SystemInput(one) for one in _from_template(element)]
    return systems


def _from_template(element: ET.Element) -> Iterator[ET.Element]:
    labels = _list(element.findtext("labels", ""))
    template = element.find("template")
    body = "" if template is None or len(template) == 0 else ET.tostring(
        template[0], encoding="unicode"
    )
    for instance in element.iterfind("instance"):
        text = body
        # longer labels first: one may begin another
        for label, value in sorted(zip(labels, _list(instance.text or ""), strict=True))[::-1]:
            text = text.replace(label, value)
        yield ET.fromstring(text)


def outputs_of(root: ET.Element, system: SystemInput, folder: Path) -> list[Output]:
    """What the input has i-PI write of one system.

    Args:
        root: the `<simulation>`.
        system: one of its systems.
        folder: where i-PI worked.
    """
    output = root.find("output")
    if output is None:  # i-PI's own choice where the input says nothing
        return [
            Output("properties", folder / "i-pi.md", 10, ()),
            Output("trajectory", folder / "i-pi.pos", 100, ("positions",)),
        ]
    prefix = output.get("prefix", "i-pi").strip()
    found = []
    for element in output:
        if element.tag not in FILENAMES:
            continue
        name = element.get("filename", FILENAMES[element.tag]).strip()
        name = f"{prefix}.{name}" if prefix else name
        if system.prefix:
            name = f"{system.prefix}_{name}"
        text = element.text or ""
        found.append(Output(
            kind=element.tag,
            path=folder / name,
            stride=int(element.get("stride", "1")),
            names=tuple(_list(text)) if "[" in text else (text.strip(),),
            format=element.get("format", "xyz").strip(),
            extra_type=element.get("extra_type", "raw").strip(),
            bead=int(element.get("bead", "-1")),
        ))
    return found


def _number(element: ET.Element | None, dimension: str) -> float | None:
    """The value of an element with `units`; negative ones are i-PI's way to say none."""
    if element is None or not (element.text or "").strip():
        return None
    factor, _ = from_ipi(dimension, element.get("units", "").strip())
    try:
        return factor * float((element.text or "").strip())
    except ValueError:
        raise InputError(f"<{element.tag}> is '{element.text}', expected a number") from None


def _thermostat_modes(element: ET.Element) -> Iterator[str]:
    inner = element.findall("thermostat")
    if inner:
        for one in inner:
            yield from _thermostat_modes(one)
    elif element.get("mode", "").strip():
        yield element.get("mode", "").strip()


def _list(text: str) -> list[str]:
    """The words of `[ a, b, c ]`."""
    body = re.sub(r"[\[\]]", " ", text)
    return [word.strip() for word in body.replace("\n", " ").split(",") if word.strip()]
