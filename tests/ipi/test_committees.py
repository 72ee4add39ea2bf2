"""Committees beside i-PI's own `<ffcommittee>`: the same numbers, and inputs read as it does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ipi.engine.forcefields import FFCommittee
from ipi.interfaces.utils import parse_extra

from pimd.ipi.committees import committee_warnings
from pimd.ipi.input import InputError, read_input
from pimd.ipi.pes import PES
from pimd.potentials.registry import parse_spec
from pimd.structure import PotentialError
from pimd.units import BOHR_ANGSTROM, HARTREE_EV

# -- the same numbers ---------------------------------------------------------------------------

EPSILONS = (0.008, 0.011, 0.0135, 0.016)
MEMBERS = [
    {"potential": "lennard_jones", "mode": "smooth", "cutoff": 6.0, "epsilon": e} for e in EPSILONS
]
BASELINE = {"potential": "lennard_jones", "mode": "smooth", "cutoff": 7.0, "sigma": 3.3}
ALPHA, SIGMA_B = 1.3, 0.05


class CommitteePES(PES):
    potential = "committee"


class ArgonPES(PES):
    potential = "lennard_jones"


@pytest.fixture(scope="module")
def argon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Triclinic, displaced, periodic."""
    atoms = bulk("Ar", cubic=True, a=5.3)
    atoms.set_cell(atoms.cell.array @ [[1, 0, 0], [0.1, 1, 0], [0.02, 0.05, 1]], scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    path = tmp_path_factory.mktemp("argon") / "argon.extxyz"
    ase.io.write(path, atoms)
    return path


def asked(pes: PES) -> list[Any]:
    """What i-PI's socket makes of the answer: energy, flat forces, virial, extras as a dict."""
    structure = pes.structure
    cell, pos = structure.cell.T / BOHR_ANGSTROM, structure.positions / BOHR_ANGSTROM
    energy, forces, virial, extras = pes(cell, pos)
    return [energy, forces.ravel(), virial, parse_extra(extras)]


def committee(argon: Path, **options: Any) -> list[Any]:
    return asked(CommitteePES(argon, members=MEMBERS, device="cpu", **options))


def single(argon: Path, spec: dict[str, Any]) -> list[Any]:
    return asked(ArgonPES(argon, **{k: v for k, v in spec.items() if k != "potential"}))


def gathered(parts: dict[str, list[Any]], **options: Any) -> list[Any]:
    """What `<ffcommittee>` makes of the answers of its forcefields."""
    forcefields = [SimpleNamespace(name=name, release=lambda request: None) for name in parts]
    whole = FFCommittee(fflist=forcefields, **options)
    handles = [{"status": "Done", "result": result} for result in parts.values()]
    n = next(iter(parts.values()))[1].size
    request = {"pos": np.zeros(n), "ff_handles": handles}
    whole.gather(request)
    return request["result"]


def check(found: list[Any], expected: list[Any]) -> None:
    """Energy, forces, virial to rounding."""
    assert found[0] == pytest.approx(expected[0], abs=1e-14)
    for a, b in zip(found[1:3], expected[1:3], strict=True):
        np.testing.assert_allclose(np.ravel(a), np.ravel(b), rtol=0, atol=1e-14)


def check_members(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["committee_uncertainty"] == pytest.approx(
        expected["committee_uncertainty"], rel=1e-10
    )
    for key in ("committee_pot", "committee_force", "committee_virial"):
        np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=2e-14)


def test_mean_and_members_are_those_of_ffcommittee_from_forcefields(argon: Path) -> None:
    ours = committee(argon, alpha=ALPHA, member_forces=True)
    theirs = gathered({f"m{k}": single(argon, m) for k, m in enumerate(MEMBERS)}, alpha=ALPHA)
    check(ours, theirs)
    check_members(ours[3], theirs[3])


def test_mean_and_members_are_those_of_ffcommittee_from_json(argon: Path) -> None:
    ours = committee(argon, alpha=ALPHA, member_forces=True)
    raw = committee(argon, member_forces=True)
    theirs = gathered({"all": raw}, alpha=ALPHA, parse_json=True)
    check(ours, theirs)
    check_members(ours[3], theirs[3])


def test_members_without_forces_leave_energy_and_forces_right(argon: Path) -> None:
    ours = committee(argon, alpha=ALPHA)
    theirs = gathered({"all": committee(argon, alpha=ALPHA)}, parse_json=True)
    check(ours, theirs)
    assert theirs[3]["committee_uncertainty"] == pytest.approx(
        ours[3]["committee_uncertainty"], rel=1e-10
    )


def weighted(argon: Path, **options: Any) -> list[Any]:
    return committee(
        argon, alpha=ALPHA, baseline=BASELINE, sigma_b=SIGMA_B,
        properties="wb_mixing baseline_energy committee_energy", **options,
    )


def test_weighted_baseline_is_that_of_ffcommittee(argon: Path) -> None:
    """E, F, virial, sigma and w; i-PI's sigma_b is of the total energy."""
    ours = weighted(argon, member_forces=True)
    n_atoms = 4
    theirs = gathered(
        {"base": single(argon, BASELINE), "all": committee(argon, member_forces=True)},
        alpha=ALPHA, baseline_name="base",
        baseline_uncertainty=SIGMA_B * np.sqrt(n_atoms) / HARTREE_EV, parse_json=True,
    )
    mixing = theirs[3]["wb_mixing"][0]
    assert 0.2 < mixing < 0.8
    assert ours[3]["wb_mixing"] == pytest.approx(mixing, rel=1e-11)
    assert ours[3]["baseline_pot"] == pytest.approx(theirs[3]["baseline_pot"][0], rel=1e-13)
    check(ours, theirs)
    assert ours[3]["committee_uncertainty"] == pytest.approx(
        theirs[3]["committee_uncertainty"], rel=1e-10
    )
    # i-PI's members are the corrections alone, ours are centred on what is sampled
    corrections = np.array(theirs[3]["committee_pot"])
    np.testing.assert_allclose(
        np.array(ours[3]["committee_pot"]) - ours[0], corrections - corrections.mean(), atol=1e-14
    )
    told = np.array(ours[3]["committee_pot"]) - ours[0] + ours[3]["committee_energy"]
    np.testing.assert_allclose(told, corrections + ours[3]["baseline_pot"], atol=1e-14)


def test_weighted_baseline_passes_through_ffcommittee(argon: Path) -> None:
    """i-PI samples the mean of the members it is given: that is U, with its derivatives."""
    ours = weighted(argon, member_forces=True)
    theirs = gathered({"all": weighted(argon, member_forces=True)}, parse_json=True)
    check(theirs, ours)
    assert np.mean(ours[3]["committee_pot"]) == pytest.approx(ours[0], abs=1e-14)


# -- inputs ---------------------------------------------------------------------------------------

XML = """<simulation verbosity='low'>
  <output prefix='sim'><properties stride='1'> [ step ] </properties></output>
  <total_steps> 2 </total_steps><prng><seed> 1 </seed></prng>
  <ffcommittee name='all'>{options} {sockets}</ffcommittee>
  <system><initialize nbeads='2'><file mode='xyz'> init.xyz </file>
    <velocities mode='thermal' units='kelvin'> 300 </velocities></initialize>
    <forces><force forcefield='all'/></forces>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
    <motion mode='dynamics'><dynamics mode='nve'/></motion></system>
</simulation>
"""
SOCKET = """<ffsocket mode='unix' name='{name}'><address>{name}</address>
  <parameters> {spec} </parameters></ffsocket>"""
SPEC = "{potential: committee, members: [harmonic; lennard_jones], alpha: 1.5}"
JSON = "<parse_json> True </parse_json>"


def write(folder: Path, options: str, *specs: str) -> Path:
    sockets = "".join(SOCKET.format(name=f"s{k}", spec=spec) for k, spec in enumerate(specs))
    path = folder / "input.xml"
    path.write_text(XML.format(options=options, sockets=sockets))
    cell = "# CELL(abcABC): 30 30 30 90 90 90 cell{angstrom} positions{angstrom}"
    (folder / "init.xyz").write_text(f"2\n{cell}\nH 0 0 0\nH 1 0 0\n")
    return path


def test_forces_of_members_are_switched_on_where_ffcommittee_reads_them(tmp_path: Path) -> None:
    document = read_input(write(tmp_path, JSON, SPEC))
    (socket,) = document.sockets
    assert socket.spec is not None
    assert socket.spec.options["member_forces"] is True
    assert "member_forces: True" in document.xml()
    (tmp_path / "again.xml").write_text(document.xml())  # as RESTART does
    assert read_input(tmp_path / "again.xml").sockets[0].spec == socket.spec


def test_a_potential_of_the_command_line_gets_them_too(tmp_path: Path) -> None:
    document = read_input(write(tmp_path, JSON, SPEC))
    document.set_potentials(["s0=committee, members: [harmonic; harmonic]"])
    assert document.sockets[0].spec == parse_spec(
        "{potential: committee, members: [harmonic; harmonic], member_forces: true}"
    )


@pytest.mark.parametrize(
    "options", ["", "<parse_json> False </parse_json>", "<alpha> 1.2 </alpha>"]
)
def test_they_stay_off_where_nobody_reads_them(tmp_path: Path, options: str) -> None:
    document = read_input(write(tmp_path, options, SPEC, "{potential: harmonic, k: 1.0}"))
    for socket in document.sockets:
        assert socket.spec is not None
        assert "member_forces" not in socket.spec.options
    outside = XML.replace("<ffcommittee name='all'>", "").replace("</ffcommittee>", "")
    path = tmp_path / "outside.xml"
    path.write_text(outside.format(options="", sockets=SOCKET.format(name="all", spec=SPEC)))
    assert read_input(path).sockets[0].spec == parse_spec(SPEC).resolved(tmp_path)


def test_they_can_be_switched_off_where_i_pi_does_without(tmp_path: Path) -> None:
    off = SPEC.replace("alpha", "member_forces: false, alpha")
    socket = read_input(write(tmp_path, JSON, off)).sockets[0]
    assert socket.spec is not None
    assert socket.spec.options["member_forces"] is False
    baseline = JSON + (
        "<baseline_name> s1 </baseline_name><baseline_uncertainty> 0.1 </baseline_uncertainty>"
    )
    harmonic = "{potential: harmonic, k: 1.0}"
    with pytest.raises(InputError, match=r"'s0'.*weighted baseline needs the forces of every"):
        read_input(write(tmp_path, baseline, off, harmonic))
    with pytest.raises(InputError, match="beside other forcefields it needs the forces"):
        read_input(write(tmp_path, JSON, off, harmonic))
    document = read_input(write(tmp_path, JSON, SPEC, harmonic))
    with pytest.raises(PotentialError, match="leave it out"):
        document.set_potentials([f"s0={off}"])


def simulation(*forcefields: tuple[str, dict[str, Any]], **keywords: Any) -> Any:
    """As much of i-PI's simulation as is looked at."""
    parts = [SimpleNamespace(name=name, pars=pars) for name, pars in forcefields]
    return SimpleNamespace(fflist={"all": FFCommittee(fflist=parts, **keywords), "other": None})


@pytest.mark.parametrize(
    ("pars", "keywords", "message"),
    [
        ([{}, {}], {"ffweights": np.array([10.0, 1.0])}, "i-PI ignores its <weights>"),
        ([{}], {}, "it has one member, so no spread"),
        ([{}, {}], {"baseline_name": "s0", "baseline_uncertainty": 0.1}, "one member"),
        ([{"alpha": "1.5"}], {"alpha": 1.2, "parse_json": True}, "alpha, 1.2, scales once more"),
    ],
)
def test_what_is_said_of_a_committee(pars: list, keywords: dict, message: str) -> None:
    found = committee_warnings(
        simulation(*((f"s{k}", p) for k, p in enumerate(pars)), **keywords), ["all", "other"]
    )
    assert len(found) == 1
    assert message in found[0]
    assert found[0].startswith("<ffcommittee name='all'>: ")


@pytest.mark.parametrize(
    ("pars", "keywords"),
    [
        ([{}, {}], {"ffweights": np.ones(2), "alpha": 1.2}),
        ([{"alpha": "1.5"}], {"parse_json": True}),
        ([{"alpha": "no number"}], {"parse_json": True, "alpha": 2.0}),
        ([{}, {}, {}], {"baseline_name": "s0", "baseline_uncertainty": 0.1}),
    ],
)
def test_nothing_is_said_of_a_sound_one(pars: list, keywords: dict) -> None:
    whole = simulation(*((f"s{k}", p) for k, p in enumerate(pars)), **keywords)
    assert committee_warnings(whole, ["all", "other", "nothing"]) == []
