"""Small i-PI inputs, run by `pimd run` in a process of its own, and what they wrote."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .references import KB_HARTREE

TEMPLATE = """<simulation verbosity='quiet' safe_stride='1000' floatformat='%.15e'>
  <output prefix='simulation'>
    <properties stride='{stride}' filename='out' flush='1000000'> [ {properties} ] </properties>
{trajectories}  </output>
  <total_steps>{n_steps}</total_steps>
  <prng><seed>{seed}</seed></prng>
  <ffsocket name='forces' mode='unix' pbc='false'>
    <address>{address}</address>
    <batch_size>{n_beads}</batch_size>
    <parameters> {spec} </parameters>
  </ffsocket>
  <system>
    <initialize nbeads='{n_beads}'>
      <file mode='xyz'> initial.xyz </file>
{masses}      <velocities mode='thermal' units='kelvin'> {start_temperature} </velocities>
    </initialize>
    <forces>{forces}</forces>
    <motion mode='dynamics'>
      <fixcom> {fixcom} </fixcom>
      <dynamics mode='{mode}' splitting='{splitting}'>
        <timestep units='femtosecond'> {time_step} </timestep>
{dynamics}      </dynamics>
    </motion>
    <ensemble>
      <temperature units='atomic_unit'> {kt:.15e} </temperature>
{ensemble}    </ensemble>
  </system>
</simulation>
"""


@dataclass
class Input:
    """One run. Å, fs, K, amu; forces by the potential that `spec` names.

    i-PI's kelvin is 1.15e-6 larger than CODATA's, so kT is given in hartree; properties are
    written to 16 digits. Everything i-PI writes without a unit is in atomic units.

    Attributes:
        symbols, positions: of the atoms, (n_atoms,) and (n_atoms, 3).
        spec: in i-PI's `<parameters>`.
        cell: edges of the orthorhombic cell, Å. i-PI always has one; structures that are not
            periodic say so in `spec`.
        mode, splitting: of i-PI's dynamics.
        properties: what to write, with units as in i-PI; the step is written besides.
        trajectories: XML elements of further outputs.
        masses: amu, for labels whose mass is not i-PI's own.
        thermostat: XML element in place of PILE-L.
        forces: XML elements; the forcefield is called forces.
        thermostat_time: fs, of the centroid (PILE-L).
        pile_lambda: friction of mode k over 2 omega_k.
        dynamics, ensemble: further XML within those elements.
    """

    symbols: list[str]
    positions: np.ndarray
    spec: str
    n_beads: int
    temperature: float
    time_step: float
    n_steps: int
    properties: tuple[str, ...]
    cell: tuple[float, float, float] = (1000.0, 1000.0, 1000.0)
    mode: str = "nvt"
    splitting: str = "baoab"
    thermostat_time: float = 100.0
    pile_lambda: float = 0.5
    fixcom: bool = True
    stride: int = 1
    seed: int = 4711
    masses: tuple[float, ...] | None = None
    thermostat: str | None = None
    forces: str = "<force forcefield='forces'/>"
    start_temperature: float | None = None
    trajectories: str = ""
    dynamics: str = ""
    ensemble: str = ""

    def xml(self, address: str = "forces") -> str:
        """The XML input; the structure is in `initial.xyz` beside it."""
        masses = (
            ""
            if self.masses is None
            else "      <masses mode='manual' units='dalton'> "
            f"[{', '.join(f'{m:.12e}' for m in self.masses)}] </masses>\n"
        )
        return TEMPLATE.format(
            stride=self.stride,
            properties=", ".join(("step", *self.properties)),
            trajectories=self.trajectories,
            n_steps=self.n_steps,
            seed=self.seed,
            address=address,
            n_beads=self.n_beads,
            spec=self.spec,
            forces=self.forces,
            masses=masses,
            start_temperature=self.start_temperature or self.temperature,
            fixcom=self.fixcom,
            mode=self.mode,
            splitting=self.splitting,
            time_step=self.time_step,
            dynamics=self._thermostat() + self.dynamics,
            kt=self.temperature * KB_HARTREE,
            ensemble=self.ensemble,
        )

    def _thermostat(self) -> str:
        """Its XML element, on lines of its own."""
        if self.mode == "nve":
            return ""
        if self.thermostat is not None:
            return f"        {self.thermostat}\n"
        return (
            f"        <thermostat mode='pile_l'><tau units='femtosecond'> "
            f"{self.thermostat_time} </tau><pile_lambda> {self.pile_lambda} </pile_lambda>"
            "</thermostat>\n"
        )

    def xyz(self) -> str:
        """The structure in i-PI's xyz."""
        edges = self.cell
        lines = [
            str(len(self.symbols)),
            f"# CELL(abcABC): {edges[0]:.8f} {edges[1]:.8f} {edges[2]:.8f} 90 90 90 "
            "positions{angstrom} cell{angstrom}",
        ]
        lines += [
            f"{symbol} {x:.10f} {y:.10f} {z:.10f}"
            for symbol, (x, y, z) in zip(self.symbols, self.positions, strict=True)
        ]
        return "\n".join(lines) + "\n"


