"""What i-PI lacks for runs that are fast, never hang and can be resumed.

One idea a file, each an `Extension` that checks that the installed i-PI is what it was written
for, and can be switched off again:

    single_system       the steps of a single system are called, not given to another thread
    whole_rounds        the beads of a step go to the driver in one message
    socket_faults       a driver that dies, hangs or answers nonsense never makes i-PI hang
    round_forces        the forces of all beads are one object
    direct_rounds       positions go out and forces come back as one array each
    atomic_checkpoints  RESTART and checkpoints are never half written
    exact_checkpoints   RESTART holds every number exactly
    output_positions    a resumed run doubles and loses no row
    h5md_output         all beads in one HDF5 file
    periodic_restart    RESTART every so many seconds, not only at the end
    spaced_states       the state to go back to is kept as often as it is cheap
    normal_modes        between beads and modes by a matrix product where that is faster
    vector_steps        thermostat, kicks and centre of mass for all beads at once
    fused_steps         constant-energy and constant-temperature steps whole, in normal modes
    random_ahead        random numbers before they are asked for, the same ones
    nose_hoover         Nosé–Hoover chains as a thermostat
    private_sockets     sockets of the run's own; stale ones do not matter

`enable_all` before `Simulation.load_from_xml`, in the process that runs i-PI.
"""

from __future__ import annotations

from pimd.ipi.extensions.failure import FAILURE, Failure, failure_message
from pimd.ipi.extensions.h5md_output import record_files
from pimd.ipi.extensions.output_positions import OutputPositionsError, truncate_outputs
from pimd.ipi.extensions.registry import (
    ExtensionError,
    ExtensionStatus,
    Settings,
    counters,
    disable_all,
    enable_all,
    left_to_ipi,
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
    "left_to_ipi",
    "record_files",
    "truncate_outputs",
]
