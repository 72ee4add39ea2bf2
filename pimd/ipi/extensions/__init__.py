"""What i-PI lacks for runs that are fast, never hang and can be resumed.

One idea a file, each an `Extension` that checks that the installed i-PI is what it was written
for, and can be switched off again:

    whole_rounds        the beads of a step go to the driver in one message
    socket_faults       a driver that dies, hangs or answers nonsense never makes i-PI hang
    atomic_checkpoints  RESTART and checkpoints are never half written
    exact_checkpoints   RESTART holds every number exactly
    output_positions    a resumed run doubles and loses no row
    periodic_restart    RESTART every so many seconds, not only at the end
    spaced_states       the state to go back to is kept as often as it is cheap
    vector_steps        thermostat and centre of mass for all beads at once
    private_sockets     sockets of the run's own; stale ones do not matter

`enable_all` before `Simulation.load_from_xml`, in the process that runs i-PI.
"""

from __future__ import annotations

from pimd.ipi.extensions.failure import FAILURE, Failure, failure_message
from pimd.ipi.extensions.output_positions import OutputPositionsError, truncate_outputs
from pimd.ipi.extensions.registry import (
    ExtensionError,
    ExtensionStatus,
    Settings,
    counters,
    disable_all,
    enable_all,
)

__all__ = [
    "FAILURE",
    "ExtensionError",
    "ExtensionStatus",
    "Failure",
    "OutputPositionsError",
    "Settings",
    "counters",
    "disable_all",
    "enable_all",
    "failure_message",
    "truncate_outputs",
]
