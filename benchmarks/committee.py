"""What a committee costs: members x beads, and what goes to i-PI as extras.

    python benchmarks/committee.py [--members 1,2,4,8] [--beads 1,8,32] [--rounds 6] [--device cpu]

64 water molecules; a round is what the daemon does for all beads: lists, model, forces and
virials of the mean, extras as bytes. ms per round, median, for three kinds of committee:

    behler_parrinello   heads on shared descriptors; random weights, the embedded model's settings
    mace, loop          small random MACE models, one after another
    mace, stacked       the same with their weights stacked, in one pass

and for three kinds of extras: `energies` (member energies and sigma, as `pimd run` sends them),
`forces` (forces and virials of all members too, as i-PI's ffcommittee wants them), and `none`
(the extras left unwritten). All of them take turns, so that a busy machine slows all alike.

Rows go to benchmarks/results/committee_<device>.csv.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from make_models import make_behler_parrinello, make_mace
from results_file import device_name, results_file, write_rows
from rich.console import Console
from rich.table import Table

from pimd.daemon.calls import Caller
from pimd.daemon.rounds import Request, Template
from pimd.evaluator import Evaluator
from pimd.ipi.structure_files import template_structure
from pimd.potentials.base import Potential
from pimd.potentials.registry import make_potential
from pimd.structure import Structure
from pimd.units import BOHR_ANGSTROM

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("none", "energies", "forces")


class Rounds:
    """Rounds of beads that move a little each time."""

    def __init__(self, structure: Structure, n_beads: int) -> None:
        self.structure, self.n_beads = structure, n_beads
        rng = np.random.default_rng(n_beads)
        self._offsets = rng.normal(0.0, 0.05, (n_beads, len(structure), 3))
        self._round = 0

    def next(self) -> Request:
        self._round += 1
        positions = self.structure.positions + self._offsets * np.cos(0.1 * self._round)
        cells = np.repeat(self.structure.cell.T[None], self.n_beads, axis=0)
        return Request(
            Template.of(self.structure), cells / BOHR_ANGSTROM, positions / BOHR_ANGSTROM
        )


def potentials(kind: str, n_members: int, folder: Path, device: str) -> dict[str, Potential]:
    """Name -> committee."""
    if kind == "behler_parrinello":
        file = make_behler_parrinello(folder / f"bp{n_members}.npz", n_members)
        return {kind: make_potential({"potential": kind, "model": str(file), "device": device})}
    files = [folder / f"mace{k}.model" for k in range(n_members)]
    for seed, file in enumerate(files):
        if not file.exists():
            make_mace(file, "float64", seed=seed)
    if n_members == 1:
        spec: dict[str, Any] = {"potential": "mace", "model": str(files[0]), "device": device}
        return {"mace, loop": make_potential(spec)}
    spec = {"potential": "committee", "members": [str(file) for file in files], "device": device}
    return {
        "mace, loop": make_potential({**spec, "stacking": "never"}),
        "mace, stacked": make_potential({**spec, "stacking": "always"}),
    }


def measure(
    kind: str, n_members: int, n_beads: int, folder: Path, options: argparse.Namespace
) -> dict[tuple[str, str], list[float]]:
    """ms of each round of each (committee, extras)."""
    structure = template_structure(ROOT / "inputs" / "water" / "init.xyz")
    callers: dict[tuple[str, str], tuple[Caller, Rounds]] = {}
    for name, potential in potentials(kind, n_members, folder, options.device).items():
        for extras in EXTRAS if potential.n_members else ("none",):
            caller = Caller(Evaluator(potential), member_forces=extras == "forces")
            if extras == "none":
                caller._extras.write = lambda *_: None  # type: ignore[method-assign]
            callers[name, extras] = caller, Rounds(structure, n_beads)
    times: dict[tuple[str, str], list[float]] = {key: [] for key in callers}
    for turn in range(options.rounds + 1):
        for key, (caller, rounds) in list(callers.items())[:: 1 if turn % 2 else -1]:
            request = rounds.next()
            begin = time.perf_counter()
            caller.evaluate([request])
            if turn:  # the first one makes lists and memory
                times[key].append(1e3 * (time.perf_counter() - begin))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--kinds", default="behler_parrinello,mace")
    add("--members", default="1,2,4,8")
    add("--beads", default="1,8,32")
    add("--rounds", type=int, default=6)
    add("--device", default="cpu")
    add("--threads", type=int, default=os.cpu_count(), help="of the model, on the CPU")
    add("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    rows: list[dict[str, object]] = []
    console, sizes = Console(width=110), numbers(options.members)
    table = Table(title="ms per round of 64 waters, median")
    for heading in ("committee", "extras", "beads", *(f"M = {m}" for m in sizes)):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory(prefix="pimd-committee-") as folder:
        for kind in options.kinds.split(","):
            for n_beads in numbers(options.beads):
                found: dict[tuple[str, str], dict[int, float]] = {}
                for n_members in sizes:
                    times = measure(kind, n_members, n_beads, Path(folder), options)
                    for (name, extras), ms in times.items():
                        found.setdefault((name, extras), {})[n_members] = float(np.median(ms))
                        rows.append(row(name, extras, n_members, n_beads, ms, options))
                for (name, extras), medians in found.items():
                    cells = [f"{medians[m]:.1f}" if m in medians else "" for m in sizes]
                    table.add_row(name, extras, str(n_beads), *cells)
                Console(stderr=True).print(f"{kind}, {n_beads} beads: done")
    console.print(table)
    out = options.out or results_file("committee", options.device)
    write_rows(out, rows)
    print(f"rows: {out}")


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def row(
    name: str, extras: str, n_members: int, n_beads: int, ms: Sequence[float],
    options: argparse.Namespace,
) -> dict[str, object]:
    low, median, high = np.percentile(ms, [25, 50, 75])
    return {
        "date": date.today().isoformat(), "device": device_name(options.device),
        "cores": os.cpu_count(),
        "threads": options.threads, "torch": torch.__version__,
        "pimd": metadata.version("pimd"), "committee": name, "extras": extras,
        "members": n_members, "atoms": 192, "beads": n_beads, "rounds": len(ms),
        "ms_per_round": round(median, 3), "ms_q25": round(low, 3), "ms_q75": round(high, 3),
    }  # fmt: skip


if __name__ == "__main__":
    main()
