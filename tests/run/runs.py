"""Small runs in processes of their own, each with a hard time limit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ODD = Path(__file__).with_name("odd_potentials.py")
LIMIT_S = 90.0

OUTPUTS = """<properties stride='2' filename='out'>
      [ step, conserved{electronvolt}, potential{electronvolt}, kinetic_cv{electronvolt} ]
    </properties>
    <trajectory filename='pos' stride='4'> positions{angstrom} </trajectory>
    <trajectory filename='xc' stride='1' format='xyz'> x_centroid{angstrom} </trajectory>"""
XML = """<simulation verbosity='medium'>
  <output prefix='sim'>
    {outputs}
    {checkpoint}
  </output>
  <total_steps> {steps} </total_steps>
  <prng><seed> {seed} </seed></prng>
  <ffsocket mode='unix' name='driver' pbc='False'><address>trap</address>
    <parameters> {spec} </parameters></ffsocket>
  <system>
    <initialize nbeads='{beads}'><file mode='xyz'> init.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities></initialize>
    <forces><force forcefield='driver'/></forces>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
    <motion mode='dynamics'><fixcom> False </fixcom><dynamics mode='nvt'>
      <timestep units='femtosecond'> {timestep} </timestep>
      <thermostat mode='pile_l'><tau units='femtosecond'> {tau} </tau></thermostat>
    </dynamics></motion>
  </system>
</simulation>
"""


def write_input(
    folder: Path,
    spec: str = "{potential: harmonic, k: 1.0}",
    *,
    steps: int = 20,
    beads: int = 4,
    atoms: int = 3,
    checkpoint: str = "<checkpoint filename='chk' stride='5'/>",
    outputs: str = OUTPUTS,
    spread: float = 0.3,
    timestep: float = 0.5,
    tau: float = 50.0,
    seed: int = 7,
) -> Path:
    """The input, with the structure it names: hydrogens about the origin, `spread` Å apart."""
    rng = np.random.default_rng(5)
    lines = [str(atoms), "# CELL(abcABC): 30 30 30 90 90 90 cell{angstrom} positions{angstrom}"]
    lines += [f"H {x:.6f} {y:.6f} {z:.6f}" for x, y, z in rng.normal(0.0, spread, (atoms, 3))]
    (folder / "init.xyz").write_text("\n".join(lines) + "\n")
    path = folder / "input.xml"
    path.write_text(XML.format(
        spec=spec, steps=steps, beads=beads, checkpoint=checkpoint, outputs=outputs,
        timestep=timestep, tau=tau, seed=seed,
    ))
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "pimd.cli", *map(str, arguments)]


def pimd(*arguments: object, limit: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
    """Run pimd to its end."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=limit, check=False
    )


class Running:
    """A run in the background that is always ended."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            command("run", *arguments, "--interval", "0.2"),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.wait(10)

    def wait_for_rows(self, path: Path, rows: int, limit: float = 60.0) -> None:
        """Wait until an output has at least so many rows."""
        deadline = time.monotonic() + limit
        while not path.exists() or len(read_rows(path)) < rows:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the run did not get to {rows} rows: {self.output()}")
            time.sleep(0.02)

    def daemon_pid(self) -> int:
        """The pid of the daemon, a child of the run."""
        pids = children(self.process.pid)
        assert len(pids) == 1, pids
        return pids[0]

    def output(self, limit: float = LIMIT_S) -> str:
        return self.process.communicate(timeout=limit)[0]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


def children(pid: int) -> list[int]:
    """Direct child processes, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            fields = stat.rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def read_rows(path: Path) -> list[list[float]]:
    """Whole rows of a property file."""
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    return [
        [float(word) for word in line.split()]
        for line in whole.splitlines() if line.strip() and not line.startswith("#")
    ]


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found
