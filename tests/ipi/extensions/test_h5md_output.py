"""`<trajectory format='h5md'>` in an input: what it says, and what i-PI makes of it."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import ClassVar

import pytest
from ipi.engine.outputs import TrajectoryOutput
from ipi.inputs.outputs import InputTrajectory
from ipi.utils.io.inputs.io_xml import xml_parse_string

from pimd.ipi import extensions
from pimd.ipi.extensions.h5md_quantities import quantities_of, split_names
from pimd.ipi.input import InputError
from pimd.ipi.server import IpiServer

pytestmark = pytest.mark.usefixtures("extensions_off")

XML = "<trajectory format='{format}' filename='all' stride='5' {more}> {names} </trajectory>"


def parsed(format: str = "h5md", names: str = "[ positions, energies ]", more: str = "") -> object:
    node = xml_parse_string(XML.format(format=format, names=names, more=more)).fields[0][1]
    field = InputTrajectory()
    field.parse(node)
    return field


def test_names_are_split_outside_of_brackets() -> None:
    assert split_names("[ positions,atom_x(atom=1; bead=2) , kinetic_cv{j/mol}, members(a) ]") == [
        "positions", "atom_x(atom=1; bead=2)", "kinetic_cv{j/mol}", "members(a)"
    ]
    assert split_names("positions") == ["positions"]
    for wrong in ("[ ]", "", "[ atom_x(1, positions ]"):
        with pytest.raises(ValueError, match="expected a list"):
            split_names(wrong)
    with pytest.raises(ValueError, match="lists energies twice"):
        split_names("[ energies, positions, energies ]")


@pytest.mark.parametrize("name", ["positions{angstrom}", "members{electronvolt}", "x_{eV}"])
def test_only_properties_have_a_unit_of_their_own(name: str) -> None:
    class System:
        class properties:
            property_dict: ClassVar[dict[str, object]] = {}

    with pytest.raises(ValueError, match="leave the braces out"):
        quantities_of(System, [name])


def test_files_are_found_in_an_input() -> None:
    text = "<simulation><output {prefix}>" + XML + XML + "</output></simulation>"
    both = text.format(prefix="prefix='sim'", format="h5md", names="[x]", more="")
    assert extensions.record_files(ET.fromstring(both)) == [("sim.all.h5", 5)] * 2
    without = text.format(prefix="", format="xyz", names="positions", more="")
    assert extensions.record_files(ET.fromstring(without)) == []
    bare = "<simulation><output prefix=''><trajectory format='h5md'/></output></simulation>"
    assert extensions.record_files(ET.fromstring(bare)) == [("traj.h5", 1)]
    assert extensions.record_files(ET.fromstring(bare.replace(" prefix=''", ""))) == [
        ("i-pi.traj.h5", 1)
    ]


def test_i_pi_knows_the_format_while_the_extension_is_on() -> None:
    with pytest.raises(ValueError, match="h5md"):
        parsed().fetch()
    extensions.enable_all()
    output = copy.deepcopy(parsed().fetch())
    assert output.names == ["positions", "energies"]
    again = InputTrajectory()
    again.store(output)  # into RESTART
    assert again.fetch().names == output.names
    assert (again.format.fetch(), again.stride.fetch()) == ("h5md", 5)
    assert type(parsed("xyz", "positions").fetch()) is TrajectoryOutput
    with pytest.raises(ValueError, match="bead='2', but holds all beads: leave bead out"):
        parsed(more="bead='2'").fetch()
    extensions.disable_all()
    with pytest.raises(ValueError, match="h5md"):
        parsed().fetch()


def test_without_the_extension_the_input_is_refused_in_plain_words(tmp_path: Path) -> None:
    text = "<simulation><output>" + XML + "</output></simulation>"
    xml = text.format(format="h5md", names="[ positions ]", more="")
    server = IpiServer(xml, tmp_path, tmp_path, extensions.Settings(stock=True))
    with pytest.raises(InputError, match=r"written by pimd's extension h5md_output.*it is off"):
        server.load(lambda _: None)
