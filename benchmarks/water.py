"""q-TIP4P/F: atoms evaluated per second, ours against i-PI's Fortran driver.

    python benchmarks/water.py [--fortran PATH] [--repetitions 5] [--device cpu]

PATH is the executable of i-PI's Fortran driver (`make` in drivers/f90 of i-PI's sources needs
gfortran; default: `i-pi-driver` if it is on the PATH). Two scans: 192 atoms with 1 to 64 beads,
and 24 to 3000 atoms with --beads beads. A round is the energies, forces and virials of all beads:
ours in one call, neighbour lists included, on as many of torch's threads as it takes (one below
8192 atoms); Fortran's through unix sockets, as many drivers as torch has threads. Between rounds
the atoms move as the beads of a ring polymer do. Both take turns, A B A B ..., so that a busy
machine slows both; the table gives medians over rounds, the file the quartiles too. The last
lines are the slopes of log(cost) against log(beads) and log(atoms): 1 is linear, less where the
overhead of a call still counts.

Rows go to benchmarks/results/water_<device>.csv.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from fortran_driver import FortranDrivers
from make_water import Water, lattice_box
from results_file import results_file, write_rows
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pimd.potentials.base import Batch, Wanted
from pimd.potentials.qtip4pf import QTIP4PF

BEADS = (1, 2, 4, 8, 16, 32, 64)
ATOMS = (24, 48, 96, 192, 384, 768, 1536, 3000)
SECONDS = 0.5
"""Time for the rounds of one program in one turn; at least two rounds."""

Round = Callable[[np.ndarray], object]


class Beads:
    """Ring polymers of water: positions of all beads, another set each round.

    Every atom swings about its place as a bead at 300 K does, period 10 fs, a round each 0.25 fs.
    """

    def __init__(self, n_atoms: int, n_beads: int) -> None:
        rng = np.random.default_rng(n_atoms)
        water = Water(*lattice_box(n_atoms // 3, 0.997, rng), periodic=True)
        water.relax(40)
        self.cell, self.numbers, self.start = water.cell, water.numbers, water.positions
        shape = (n_beads, n_atoms, 3)
        self._phases = rng.uniform(0, 2 * np.pi, shape)
        self._sizes = np.tile([0.05, 0.15, 0.15], n_atoms // 3)[:, None]  # Å
        self._round = 0

    def next(self) -> np.ndarray:
        """Positions, Å, (n_beads, n_atoms, 3)."""
        self._round += 1
        angle = 2 * np.pi * 0.25 / 10 * self._round
        return self.start + self._sizes * np.cos(angle + self._phases)

    def batch(self, positions: np.ndarray, device: torch.device) -> Batch:
        """Beads at `positions`, Å, (n_beads, n_atoms, 3), periodic."""
        n, n_atoms = positions.shape[:2]
        return Batch.from_arrays(
            positions.reshape(-1, 3),
            np.broadcast_to(self.cell, (n, 3, 3)),
            np.ones((n, 3), dtype=bool),
            np.tile(self.numbers, n),
            np.full(n, n_atoms),
            device=device,
        )


def ours(beads: Beads, potential: QTIP4PF) -> Round:
    """Evaluates a round in one call."""

    def evaluate(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        prediction = potential.compute(beads.batch(positions, potential.device), Wanted())
        assert prediction.forces is not None
        return prediction.energies.cpu().numpy(), prediction.forces.cpu().numpy()

    return evaluate


def measure(beads: Beads, programs: dict[str, Round], repetitions: int) -> dict[str, np.ndarray]:
    """ms of each round of each program, in turns."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for evaluate in programs.values():
        evaluate(beads.next())  # lists, allocations
    for _ in range(repetitions):
        for name, evaluate in programs.items():
            end, rounds = time.perf_counter() + SECONDS, 0
            while rounds < 2 or time.perf_counter() < end:
                positions = beads.next()
                start = time.perf_counter()
                evaluate(positions)
                times[name].append(1e3 * (time.perf_counter() - start))
                rounds += 1
    return {name: np.array(values) for name, values in times.items()}


