"""i-PI's text files of a made-up run, written as i-PI writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

LABELS = ("O", "H", "H")
EDGE = 9.0
"""Å."""

INPUT = """<simulation>
  <output prefix='sim'>
    <properties stride='1' filename='out'> [ step, potential{electronvolt} ] </properties>
    <trajectory stride='2' filename='pos' cell_units='angstrom'> positions{angstrom} </trajectory>
    <trajectory stride='4' filename='for'> forces </trajectory>
    <trajectory stride='2' filename='mom'> momenta </trajectory>
    <trajectory stride='2' filename='com' extra_type='committee_pot'> extras </trajectory>
  </output>
  <total_steps> 10 </total_steps>
  <ffsocket mode='unix' name='water'> <parameters> {potential: qtip4pf} </parameters> </ffsocket>
  <system>
    <initialize nbeads='2'> <file mode='xyz'> gone.xyz </file> </initialize>
    <forces> <force forcefield='water'/> </forces>
    <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
    <motion mode='dynamics'>
      <dynamics mode='nvt' splitting='baoab'>
        <timestep units='femtosecond'> 0.5 </timestep>
        <thermostat mode='pile_l'/>
      </dynamics>
    </motion>
  </system>
</simulation>
"""


def frame(
    values: np.ndarray, step: int, bead: int, what: str = "positions{angstrom}",
    cell_units: str = "angstrom", edge: float = EDGE,
) -> str:
    """One frame, (n, 3), as i-PI prints it."""
    cell = "  ".join(f"{x:10.5f}" for x in (edge, edge, edge, 90.0, 90.0, 90.0))
    lines = [
        f"{len(values)}",
        f"# CELL(abcABC): {cell}  Step:  {step:10d}  Bead:   {bead:5d} {what}"
        f"  cell{{{cell_units}}}",
    ]
    for label, row in zip(LABELS, values, strict=True):
        lines.append(f"{label:>8} " + " ".join(f"{x:12.5e}" for x in row))
    return "\n".join(lines) + "\n"


def write_frames(
    folder: Path, name: str, steps: Sequence[int], values: np.ndarray, what: str,
    cell_units: str = "angstrom",
) -> None:
    """Files of all beads: values (T, P, n, 3)."""
    for bead in range(values.shape[1]):
        edge = EDGE if cell_units == "angstrom" else EDGE / 0.529177210903
        (folder / f"sim.{name}_{bead}.xyz").write_text("".join(
            frame(rows[bead], step, bead, what, cell_units, edge)
            for step, rows in zip(steps, values, strict=True)
        ))
