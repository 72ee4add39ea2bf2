"""Particles in a harmonic trap as an i-PI input, and what is exact for them."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np

from pimd.units import AMU_ANGSTROM2_PER_FS2_EV, HBAR_EV_FS, KB_EV_PER_KELVIN

TEMPERATURE, MASS, X = 300.0, 1.00794, 5.0
"""K, amu, beta hbar omega."""
KT = KB_EV_PER_KELVIN * TEMPERATURE
OMEGA = X * KT / HBAR_EV_FS
SPRING = MASS * AMU_ANGSTROM2_PER_FS2_EV * OMEGA**2
SPEC = f"{{potential: harmonic, k: {SPRING:.10f}, pbc: False}}"

XML = """<simulation verbosity='quiet'>
  <output prefix='sim'>
    <properties stride='{stride}' filename='out'> [ {properties} ] </properties>
    {trajectory}
  </output>
  <total_steps> {steps} </total_steps>
  <prng> <seed> 11 </seed> </prng>
  <ffsocket mode='unix' name='trap' pbc='False'>
    <address> trap </address> <batch_size> {beads} </batch_size>
    <parameters> {spec} </parameters>
  </ffsocket>
  <system>
    <initialize nbeads='{beads}'>
      <file mode='xyz'> init.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces> <force forcefield='trap'/> </forces>
    <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
    <motion mode='dynamics'>
      <fixcom> False </fixcom>
      <dynamics mode='nvt' splitting='baoab'>
        <timestep units='femtosecond'> {timestep} </timestep>
        <thermostat mode='pile_l'> <tau units='femtosecond'> 10 </tau>
          <pile_lambda> 0.5 </pile_lambda> </thermostat>
      </dynamics>
    </motion>
  </system>
</simulation>
"""


def write_trap(
    folder: Path, *, steps: int, beads: int = 4, atoms: int = 64, timestep: float = 0.5,
    stride: int = 4, spec: str = SPEC, properties: str = "step, potential{electronvolt}",
    trajectory: str = "",
) -> Path:
    """The input, with the structure it names, in a folder."""
    rng = np.random.default_rng(3)
    lines = [str(atoms), "# CELL(abcABC): 50 50 50 90 90 90 cell{angstrom} positions{angstrom}"]
    lines += [f"H {x:.6f} {y:.6f} {z:.6f}" for x, y, z in rng.normal(0.0, 0.1, (atoms, 3))]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "init.xyz").write_text("\n".join(lines) + "\n")
    path = folder / "input.xml"
    path.write_text(XML.format(
        steps=steps, beads=beads, spec=spec, timestep=timestep, stride=stride,
        properties=properties, trajectory=trajectory,
    ))
    return path


def run_trap(source: Path) -> Path:
    """Run an input with `pimd run`; its run directory."""
    done = subprocess.run(
        [sys.executable, "-m", "pimd.cli", "run", str(source), "--threads", "1"],
        capture_output=True, text=True, timeout=300, check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return source.with_name("input.run")


def excess(x: float, n_beads: int) -> float:
    """beta (A_q - A_cl) of one oscillator of P beads."""
    eta = 2.0 * math.asinh(x / (2.0 * n_beads))
    return 0.5 * n_beads * eta + math.log1p(-math.exp(-n_beads * eta)) - math.log(x)
