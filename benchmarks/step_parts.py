"""What a fused NVT step is made of, in the process of i-PI, forces and sockets left out.

    OMP_NUM_THREADS=1 python benchmarks/step_parts.py [--sizes 24x32,648x64] [--steps 200]

NVT, PILE-L, OBABO, fixcom, a force that is there at once. Microseconds, the smallest of all steps,
for each operation (see `pimd.ipi.extensions.step_order`):

    random      drawing the numbers of both thermostat steps; with random_ahead a second thread
                does it, or this one while it waits for the driver, so it is not in `all`
    O           both thermostat steps without that, centre of mass included
    B           both kicks, centre of mass included
    C f         the transform of the forces
    A           the free ring polymer
    C^T q       the positions of the beads, and what depends on them marked stale
    rest        i-PI's motion and ensemble, the momenta marked, the calls
    all         the step without random

Rows go to benchmarks/results/step_parts_cpu.csv.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from ipi_runs import XML, write_gas
from results_file import RESULTS, write_rows
from rich.console import Console
from rich.table import Table

SIZES = "24x32,192x8,192x32,648x32,648x64"
EXTENSIONS = frozenset({"normal_modes", "vector_steps", "fused_steps"})
PARTS = ("random", "O", "B", "C f", "A", "C^T q", "rest", "all")


class Clock:
    """Seconds spent in functions, by name, of the step that runs."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, with its time added up."""

        def wrapped(*arguments: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments)
            self.spent[name] += time.perf_counter() - start
            return result

        return wrapped


def new_system(n_atoms: int, n_beads: int) -> Any:
    """A system of i-PI in the current folder, with a force that is there at once."""
    from ipi.engine.simulation import Simulation

    write_gas(Path("initial.xyz"), n_atoms)
    xml = XML.format(
        verbosity="quiet", stride=1_000_000, columns="step", format="xyz", n_steps=1_000_000,
        n_beads=n_beads, timestep_fs=0.5,
        forcefield="<ffdirect name='forces'><pes>gas</pes></ffdirect>",
    )
    system = Simulation.load_from_xml(xml).syslist[0]
    component = system.forces.mforces[0]
    none = np.zeros((n_beads, 3 * n_atoms))
    component._f._func = lambda: none
    component.queue = lambda: False
    system.forces.mbeads[0]._q._dependants.clear()  # the forces of single beads
    component._f.add_dependency(system.beads._q)
    return system


def measure(n_atoms: int, n_beads: int, n_steps: int) -> dict[str, float]:
    """Part -> microseconds."""
    system = new_system(n_atoms, n_beads)
    motion, clock = system.motion, Clock()
    motion.step(0)
    fused = motion.integrator._pimd_fused[1]
    assert fused is not None, "the step is not fused"
    names = ("O", "B", "A", "C^T q", "B", "O")
    fused._operations = [
        clock.timed(name, operation)
        for name, operation in zip(names, fused._operations, strict=True)
    ]
    motion.prng.gvec = clock.timed("random", motion.prng.gvec)
    kick = fused.kicks[0]._kick
    kick._func = clock.timed("C f", kick._func)
    found: dict[str, list[float]] = {part: [] for part in PARTS}
    for step in range(n_steps):
        clock.spent.clear()
        start = time.perf_counter()
        motion.step(step)
        spent = clock.spent
        whole = time.perf_counter() - start - spent["random"]
        spent["O"] -= spent["random"]
        spent["B"] -= spent["C f"]
        spent["rest"] = whole - sum(spent[part] for part in ("O", "B", "C f", "A", "C^T q"))
        spent["all"] = whole
        for part in PARTS:
            found[part].append(1e6 * spent[part])
    return {part: min(values) for part, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default=SIZES, help="atoms x beads, comma separated")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULTS / "step_parts_cpu.csv")
    arguments = parser.parse_args()
    from pimd.ipi import extensions

    statuses = extensions.enable_all()
    off = frozenset(status.name for status in statuses) - EXTENSIONS
    extensions.enable_all(extensions.Settings(off=off))
    table = Table(title="us of a step")
    for heading in ("atoms x beads", *PARTS):
        table.add_column(heading, justify="right")
    rows: list[dict[str, object]] = []
    folder = Path.cwd()
    for n_atoms, n_beads in (map(int, size.split("x")) for size in arguments.sizes.split(",")):
        with tempfile.TemporaryDirectory() as temporary:
            os.chdir(temporary)
            spent = measure(n_atoms, n_beads, arguments.steps)
            os.chdir(folder)
        table.add_row(f"{n_atoms} x {n_beads}", *(f"{spent[part]:.0f}" for part in PARTS))
        rows.append({
            "date": date.today().isoformat(), "device": "cpu", "atoms": n_atoms,
            "beads": n_beads, "steps": arguments.steps,
            **{f"{part}_us": round(value, 1) for part, value in spent.items()},
        })
    write_rows(arguments.out, rows)
    Console(width=100).print(table)
    print(f"rows: {arguments.out}")
    sys.stdout.flush()
    os._exit(0)  # i-PI's threads wait for a while


if __name__ == "__main__":
    main()
