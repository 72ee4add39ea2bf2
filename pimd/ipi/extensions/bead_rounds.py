"""The forces of all beads of a component as one object of i-PI's dependency graph."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from ipi.engine import forces as ipi_forces
from ipi.utils.depend import depend_value, dstrip
from ipi.utils.softexit import softexit

from pimd.ipi.extensions import failure
from pimd.ipi.extensions.direct_replies import ReplyBuffer, parse_text
from pimd.ipi.extensions.driver_faults import BadReply
from pimd.ipi.extensions.whole_rounds import request_lists

__all__ = ["Round", "die_off"]

_numbering = threading.Lock()


def die_off(latency: float) -> None:
    """End this thread, whose forces will never come, when i-PI has ended in order.

    Raises:
        SystemExit: always.
    """
    softexit.trigger(message=" @ FORCES : cannot return so will die off here")
    while softexit.exiting:
        time.sleep(latency)
    sys.exit()


class Round:
    """The forces of all beads of one component: asked for together, kept in one array.

    Args:
        n_beads: of the component, which may be contracted.
        n_atoms: in each bead.
        beads: i-PI's Beads of the component.
        cell: i-PI's Cell.
        forcefield: i-PI's FFSocket.

    Attributes:
        energies: (n_beads,) hartree.
        forces: (n_beads, 3 n_atoms) hartree/bohr.
        virials: (n_beads, 3, 3) hartree, as the driver sent them.
        depend: tainted while the results are not those of the present positions and cell.
        uids: a number for each bead, unique in the simulation.
        alone: whether no other component of the same forces uses the forcefield.
        watch: what is kept for it by the line it goes out on.
    """

    def __init__(self, n_beads: int, n_atoms: int, beads: Any, cell: Any, forcefield: Any) -> None:
        self.n_beads, self.n_atoms = n_beads, n_atoms
        self.beads, self.cell, self.forcefield = beads, cell, forcefield
        self.reply = ReplyBuffer(n_beads, n_atoms)
        self.energies = np.zeros(n_beads)
        self.forces, self.virials = self.reply.forces, self.reply.virials
        self.alone = True
        self.watch: Any = None
        with _numbering:
            first = ipi_forces.fbuid
            ipi_forces.fbuid += n_beads
        self.uids = range(first, first + n_beads)
        self._extras: list[Any] | None = None  # bytes until somebody reads them; None: all empty
        self._polymer: Any = None  # beads of the whole ring polymer, if they are the same
        self._lock = threading.Lock()
        self._pending: Any = None  # a Flight or i-PI's requests
        self._loaded: set[int] = set()
        sources = [beads._q, cell._h]
        self.depend = depend_value(name="round", func=self._evaluate, dependencies=sources)
        # tainted when something changes after the positions were sent
        self._sent = depend_value(name="sent", value=None, dependencies=sources)
        self._cell_sent = depend_value(name="cell_sent", func=self._copy_cell,
                                       dependencies=[cell._h])

    def follow(self, polymer: Any) -> None:
        """Take the positions from the beads of the whole ring polymer, which are the same.

        The component's own are then left tainted, and so tell nobody of further changes.
        """
        self._polymer = polymer
        mine = (self.depend, self._sent)
        of_own = self.beads._q._dependants  # whoever reads the copy would taint the forces
        of_own[:] = [item for item in of_own if not any(item() is one for one in mine)]
        for one in mine:
            one.add_dependency(polymer._q)

    # what is read --------------------------------------------------------------------------

    def evaluated(self) -> Round:
        """This round, with results that are those of the present positions and cell."""
        if self.depend._tainted[0]:
            self.depend._refresh()
        return self

    def positions(self) -> np.ndarray:
        """(n_beads, 3 n_atoms) bohr, as the driver gets them; not a copy."""
        own = self.beads
        if self._polymer is not None and own._q._tainted[0]:
            own = self._polymer
        positions = dstrip(own.q)
        if self.forcefield.dopbc:
            positions = positions.copy()
            for bead in positions:
                self.cell.array_pbc(bead)
        return np.ascontiguousarray(positions)

    def sent_cell(self) -> tuple[np.ndarray, np.ndarray]:
        """Cell and inverse, columns, bohr; another object when the cell has changed."""
        return self._cell_sent.get()

    def extra(self, bead: int) -> dict[str, Any]:
        """The extras of a bead, parsed when first asked for."""
        if self._extras is None:
            return {}
        found = self._extras[bead]
        if isinstance(found, bytes):
            try:
                found = self._extras[bead] = parse_text(found, bead)
            except BadReply as error:
                self.refuse(error)
        return found

    def request_of(self, bead: int) -> Any:
        """i-PI's request for a bead that is under way, or None."""
        requests = getattr(self._pending, "requests", self._pending)
        return requests[bead] if requests else None

    def _copy_cell(self) -> tuple[np.ndarray, np.ndarray]:
        return dstrip(self.cell.h).copy(), dstrip(self.cell.ih).copy()

    # asking --------------------------------------------------------------------------------

    def queue(self) -> bool:
        """Ask for the forces, unless they are known or asked for; whether they are not known."""
        if not self.depend._tainted[0]:
            return False
        with self._lock:
            if self._pending is None and self.depend._tainted[0]:
                self._pending = self._ask()
        return True

    def _ask(self) -> Any:
        line = self.forcefield.__dict__.get("pimd_line")
        flight = line.send(self) if line is not None else None
        pending = self.request_all() if flight is None else flight
        self._sent._tainted[0] = False
        return pending

    def request_all(self) -> list[Any]:
        """i-PI's own requests for all beads, which appear together."""
        lists = request_lists(self.forcefield)
        for requests in lists:
            requests.hold()
        try:
            return [
                self.forcefield.queue(self.beads[bead], self.cell, reqid=uid)
                for bead, uid in enumerate(self.uids)
            ]
        finally:
            for requests in lists:
                requests.release()

    def _evaluate(self) -> Round:
        """Function of `depend`: wait for what was asked for, and ask again if it is outdated."""
        while True:
            self.queue()
            pending = self._pending
            if pending is None:  # loaded from elsewhere meanwhile
                return self
            extras = self._collect(pending)
            with self._lock:
                self._pending = None
                if self._sent._tainted[0]:
                    continue
                self._extras = extras
                self._loaded.clear()
                self.depend._tainted[0] = False  # before anybody can ask again
                return self

    def _collect(self, pending: Any) -> list[Any] | None:
        """Wait until the arrays hold the answer; returns the extras."""
        requests = pending
        if not isinstance(pending, list):
            line = self.forcefield.pimd_line
            try:
                if line.collect(pending):
                    self.energies[...] = self.reply.energies
                    if line.interface.offset:
                        self.energies -= line.interface.offset
                    return pending.extras
            except BadReply as error:
                self.refuse(error)
            requests = pending.requests
        return self._collect_requests(requests)

    def _collect_requests(self, requests: list[Any]) -> list[Any] | None:
        forcefield, extras = self.forcefield, []
        for bead, request in enumerate(requests):
            while request["status"] != "Done":
                if request["status"] == "Exit" or softexit.triggered:
                    die_off(forcefield.latency)
                request._event_done.wait(timeout=1.0)
            energy, self.forces[bead], self.virials[bead], extra = request["result"]
            self.energies[bead] = energy
            extras.append(extra)
        for request in requests:
            forcefield.release(request)
        return extras

    def refuse(self, error: BadReply) -> None:
        """End the run because of an answer that cannot be used.

        Raises:
            SystemExit: always.
        """
        index = 0 if self.n_beads == 1 else error.index
        request = None if index is None else {"id": self.uids[index]}
        failure.fail(self.forcefield.name, str(error), request)
        die_off(self.forcefield.latency)

    # results from elsewhere ----------------------------------------------------------------

    def tainted(self, bead: int) -> bool:
        """Whether the results of a bead are not those of the present positions."""
        return bool(self.depend._tainted[0]) and bead not in self._loaded

    def store(self, bead: int, value: Sequence[Any]) -> None:
        """Overwrite the results of a bead: energy, forces, virial, extras."""
        self.energies[bead], self.forces[bead], self.virials[bead] = value[:3]
        if self._extras is None:
            self._extras = [{} for _ in range(self.n_beads)]
        self._extras[bead] = value[3]

    def load(self, bead: int, value: Sequence[Any]) -> None:
        """The same, for the present positions; when all are loaded, nothing is evaluated."""
        self.store(bead, value)
        self._loaded.add(bead)
        known = not self.depend._tainted[0] or len(self._loaded) == self.n_beads
        if known:
            self._loaded.clear()
        self.depend.taint(taintme=not known)
