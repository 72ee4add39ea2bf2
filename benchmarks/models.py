"""A machine-learning model under i-PI: `pimd run`, stock i-PI with its own drivers, the bare model.

    python benchmarks/models.py [--mace FILE] [--metatomic FILE] [--beads 1,8,32,64] [--steps 4]
                                [--repetitions 2] [--device cpu] [--dtype float64] [--full-size]

64 water molecules, NVT with PILE-L, 0.25 fs; ms per step, the same model file everywhere. Without
files random models are made, a MACE and a metatomic network of 2 layers each: small ones, or with
--full-size ones as large as those that are published. Variants:

    bare                   the library's model on prepared input, energies, forces and virials of
                           all beads in one call; and, `bare, one by one`, in P calls
    pimd run               this package
    i-pi, as shipped       stock i-pi, its own driver in i-pi-driver-py, a bead at a time
    i-pi, batch_size = P   the same with <batch_size> P, and the driver's inner batch_size = P
    ase                    velocity Verlet with the library's ASE calculator, for P = 1

They take turns, and the order is reversed every other time, so that a busy machine slows all. ms
per step is the median over steps, the first three left out. `model share` is the part of a step
that `pimd run` spends in the model (summary.json). Rows go to
benchmarks/results/models_<device>.csv (models_full_size_<device>.csv).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.io import write
from ipi_runs import SOCKET, XML, block_timings, run_stock, start, stop, wait
from make_models import bare_mace, bare_metatomic, make_mace, make_metatomic
from results_file import device_name, results_file, write_rows
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
WARM_UP_STEPS = 3


@dataclass
class Model:
    """One model file and what runs it.

    Attributes:
        kind: `mace` or `metatomic`.
        file: the model.
        bare: makes a function that evaluates prepared structures in one call.
        calculator: makes the library's ASE calculator.
    """

    kind: str
    file: Path
    bare: Callable[[list[Atoms], Path, str, str], Callable[[], None]]
    calculator: Callable[[Path, str, str], Any]


@dataclass
class Variant:
    """ms of the steps of one variant at one number of beads."""

    ms: list[float] = field(default_factory=list)
    model_share: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return float(np.median(self.ms))


class Runs:
    """All variants for one model and number of beads."""

    def __init__(self, model: Model, atoms: Atoms, n_beads: int, options: argparse.Namespace):
        self.model, self.atoms, self.n_beads, self.options = model, atoms, n_beads, options
        self.device, self.dtype = options.device, options.dtype
        self.found: dict[str, Variant] = {}

    def measure(self) -> dict[str, Variant]:
        variants: dict[str, Callable[[], None]] = {
            "bare": self.bare,
            "bare, one by one": self.bare_one_by_one,
            "pimd run": self.pimd_run,
            "i-pi, as shipped": lambda: self.stock(batched=False),
            "i-pi, batch_size = P": lambda: self.stock(batched=True),
            "ase": self.ase,
        }
        if self.n_beads == 1:
            del variants["bare, one by one"], variants["i-pi, batch_size = P"]
        else:
            del variants["ase"]
        self.found = {name: Variant() for name in variants}
        for repetition in range(self.options.repetitions):
            order = list(variants) if repetition % 2 == 0 else list(variants)[::-1]
            for name in order:
                self.name = name
                variants[name]()
        return self.found

    def _add(self, ms: list[float]) -> None:
        self.found[self.name].ms += ms

    def _beads(self) -> list[Atoms]:
        rng = np.random.default_rng(self.n_beads)
        beads = []
        for _ in range(self.n_beads):
            bead = self.atoms.copy()
            bead.positions += rng.normal(0, 0.05, bead.positions.shape)
            beads.append(bead)
        return beads

    def bare(self) -> None:
        call = self.model.bare(self._beads(), self.model.file, self.device, self.dtype)
        self._time(call)

    def bare_one_by_one(self) -> None:
        calls = [
            self.model.bare([bead], self.model.file, self.device, self.dtype)
            for bead in self._beads()
        ]
        self._time(lambda: [call() for call in calls])

    def ase(self) -> None:
        from ase import units
        from ase.md.verlet import VelocityVerlet

        atoms = self.atoms.copy()
        atoms.calc = self.model.calculator(self.model.file, self.device, self.dtype)
        dynamics = VelocityVerlet(atoms, 0.25 * units.fs)
        self._time(lambda: dynamics.run(1))

    def _time(self, call: Callable[[], Any]) -> None:
        for _ in range(WARM_UP_STEPS):
            call()
        ms = []
        for _ in range(self.options.steps):
            if self.device.startswith("cuda"):
                torch.cuda.synchronize()
            begin = time.perf_counter()
            call()
            if self.device.startswith("cuda"):
                torch.cuda.synchronize()
            ms.append(1e3 * (time.perf_counter() - begin))
        self._add(ms)

    def stock(self, *, batched: bool) -> None:
        with scratch() as folder:
            address = f"pimd-models-{os.getpid()}"
            self._write(folder, address, f"<batch_size>{self.n_beads}</batch_size>" * batched)
            driver = f"template=initial.xyz,model={self.model.file},device={self.device}"
            if self.model.kind == "mace":
                arguments: dict[str, Any] = {"default_dtype": self.dtype}
                if batched:
                    arguments["instructions"] = {"batch_size": self.n_beads}
                (folder / "mace.json").write_text(json.dumps(arguments))
                driver += ",mace_kwargs=mace.json"
            client = ["-m", self.model.kind, "-o", driver]
            log = run_stock(folder, address, client, self.options.threads)
            self._add(block_timings(log, WARM_UP_STEPS))

    def pimd_run(self) -> None:
        with scratch() as folder:
            self._write(folder, f"pimd-models-{os.getpid()}", "")
            command = [sys.executable, "-m", "pimd.cli", "run", "input.xml", "--run-dir", "run"]
            log_path = folder / "pimd.log"
            with open(log_path, "w") as log:
                process = start(command, folder, log, self.options.threads)
            try:
                wait(process, log_path)
            finally:
                stop(process)
            summary = json.loads((folder / "run" / "summary.json").read_text())
            self._add(block_timings((folder / "run" / "i-pi.log").read_text(), WARM_UP_STEPS))
            self.found[self.name].model_share.append(summary["time_fractions"]["model"])

    def _write(self, folder: Path, address: str, batch_size: str) -> None:
        write(folder / "initial.xyz", self.atoms, format="extxyz")
        spec = f"{{potential: {self.model.kind}, model: {self.model.file}, device: {self.device}"
        spec += f", dtype: {self.dtype}}}" if self.model.kind == "mace" else "}"
        (folder / "input.xml").write_text(XML.format(
            verbosity="high", stride=1, columns="step, conserved, potential", format="ase",
            n_steps=self.options.steps + WARM_UP_STEPS, n_beads=self.n_beads, timestep_fs=0.25,
            forcefield=SOCKET.format(address=address, batch_size=batch_size, spec=spec),
        ))


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pimd-models-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def mace_calculator(file: Path, device: str, dtype: str) -> Any:
    from mace.calculators import MACECalculator

    return MACECalculator(model_paths=str(file), device=device, default_dtype=dtype)


def metatomic_calculator(file: Path, device: str, dtype: str) -> Any:
    from metatomic_ase import MetatomicCalculator

    return MetatomicCalculator(str(file), device=device)


def report(model: Model, found: dict[int, dict[str, Variant]], console: Console) -> None:
    """A table of one model."""
    table = Table(title=f"{model.kind}: ms per step of 64 waters (per bead), median")
    table.add_column("variant")
    for n_beads in found:
        table.add_column(f"P = {n_beads}", justify="right")
    for name in dict.fromkeys(n for variants in found.values() for n in variants):
        cells = []
        for n_beads, variants in found.items():
            v = variants.get(name)
            cells.append("" if v is None else f"{v.median:.1f} ({v.median / n_beads:.1f})")
        table.add_row(name, *cells)
    shares = [f"{100 * v['pimd run'].model_share[-1]:.1f} %" for v in found.values()]
    table.add_row("pimd run, model share", *shares)
    console.print(table)


def rows_of(
    model: Model, found: dict[int, dict[str, Variant]], options: argparse.Namespace
) -> list[dict[str, object]]:
    library = {"mace": "mace-torch", "metatomic": "metatomic-torch"}[model.kind]
    rows: list[dict[str, object]] = []
    for n_beads, variants in found.items():
        for name, v in variants.items():
            rows.append({
                "date": date.today().isoformat(), "device": device_name(options.device),
                "cores": os.cpu_count(),
                "threads": options.threads, "dtype": options.dtype,
                "pimd": metadata.version("pimd"), "ipi": metadata.version("ipi"),
                "torch": torch.__version__, "library": library,
                "library_version": metadata.version(library), "model": model.file.name,
                "variant": name, "atoms": 192, "beads": n_beads, "steps": len(v.ms),
                "ms_per_step": round(v.median, 2),
                "ms_q25": round(float(np.percentile(v.ms, 25)), 2),
                "ms_q75": round(float(np.percentile(v.ms, 75)), 2),
                "model_share": round(float(np.mean(v.model_share)), 4) if v.model_share else "",
            })  # fmt: skip
    return rows


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--mace", type=Path, help="a .model file (default: a small random one)")
    add("--metatomic", type=Path, help="a .pt file (default: a small random one)")
    add("--full-size", action="store_true", help="random models as large as published ones")
    add("--kinds", default="mace,metatomic", help="which of the two to measure")
    add("--beads", default="1,8,32,64")
    add("--steps", type=int, default=4, help="steps of a run that count")
    add("--repetitions", type=int, default=2)
    add("--device", default="cpu")
    add("--dtype", default="float64", choices=("float32", "float64"))
    add("--threads", type=int, default=os.cpu_count(), help="of the model, on the CPU")
    add("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    console = Console(width=110)
    name = "random-full-size" if options.full_size else "random"
    out = options.out or results_file(
        "models_full_size" if options.full_size else "models", options.device
    )
    rows: list[dict[str, object]] = []
    from pimd.ipi.structure_files import template_structure

    atoms = template_structure(ROOT / "inputs" / "water" / "init.xyz").to_ase()
    with scratch() as folder:
        models = []
        if "mace" in options.kinds.split(","):
            file = options.mace or make_mace(
                folder / f"{name}.model", options.dtype, full_size=options.full_size
            )
            models.append(Model("mace", file.resolve(), bare_mace, mace_calculator))
        if "metatomic" in options.kinds.split(","):
            file = options.metatomic or make_metatomic(
                folder / f"{name}.pt", options.dtype, full_size=options.full_size
            )
            models.append(Model("metatomic", file.resolve(), bare_metatomic, metatomic_calculator))
        for model in models:
            found = {}
            for n_beads in (int(n) for n in options.beads.split(",")):
                found[n_beads] = Runs(model, atoms, n_beads, options).measure()
                Console(stderr=True).print(f"{model.kind}, {n_beads} beads: " + ", ".join(
                    f"{name} {v.median:.1f}" for name, v in found[n_beads].items()
                ))
                # a long run may be cut short
                write_rows(out, rows + rows_of(model, found, options))
            report(model, found, console)
            rows += rows_of(model, found, options)
    write_rows(out, rows)
    print(f"rows: {out}")


if __name__ == "__main__":
    main()
