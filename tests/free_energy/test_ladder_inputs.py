"""Inputs of ladders: what is changed, what is not, and what no ladder can be made of."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from ladder_trap import SPEC, write_trap

from pimd.free_energy.integration import ladder
from pimd.free_energy.ladder_inputs import split_specs
from pimd.free_energy.ladder_runs import open_ladder, write_ladder
from pimd.ipi.initial_masses import initial_atoms
from pimd.ipi.input import InputError, read_input
from pimd.potentials.registry import parse_spec


def masses(path: Path) -> np.ndarray:
    """As i-PI itself reads them."""
    system = ET.parse(path).getroot().find("system")
    assert system is not None
    return initial_atoms(system, path.parent).masses


def test_masses_at_the_nodes(tmp_path: Path) -> None:
    source = write_trap(tmp_path, steps=10, atoms=3)
    runs = write_ladder(read_input(source), tmp_path / "ladder", 5)
    np.testing.assert_allclose(runs.nodes, ladder(5).nodes)
    before, seeds = masses(source), set()
    for number, g in enumerate(runs.nodes, 1):
        np.testing.assert_allclose(masses(runs.node_input(number)), before / g**2, rtol=1e-9)
        root = ET.parse(runs.node_input(number)).getroot()
        seeds.add(root.findtext("prng/seed"))
        output = root.find("output/properties[@filename='ti']")
        assert output is not None
        assert "kinetic_cv{electronvolt}" in str(output.text)
        assert "kinetic_cv(H){electronvolt}" in str(output.text)
        assert output.get("stride") == "4"
    assert len(seeds) == 5
    assert open_ladder(tmp_path / "ladder") == runs


def test_masses_that_the_input_sets_are_those_that_change(tmp_path: Path) -> None:
    source = write_trap(tmp_path, steps=10, atoms=3)
    given = "<masses mode='manual' units='dalton'> [ 1.0, 2.0, 3.0 ] </masses>\n<velocities"
    source.write_text(source.read_text().replace("<velocities", given))
    runs = write_ladder(read_input(source), tmp_path / "ladder", 2)
    expected = np.array([1.0, 2.0, 3.0]) / runs.nodes[0] ** 2
    np.testing.assert_allclose(masses(runs.node_input(1)), expected, rtol=1e-9)
    assert runs.node_input(1).read_text().count("<masses") == 1
    with pytest.raises(ValueError, match="one isotope"):
        write_ladder(read_input(source), tmp_path / "other", 2, isotope="H=D")


def test_an_isotope_changes_its_own_masses_alone(tmp_path: Path) -> None:
    source = write_trap(tmp_path, steps=10, atoms=3)
    file = tmp_path / "init.xyz"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:-1], "O" + lines[-1][1:]]) + "\n")
    runs = write_ladder(read_input(source), tmp_path / "ladder", 3, isotope="H=D")
    for number, t in enumerate(runs.nodes, 1):
        found = masses(runs.node_input(number))
        y = 1.0 + (np.sqrt(1.00794 / 2.0141) - 1.0) * t
        np.testing.assert_allclose(found[:2], 1.00794 / y**2, rtol=1e-9)
        assert found[2] == pytest.approx(15.9994, rel=1e-9)
    with pytest.raises(ValueError, match=r"label of H, O"):
        write_ladder(read_input(source), tmp_path / "other", 3, isotope="C=13")


def test_two_potentials_and_their_weights(tmp_path: Path) -> None:
    source = write_trap(tmp_path, steps=10, atoms=3)
    runs = write_ladder(
        read_input(source), tmp_path / "ladder", 4, between="{potential: harmonic, k: 2.0}"
    )
    assert parse_spec(runs.specs[0]) == parse_spec(SPEC)
    for number, weight in enumerate(runs.nodes, 1):
        document = read_input(runs.node_input(number))
        assert [s.name for s in document.sockets] == ["potential_0", "potential_1"]
        assert document.sockets[0].spec != document.sockets[1].spec
        assert document.sockets[1].spec.options["k"] == 2.0
        forces = document.root.findall("system/forces/force")
        assert [f.get("forcefield") for f in forces] == ["potential_0", "potential_1"]
        assert [float(f.get("weight")) for f in forces] == pytest.approx([1 - weight, weight])
        assert len({s.child_text("address") for s in document.sockets}) == 2


def test_specs_with_commas_inside() -> None:
    first, last = split_specs("{potential: harmonic, k: 1.0},{potential: harmonic, k: [1.0, 2.0]}")
    assert first is not None
    assert first.options["k"] == 1.0
    assert last.options["k"] == [1.0, 2.0]
    assert split_specs("qtip4pf")[0] is None
    with pytest.raises(InputError, match="SPEC0,SPEC1"):
        split_specs("free,free,free")
    with pytest.raises(InputError, match="non_conservative"):
        split_specs("free,{potential: metatomic, model: m.pt, non_conservative: true}")


@pytest.mark.parametrize(
    ("before", "after", "match"),
    [
        ("mode='nvt'", "mode='nve'", "motion is nve"),
        ("<initialize nbeads='4'>", "<beads nbeads='4'>", "checkpoint"),
        ("</system>", "</system><system/>", "one <system>"),
        ("{potential: harmonic, ", "{potential: harmonic, non_conservative: True, ", "no free"),
        ("init.xyz", "missing.xyz", "i-PI refuses"),
    ],
)
def test_what_no_ladder_can_be_made_of(
    tmp_path: Path, before: str, after: str, match: str
) -> None:
    source = write_trap(tmp_path, steps=10, atoms=3)
    text = source.read_text().replace(before, after)
    if after.startswith("<beads"):
        text = text.replace("</initialize>", "</beads>")
    source.write_text(text)
    with pytest.raises(InputError, match=match):
        write_ladder(read_input(source), tmp_path / "ladder", 3)
    assert not (tmp_path / "ladder").exists()


def test_a_ladder_is_not_overwritten_but_made_longer(tmp_path: Path) -> None:
    source = write_trap(tmp_path, steps=10, atoms=3)
    folder = tmp_path / "ladder"
    runs = write_ladder(read_input(source), folder, 3)
    assert runs.unfinished() == [1, 2, 3]
    document = read_input(source)
    document.total_steps = 20
    assert write_ladder(document, folder, 3).total_steps == 20
    assert "20" in re.findall("<total_steps>(.*?)<", runs.node_input(1).read_text())[0]
    for change in ({"isotope": "H=D"}, {"between": "free"}):
        with pytest.raises(InputError, match="ladder of another kind"):
            write_ladder(read_input(source), folder, 3, **change)
    with pytest.raises(InputError, match="ladder of another kind"):
        write_ladder(read_input(source), folder, 4)
    source.write_text(source.read_text().replace("0.5 </timestep>", "0.25 </timestep>"))
    with pytest.raises(InputError, match="nothing was touched"):
        write_ladder(read_input(source), folder, 3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(InputError, match="holds no ladder"):
        write_ladder(read_input(source), tmp_path / "full", 3)
    with pytest.raises(InputError, match="give the XML input"):
        open_ladder(tmp_path)
