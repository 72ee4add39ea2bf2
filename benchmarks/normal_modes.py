"""Between beads and normal modes: a matrix product against i-PI's FFT, one thread.

    OMP_NUM_THREADS=1 python benchmarks/normal_modes.py [--atoms 192,648] [--repetitions 50]

Microseconds for the transform of the positions of a ring to normal modes and back, the smallest
of all repetitions, since a busy machine can only add to it. `pimd.ipi.extensions.normal_modes`
takes the product up to MOST_BEADS beads; the last column says where that is the slower way.

Rows go to benchmarks/results/normal_modes_cpu.csv.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
from ipi.utils.messages import verbosity
from ipi.utils.nmtransform import nm_fft
from results_file import RESULTS, write_rows
from rich.console import Console
from rich.table import Table

from pimd.ipi.extensions import disable_all, normal_modes

BEADS = (2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)


def smallest_us(function: Callable[[], object], repetitions: int) -> float:
    """Shortest time of a call."""
    function()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e6 * min(times)


def measure(n_atoms: int, n_beads: int, repetitions: int) -> tuple[float, float]:
    """Microseconds there and back by product and by i-PI's FFT, which must agree."""
    beads = np.random.default_rng(0).normal(size=(n_beads, 3 * n_atoms))
    modes, back = np.empty_like(beads), np.empty_like(beads)
    by_fft, by_product = nm_fft(n_beads, n_atoms), nm_fft(n_beads, n_atoms)
    by_product._pimd_matrix = normal_modes.mode_matrix(n_beads)

    def product() -> None:
        normal_modes.to_modes(by_product, beads, modes)
        normal_modes.to_beads(by_product, modes, back)

    def fft() -> None:
        by_fft.nm2b(by_fft.b2nm(beads))

    product()
    np.testing.assert_allclose(modes, by_fft.b2nm(beads), atol=1e-12)
    np.testing.assert_allclose(back, beads, atol=1e-12)
    return smallest_us(product, repetitions), smallest_us(fft, repetitions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", default="24,192,648", help="numbers of atoms, comma separated")
    parser.add_argument("--repetitions", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULTS / "normal_modes_cpu.csv")
    arguments = parser.parse_args()
    disable_all()
    verbosity.level = "quiet"
    table = Table(title="there and back, us")
    for heading in ("atoms", "beads", "product", "i-PI's FFT", "ratio", "taken"):
        table.add_column(heading, justify="right")
    rows: list[dict[str, object]] = []
    for n_atoms in map(int, arguments.atoms.split(",")):
        for n_beads in BEADS:
            product, fft = measure(n_atoms, n_beads, arguments.repetitions)
            taken = "product" if n_beads <= normal_modes.MOST_BEADS else "FFT"
            slower = (product > fft) == (taken == "product")
            table.add_row(
                str(n_atoms), str(n_beads), f"{product:.1f}", f"{fft:.1f}",
                f"{fft / product:.2f}", taken + (" (slower)" if slower else ""),
            )
            rows.append({
                "date": date.today().isoformat(), "device": "cpu", "numpy": np.__version__,
                "threads": os.environ.get("OMP_NUM_THREADS", "all"), "atoms": n_atoms,
                "beads": n_beads, "product_us": round(product, 1), "fft_us": round(fft, 1),
                "taken": taken,
            })
    write_rows(arguments.out, rows)
    Console(width=100).print(table)
    print(f"rows: {arguments.out}")


if __name__ == "__main__":
    main()
