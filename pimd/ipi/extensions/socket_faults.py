"""Faults of drivers end in continuation or in a clean stop with RESTART, never in a hang.

What stock i-PI does with a driver that is killed while it computes, answers with the wrong number
of atoms or with extras it cannot use: an exception ends the polling thread, and the main thread
waits for ever. A driver that hangs holds up even SIGTERM, and forces that are not numbers are
integrated.

Here a lost connection, of whatever kind, puts its work back into the queue for the next driver;
anything else that goes wrong in a polling thread ends the run with RESTART and a message that
names the forcefield, the bead and the step (`failure.FAILURE`); no wait is without a limit, and
each ends when i-PI does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ipi.engine.forcefields import ForceField
from ipi.utils.messages import verbosity, warning

from pimd.ipi.extensions import failure
from pimd.ipi.extensions.driver_faults import BadReply, driver_layers
from pimd.ipi.extensions.interface_faults import LIMITS, interface_layers
from pimd.ipi.extensions.patching import Extension, Layer

__all__ = ["SocketFaults"]

JOIN_LIMIT_S = 5.0
"""How long a soft exit waits for a polling thread before it goes on without it."""


def _start(stock: Any) -> Any:
    """FFSocket.start: the interface knows its forcefield, and whether the thread should go on."""

    def start(self: Any) -> None:
        self.socket.forcefield = self.name
        self.socket.polling = self._doloop
        stock(self)

    return start


def _stop(_stock: Any) -> Any:
    """FFSocket.stop: a polling thread that does not end must not hold up RESTART."""

    def stop(self: Any) -> None:
        ForceField.stop(self)
        if self._thread not in (None, threading.current_thread()):
            self._thread.join(JOIN_LIMIT_S)
            if self._thread.is_alive():
                warning(f" @SOCKET: the thread of '{self.name}' does not end.", verbosity.low)
        self.socket.close()

    return stop


def _poll_loop(stock: Any) -> Any:
    """ForceField._poll_loop: an exception in it ends the run instead of the thread alone."""

    def poll_loop(self: Any) -> None:
        try:
            stock(self)
        except BadReply as error:
            failure.fail(self.name, str(error), error.request)
        except Exception as error:
            failure.fail(self.name, f"{type(error).__name__}: {error}")

    return poll_loop


def _bind(stock: Any) -> Any:
    """Simulation.bind: failures can name the bead."""

    def bind(self: Any, *args: Any, **kwargs: Any) -> None:
        failure.watch(self)
        stock(self, *args, **kwargs)

    return bind


def _run_step(stock: Any) -> Any:
    """Simulation.run_step: failures can name the step."""

    def run_step(self: Any, step: int) -> None:
        failure.begin_step(step)
        stock(self, step)

    return run_step


class SocketFaults(Extension):
    """See the module.

    Args:
        compute_limit: seconds after which a silent driver is disconnected; 0: none.
        driver_limit: seconds that work may wait while no driver is connected; 0: none.
        on_silent: called with a forcefield's name when one of its drivers was silent too long.
    """

    name = "socket_faults"
    purpose = "a driver that dies, hangs or answers nonsense never makes i-PI hang"
    relies_on: ClassVar = {
        "ipi.interfaces.sockets:Driver.get_status": "c14b68d7edc4",
        "ipi.interfaces.sockets:Driver._recv_forceready": "2a8a63ed7a4b",
        "ipi.interfaces.sockets:Driver._recv_forces_bulk": "a5b0f3b31f5c",
        "ipi.interfaces.sockets:SHMDriver._recv_forces_bulk": "5a5e63324889",
        "ipi.interfaces.sockets:Driver._recv_forces_bulk_batch": "c1ed92bb085a",
        "ipi.interfaces.sockets:SHMDriver._recv_forces_bulk_batch": "f4d175e162b6",
        "ipi.interfaces.sockets:Driver.getforce": "7809163e3abe",
        "ipi.interfaces.sockets:Driver.dispatch_recv": "7e543563bbcc",
        "ipi.interfaces.sockets:Driver.dispatch_recv_batch": "9cb1cb2b7bec",
        "ipi.interfaces.sockets:parse_extra": "1c0a63ea6e81",
        "ipi.interfaces.sockets:InterfaceSocket.pool_update": "5c692c3a0c70",
        "ipi.interfaces.sockets:InterfaceSocket._pool_distribute_select": "f96fce0b36fb",
        "ipi.interfaces.sockets:InterfaceSocket.check_job_finished": "947e69cc3a96",
        "ipi.interfaces.sockets:InterfaceSocket.poll": "a8702f6abf27",
        "ipi.engine.forcefields:FFSocket.start": "ff9888550373",
        "ipi.engine.forcefields:FFSocket.stop": "651b8d07a660",
        "ipi.engine.forcefields:ForceField._poll_loop": "2203423bb30b",
        "ipi.engine.simulation:Simulation.bind": "9029184cf1c8",
        "ipi.engine.simulation:Simulation.run_step": "80904716d426",
        "ipi.interfaces.sockets:Driver.shutdown": "623f0a6ac837",
        "ipi.interfaces.sockets:Driver.initialize": "09f043d3e299",
        "ipi.interfaces.sockets:Driver.dispatch": "58e6ccb54cd6",
        "ipi.interfaces.sockets:Driver.dispatch_send": "519ec3126676",
        "ipi.interfaces.sockets:Driver.dispatch_send_batch": "c82c8448c333",
        "ipi.interfaces.sockets:DriverSocket.recvall": "43929bde177f",
        "ipi.interfaces.sockets:SHMDriver.shutdown": "37592fcecb83",
        "ipi.interfaces.sockets:InterfaceSocket._requeue_disconnected": "8d3286fd00a9",
        "ipi.interfaces.sockets:InterfaceSocket.dispatch_free_client": "b4cb4bfed997",
        "ipi.interfaces.sockets:InterfaceSocket._dispatch_free_client_batch": "239f9d728b2d",
        "ipi.interfaces.sockets:InterfaceSocket.pool_distribute": "829c49b5d24f",
        "ipi.engine.forcefields:ForceField.stop": "211295340e9f",
        "ipi.engine.forces:ForceBead.get_all": "9f132db00766",
        "ipi.utils.softexit:Softexit.trigger": "27ce881d1a5c",
        "ipi.utils.softexit:Softexit.cleanup": "b10781111b57",
        "ipi.engine.simulation:Simulation.softexit": "dfbb28a1adf4",
    }
    adds = ("ipi.interfaces.sockets:Driver.sendall",)

    def __init__(
        self,
        compute_limit: float = 0.0,
        driver_limit: float = 120.0,
        on_silent: Callable[[str], None] | None = None,
    ) -> None:
        self._limits = (compute_limit, driver_limit, on_silent)

    def layers(self) -> Mapping[str, Layer]:
        return {
            **driver_layers(),
            **interface_layers(),
            "ipi.engine.forcefields:FFSocket.start": _start,
            "ipi.engine.forcefields:FFSocket.stop": _stop,
            "ipi.engine.forcefields:ForceField._poll_loop": _poll_loop,
            "ipi.engine.simulation:Simulation.bind": _bind,
            "ipi.engine.simulation:Simulation.run_step": _run_step,
        }

    def enable(self) -> None:
        LIMITS.compute, LIMITS.driver, LIMITS.on_silent = self._limits
        failure.forget_failure()
        super().enable()
