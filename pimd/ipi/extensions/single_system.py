"""With one system, the thread that runs the simulation takes the steps itself.

i-PI gives each step of each system to a thread of a pool, so that systems that wait for forces do
not hold up others. With one system there are no others, and to hand a step over and be woken when
it is done costs some tens of microseconds. Here the step is called, as i-PI does with
`threading='false'`; RESTART goes on saying what the input says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pimd.ipi.extensions.patching import Extension, Layer

__all__ = ["SingleSystem"]


class SingleSystem(Extension):
    """See the module."""

    name = "single_system"
    purpose = "the steps of a single system are called, not given to another thread"
    relies_on: ClassVar = {
        "ipi.engine.simulation:Simulation.run_step": "80904716d426",
        "ipi.engine.simulation:Simulation._run_loop": "d1f1b732fc5c",
    }

    def layers(self) -> Mapping[str, Layer]:
        return {"ipi.engine.simulation:Simulation.run_step": _run_step}


def _run_step(stock: Any) -> Any:
    """Simulation.run_step."""

    def run_step(self: Any, step: int) -> None:
        from ipi.utils.softexit import softexit

        if len(self.syslist) != 1 or not self.threading:
            stock(self, step)
            return
        motion = self.syslist[0].motion
        motion.step(step=step)
        if softexit.triggered:
            return
        if motion.finished:
            self.finished = True
            self.exit_status = motion.exit_status or "success"
            self.exit_message = motion.exit_message
            return
        if self.smotion is not None:
            self.smotion.step(step)

    return run_step
