"""Reading i-PI's XML: who serves a socket, which files are named, what the errors say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pimd.ipi.input import InputError, read_input

XML = """<simulation verbosity='low'>
  <output prefix='simulation'><properties stride='1'> [ step ] </properties></output>
  <total_steps> 20 </total_steps>
  <prng><seed> 1 </seed></prng>
  <ffsocket mode='unix' name='driver'><address>water</address>{parameters}</ffsocket>
  <system><initialize nbeads='4'><file mode='xyz'> init.xyz </file>
    <velocities mode='thermal' units='kelvin'> 300 </velocities></initialize>
    <forces><force forcefield='driver'/></forces></system>
</simulation>
"""


def write(folder: Path, parameters: str = "") -> Path:
    path = folder / "input.xml"
    path.write_text(XML.format(parameters=parameters))
    (folder / "init.xyz").write_text("1\n\nH 0 0 0\n")
    return path


def test_reads_the_potential_of_a_socket(tmp_path: Path) -> None:
    document = read_input(
        write(tmp_path, "<parameters>{potential: qtip4pf, cutoff: 8.5}</parameters>")
    )
    (socket,) = document.sockets
    assert socket.name == "driver"
    assert socket.spec is not None
    assert socket.spec.potential == "qtip4pf"
    assert socket.spec.options == {"cutoff": 8.5}
    document.check_served()


def test_files_become_absolute_and_manual_values_stay(tmp_path: Path) -> None:
    (tmp_path / "water.model").write_text("x")
    document = read_input(
        write(tmp_path, "<parameters>{potential: mace, model: water.model}</parameters>")
    )
    assert str(tmp_path / "init.xyz") in document.xml()
    assert document.sockets[0].spec is not None
    assert document.sockets[0].spec.options["model"] == str(tmp_path / "water.model")
    assert "> 300 </velocities>" in document.xml()


def test_parameters_of_other_drivers_keep_their_words(tmp_path: Path) -> None:
    document = read_input(
        write(tmp_path, "<parameters>{template: init.xyz, device: cpu}</parameters>")
    )
    assert document.sockets[0].spec is None
    assert f"template: {tmp_path / 'init.xyz'}, device: cpu" in document.xml()


def test_a_socket_without_potential_says_what_to_add(tmp_path: Path) -> None:
    document = read_input(write(tmp_path))
    with pytest.raises(InputError, match=r"<parameters> \{potential: qtip4pf\}") as error:
        document.check_served()
    assert "--potential driver=" in str(error.value)


@pytest.mark.parametrize("argument", ["driver=qtip4pf", "qtip4pf", "{potential: qtip4pf}",
                                      "driver={potential: qtip4pf}"])
def test_potentials_from_the_command_line(tmp_path: Path, argument: str) -> None:
    document = read_input(write(tmp_path))
    document.set_potentials([argument])
    assert str(document.sockets[0].spec) == "{potential: qtip4pf}"
    assert "{potential: qtip4pf}" in document.xml()


def test_the_command_line_replaces_what_the_input_says(tmp_path: Path) -> None:
    document = read_input(write(tmp_path, "<parameters>{potential: free}</parameters>"))
    document.set_potentials(["driver=harmonic, k: 2.0"])
    assert str(document.sockets[0].spec) == "{potential: harmonic, k: 2.0}"


def test_an_unknown_forcefield_name_is_refused(tmp_path: Path) -> None:
    document = read_input(write(tmp_path))
    with pytest.raises(InputError, match=r"there is no socket forcefield 'water'.*driver"):
        document.set_potentials(["water=qtip4pf"])


def test_total_steps_can_be_set(tmp_path: Path) -> None:
    document = read_input(write(tmp_path))
    assert document.total_steps == 20
    assert document.step == 0
    document.total_steps = 7
    assert "<total_steps> 7 </total_steps>" in document.xml()


@pytest.mark.parametrize(
    ("text", "message"),
    [("<simulation>", "not well-formed"), ("<input/>", "outermost element is <input>"),
     ("not xml", "not well-formed")],
)
def test_what_is_no_input_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "input.xml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_input(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_input(tmp_path / "nothing.xml")
    with pytest.raises(InputError, match="is a folder"):
        read_input(tmp_path)


def test_a_spec_that_cannot_be_read_names_the_forcefield(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"forcefield 'driver'.*cannot read 'cutoff 9'"):
        read_input(write(tmp_path, "<parameters>{potential: qtip4pf, cutoff 9}</parameters>"))


def test_lists_in_a_spec_reach_i_pi_in_a_form_it_can_read(tmp_path: Path) -> None:
    from ipi.utils.io.inputs.io_xml import read_dict

    text = "{potential: qtip4pf, properties: [dipole, born_charges], kw: {a: 1, b: [2, 3]}}"
    document = read_input(write(tmp_path, f"<parameters>{text}</parameters>"))
    parameters = document.sockets[0].child_text("parameters")
    assert set(read_dict(parameters)) == {"potential", "properties", "kw"}
    (tmp_path / "again.xml").write_text(document.xml())
    again = read_input(tmp_path / "again.xml")
    assert again.sockets[0].spec == document.sockets[0].spec
    assert again.sockets[0].spec is not None
    assert again.sockets[0].spec.options["kw"] == {"a": 1, "b": [2, 3]}
