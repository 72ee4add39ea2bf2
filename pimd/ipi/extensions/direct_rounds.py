"""A round goes to its driver and back in the thread that needs the forces, without requests.

i-PI makes a request object for each bead, with copies of positions and cell, and leaves it to a
polling thread, which joins them to one message, waits, and takes the answer apart again. Here
the positions go from their array into the socket (or into shared memory), and the forces from
the socket into theirs.

Only the plain case is done so: an `<ffsocket>` with consolidated messages and all atoms active,
a batch_size that is the number of beads, nothing else queued, a driver that is connected and
free, and nobody waiting to be let in. Everything else takes i-PI's own way, one round at a time;
and a round that is out goes over to it, as if it had been requested and sent by it, as soon as
anything unusual happens: the driver is lost, or silent for too long, another one comes, or
somebody else wants the forcefield. What answers to faults there (`socket_faults`) answers here.

The driver's status is asked for when its answer is there, as i-PI does, but read only before the
next round: the driver is not waited for. At a socket of the run's own (`private_sockets`) it is
not asked for, because the driver there is our daemon, which is ready when it has answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ipi.engine.forcefields import FFSocket

from pimd.ipi.extensions.direct_line import LOOK_S, Line
from pimd.ipi.extensions.interface_faults import ending
from pimd.ipi.extensions.patching import Extension, Layer

if TYPE_CHECKING:
    from pimd.ipi.extensions.bead_rounds import Round

__all__ = ["DirectRounds"]


def _start(stock: Any) -> Any:
    """FFSocket.start: the forcefield has a line for its rounds."""

    def start(self: Any) -> None:
        if type(self) is FFSocket:
            self.pimd_line = self.socket.pimd_line = Line(self)
        stock(self)

    return start


def _poll(stock: Any) -> Any:
    """InterfaceSocket.poll: the polling thread takes over the round that is out."""

    def poll(self: Any) -> None:
        line = getattr(self, "pimd_line", None)
        if line is None:
            stock(self)
            return
        while not line.lock.acquire(timeout=LOOK_S):
            if ending(self):
                return
        try:
            if line.engaged():
                line.hand_over()
            if not line.flights:
                stock(self)
        finally:
            line.lock.notify_all()
            line.lock.release()

    return poll


def _rounds(simulation: Any) -> Iterator[tuple[int, Round]]:
    """(index of the system, round) of all components of a bound simulation."""
    for index, system in enumerate(simulation.syslist):
        for forces in (system.forces, getattr(system.ensemble, "bias", None)):
            for component in getattr(forces, "mforces", []):
                found = component.__dict__.get("pimd_round")
                if found is not None:
                    yield index, found


class DirectRounds(Extension):
    """See the module."""

    name = "direct_rounds"
    purpose = "positions go to the driver and forces come back as one array each"
    relies_on: ClassVar = {
        "ipi.engine.forcefields:FFSocket.start": "ff9888550373",
        "ipi.engine.forcefields:ForceField.queue": "c728d7756030",
        "ipi.engine.forcefields:ForceField.stop": "211295340e9f",
        "ipi.interfaces.sockets:InterfaceSocket.poll": "a8702f6abf27",
        "ipi.interfaces.sockets:InterfaceSocket.open": "6664d4b38de0",
        "ipi.interfaces.sockets:InterfaceSocket.close": "af608293aa09",
        "ipi.interfaces.sockets:InterfaceSocket.pool_update": "5c692c3a0c70",
        "ipi.interfaces.sockets:InterfaceSocket.dispatch_free_client": "b4cb4bfed997",
        "ipi.interfaces.sockets:InterfaceSocket._dispatch_free_client_batch": "239f9d728b2d",
        "ipi.interfaces.sockets:Driver.dispatch_send": "519ec3126676",
        "ipi.interfaces.sockets:Driver.dispatch_send_batch": "c82c8448c333",
        "ipi.interfaces.sockets:Driver.dispatch_recv": "7e543563bbcc",
        "ipi.interfaces.sockets:Driver.dispatch_recv_batch": "9cb1cb2b7bec",
        "ipi.interfaces.sockets:Driver._recv_forces_bulk": "a5b0f3b31f5c",
        "ipi.interfaces.sockets:Driver._recv_forces_bulk_batch": "c1ed92bb085a",
        "ipi.interfaces.sockets:Driver.shutdown": "623f0a6ac837",
        "ipi.interfaces.sockets:SHMDriver._alloc_shm": "8c38dd9e1bf6",
        "ipi.interfaces.sockets:SHMDriver._fill_shm": "c4f9d4d67740",
        "ipi.interfaces.sockets:SHMDriver._read_shm_results": "10523e03daa3",
        "ipi.interfaces.sockets:SHMDriver.dispatch_send_batch": "4bde6b9392b4",
        "ipi.interfaces.sockets:SHMDriver._recv_forces_bulk_batch": "f4d175e162b6",
        "ipi.engine.cell:Cell.array_pbc": "36432e486305",
        "ipi.interfaces.utils:parse_extra": "1c0a63ea6e81",
        "ipi.utils.softexit:Softexit.trigger": "27ce881d1a5c",
        "ipi.utils.softexit:Softexit.cleanup": "b10781111b57",
    }
    requires = ("round_forces", "socket_faults")

    def layers(self) -> Mapping[str, Layer]:
        return {
            "ipi.engine.forcefields:FFSocket.start": _start,
            "ipi.interfaces.sockets:InterfaceSocket.poll": _poll,
        }

    def left_to_ipi(self, simulation: Any) -> list[str]:
        lines = []
        for _, found in _rounds(simulation):
            line = found.forcefield.__dict__.get("pimd_line")
            reason = line.obstacle(found.n_beads) if line is not None else ""
            if not found.alone:
                reason = reason or "several force components use it"
            if reason:
                lines.append(f"forcefield '{found.forcefield.name}': {reason}")
        return list(dict.fromkeys(lines))
