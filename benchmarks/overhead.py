"""What a step costs besides the model: stock i-PI with its own Python client, and `pimd run`.

    python benchmarks/overhead.py [--sizes 24x32,192x8] [--repetitions 4] [--steps 601]

The potential is instantaneous (free particles), so a step is i-PI's Python, the wire and whatever
the client adds. Both run the same XML: NVT, PILE-L, fixcom, batch_size = P, a unix socket, one
line of output every 100 steps. They take turns, A B A B ..., so that a busy machine slows both.
ms per step is i-PI's own timing of blocks of 100 steps (`t/step` in its log), start left out; the
table gives the median over all blocks and the quartiles. Exchanges and structures evaluated: the
stock client counts its calls; `pimd run` says them in summary.json. step_parts.py says what a step
is made of.

Rows go to benchmarks/results/overhead_<device>.csv.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import date
from importlib import metadata
from pathlib import Path

import numpy as np
from ipi_runs import SOCKET, XML, block_timings, run_stock, start, stop, wait, write_gas
from results_file import RESULTS, write_rows
from rich.console import Console
from rich.table import Table

AIMS = {(24, 32): 6, (192, 8): 4, (192, 32): 6, (648, 32): 6, (648, 64): 6}
"""(atoms, beads) -> how many times less than stock i-PI a step should cost."""

COUNTING_CLIENT = '''import atexit, json
from ipi.pes.gas import Gas_driver
__DRIVER_NAME__ = "counting_gas"
__DRIVER_CLASS__ = "CountingGas"

class CountingGas(Gas_driver):
    """Free particles; says at the end how often it was called, with how many structures."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.counts = {"exchanges": 0, "structures": 0}
        atexit.register(lambda: open("counts.json", "w").write(json.dumps(self.counts)))

    def compute(self, cell, pos):
        self.counts["exchanges"] += 1
        self.counts["structures"] += len(pos) if isinstance(cell, list) else 1
        return super().compute(cell, pos)
