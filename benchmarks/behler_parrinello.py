"""Behler–Parrinello committees: cost of 1, 2, 4 and 8 members, alone and with member forces.

    python benchmarks/behler_parrinello.py [--beads 32] [--atoms 192] [--seconds 10] [--device cpu]
                                           [--dtype float32] [--out FILE] [--quick]

Members are the first ones of the water committee that comes with pimd. A round is the energies,
forces and virials of the mean for all beads on prepared neighbour lists, or those of every member
besides (`member_forces`); `lists` is what the neighbour lists of a round take in addition. Between
rounds the atoms move. All variants take turns, round by round, so that a busy machine slows all;
the table gives medians, of the wall clock and of the processor time of this process (which other
processes disturb less), and the ratio of each to one member.

Rows go to benchmarks/results/behler_parrinello_<device>.csv.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from results_file import results_file, write_rows
from rich.console import Console
from rich.table import Table
from water import Beads

from pimd.daemon.memory import keep_memory
from pimd.potentials.base import Batch, Wanted
from pimd.potentials.behler_parrinello import BehlerParrinello
from pimd.potentials.neighbours import NeighbourLists

MEMBERS = (1, 2, 4, 8)


@dataclass
class Variant:
    """What is measured: milliseconds of each round."""

    name: str
    members: int
    run: Callable[[Batch], object]
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def measure(self, batch: Batch) -> None:
        synchronize(batch)
        wall, cpu = time.perf_counter(), time.process_time()
        self.run(batch)
        synchronize(batch)
        self.wall.append(1e3 * (time.perf_counter() - wall))
        self.cpu.append(1e3 * (time.process_time() - cpu))


def synchronize(batch: Batch) -> None:
    if batch.device_type == "cuda":
        torch.cuda.synchronize()


def variants(whole: BehlerParrinello, lists: NeighbourLists) -> list[Variant]:
    """The lists, and each number of members with and without member forces."""
    found = [Variant("lists", 0, lists.attach)]
    for members in (m for m in MEMBERS if m <= whole.model.n_members):
        part = BehlerParrinello.of_model(whole.model.of_members(range(members)))
        for name, wanted in (
            ("mean", Wanted()),
            ("member_forces", Wanted(member_forces=True, member_virials=True)),
        ):
            if name == "mean" or members > 1:
                found.append(
                    Variant(name, members, lambda b, p=part, w=wanted: p.compute(b, w))
                )
    return found


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beads", type=int, default=32)
    parser.add_argument("--atoms", type=int, default=192)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="4 beads of 24 atoms, two rounds")
    args = parser.parse_args()
    if args.quick:
        args.beads, args.atoms, args.seconds = 4, 24, 0.0
    return args


def main() -> None:
    args = parse_arguments()
    keep_memory()
    potential = BehlerParrinello(dtype=args.dtype, device=args.device)
    lists = NeighbourLists(potential.cutoff)
    beads = Beads(args.atoms, args.beads)
    all_variants = variants(potential, lists)
    batch = lists.attach(beads.batch(beads.next(), potential.device))
    for variant in all_variants:
        variant.run(batch)  # allocations
    end, rounds = time.perf_counter() + args.seconds, 0
    while rounds < 2 or time.perf_counter() < end:
        bare = beads.batch(beads.next(), potential.device)
        batch = lists.attach(bare)
        first = rounds % len(all_variants)  # none always comes after the same other
        for variant in [*all_variants[first:], *all_variants[:first]]:
            variant.measure(bare if variant.name == "lists" else batch)
        rounds += 1
    assert batch.pairs is not None
    report(args, all_variants, batch.pairs.shape[1])


def report(args: argparse.Namespace, found: list[Variant], n_pairs: int) -> None:
    """Print and store medians."""
    rows = []
    one = next(v for v in found if v.members == 1)
    table = Table("what", "members", "ms", "ms of cpu", "to 1 member", "the same, cpu")
    for variant in found:
        low, wall, high = np.percentile(variant.wall, [25, 50, 75])
        cpu = float(np.median(variant.cpu))
        ratio, of_cpu = wall / np.median(one.wall), cpu / np.median(one.cpu)
        table.add_row(variant.name, str(variant.members), f"{wall:.2f}", f"{cpu:.2f}",
                      f"{ratio:.2f}", f"{of_cpu:.2f}")  # fmt: skip
        rows.append({
            "date": date.today().isoformat(), "device": args.device, "cores": os.cpu_count(),
            "threads": torch.get_num_threads(), "torch": torch.__version__,
            "pimd": metadata.version("pimd"), "dtype": args.dtype, "what": variant.name,
            "members": variant.members, "atoms": args.atoms, "beads": args.beads,
            "pairs": n_pairs, "rounds": len(variant.wall), "ms_per_round": round(float(wall), 3),
            "ms_q25": round(float(low), 3), "ms_q75": round(float(high), 3),
            "cpu_ms_per_round": round(cpu, 3), "ratio": round(float(ratio), 3),
            "cpu_ratio": round(float(of_cpu), 3),
        })  # fmt: skip
    console = Console()
    console.print(table)
    out = args.out or results_file("behler_parrinello", args.device)
    write_rows(out, rows)
    console.print(f"wrote {out}")


if __name__ == "__main__":
    main()
