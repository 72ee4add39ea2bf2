"""Several forcefields, several systems, contracted beads, and inputs that need no daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from .runs import pimd, read_rows, summary

HEAD = """<simulation verbosity='medium' {threading}>
  <output prefix='sim'><properties stride='1' filename='out'>
    [ step, potential{{electronvolt}} ] </properties></output>
  <total_steps> 6 </total_steps><prng><seed> 7 </seed></prng>
"""
SOCKET = """  <ffsocket mode='unix' name='{name}' pbc='False'><address>{name}</address>
    <parameters> {spec} </parameters></ffsocket>
"""
SYSTEM = """  <system {prefix}>
    <initialize nbeads='{beads}'><file mode='xyz'> {file} </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities></initialize>
    <forces> {forces} </forces>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
    <motion mode='dynamics'><fixcom> False </fixcom><dynamics mode='nvt'>
      <timestep units='femtosecond'> 0.2 </timestep>
      <thermostat mode='pile_l'><tau units='femtosecond'> 50 </tau></thermostat>
    </dynamics></motion></system>
"""


def structure(folder: Path, name: str, symbols: str) -> None:
    cell = "# CELL(abcABC): 30 30 30 90 90 90 cell{angstrom} positions{angstrom}"
    lines = [str(len(symbols)), cell]
    lines += [f"{symbol} {1.5 * k} 0.1 {0.2 * k}" for k, symbol in enumerate(symbols)]
    (folder / name).write_text("\n".join(lines) + "\n")


def run(folder: Path, *parts: str, threading: str = "") -> tuple[int, str]:
    xml = folder / "input.xml"
    xml.write_text(HEAD.format(threading=threading) + "".join(parts) + "</simulation>\n")
    done = pimd("run", xml)
    return done.returncode, done.stdout


def system(file: str, *names: str, beads: int = 4, prefix: str = "", inner: int = 0) -> str:
    contracted = f"nbeads='{inner}'" if inner else ""
    forces = "".join(f"<force forcefield='{name}' {contracted}/>" for name in names)
    return SYSTEM.format(
        file=file, forces=forces, beads=beads, prefix=f"prefix='{prefix}'" if prefix else ""
    )


def test_two_potentials_add_up_and_have_a_daemon_each(tmp_path: Path) -> None:
    structure(tmp_path, "init.xyz", "HHH")
    soft = SOCKET.format(name="soft", spec="{potential: harmonic, k: 0.5}")
    stiff = SOCKET.format(name="stiff", spec="{potential: harmonic, k: 1.5}")
    code, text = run(tmp_path, soft, stiff, system("init.xyz", "soft", "stiff"))
    assert code == 0, text
    data = summary(tmp_path / "input.run")
    assert set(data["potentials"]) == {"soft", "stiff"}
    assert data["exchanges_per_step"] == 2.0
    both = read_rows(tmp_path / "input.run" / "sim.out")
    one = tmp_path / "one"
    one.mkdir()
    structure(one, "init.xyz", "HHH")
    whole = SOCKET.format(name="whole", spec="{potential: harmonic, k: 2.0}")
    code, text = run(one, whole, system("init.xyz", "whole"))
    assert code == 0, text
    for a, b in zip(both, read_rows(one / "input.run" / "sim.out"), strict=True):
        assert a == pytest.approx(b, rel=1e-7)


def test_systems_of_different_sizes_share_one_daemon(tmp_path: Path) -> None:
    structure(tmp_path, "small.xyz", "HH")
    structure(tmp_path, "large.xyz", "HOHHH")
    spec = "{potential: harmonic, k: 1.0}"
    code, text = run(
        tmp_path,
        SOCKET.format(name="a", spec=spec), SOCKET.format(name="b", spec=spec),
        system("small.xyz", "a", prefix="s"), system("large.xyz", "b", prefix="l", beads=6),
    )
    assert code == 0, text
    data = summary(tmp_path / "input.run")
    assert data["n_atoms"] == [2, 5]
    assert data["n_beads"] == [4, 6]
    assert data["structures_evaluated"] == data["structures_needed"] == 6 * (4 + 6)
    assert (tmp_path / "input.run" / "daemon.log").read_text().count("Traceback") == 0


def test_one_socket_for_different_systems_is_refused(tmp_path: Path) -> None:
    structure(tmp_path, "small.xyz", "HH")
    structure(tmp_path, "large.xyz", "HHH")
    code, text = run(
        tmp_path, SOCKET.format(name="a", spec="{potential: harmonic, k: 1.0}"),
        system("small.xyz", "a", prefix="s"), system("large.xyz", "a", prefix="l"),
    )
    assert code == 2
    assert "serves systems with different atoms" in text


@pytest.mark.parametrize("threading", ["", "threading='False'"])
def test_two_equal_systems_on_one_socket(tmp_path: Path, threading: str) -> None:
    structure(tmp_path, "init.xyz", "HH")
    code, text = run(
        tmp_path, SOCKET.format(name="a", spec="{potential: harmonic, k: 1.0}"),
        system("init.xyz", "a", prefix="s"), system("init.xyz", "a", prefix="t"),
        threading=threading,
    )
    assert code == 0, text
    data = summary(tmp_path / "input.run")
    assert data["structures_evaluated"] == data["structures_needed"] == 6 * 8


def test_contracted_beads_are_sent_as_one_round(tmp_path: Path) -> None:
    structure(tmp_path, "init.xyz", "HHH")
    code, text = run(
        tmp_path, SOCKET.format(name="a", spec="{potential: harmonic, k: 1.0}"),
        system("init.xyz", "a", beads=8, inner=3),
    )
    assert code == 0, text
    assert "3 beads in one call" in text
    data = summary(tmp_path / "input.run")
    assert data["exchanges_per_step"] == 1.0
    assert data["structures_evaluated"] == 6 * 3


def test_an_input_without_sockets_runs_without_a_daemon(tmp_path: Path) -> None:
    structure(tmp_path, "init.xyz", "HHH")
    direct = (
        "<ffdirect name='d'><pes> harmonic </pes><parameters> {k1: 1.0} </parameters></ffdirect>"
    )
    code, text = run(tmp_path, direct, system("init.xyz", "d"))
    assert code == 0, text
    assert summary(tmp_path / "input.run")["steps"] == 6