'''


@dataclass
class Measured:
    """One variant at one size over all repetitions.

    Attributes:
        blocks: ms per step of each block of 100 steps.
        medians: ms per step, median of each repetition.
        exchanges: messages with positions per step.
        structures: structures evaluated per structure needed.
        fractions: shares of the wall time by stage, of the last repetition, where known.
    """

    blocks: list[float] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)
    exchanges: list[float] = field(default_factory=list)
    structures: list[float] = field(default_factory=list)
    fractions: dict[str, float] = field(default_factory=dict)

    def add_blocks(self, log: str) -> None:
        blocks = block_timings(log, first_step=200)  # the start left out
        self.blocks += blocks
        self.medians.append(float(np.median(blocks)))

    @property
    def median(self) -> float:
        return float(np.median(self.blocks))

    @property
    def quartiles(self) -> tuple[float, float]:
        low, high = np.percentile(self.blocks, [25, 75])
        return float(low), float(high)


def write_input(folder: Path, n_atoms: int, n_beads: int, n_steps: int, address: str) -> None:
    """input.xml and initial.xyz: hydrogen atoms in a cubic cell of 10 Å."""
    write_gas(folder / "initial.xyz", n_atoms)
    (folder / "input.xml").write_text(
        XML.format(
            verbosity="medium", stride=100, columns="step, conserved, temperature", format="xyz",
            n_steps=n_steps, n_beads=n_beads, timestep_fs=0.5,
            forcefield=SOCKET.format(
                address=address, batch_size=f"<batch_size>{n_beads}</batch_size>",
                spec="{potential: free}",
            ),
        )
    )


def run_stock_ipi(folder: Path, n_atoms: int, n_beads: int, n_steps: int, into: Measured) -> None:
    """i-pi and i-pi-driver-py, as their manual says."""
    address = f"pimd-overhead-{os.getpid()}"
    write_input(folder, n_atoms, n_beads, n_steps, address)
    (folder / "counting_gas.py").write_text(COUNTING_CLIENT)
    log = run_stock(folder, address, ["-m", "custom", "-P", "counting_gas.py"])
    counts = json.loads((folder / "counts.json").read_text())
    into.add_blocks(log)
    rounds = n_steps + 1  # one before the first step
    into.exchanges.append(counts["exchanges"] / rounds)
    into.structures.append(counts["structures"] / (rounds * n_beads))


def run_pimd(folder: Path, n_atoms: int, n_beads: int, n_steps: int, into: Measured) -> None:
    """`pimd run` on the same input."""
    write_input(folder, n_atoms, n_beads, n_steps, f"pimd-overhead-{os.getpid()}")
    run_folder = folder / "run"
    log_path = folder / "pimd.log"
    command = [sys.executable, "-m", "pimd.cli", "run", "input.xml", "--run-dir", str(run_folder)]
    with open(log_path, "w") as log:
        process = start(command, folder, log)
    try:
        wait(process, log_path)
    finally:
        stop(process)
    summary = json.loads((run_folder / "summary.json").read_text())
    into.add_blocks((run_folder / "i-pi.log").read_text())
    into.exchanges.append(summary["exchanges_per_step"])
    into.structures.append(summary["structures_evaluated"] / summary["structures_needed"])
    into.fractions = summary["time_fractions"]


def measure(n_atoms: int, n_beads: int, n_steps: int, repetitions: int) -> dict[str, Measured]:
    """Both variants in turns; which goes first alternates."""
    runners = {"i-pi": run_stock_ipi, "pimd run": run_pimd}
    found = {name: Measured() for name in runners}
    for repetition in range(repetitions):
        order = list(runners) if repetition % 2 == 0 else list(runners)[::-1]
        for name in order:
            folder = Path(tempfile.mkdtemp(prefix="pimd-overhead-"))
            try:
                runners[name](folder, n_atoms, n_beads, n_steps, found[name])
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default=",".join(f"{a}x{b}" for a, b in AIMS),
                        help="atoms x beads, e.g. 24x32,192x8")
    parser.add_argument("--repetitions", type=int, default=4, help="runs of each variant and size")
    parser.add_argument("--steps", type=int, default=601, help="steps of a run (at least 301)")
    parser.add_argument("--out", type=Path, default=RESULTS / "overhead_cpu.csv")
    arguments = parser.parse_args()
    sizes = [tuple(int(n) for n in size.split("x")) for size in arguments.sizes.split(",")]
    table = Table(title="ms per step, instantaneous potential: median (quartiles)")
    for heading in ("atoms x beads", "i-pi + its client", "pimd run", "times less", "of pairs",
                    "aim", "exchanges/step", "evaluated/needed"):
        table.add_column(heading, justify="right")
    rows: list[dict[str, object]] = []
    slower = []
    for n_atoms, n_beads in sizes:
        found = measure(n_atoms, n_beads, arguments.steps, arguments.repetitions)
        stock, pimd = found["i-pi"], found["pimd run"]
        ratio = pimd.median / stock.median
        pairs = np.array(stock.medians) / np.array(pimd.medians)
        if ratio > 1:
            slower.append(f"{n_atoms} x {n_beads}")
        table.add_row(
            f"{n_atoms} x {n_beads}",
            *(f"{m.median:.2f} ({m.quartiles[0]:.2f}-{m.quartiles[1]:.2f})" for m in (stock, pimd)),
            f"{1 / ratio:.2f}",
            f"{pairs.min():.2f}-{pairs.max():.2f}",
            str(AIMS.get((n_atoms, n_beads), "")),
            f"{np.mean(stock.exchanges):.2f} -> {np.mean(pimd.exchanges):.2f}",
            f"{np.mean(stock.structures):.2f} -> {np.mean(pimd.structures):.2f}",
        )
        for name, measured in found.items():
            rows.append({
                "date": date.today().isoformat(), "device": "cpu", "cores": os.cpu_count(),
                "ipi": metadata.version("ipi"), "pimd": metadata.version("pimd"),
                "variant": name, "atoms": n_atoms, "beads": n_beads,
                "steps": arguments.steps, "repetitions": arguments.repetitions,
                "ms_per_step": round(measured.median, 3),
                "ms_quartile_1": round(measured.quartiles[0], 3),
                "ms_quartile_3": round(measured.quartiles[1], 3),
                "ratio_to_ipi": round(measured.median / stock.median, 3),
                "exchanges_per_step": round(float(np.mean(measured.exchanges)), 4),
                "evaluated_per_needed": round(float(np.mean(measured.structures)), 4),
                "time_fractions": " ".join(
                    f"{stage}:{share:.3f}" for stage, share in measured.fractions.items()
                ),
            })
        Console(stderr=True).print(f"{n_atoms} x {n_beads}: {1 / ratio:.2f} times less")
    write_rows(arguments.out, rows)
    Console(width=140).print(table)
    print(f"rows: {arguments.out}")
    if slower:
        print(f"pimd run was slower at {', '.join(slower)}")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
