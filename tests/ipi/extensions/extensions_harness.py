"""i-PI runs in folders of their own, with scripted drivers, and everything under a time limit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
LIMIT_S = 60.0

INPUT = """<simulation verbosity='low' {threading} sockets_prefix='PREFIX'>
  <output prefix='simulation'>
    {outputs}
  </output>
  <total_steps> {steps} </total_steps>
  <prng> <seed> 31415 </seed> </prng>
  {forcefields}
  {systems}
</simulation>
"""

SOCKET = """<ffsocket name='{name}' mode='{mode}' pbc='false'>
    <address> {address} </address> <port> {port} </port> <latency> 1e-4 </latency>
    <timeout> {timeout} </timeout> <batch_size> {batch} </batch_size>
    <consolidate_messages> {consolidate} </consolidate_messages>
  </ffsocket>"""

SYSTEM = """<system prefix='{prefix}'>
    <initialize nbeads='{beads}'>
      <file mode='xyz' units='angstrom'> init.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces> {forces} </forces>
    <motion mode='dynamics'>
      <dynamics mode='nvt'>
        <timestep units='femtosecond'> 0.5 </timestep>
        <thermostat mode='pile_g'> <tau units='femtosecond'> 100 </tau> </thermostat>
      </dynamics>
    </motion>
    <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
  </system>"""

PROPERTIES = """<properties filename='out' stride='{stride}' flush='{flush}'>
      [ step, conserved, temperature{{kelvin}}, potential, kinetic_md ] </properties>"""


def socket_xml(name: str = "driver", **changes: Any) -> str:
    fields: dict[str, Any] = {
        "mode": "unix",
        "address": f"{name}.sock",
        "port": 31415,
        "timeout": 0,
        "batch": 8,
        "consolidate": "true",
    }
    return SOCKET.format(name=name, **{**fields, **changes})


def properties_xml(stride: int = 1, flush: int = 1) -> str:
    return PROPERTIES.format(stride=stride, flush=flush)


def input_xml(
    *,
    steps: int = 20,
    beads: int = 8,
    n_systems: int = 1,
    forcefields: str = "",
    forces: str = "<force forcefield='driver'/>",
    outputs: str | None = None,
    threading: bool = False,
) -> str:
    return INPUT.format(
        threading="threading='true'" if threading else "threading='false'",
        outputs=properties_xml() if outputs is None else outputs,
        steps=steps,
        forcefields=forcefields or socket_xml(),
        systems="\n".join(
            SYSTEM.format(beads=beads, forces=forces, prefix=f"s{k}" if n_systems > 1 else "")
            for k in range(n_systems)
        ),
    )


class Run:
    """One folder with an i-PI process and its drivers; all of them end with `close`."""

    def __init__(self, folder: Path, n_atoms: int = 24) -> None:
        self.folder = folder
        self.folder.mkdir(exist_ok=True, parents=True)
        self.sockets = Path(tempfile.mkdtemp(prefix="ext-"))  # short, as socket paths must be
        self.drivers: list[subprocess.Popen[bytes]] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.log = open(folder / "log", "ab")  # noqa: SIM115  (for the life of the run)
        rng = np.random.default_rng(7)
        lines = [str(n_atoms), "# CELL(abcABC): 50 50 50 90 90 90 cell{angstrom}"]
        positions = rng.normal(0.0, 0.3, (n_atoms, 3))  # Å
        lines += [f"H {x:.6f} {y:.6f} {z:.6f}" for x, y, z in positions]
        (folder / "init.xyz").write_text("\n".join(lines) + "\n")

    def socket(self, name: str = "driver") -> str:
        return str(self.sockets / f"{name}.sock")

    def start(self, xml: str | None = None, *, stock: bool = False, **settings: Any) -> None:
        """Start i-PI; without `xml`, from RESTART."""
        if xml is not None:
            (self.folder / "input.xml").write_text(xml.replace("PREFIX", f"{self.sockets}/"))
        for name in ("report.json", "seconds"):
            (self.folder / name).unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(HERE / "extensions_runner.py"),
                "input.xml" if xml is not None else "RESTART",
                "stock" if stock else json.dumps(settings),
            ],
            cwd=self.folder,
            stdout=self.log,
            stderr=self.log,
            env=environment(),
        )

    def driver(self, *options: str, address: str | None = None) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [
                sys.executable,
                str(HERE / "scripted_driver.py"),
                address or f"unix:{self.socket()}",
                *options,
            ],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=self.log,
            env=environment(),
        )
        self.drivers.append(process)
        return process

    def wait(self, limit: float = LIMIT_S) -> int:
        """The exit status of i-PI; fails the test if it does not end."""
        assert self.process is not None
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"i-PI still runs after {limit} s:\n{self.tail()}") from None

    def wait_for(self, condition: Any, what: str, limit: float = LIMIT_S) -> None:
        assert self.process is not None
        deadline = time.monotonic() + limit
        while not condition():
            assert self.process.poll() is None, f"i-PI ended before {what}:\n{self.tail()}"
            assert time.monotonic() < deadline, f"no {what} after {limit} s:\n{self.tail()}"
            time.sleep(0.02)

    def rows(self, name: str = "simulation.out") -> list[str]:
        path = self.folder / name
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if not line.startswith("#")]

    def steps(self) -> list[int]:
        return [int(float(row.split()[0])) for row in self.rows()]

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return report

    def restart_step(self) -> int:
        import xml.etree.ElementTree as ET

        text = ET.parse(self.folder / "RESTART").getroot().findtext("step")
        return int(text or "0")

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def tail(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def close(self) -> None:
        for process in [*self.drivers, *([self.process] if self.process else [])]:
            if process.poll() is None:
                process.kill()
            process.wait(10)
        self.drivers.clear()
        self.log.close()
        for path in self.sockets.glob("*"):
            path.unlink()
        self.sockets.rmdir()


@contextlib.contextmanager
def runs_side_by_side(
    folder: Path, cases: dict[str, Callable[[Run], None]], sizes: dict[str, int] | None = None
) -> Iterator[Outcomes]:
    """Do `cases`, each with a Run of its own, a few at a time; most of a run is waiting.

    Yields name -> the run, after its case; a case that failed fails the test that asks for it.
    """
    runs = {name: Run(folder / name, (sizes or {}).get(name, 24)) for name in cases}
    with ThreadPoolExecutor(max_workers=4) as executor:
        futures = {name: executor.submit(case, runs[name]) for name, case in cases.items()}
    try:
        yield Outcomes(runs, {name: future.exception() for name, future in futures.items()})
    finally:
        for run in runs.values():
            run.close()


class Outcomes:
    """Runs that have been done."""

    def __init__(self, runs: dict[str, Run], errors: dict[str, BaseException | None]) -> None:
        self._runs, self._errors = runs, errors

    def __getitem__(self, name: str) -> Run:
        error = self._errors[name]
        if error is not None:
            raise error
        return self._runs[name]


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONWARNINGS": "default",
    }
