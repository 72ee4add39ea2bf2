"""Masses and labels of the atoms of an input, as i-PI itself will set them."""

from __future__ import annotations

import contextlib
import copy
import os
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pimd.ipi.input import InputError
from pimd.ipi.run_input import Atoms

__all__ = ["initial_atoms"]

GIVES_ATOMS = ("initialize", "beads", "cell")
GIVES_VELOCITIES = ("velocities", "momenta")


def initial_atoms(system: ET.Element, folder: Path) -> Atoms:
    """The atoms of a `<system>`, read by i-PI without what moves them.

    Args:
        system: the element; not changed.
        folder: where i-PI would look for the files it names.

    Raises:
        InputError: in i-PI's own words, where it refuses.
    """
    reduced = ET.Element("simulation", verbosity="quiet")
    ET.SubElement(reduced, "output")
    alone = ET.SubElement(reduced, "system")
    for child in system:
        if child.tag in GIVES_ATOMS:
            alone.append(_without_velocities(child))
    ET.SubElement(alone, "forces")
    ET.SubElement(ET.SubElement(alone, "ensemble"), "temperature").text = " 1 "
    ET.SubElement(alone, "motion", mode="dynamics")
    from ipi.inputs.simulation import InputSimulation
    from ipi.utils.io.inputs import io_xml
    from ipi.utils.units import unit_to_internal

    with (
        _in(folder), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its files open
        try:
            tree = io_xml.xml_parse_string(ET.tostring(reduced, encoding="unicode"))
            simulation = InputSimulation()
            simulation.parse(tree.fields[0][1])
            beads = simulation.fetch().syslist[0].beads
        except Exception as error:
            raise InputError(f"i-PI refuses the atoms of the input: {error}") from error
    return Atoms(
        [str(label) for label in np.asarray(beads.names)],
        np.array(beads.m, dtype=float) / unit_to_internal("mass", "dalton", 1.0),
        int(beads.nbeads),
    )


def _without_velocities(element: ET.Element) -> ET.Element:
    found = copy.deepcopy(element)
    for child in list(found):
        if child.tag in GIVES_VELOCITIES:
            found.remove(child)
    return found


@contextlib.contextmanager
def _in(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
