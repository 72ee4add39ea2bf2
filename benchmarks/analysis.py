"""Analysis: radial distribution functions, spectra, and relabelling of stored beads.

    python benchmarks/analysis.py [--beads 32] [--molecules 216] [--frames 1000] [--quick]

Radial distribution functions H-H, H-O and O-O to half of the box, of every bead of every frame,
200 bins, one row of counts for each frame: ns per pair and the time of all frames, on numpy, on
torch, and on cupy where there is a GPU; against MDAnalysis's distances where it is installed, which
take the same beads as one structure each. The time of all frames is that of as many as fit into the
time limit, times their share, and the column `frames` says how many were timed. Autocorrelation
functions: ours, by Fourier transform, against i-PI's tool for xyz files, which reads the file too.
Relabelling: stored beads with q-TIP4P/F, structures a second.

Rows go to benchmarks/results/analysis_DEVICE.csv.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from make_water import lattice_box
from results_file import results_file, write_rows
from rich.console import Console
from rich.table import Table

from pimd.analysis.arrays import place, to_numpy
from pimd.analysis.rdf import Bins, largest_distance, pair_counts
from pimd.analysis.spectra import autocorrelation
from pimd.record.run import Run
from pimd.record.setup import Setup
from pimd.relabel import relabel

N_BINS = 200
SPREAD = 0.15
"""Å, of the beads about their atom."""
BLOCK = 16
"""Frames given at once."""


def water(
    molecules: int, beads: int, frames: int, seed: int = 0, spread: float = SPREAD
) -> tuple[np.ndarray, np.ndarray]:
    """Beads (frames, beads, n_atoms, 3) of a box of water, and its cell; `spread` in Å."""
    atoms, cell = lattice_box(molecules, 0.997, np.random.default_rng(seed))
    noise = np.random.default_rng(seed + 1).normal(size=(frames, beads, *atoms.shape))
    return atoms + spread * noise, cell


def timed_frames(
    count: Callable[[np.ndarray], object], x: np.ndarray, limit: float
) -> tuple[float, int]:
    """Seconds a frame, and frames timed: `x` over and over, in blocks, up to the limit."""
    count(x[:1])  # warm
    start, done = time.perf_counter(), 0
    while done == 0 or time.perf_counter() - start < limit:
        for first in range(0, len(x), BLOCK):
            count(x[first : first + BLOCK])
            done += len(x[first : first + BLOCK])
    return (time.perf_counter() - start) / done, done


def ours(library: str, cell: np.ndarray, bins: Bins) -> Callable[[np.ndarray], object]:
    """All three functions of a block of frames."""
    to = place(library)

    def count(x: np.ndarray) -> list[np.ndarray]:
        block, cells = to(x), to(np.stack([cell] * len(x)))
        oxygen, hydrogen = block[:, :, 0::3], _hydrogens(block)
        return [
            pair_counts(hydrogen, None, cells, bins),
            pair_counts(oxygen, hydrogen, cells, bins),
            pair_counts(oxygen, None, cells, bins),
        ]

    return count


def _hydrogens(block: Any) -> Any:
    index = [k for k in range(block.shape[2]) if k % 3]
    return block[:, :, index]


def mdanalysis(cell: np.ndarray, bins: Bins) -> Callable[[np.ndarray], object]:
    """The same counts by MDAnalysis's distances, structure by structure."""
    distances = importlib.import_module("MDAnalysis.lib.distances")
    box = np.append(np.diag(cell), [90.0] * 3).astype(np.float32)

    def count(x: np.ndarray) -> None:
        for one in x.reshape(-1, *x.shape[2:]).astype(np.float32):
            oxygen, hydrogen = one[0::3], _hydrogens(one[None, None])[0, 0]
            for a, b in ((hydrogen, hydrogen), (oxygen, hydrogen), (oxygen, oxygen)):
                _, d = distances.capped_distance(a, b, bins.stop, box=box)
                np.histogram(d[d > 0], bins.n, (0.0, bins.stop))

    return count


def programs(cell: np.ndarray, bins: Bins) -> Iterator[tuple[str, Callable[[np.ndarray], object]]]:
    """What there is to compare, as it is installed."""
    yield "numpy", ours("numpy", cell, bins)
    yield "torch", ours("torch", cell, bins)
    if importlib.util.find_spec("cupy") is not None:
        yield "cupy", ours("cupy", cell, bins)
    if importlib.util.find_spec("MDAnalysis") is not None:
        yield "MDAnalysis", mdanalysis(cell, bins)


