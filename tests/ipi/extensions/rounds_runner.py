"""Simulations one after the other in one process, their drivers in threads.

    python rounds_runner.py on|stock NAME...

For each NAME, NAME.json has `xml` and `sockets` (mode, address, port, number of drivers), and
the outputs go into the folder NAME. With `on`, counts of each go to counts.json. Drivers are
i-PI's own client with a potential whose forces, virials and extras differ from bead to bead.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import threading
import time
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import numpy as np
from ipi.engine.simulation import Simulation
from ipi.interfaces import sockets
from ipi.pes import Dummy_driver

sockets.SERVERTIMEOUT = 0.05  # i-PI waits so long for another driver after each that comes


def ipi_client() -> Any:
    """The module behind i-pi-driver-py."""
    path = shutil.which("i-pi-driver-py", path=str(Path(sys.executable).parent))
    assert path is not None
    loader = SourceFileLoader("ipi_client", path)
    spec = importlib.util.spec_from_loader("ipi_client", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class Potential(Dummy_driver):  # type: ignore[misc]
    """Anharmonic, with a term of the cell, a virial that is not symmetric, and extras."""

    def compute(self, cell: Any, pos: Any) -> Any:
        if isinstance(cell, list):
            return [self.compute_structure(c, p) for c, p in zip(cell, pos, strict=True)]
        return self.compute_structure(cell, pos)

    def compute_structure(self, cell: np.ndarray, pos: np.ndarray) -> tuple[Any, ...]:
        x = pos.reshape(-1, 3)
        energy = float(0.01 * (x**2).sum() + 0.001 * (x**4).sum() + 0.1 * cell[0, 0])
        forces = -0.02 * x - 0.004 * x**3
        virial = forces.T @ x + np.arange(9.0).reshape(3, 3) * 1e-3
        extras = json.dumps({"dipole": list(x.sum(axis=0)), "first": float(x[0, 0])})
        return energy, forces.reshape(pos.shape), virial, extras


def serve(client: Any, socket: dict[str, Any]) -> None:
    unix = socket["mode"] == "unix"
    arguments = {"unix": unix, "shm": socket["mode"] == "shm", "sockets_prefix": ""}
    client.run_driver(
        address=socket["address"], port=socket["port"], driver=Potential(), **arguments
    )


def main() -> None:
    which, *names = sys.argv[1:]
    counts: dict[str, Any] = {}
    if which == "on":
        from pimd.ipi import extensions

        keep = {"whole_rounds", "socket_faults", "round_forces", "direct_rounds"}
        names_of_all = [s.name for s in extensions.enable_all()]
        off = frozenset(names_of_all) - keep
        statuses = extensions.enable_all(extensions.Settings(off=off))
        assert {s.name for s in statuses if s.enabled} == keep, statuses
    client = ipi_client()
    for name in names:
        case = json.loads(Path(f"{name}.json").read_text())
        os.makedirs(name)
        os.chdir(name)
        simulation = Simulation.load_from_xml(case["xml"])
        for socket in case["sockets"]:
            for _ in range(socket["drivers"]):
                threading.Thread(target=serve, args=(client, socket), daemon=True).start()
                time.sleep(0.01)
        simulation.run()
        for output in simulation.outputs:
            output.close_stream()
        if which == "on":
            counts[name] = {k: vars(c).copy() for k, c in extensions.counters().items()}
            counts[name]["left"] = extensions.left_to_ipi(simulation)
            extensions.counters().clear()
        simulation.stop()
        os.chdir("..")
    Path("counts.json").write_text(json.dumps(counts))
    os._exit(0)  # i-PI's threads wait for a while


if __name__ == "__main__":
    main()
