"""RESTART is written at intervals, so that a run that is killed outright loses little.

i-PI writes RESTART when it stops. kill -9, a crash of the machine or the end of a batch job
leave only what `<checkpoint>` outputs the input asks for. Here RESTART is also written between
steps when `interval` seconds have passed since the last time: the state that i-PI keeps for a
soft exit anyway, which belongs to the end of a step.

Writing is text of all coordinates; it is given 2 % of the time at most, so that for very large
systems the interval grows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from pimd.ipi.extensions.patching import Extension, Layer

__all__ = ["PeriodicRestart"]

SHARE = 0.02
"""Largest share of the wall time spent in writing RESTART."""


class PeriodicRestart(Extension):
    """See the module.

    Args:
        interval: seconds of wall time between two RESTARTs.
    """

    name = "periodic_restart"
    purpose = "RESTART is written every so many seconds, so that kill -9 loses little"
    relies_on: ClassVar = {
        "ipi.engine.simulation:Simulation.run": "df6aa4d1a6a7",
        "ipi.engine.simulation:Simulation.run_step": "80904716d426",
        "ipi.engine.simulation:Simulation._run_loop": "d1f1b732fc5c",
        "ipi.engine.outputs:CheckpointOutput.store": "1015839e2036",
        "ipi.engine.simulation:Simulation.softexit": "dfbb28a1adf4",
    }
    requires = ("atomic_checkpoints",)

    def __init__(self, interval: float = 60.0) -> None:
        self.interval = interval
        self._due = 0.0

    def layers(self) -> Mapping[str, Layer]:
        return {
            "ipi.engine.simulation:Simulation.run": self._run,
            "ipi.engine.simulation:Simulation.run_step": self._run_step,
        }

    def _run(self, stock: Any) -> Any:
        def run(simulation: Any, *args: Any, **kwargs: Any) -> None:
            self._due = time.monotonic() + self.interval
            stock(simulation, *args, **kwargs)

        return run

    def _run_step(self, stock: Any) -> Any:
        def run_step(simulation: Any, step: int) -> None:
            if time.monotonic() >= self._due:
                self._write(simulation)
            stock(simulation, step)

        return run_step

    def _write(self, simulation: Any) -> None:
        """Write the state stored last, unless a soft exit is doing that now."""
        from ipi.utils.messages import verbosity, warning
        from ipi.utils.softexit import softexit

        if not softexit.lock.acquire(blocking=False):
            return
        try:
            if softexit.triggered:
                return
            start = time.monotonic()
            try:
                simulation.chk.write(store=False)
            except OSError as error:  # a full disk; the last RESTART is still whole
                warning(f" @RESTART: cannot be written now: {error}", verbosity.low)
            end = time.monotonic()
        finally:
            softexit.lock.release()
        self._due = end + max(self.interval, (end - start) / SHARE)