def time_rdf(arguments: argparse.Namespace) -> list[dict[str, object]]:
    x, cell = water(arguments.molecules, arguments.beads, min(arguments.frames, 2 * BLOCK))
    bins = Bins(0.0, largest_distance(cell), N_BINS)
    n = x.shape[2]
    pairs = arguments.beads * n * (n - 1) / 2
    rows = []
    for name, count in programs(cell, bins):
        seconds, frames = timed_frames(count, x, arguments.limit)
        rows.append({
            "task": "rdf", "program": name, "atoms": n, "beads": arguments.beads,
            "frames": frames, "per_item": f"{1e9 * seconds / pairs:.3g} ns/pair",
            "seconds_for_all": round(seconds * arguments.frames, 2),
        })  # fmt: skip
    return rows


def time_correlation(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Velocity autocorrelation of 2 ps; i-PI's tool gets the same velocities as an xyz file."""
    from ipi.utils.tools import compute_acf_xyz

    n, lags = 3 * arguments.molecules, 500
    frames = 4 * lags if arguments.quick else 20 * lags
    v = np.random.default_rng(0).normal(size=(frames, n, 3))
    blocks = [v[k : k + 2 * lags] for k in range(0, frames, 2 * lags)]
    rows = []
    for library in ("numpy", "torch"):
        to = place(library)
        start = time.perf_counter()
        for block in blocks:
            to_numpy(autocorrelation(to(block.reshape(len(block), -1)), lags))
        rows.append(_correlation_row(library, n, frames, time.perf_counter() - start))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v.xyz"
        with path.open("w") as file:
            for frame in v:
                file.write(f"{n}\n# CELL(abcABC): 20 20 20 90 90 90 Step: 0 Bead: 0 v_centroid\n")
                file.writelines(f"H {x:13.5e} {y:13.5e} {z:13.5e}\n" for x, y, z in frame)
        start = time.perf_counter()
        compute_acf_xyz(str(path), maximum_lag=lags - 1, block_length=2 * lags)
        rows.append(_correlation_row("i-PI, with reading", n, frames, time.perf_counter() - start))
    return rows


def _correlation_row(name: str, n: int, frames: int, seconds: float) -> dict[str, object]:
    return {
        "task": "autocorrelation", "program": name, "atoms": n, "beads": 1, "frames": frames,
        "per_item": f"{1e3 * seconds / frames:.3g} ms/frame", "seconds_for_all": round(seconds, 2),
    }  # fmt: skip


def time_relabelling(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Energies of stored beads of q-TIP4P/F water, from reading to the label's file."""
    frames = 1 if arguments.quick else 8
    x, cell = water(arguments.molecules, arguments.beads, frames, spread=0.05)  # whole molecules
    n = x.shape[2]
    numbers = np.tile([8, 1, 1], n // 3)
    masses = np.tile([15.9994, 1.00794, 1.00794], n // 3)
    setup = Setup(
        numbers, masses, arguments.beads, 300.0, 0.25, np.ones(3, dtype=bool), "nvt"
    )
    step = np.arange(frames)
    run = Run.from_arrays(
        setup, step, 0.25 * step, {"positions": x, "cells": np.stack([cell] * frames)}
    )
    start = time.perf_counter()
    relabel(run, "qtip4pf", name="again")
    seconds = time.perf_counter() - start
    structures = frames * arguments.beads
    return [{
        "task": "relabel", "program": "q-TIP4P/F", "atoms": n, "beads": arguments.beads,
        "frames": frames, "per_item": f"{structures / seconds:.3g} structures/s",
        "seconds_for_all": round(seconds, 2),
    }]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--beads", type=int, default=32)
    parser.add_argument("--molecules", type=int, default=216)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--limit", type=float, default=20.0, help="seconds for each program")
    parser.add_argument("--quick", action="store_true", help="a small system, seconds in all")
    parser.add_argument("--keep", action="store_true", help="write the results of --quick too")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.beads, arguments.molecules, arguments.frames = 4, 64, 10
        arguments.limit = min(arguments.limit, 1.0)
    rows = time_rdf(arguments) + time_correlation(arguments) + time_relabelling(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = [
        {"date": date.today().isoformat(), "device": device, "cores": os.cpu_count(),
         "numpy": np.__version__, "torch": torch.__version__, **row} for row in rows
    ]  # fmt: skip
    table = Table("task", "program", "atoms", "beads", "frames timed", "", "s for all")
    for row in rows:
        columns = ("task", "program", "atoms", "beads", "frames", "per_item", "seconds_for_all")
        table.add_row(*(str(row[name]) for name in columns))
    Console(width=110).print(table)
    if arguments.keep or not arguments.quick:
        write_rows(results_file("analysis", device), rows)


if __name__ == "__main__":
    main()
