"""Stock i-PI as a process with a time limit, on a small harmonic system."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pimd.potentials.base import Structure
from pimd.potentials.harmonic import Harmonic

BOHR, HARTREE = 0.529177210903, 27.211386245988
K_HARTREE = 0.1
"""Spring constant in hartree/bohr²."""
N_ATOMS = 3
IPI = Path(sys.executable).with_name("i-pi")
BEADS, STEPS = 6, 12
RUN_LIMIT = 60.0


def harmonic() -> Harmonic:
    """The same potential as i-PI's own harmonic driver."""
    return Harmonic(k=K_HARTREE * HARTREE / BOHR**2)


def template() -> Structure:
    positions = np.array([[0.0, 0.1, 0.2], [0.3, -0.2, 0.1], [-0.4, 0.2, -0.3]])
    return Structure(np.array([1, 1, 8]), positions, 20.0 * np.eye(3))


@dataclass
class Forcefield:
    """How i-PI gets its forces, as an element of its input."""

    name: str
    xml: str
    address: str = ""


def ffdirect() -> Forcefield:
    """i-PI's own harmonic potential, in its process."""
    return Forcefield(
        "direct",
        "<ffdirect name='ff' pbc='false'><pes> harmonic </pes>"
        f"<parameters>{{k1: {K_HARTREE}}}</parameters></ffdirect>",
    )


def ffsocket(mode: str, *, batch: int = 1, consolidate: bool = True, more: str = "") -> Forcefield:
    """A socket of a name of its own; `more` goes into the element."""
    name = f"pimdtest{uuid.uuid4().hex[:8]}"
    place, address = f"<address>{name}</address>", f"{mode}:{name}"
    if mode == "inet":
        port = free_port()
        place = f"<address>127.0.0.1</address><port>{port}</port>"
        address = f"inet:127.0.0.1:{port}"
    batch_xml = f"<batch_size>{batch}</batch_size>" if batch > 1 else ""
    consolidated = "" if consolidate else "<consolidate_messages>False</consolidate_messages>"
    return Forcefield(
        name,
        f"<ffsocket name='ff' mode='{mode}' pbc='false'>{place}{batch_xml}{consolidated}"
        f"<latency>1e-3</latency>{more}</ffsocket>",
        address,
    )


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def write_input(folder: Path, forcefield: Forcefield, steps: int = STEPS) -> Path:
    """An input of a few steps of thermostatted path-integral dynamics."""
    folder.mkdir(parents=True, exist_ok=True)
    structure = template()
    comment = "# CELL(abcABC): 20 20 20 90 90 90 cell{angstrom} positions{angstrom}"
    lines = [str(len(structure)), comment]
    symbols = {1: "H", 8: "O"}
    for number, position in zip(structure.numbers, structure.positions, strict=True):
        lines.append(" ".join([symbols[int(number)], *(f"{x:.6f}" for x in position)]))
    (folder / "init.xyz").write_text("\n".join(lines) + "\n")
    text = f"""<simulation verbosity='low'>
  <output prefix='out'>
    <properties stride='1' filename='props'> [step, conserved, potential, kinetic_cv] </properties>
    <trajectory stride='1' filename='pos' format='xyz'> positions </trajectory>
  </output>
  <total_steps>{steps}</total_steps>
  <prng><seed>31415</seed></prng>
  {forcefield.xml}
  <system>
    <initialize nbeads='{BEADS}'>
      <file mode='xyz'> init.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='ff'/></forces>
    <motion mode='dynamics'>
      <fixcom>False</fixcom>
      <dynamics mode='nvt'>
        <timestep units='femtosecond'> 0.25 </timestep>
        <thermostat mode='pile_l'><tau units='femtosecond'> 100 </tau></thermostat>
      </dynamics>
    </motion>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
  </system>
</simulation>
"""
    path = folder / "input.xml"
    path.write_text(text)
    return path


class IPi:
    """A running i-PI."""

    def __init__(self, input_file: Path) -> None:
        self.folder = input_file.parent
        self.log = (self.folder / "log").open("wb")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [str(IPI), input_file.name],
            cwd=self.folder,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env=environment,
        )

    def wait(self, limit: float = RUN_LIMIT) -> int:
        """Its exit status; killed, and a failure, beyond the limit."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"i-PI did not end:\n{self.text()}") from None
        finally:
            self.close()

    def text(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self.log.close()

    def __enter__(self) -> IPi:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def properties(folder: Path) -> str:
    """The printed properties, without comments."""
    lines = (folder / "out.props").read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


def trajectories(folder: Path) -> list[str]:
    """The printed trajectories of the beads."""
    files = sorted(folder.glob("out.pos_*.xyz"))
    assert files
    return [file.read_text() for file in files]


def remove_socket(forcefield: Forcefield) -> None:
    """A stale socket file, as a killed i-PI leaves it."""
    Path(f"/tmp/ipi_{forcefield.name}").unlink(missing_ok=True)


def assert_same(folder: Path, reference: Path) -> None:
    """Two runs printed the same numbers."""
    assert properties(folder) == properties(reference)
    assert trajectories(folder) == trajectories(reference)