@dataclass
class Run:
    """What a run wrote: property series without the first row, and summary.json."""

    folder: Path
    properties: dict[str, np.ndarray]
    summary: dict[str, Any]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.properties[name]

    def positions(self, name: str = "pos", n_skip: int = 0) -> np.ndarray:
        """Positions of all beads in the files' unit, (n_frames, n_beads, n_atoms, 3)."""
        files = sorted(self.folder.glob(f"simulation.{name}_*.xyz"))
        return np.stack([read_xyz(file)[n_skip:] for file in files], axis=1)


def run_pimd(
    folder: Path, given: Input, *, time_limit: float, options: tuple[str, ...] = ()
) -> Run:
    """Run `pimd run` on the input in `folder`, with further options, and read what it wrote.

    Raises:
        AssertionError: if it fails or takes longer than `time_limit` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "input.xml").write_text(given.xml(address=f"pimd-test-{os.getpid()}"))
    (folder / "initial.xyz").write_text(given.xyz())
    run_folder = folder / "run"
    command = [sys.executable, "-m", "pimd.cli", "run", str(folder / "input.xml"),
               "--run-dir", str(run_folder), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = folder / "pimd.log"
    with open(log, "w") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            status = process.wait(timeout=time_limit)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait(timeout=30)
            status = None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    said = log.read_text()[-4000:]
    assert status is not None, f"`pimd run` took longer than {time_limit} s:\n{said}"
    assert status == 0, f"`pimd run` ended with status {status}:\n{said}"
    summary = json.loads((run_folder / "summary.json").read_text())
    assert summary["exit_reason"] == "finished", said
    assert summary["steps"] == given.n_steps, said
    properties = read_properties(run_folder / "simulation.out")
    assert all(len(series) == given.n_steps // given.stride for series in properties.values())
    return Run(run_folder, properties, summary)


def read_properties(path: Path) -> dict[str, np.ndarray]:
    """Columns of one of i-PI's property files by name, without the row of step 0."""
    names: list[str] = []
    for line in path.read_text().splitlines():
        found = re.match(r"#\s+(?:column|cols\.)\s+[\d-]+\s+-->\s+(\S+)", line)
        if found:
            names.append(found[1].partition("{")[0])
    table = np.loadtxt(path, ndmin=2)[1:]
    assert table.shape[1] == len(names), f"{path}: {table.shape[1]} columns, {len(names)} named"
    return {name: table[:, k] for k, name in enumerate(names)}


def read_xyz(path: Path) -> np.ndarray:
    """Positions in an xyz file of equal frames, (n_frames, n_atoms, 3), as written."""
    lines = path.read_text().splitlines()
    n_atoms = int(lines[0])
    frames = len(lines) // (n_atoms + 2)
    rows = [
        line.split()[1:4]
        for frame in range(frames)
        for line in lines[frame * (n_atoms + 2) + 2 : (frame + 1) * (n_atoms + 2)]
    ]
    return np.array(rows, dtype=float).reshape(frames, n_atoms, 3)
