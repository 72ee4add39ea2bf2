"""Running i-PI and its clients as other programs do: processes, their ends, and i-PI's timings."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

__all__ = ["SOCKET", "XML", "block_timings", "run_stock", "start", "stop", "wait", "write_gas"]

TIME_LIMIT_S = 600.0

XML = """<simulation verbosity='{verbosity}'>
  <output prefix='simulation'>
    <properties stride='{stride}' filename='out'> [ {columns} ] </properties>
  </output>
  <total_steps>{n_steps}</total_steps>
  <prng><seed>12345</seed></prng>
  {forcefield}
  <system>
    <initialize nbeads='{n_beads}'>
      <file mode='{format}'> initial.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='forces'/></forces>
    <motion mode='dynamics'>
      <dynamics mode='nvt'>
        <timestep units='femtosecond'> {timestep_fs} </timestep>
        <thermostat mode='pile_l'><tau units='femtosecond'> 100 </tau></thermostat>
      </dynamics>
    </motion>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
  </system>
</simulation>
"""
"""NVT with PILE-L from initial.xyz, read by stock i-PI and by `pimd run`."""

SOCKET = """<ffsocket name='forces' mode='unix' pbc='false'>
    <address>{address}</address>
    {batch_size}
    <parameters> {spec} </parameters>
  </ffsocket>"""


def write_gas(path: Path, n_atoms: int) -> None:
    """Hydrogen atoms in a cubic cell of 10 Å, as i-PI's xyz."""
    positions = np.random.default_rng(0).uniform(0, 10, (n_atoms, 3))
    lines = [f"{n_atoms}", "# CELL(abcABC): 10 10 10 90 90 90 positions{angstrom} cell{angstrom}"]
    lines += [f"H {x:.6f} {y:.6f} {z:.6f}" for x, y, z in positions]
    path.write_text("\n".join(lines) + "\n")


def block_timings(log: str, first_step: int) -> list[float]:
    """ms per step of i-PI's blocks (100 steps at verbosity medium, 1 at high) from a step on."""
    found = re.findall(r"Average timings at MD step\s+(\d+)\. t/step:\s+(\S+)", log)
    blocks = [1000 * float(seconds) for step, seconds in found if int(step) >= first_step]
    if not blocks:
        raise RuntimeError(f"no timings in i-PI's output, which ends\n{log[-2000:]}")
    return blocks


def run_stock(
    folder: Path, address: str, client_options: Sequence[str], threads: int = 1
) -> str:
    """`i-pi input.xml` and `i-pi-driver-py` in a folder, over a unix socket; i-PI's output."""
    scripts = Path(sys.executable).parent
    socket_file = Path(f"/tmp/ipi_{address}")
    socket_file.unlink(missing_ok=True)
    log_path = folder / "i-pi.log"
    with open(log_path, "w") as log:
        server = start([sys.executable, str(scripts / "i-pi"), "input.xml"], folder, log)
    client = None
    try:
        deadline = time.monotonic() + 60
        while not socket_file.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"i-pi did not start:\n{log_path.read_text()[-2000:]}")
            time.sleep(0.05)
        command = [sys.executable, str(scripts / "i-pi-driver-py"), "-u", "-a", address]
        with open(folder / "client.log", "w") as log:
            client = start([*command, *client_options], folder, log, threads)
        while server.poll() is None and client.poll() is None:
            time.sleep(0.05)
        if server.poll() is None and client.returncode != 0:
            text = (folder / "client.log").read_text()
            raise RuntimeError(f"the client ended with {client.returncode}:\n{text[-2000:]}")
        wait(server, log_path)
        client.wait(timeout=30)
    finally:
        for process in (server, client):
            stop(process)
        socket_file.unlink(missing_ok=True)
    return log_path.read_text()


def start(command: list[str], folder: Path, log: object, threads: int = 1) -> subprocess.Popen:
    """A process whose libraries use so many threads."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
    )


def wait(process: subprocess.Popen, log_path: Path) -> None:
    status = process.wait(timeout=TIME_LIMIT_S)
    if status != 0:
        raise RuntimeError(f"ended with status {status}:\n{log_path.read_text()[-3000:]}")


def stop(process: subprocess.Popen | None) -> None:
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
