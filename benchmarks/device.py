"""On a GPU: neighbour lists, copies, and a model as written, recorded and compiled.

    python benchmarks/device.py [--device cuda] [--model water.model ...] [--beads 1,8,32,64]
    python benchmarks/device.py --quick          seconds, on any machine, to see that it runs

Measured for argon (Lennard-Jones, 216 atoms), for the water committee shipped with pimd and for
every model file given (--structure, default inputs/water/init.xyz), ms per round of all beads:

    lists       toolkit: made on the device at each round; kept: with a skin of 1 Å, filtered on
                the device at each round; anew: by vesin on the CPU at each round
    copies in   packed: positions and cells in one page-locked buffer; plain: one by one
    copies out  energies, forces and virials likewise
    model       eager: as written; graphs: a CUDA graph for each shape; compile: torch.compile
    round       all of it, as the daemon does it

Atoms move between rounds as beads do. What the ways of one row give is compared: the largest
difference of a force from the first way's, eV/Å, or the number of pairs that only one lists.
Rows go to benchmarks/results/device_<device name>.csv.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results_file import device_name, results_file, write_rows
from rich.console import Console

from pimd.daemon.memory import keep_memory
from pimd.daemon.rounds import Request, RoundBuilder, Template
from pimd.evaluated import Evaluated
from pimd.evaluator import Evaluator
from pimd.ipi.pes import template_structure
from pimd.notices import notices_to
from pimd.potentials.acceleration import Accelerated
from pimd.potentials.base import Batch, Potential, PotentialError, Wanted
from pimd.potentials.device_lists import DeviceLists
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.pair_vectors import PairVectorPotential
from pimd.potentials.registry import make_potential, parse_spec
from pimd.structure import Structure
from pimd.units import BOHR_ANGSTROM

ROOT = Path(__file__).resolve().parent
ARGON, WATER = "lennard_jones, cutoff: 8.5", "behler_parrinello"
BEADS, QUICK_BEADS = (1, 8, 32, 64), (2,)
SECONDS, QUICK_SECONDS = 1.0, 0.02
"""For each way of each row, after the first calls."""
FIRST_CALLS, MIN_CALLS = 3, 5
STEPS = 16
"""Sets of positions that are gone through in turn."""


class Beads:
    """Requests as i-PI sends them; every atom swings about its place by 0.1 Å."""

    def __init__(self, structure: Structure, n_beads: int) -> None:
        rng = np.random.default_rng(n_beads)
        phases = rng.uniform(0, 2 * np.pi, (n_beads, len(structure), 3))
        template = Template.of(structure)
        cells = np.repeat(structure.cell.T[None], n_beads, axis=0) / BOHR_ANGSTROM
        self.requests = [
            Request(
                template,
                cells,
                (structure.positions + 0.1 * np.cos(0.1 * k + phases)) / BOHR_ANGSTROM,
            )
            for k in range(STEPS)
        ]

    def __iter__(self) -> Iterator[Request]:
        while True:
            yield from self.requests


class Bench:
    """Times ways of doing the same and keeps the rows."""

    def __init__(self, device: torch.device, seconds: float, console: Console) -> None:
        self.device, self.seconds, self.console = device, seconds, console
        self.rows: list[dict[str, Any]] = []
        self.about: dict[str, Any] = {}

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def time(
        self, what: str, way: str, function: Callable[[Any], Any], inputs: Iterator[Any],
        difference: float | str = "",
    ) -> None:  # fmt: skip
        """Call the function on one input after another, and keep what a call takes."""
        for _ in range(FIRST_CALLS):
            function(next(inputs))
        times: list[float] = []
        end = time.perf_counter() + self.seconds
        while len(times) < MIN_CALLS or time.perf_counter() < end:
            given = next(inputs)
            self.wait()
            start = time.perf_counter()
            function(given)
            self.wait()
            times.append(1e3 * (time.perf_counter() - start))
        low, middle, high = np.percentile(times, [25, 50, 75])
        row = {
            **self.about, "what": what, "way": way, "calls": len(times),
            "ms": f"{middle:.4f}", "ms_q25": f"{low:.4f}", "ms_q75": f"{high:.4f}",
            "difference": difference if isinstance(difference, str) else f"{difference:.1e}",
        }  # fmt: skip
        self.rows.append(row)
        self.console.print(
            f"{row['potential']:>24} {row['beads']:>4} beads  {what:>10} {way:<8} "
            f"{middle:10.3f} ms  {row['difference']}",
            highlight=False,
        )


def cycle(batches: list[Batch]) -> Iterator[Batch]:
    while True:
        yield from batches


def lists(bench: Bench, potential: Potential, batches: list[Batch], wanted: list[str]) -> None:
    """Neighbour lists by every way that is wanted and there is."""
    makers: dict[str, Callable[[], Any]] = {
        "toolkit": lambda: DeviceLists(potential.cutoff),
        "kept": lambda: NeighbourLists(potential.cutoff, skin=1.0),
        "anew": lambda: NeighbourLists(potential.cutoff, skin=0.0),
    }
    ways = {}
    for way in wanted:
        try:
            ways[way] = makers[way]()
        except PotentialError as error:
            bench.console.print(f"without {way}: {error}", highlight=False)
    pairs: dict[str, set[tuple[int, ...]]] = {}
    for way, finder in ways.items():
        batch = finder.attach(batches[1])
        rows = torch.cat([batch.pairs.T, batch.shifts.to(torch.int64)], dim=1).cpu()
        pairs[way] = set(map(tuple, rows.tolist()))
        only_one = len(pairs[way] ^ next(iter(pairs.values())))
        bench.about["pairs"] = len(pairs[way])
        bench.time("lists", way, finder.attach, cycle(batches), str(only_one))


def copies(bench: Bench, potential: Potential, beads: Beads, batch: Batch) -> None:
    """Requests to tensors, a prediction to arrays."""
    for way, packed in (("packed", True), ("plain", False)):
        builder = RoundBuilder(potential.dtype, potential.device, packed=packed)
        bench.time("copies in", way, lambda r, build=builder.build: build([r]), iter(beads))
    prediction = potential.compute(batch, Wanted())
    for way, packed in (("packed", True), ("plain", False)):
        bench.time(
            "copies out", way, lambda p, packed=packed: Evaluated.of(p, packed=packed),
            iter(lambda: prediction, None),
        )  # fmt: skip


def models(bench: Bench, potential: Potential, batches: list[Batch], modes: list[str]) -> None:
    """The potential on batches with their lists, in every mode that works."""
    if not isinstance(potential, PairVectorPotential):
        bench.time("model", "eager", lambda b: potential.compute(b, Wanted()), cycle(batches))
        return
    want = potential.predict(batches[0], Wanted()).forces
    for mode in modes:
        said: list[str] = []
        with notices_to(said.append):
            run = Accelerated(potential, mode)
            for _ in range(FIRST_CALLS):  # the first is as written, the second recorded
                got = run(batches[0], Wanted()).forces
            if run.mode == mode:
                difference = float((got - want).abs().max()) if len(got) else 0.0
                way = "eager" if mode == "none" else mode
                bench.time("model", way, lambda b, run=run: run(b, Wanted()), cycle(batches),
                           difference)  # fmt: skip
        for message in said:
            bench.console.print(message, style="yellow", highlight=False)


def rounds(bench: Bench, potential: Potential, beads: Beads) -> None:
    """All of it, with the defaults of the daemon."""
    evaluator = Evaluator(potential)
    builder = RoundBuilder(potential.dtype, potential.device)
    said: list[str] = []
    with notices_to(said.append):
        bench.time("round", "daemon", lambda r: evaluator.evaluate(builder.build([r]).batch),
                   iter(beads))  # fmt: skip
    for message in said:
        bench.console.print(message, style="yellow", highlight=False)


def argon(edge: int) -> Structure:
    grid = 3.75 * np.stack(np.meshgrid(*[np.arange(edge)] * 3), -1).reshape(-1, 3)
    return Structure(np.full(len(grid), 18), grid, np.eye(3) * 3.75 * edge, True)


def measure(
    bench: Bench, spec: str, structure: Structure, beads_list: list[int],
    modes: list[str], ways: list[str],
) -> None:  # fmt: skip
    """All rows of one potential."""
    parsed = parse_spec(spec)
    options = {"device": str(bench.device), **parsed.options}
    potential = make_potential({"potential": parsed.potential, **options})
    for n_beads in beads_list:
        beads = Beads(structure, n_beads)
        builder = RoundBuilder(potential.dtype, potential.device)
        batches = [builder.build([request]).batch for request in beads.requests]
        bench.about |= {
            "potential": potential.name, "atoms": len(structure), "beads": n_beads, "pairs": 0,
        }  # fmt: skip
        if potential.cutoff > 0.0:
            lists(bench, potential, batches, ways)
            finder = NeighbourLists(potential.cutoff)
            batches = [finder.attach(batch) for batch in batches]
        copies(bench, potential, beads, batches[0])
        models(bench, potential, batches, modes)
        rounds(bench, potential, beads)
    potential.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    best = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=best)
    parser.add_argument("--model", action="append", default=[], help="file or SPEC, for water")
    parser.add_argument("--structure", type=Path, default=ROOT.parent / "inputs/water/init.xyz")
    parser.add_argument("--beads", help="e.g. 1,8,32,64")
    parser.add_argument("--lists", default="toolkit,kept,anew")
    parser.add_argument("--modes", default="none,graphs,compile")
    parser.add_argument("--seconds", type=float, help="for each way of each row")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    given = parser.parse_args()
    keep_memory()
    console, device = Console(width=110), torch.device(given.device)
    seconds = given.seconds or (QUICK_SECONDS if given.quick else SECONDS)
    beads = [int(n) for n in given.beads.split(",")] if given.beads else list(
        QUICK_BEADS if given.quick else BEADS
    )  # fmt: skip
    name = device_name(device)
    bench = Bench(device, seconds, console)
    bench.about = {
        "date": date.today().isoformat(), "device": name, "torch": torch.__version__,
        "pimd": metadata.version("pimd"),
    }  # fmt: skip
    modes, ways = given.modes.split(","), given.lists.split(",")
    measure(bench, ARGON, argon(3 if given.quick else 6), beads, modes, ways)
    water = template_structure(given.structure)
    for spec in [WATER, *given.model] if not given.quick else given.model:
        measure(bench, spec, water, beads, modes, ways)
    file = results_file("device", device, given.results)
    write_rows(file, bench.rows)
    console.print(f"{len(bench.rows)} rows in {file}")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of compilers; notices are printed
        main()
