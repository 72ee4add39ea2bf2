"""Each driver in the three ways it can be used, in short runs of a stock i-PI that must agree.

The same input is run with the driver as a program, as i-PI's <ffdirect> and in i-PI's own
client, and its outputs are compared as text: all digits that i-PI prints.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule

DRIVERS = Path(__file__).parents[2] / "drivers"
BIN = Path(sys.executable).parent
LIMIT_S = 90.0
N_BEADS = 4

INPUT = """
<simulation verbosity='low' threading='False'>
  <output prefix='run'>
    <properties stride='1' filename='out'>
      [ step, conserved, kinetic_cv, potential, pressure_cv ]
    </properties>
    <trajectory filename='frc' stride='2' format='xyz'> forces </trajectory>
    {extras}
  </output>
  <total_steps> 4 </total_steps>
  <prng> <seed> 7 </seed> </prng>
  {forcefield}
  <system>
    <initialize nbeads='{beads}'>
      <file mode='xyz'> init.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces> <force forcefield='pes'/> </forces>
    <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
    <motion mode='dynamics'>
      <dynamics mode='nve'> <timestep units='femtosecond'> 0.5 </timestep> </dynamics>
    </motion>
  </system>
</simulation>
"""


@dataclass(frozen=True)
class Case:
    """A driver, its options as i-PI writes them, and the atoms."""

    driver: str
    options: dict[str, str]
    atoms: ase.Atoms
    extras: str = ""


def _water() -> ase.Atoms:
    atoms = molecule("H2O")
    atoms.set_cell([9.0, 9.0, 9.0])
    pair = atoms.copy()
    pair.positions += [0.3, 0.2, 3.0]
    return atoms + pair


def _copper() -> ase.Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=3)
    return atoms


def _hydrogen() -> ase.Atoms:
    return ase.Atoms("H3", positions=np.eye(3) * 0.2, cell=[20.0] * 3)


DIPOLES = "<trajectory filename='dip' stride='2' extra_type='dipole'> extras </trajectory>"
CASES = {
    "harmonic": Case("harmonic_driver.py", {"k": "1.5"}, _hydrogen()),
    "qtip4pf": Case("qtip4pf_driver.py", {"properties": "dipole"}, _water(), DIPOLES),
    "committee": Case(
        "committee_driver.py",
        {
            "members": "[(potential: harmonic; k: 1.2); (potential: harmonic; k: 1.9)]",
            "alpha": "1.5", "device": "cpu",
        },
        _hydrogen(),
        DIPOLES.replace("dipole", "committee_uncertainty"),
    ),
    "behler_parrinello": Case(
        "behler_parrinello_driver.py",
        {"dtype": "float64", "device": "cpu"},
        _water(),
        DIPOLES.replace("dipole", "committee_uncertainty"),
    ),
    "ase": Case(
        "ase_driver.py", {"calculator": "ase.calculators.emt.EMT", "workers": "2"}, _copper()
    ),
}


class Runs:
    """Runs of one case, each in a folder of its own."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.folder = case, folder
        self.driver = DRIVERS / case.driver

    def prepare(self, name: str, forcefield: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        atoms = self.case.atoms
        a, b, c = atoms.cell.lengths()
        comment = f"# CELL(abcABC): {a} {b} {c} 90 90 90 positions{{angstrom}} cell{{angstrom}}"
        rows = [
            f"{symbol} {x[0]:.8f} {x[1]:.8f} {x[2]:.8f}"
            for symbol, x in zip(atoms.symbols, atoms.positions, strict=True)
        ]
        (folder / "init.xyz").write_text("\n".join([str(len(atoms)), comment, *rows]) + "\n")
        text = INPUT.format(beads=N_BEADS, forcefield=forcefield, extras=self.case.extras)
        (folder / "input.xml").write_text(text)
        return folder

    def socket(self) -> tuple[str, str]:
        """A name no other run has, and the forcefield that listens there."""
        name = f"pimd_test_{uuid.uuid4().hex[:12]}"
        return name, (
            f"<ffsocket name='pes' mode='unix'> <address> {name} </address> <batch_size> "
            f"{N_BEADS} </batch_size> <timeout> 60 </timeout> </ffsocket>"
        )

    def options(self, separator: str) -> str:
        return separator.join(f"{k}{'=' if separator == ',' else ': '}{v}"
                              for k, v in self.case.options.items())  # fmt: skip

    def program(self) -> Path:
        name, forcefield = self.socket()
        folder = self.prepare("program", forcefield)
        command = [sys.executable, str(self.driver), "--connect", f"unix:{name}"]
        command += ["--template", "init.xyz", "-o", self.options(","), "--threads", "1"]
        return self.with_client(folder, command, name, wait=False)

    def ipi_client(self) -> Path:
        name, forcefield = self.socket()
        folder = self.prepare("client", forcefield)
        command = [str(BIN / "i-pi-driver-py"), "-u", "-a", name, "-m", "custom"]
        command += ["-P", str(self.driver)]
        command += ["-o", f"template=init.xyz,threads=1,{self.options(',')}"]
        return self.with_client(folder, command, name, wait=True)

    def direct(self) -> Path:
        forcefield = (
            f"<ffdirect name='pes'> <pes> custom </pes> <pes_path> {self.driver} </pes_path> "
            f"<parameters> {{template: init.xyz, threads: 1, {self.options(', ')}}} </parameters> "
            f"<batch_size> {N_BEADS} </batch_size> </ffdirect>"
        )
        folder = self.prepare("direct", forcefield)
        result = subprocess.run(
            [str(BIN / "i-pi"), "input.xml"], cwd=folder, capture_output=True, text=True,
            timeout=LIMIT_S,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr
        return folder

    def with_client(self, folder: Path, command: list[str], name: str, *, wait: bool) -> Path:
        """i-PI and a client; `wait` for the socket, for clients that do not wait themselves."""
        deadline = time.monotonic() + LIMIT_S
        socket_file = Path(f"/tmp/ipi_{name}")
        with open(folder / "i-pi.log", "w") as server_log, open(folder / "client.log", "w") as log:
            server = subprocess.Popen(
                [str(BIN / "i-pi"), "input.xml"], cwd=folder, stdout=server_log, stderr=server_log
            )
            client = None
            try:
                while wait and not socket_file.exists():
                    assert server.poll() is None, (folder / "i-pi.log").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                client = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
                for process in (server, client):
                    status = process.wait(max(0.1, deadline - time.monotonic()))
                    assert status == 0, (folder / "client.log").read_text()
            finally:
                for process in (server, client):
                    if process is not None and process.poll() is None:
                        process.kill()
                        process.wait()
                if socket_file.exists():
                    os.unlink(socket_file)
        return folder


def outputs(folder: Path) -> dict[str, str]:
    """Everything i-PI wrote, as text."""
    files = sorted(folder.glob("run.*"))
    assert len(files) >= 1 + N_BEADS
    return {path.name: path.read_text() for path in files}


@pytest.mark.parametrize("name", CASES)
def test_three_ways_agree(name: str, tmp_path: Path) -> None:
    runs = Runs(CASES[name], tmp_path)
    program, direct, client = (outputs(f()) for f in (runs.program, runs.direct, runs.ipi_client))
    assert program.keys() == direct.keys() == client.keys()
    for file, text in program.items():
        assert direct[file] == text, f"{file}: ffdirect and the program differ"
        assert client[file] == text, f"{file}: i-PI's client and the program differ"
    table = np.loadtxt(tmp_path / "program" / "run.out")
    assert table[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert np.ptp(table[:, 3]) > 0.0  # it moved
    if CASES[name].extras:
        assert sum(file.startswith("run.dip") for file in program) == N_BEADS
