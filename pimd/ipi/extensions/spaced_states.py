"""The state to go back to is kept as often as it is cheap, not after every step.

After each step i-PI copies its whole state, so that a soft exit in the middle of the next one can
write a RESTART that belongs to a whole step. For small systems with a fast potential that copy
is a third of the step. Here it is made when the time since the last one is worth it: copying
takes a twentieth of the time at most, and no more than a tenth of a second lies between two.
With a potential that takes longer than a few milliseconds that is still every step.

A run that is interrupted in the middle of a step then goes on from a few milliseconds earlier;
`output_positions` cuts the outputs back to the same state, so that nothing is lost or doubled.
Where a step ends in order, RESTART stands at that step as ever. A `safe_stride` of the input is
left as it is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from pimd.ipi.extensions.patching import Extension, Layer

__all__ = ["SpacedStates"]

SHARE = 0.05
"""Largest share of the wall time spent in copying the state."""

LONGEST_S = 0.1
"""Never longer than this without a copy, whatever one cost."""


class SpacedStates(Extension):
    """See the module."""

    name = "spaced_states"
    purpose = "the state to go back to is kept as often as it is cheap"
    relies_on: ClassVar = {
        "ipi.engine.simulation:Simulation.run": "df6aa4d1a6a7",
        "ipi.engine.simulation:Simulation.run_step": "80904716d426",
        "ipi.engine.simulation:Simulation._run_loop": "d1f1b732fc5c",
        "ipi.engine.simulation:Simulation.softexit": "dfbb28a1adf4",
        "ipi.engine.outputs:CheckpointOutput.store": "1015839e2036",
    }
    requires = ("output_positions",)

    def __init__(self) -> None:
        self._stride = 0
        self._due = 0.0

    def layers(self) -> Mapping[str, Layer]:
        return {
            "ipi.engine.simulation:Simulation.run": self._run,
            "ipi.engine.simulation:Simulation.run_step": self._run_step,
            "ipi.engine.outputs:CheckpointOutput.store": self._store,
        }

    def _run(self, stock: Any) -> Any:
        def run(simulation: Any, *args: Any, **kwargs: Any) -> None:
            self._stride, self._due = int(simulation.safe_stride), 0.0
            stock(simulation, *args, **kwargs)

        return run

    def _run_step(self, stock: Any) -> Any:
        def run_step(simulation: Any, step: int) -> None:
            if self._stride:
                simulation.safe_stride = self._stride
            stock(simulation, step)
            # i-PI stores where step + 1 is a multiple of safe_stride; step + 2 never divides it
            if self._stride == 1 and time.perf_counter() < self._due:
                simulation.safe_stride = step + 2

        return run_step

    def _store(self, stock: Any) -> Any:
        """CheckpointOutput.store: what is stored has the stride of the input; and its cost."""

        def store(checkpoint: Any, *args: Any) -> None:
            if self._stride:
                checkpoint.simul.safe_stride = self._stride
            start = time.perf_counter()
            stock(checkpoint, *args)
            end = time.perf_counter()
            if checkpoint is checkpoint.simul.chk:
                self._due = end + min((end - start) / SHARE, LONGEST_S)

        return store
