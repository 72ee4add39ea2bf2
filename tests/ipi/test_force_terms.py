"""What acts on a system, read from inputs that i-PI takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pimd.ipi.force_terms import ForceTerms, read_force_terms
from pimd.ipi.input import InputError

SYSTEM = """<system><initialize nbeads='8'/>
  <forces> {forces} </forces> <ensemble> {ensemble} </ensemble>
  <motion mode='dynamics'><dynamics mode='nvt'> {thermostat} </dynamics></motion>
</system>"""


def terms(tmp_path: Path, *systems: dict[str, str], index: int = 0) -> ForceTerms:
    parts = [
        SYSTEM.format(**{"forces": "", "ensemble": "", "thermostat": "", **system})
        for system in systems
    ]
    path = tmp_path / "input.xml"
    path.write_text(f"<simulation>{''.join(parts)}</simulation>")
    return read_force_terms(path, index)


def test_weights_are_those_of_the_hamiltonian(tmp_path: Path) -> None:
    """Weights times the sum of mts_weights; what is in the inner steps alone is not in it."""
    forces = """<force forcefield='a' weight='0.25'/> <force forcefield='b'/>
      <force forcefield='a' weight='0.5'/> <force forcefield='off' weight='0'/>
      <force forcefield='inner'> <mts_weights> [ -1.0, 1.0 ] </mts_weights> </force>
      <force forcefield='outer' weight='2'> <mts_weights> [1, 0] </mts_weights> </force>"""
    found = terms(tmp_path, {"forces": forces})
    assert found.weights == {"a": 0.75, "b": 1.0, "outer": 2.0}
    assert not found.contracted
    assert not found.biased
    assert not found.coloured


def test_contraction_is_seen(tmp_path: Path) -> None:
    forces = """<force forcefield='a' nbeads='4'/> <force forcefield='b' nbeads='8'/>"""
    assert terms(tmp_path, {"forces": forces}).contracted == ("a",)


def test_a_bias_and_coloured_noise_are_seen(tmp_path: Path) -> None:
    bias = "<bias><force forcefield='plumed'/></bias>"
    assert terms(tmp_path, {"ensemble": bias}).biased
    gle = "<thermostat mode='{}'><A shape='(1,1)'> [ 1.0 ] </A>{}</thermostat>"
    piglet = gle.format("nm_gle", "<C shape='(1,1)'> [ 2.0 ] </C>")
    assert terms(tmp_path, {"thermostat": piglet}).coloured == ("nm_gle",)
    from_file = gle.format("gle", "<C mode='file'> c.dat </C>")
    several = f"<thermostat mode='multi'> {from_file} {piglet} </thermostat>"
    assert terms(tmp_path, {"thermostat": several}).coloured == ("gle", "nm_gle")
    for none in ("", "<C/>", "<C shape='(0, 0)'> [ ] </C>"):
        assert not terms(tmp_path, {"thermostat": gle.format("gle", none)}).coloured


def test_each_system_has_its_own(tmp_path: Path) -> None:
    both = ({"forces": "<force forcefield='a'/>"}, {"forces": "<force forcefield='b'/>"})
    assert terms(tmp_path, *both, index=1).weights == {"b": 1.0}
    with pytest.raises(InputError, match="there is no system 2"):
        terms(tmp_path, *both, index=2)
