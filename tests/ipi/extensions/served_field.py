"""One forcefield in this process, at a socket in a folder, with scripted drivers in threads."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path
from typing import Any

import numpy as np
from ipi.engine.beads import Beads
from ipi.engine.cell import Cell
from ipi.engine.forcefields import FFSocket
from ipi.engine.forces import ForceComponent, Forces
from ipi.interfaces.sockets import InterfaceSocket
from ipi.utils.depend import dstrip
from scripted_driver import STIFFNESS, Closed, Driver

from pimd.ipi import extensions

N_BEADS, N_ATOMS = 4, 3


class Served(Driver):
    """A scripted driver that counts what it is told."""

    def __init__(self, address: str, **options: Any) -> None:
        defaults = {"fault": "", "at": 0, "bead": 0, "delay": 0.0, "calls": ""}
        super().__init__(argparse.Namespace(address=address, **{**defaults, **options}))
        self.statuses = 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.serve()
        except (Closed, OSError):
            pass
        finally:
            self.socket.close()

    def say_status(self) -> None:
        self.statuses += 1
        super().say_status()


class Field:
    """A forcefield at a socket in a folder, the forces of a ring polymer, and drivers."""

    def __init__(self, folder: Path, private: bool = False, components: int = 1) -> None:
        path = str(folder / "s")
        interface = InterfaceSocket(
            address="s", mode="unix", sockets_prefix=f"{folder}/", batch_size=N_BEADS, timeout=0.0
        )
        if private:
            interface.private_path = path
        self.address = f"unix:{path}"
        self.forcefield = FFSocket(name="f", dopbc=False, interface=interface)
        self.forcefield.start()
        self.drivers: list[Served] = []
        self.beads, self.forces = self.polymer(components)

    def polymer(self, components: int = 1) -> tuple[Any, Any]:
        """Another ring polymer with forces of its own."""
        beads = Beads(N_ATOMS, N_BEADS)
        beads.q[:] = np.random.default_rng(3).normal(size=(N_BEADS, 3 * N_ATOMS))
        cell = Cell(10.0 * np.eye(3))
        asked = [ForceComponent("f", mts_weights=[1.0]) for _ in range(components)]
        forces = Forces()
        forces.bind(beads, cell, asked, {"f": self.forcefield}, [], None)
        return beads, forces

    def driver(self, **options: Any) -> Served:
        self.drivers.append(Served(self.address, **options))
        return self.drivers[-1]

    @property
    def line(self) -> Any:
        return self.forcefield.pimd_line

    @property
    def component(self) -> Any:
        return self.forces.mforces[0]

    @property
    def counts(self) -> tuple[int, int]:
        """Exchanges, and how many of them were direct."""
        counter = extensions.counters()["f"]
        return counter.exchanges, counter.direct

    def close(self) -> None:
        self.forcefield._doloop[0] = False
        self.forcefield._thread.join(5.0)
        self.forcefield.socket.executor.shutdown()
        self.forcefield.socket.close()
        self.forcefield.socket.server.close()
        for driver in self.drivers:
            driver.thread.join(5.0)
            assert not driver.thread.is_alive()


def copied(array: Any) -> np.ndarray:
    """np.array makes no copy of i-PI's arrays."""
    return np.copy(dstrip(array))


def assert_right(field: Field, beads: Any = None, forces: Any = None) -> None:
    """The forces are those of the present positions."""
    beads, forces = beads or field.beads, forces or field.forces
    q = copied(beads.q)
    np.testing.assert_array_equal(copied(forces.mforces[0].f), -STIFFNESS * q)
    np.testing.assert_allclose(copied(forces.f), -STIFFNESS * q * len(forces.mforces))
    energies = 0.5 * STIFFNESS * (q**2).sum(axis=1)
    np.testing.assert_allclose(copied(forces.mforces[0].pots), energies, rtol=1e-14)


def move(field: Field) -> None:
    field.beads.q[:] = copied(field.beads.q) * 0.9
