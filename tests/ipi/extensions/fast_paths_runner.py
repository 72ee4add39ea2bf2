"""Run several i-PI inputs one after the other in one process, with all extensions or none.

    python fast_paths_runner.py on|off NAME ...

Each `../NAME.xml` runs in a folder NAME of its own; its state at the end goes to NAME/state.npz.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import ipi.interfaces.sockets
import numpy as np
from ipi.engine.simulation import Simulation

from pimd.ipi import extensions

ipi.interfaces.sockets.SERVERTIMEOUT = 0.05  # i-PI waits so long for a second driver


def run(name: str) -> None:
    os.makedirs(name)
    os.chdir(name)
    with open(f"../../{name}.xml") as file:
        simulation = Simulation.load_from_xml(file.read())
    simulation.run()
    np.savez("state.npz", **state(simulation))
    for output in simulation.outputs:
        output.close_stream()
    simulation.stop()
    os.chdir("..")


def state(simulation: Any) -> dict[str, Any]:
    """What the run has come to, and what i-PI has booked, of all systems."""
    found: dict[str, Any] = {"uniform": simulation.prng.u}  # where the random numbers stand
    for k, system in enumerate(simulation.syslist):
        motion, ensemble = system.motion, system.ensemble
        found |= {
            f"positions{k}": system.beads.q, f"momenta{k}": system.beads.p,
            f"forces{k}": system.forces.f, f"potentials{k}": system.forces.pots,
            f"virials{k}": system.forces.virs, f"cell{k}": system.cell.h,
            f"thermostat{k}": motion.thermostat.ethermo, f"constraints{k}": ensemble.eens,
            f"conserved{k}": ensemble.econs, f"barostat{k}": motion.barostat.ebaro,
        }
    return {key: np.array(value, dtype=float) for key, value in found.items()}


def main() -> None:
    if sys.argv[1] == "on":
        statuses = extensions.enable_all()
        off = [f"{s.name}: {s.reason}" for s in statuses if not s.enabled]
        assert not off, off
    for name in sys.argv[2:]:
        run(name)
    sys.stdout.flush()
    os._exit(0)  # i-PI's threads wait for a while


if __name__ == "__main__":
    main()