def slope(sizes: list[int], costs: list[float]) -> float:
    """d log(cost) / d log(size), by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def compare(fortran: FortranDrivers) -> str:
    """Energies and forces of both programs, in a box of more than twice the cutoff."""
    beads = Beads(3000, 1)
    positions = beads.next()
    energies, forces = fortran.evaluate(positions, beads.cell)
    evaluate = ours(beads, QTIP4PF(lj_tail="truncate", accuracy=1e-10))
    ours_energies, ours_forces = evaluate(positions)
    error = forces[0] - ours_forces
    return (
        f"Fortran - ours (truncated, accuracy 1e-10), {len(beads.numbers)} atoms: energy "
        f"{(energies - ours_energies)[0]:.2e} eV of {ours_energies[0]:.4f}, forces rms "
        f"{np.sqrt((error**2).mean()):.1e}, largest {np.abs(error).max():.1e}, of rms "
        f"{np.sqrt((ours_forces**2).mean()):.2f} eV/Å"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found = shutil.which("i-pi-driver")
    parser.add_argument("--fortran", type=Path, default=Path(found) if found else None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--beads", type=int, default=8, help="of the scan over atoms")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    out = args.out or results_file("water", args.device)
    threads = torch.get_num_threads()
    console, rows = Console(width=110), []
    table = Table("atoms", "beads", "ours ms", "atoms/s", "Fortran ms", "atoms/s", "speed-up")
    if args.fortran is not None:
        with FortranDrivers(args.fortran, 1) as fortran:
            console.print(compare(fortran))
    scan = [(192, n) for n in BEADS] + [(n, args.beads) for n in ATOMS]
    for n_atoms, n_beads in track(list(dict.fromkeys(scan)), console=console):
        beads = Beads(n_atoms, n_beads)
        cells = [str(n_atoms), str(n_beads)]
        medians = []
        with ExitStack() as stack:  # a Fortran driver serves one number of atoms
            programs = {"pimd": ours(beads, QTIP4PF(device=args.device))}
            if args.fortran is not None:
                drivers = stack.enter_context(FortranDrivers(args.fortran, min(threads, n_beads)))
                programs["fortran"] = partial(drivers.evaluate, cell=beads.cell)
            times = measure(beads, programs, args.repetitions)
        for name, ms in times.items():
            low, median, high = np.percentile(ms, [25, 50, 75])
            medians.append(median)
            per_second = 1e3 * n_atoms * n_beads / median
            cells += [f"{median:.2f}", f"{per_second:.3g}"]
            rows.append({
                "date": date.today().isoformat(), "device": args.device,
                "cores": os.cpu_count(), "threads": threads, "torch": torch.__version__,
                "pimd": metadata.version("pimd"), "program": name, "atoms": n_atoms,
                "beads": n_beads, "rounds": len(ms), "ms_per_round": round(median, 4),
                "ms_q25": round(low, 4), "ms_q75": round(high, 4),
                "atoms_per_second": round(per_second),
            })  # fmt: skip
        table.add_row(*cells, *([f"{medians[1] / medians[0]:.2f}"] if len(medians) > 1 else []))
    console.print(table)
    report_slopes(console, rows, args.beads)
    write_rows(out, rows)
    console.print(f"wrote {out}")


def report_slopes(console: Console, rows: list[dict], n_beads: int) -> None:
    """Slopes of both scans of each program, all sizes and the upper half of them."""
    for name in dict.fromkeys(row["program"] for row in rows):
        own = [row for row in rows if row["program"] == name]
        for what, scan in (
            ("beads", [row for row in own if row["atoms"] == 192]),
            ("atoms", [row for row in own if row["beads"] == n_beads]),
        ):
            scan.sort(key=lambda row, what=what: row[what])
            sizes = [row[what] for row in scan]
            costs = [row["ms_per_round"] for row in scan]
            half = len(sizes) // 2
            console.print(
                f"{name}: slope of log(ms) against log({what}), {sizes[0]} to {sizes[-1]}: "
                f"{slope(sizes, costs):.2f}; from {sizes[half]}: "
                f"{slope(sizes[half:], costs[half:]):.2f}"
            )


if __name__ == "__main__":
    main()
