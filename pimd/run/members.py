"""Every so many steps, what every member of a committee says of every bead, into members.h5.

The observer calls this after a step, before its outputs, while i-PI waits and every daemon is
idle. The beads are taken from i-PI, as contracted as the forcefield gets them, and sent to the
daemon in a request of their own, so that no message of i-PI's carries member forces, and a daemon
that was replaced in between answers as well. The members of an `<ffcommittee>` are in i-PI itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pimd.ipi.uncertainty import Geometry, Members, Source
from pimd.run.child import DaemonFailure
from pimd.run.member_file import MemberFile, MemberRecord
from pimd.run.supervisor import Supervisor
from pimd.run.uncertainty import NoUncertainty

__all__ = ["Recorder"]


class Recorder:
    """Records at a stride.

    Args:
        found: force components that may have members.
        told: socket name -> members that its daemon told of.
        supervisor: of the daemons.
        file: where the records go.
        every: steps between two records.
        scratch: private folder for what travels between the processes.
        limit: seconds a daemon may take.
    """

    def __init__(
        self,
        found: list[Source],
        told: Mapping[str, int],
        supervisor: Supervisor,
        file: MemberFile,
        every: int,
        scratch: Path,
        limit: float,
    ) -> None:
        self._told = told
        self.sources = found
        self.supervisor, self.file, self.every = supervisor, file, every
        self.scratch, self.limit = scratch, limit
        self.n_records = 0

    def begin(self, step: int) -> None:
        """The forces of the first structures are there: record them, where the run begins.

        Raises:
            NoUncertainty: no source has members.
            RunDirectoryError: the file is of another run.
        """
        self.sources = [
            s for s in self.sources if self._asks_daemon(s) or s.members_of_ipi() is not None
        ]
        if not self.sources:
            raise NoUncertainty("--member-forces-every", "has members whose forces are known")
        self.file.check({self._group(s): self._shape(s) for s in self.sources})
        if step == 0:
            self._record(step)

    def after_step(self, step: int) -> None:
        """Record, if it is time.

        Raises:
            DaemonFailure: no daemon answered, or it cannot.
            RunDirectoryError: the file cannot be written.
        """
        if step % self.every == 0:
            self._record(step)

    def _record(self, step: int) -> None:
        records = []
        for source in self.sources:
            geometry = source.geometry()
            if self._asks_daemon(source):
                members = self._ask(source, geometry)
            else:
                members = self._of_ipi(source)
            records.append(
                MemberRecord(
                    source.system, source.label, step, source.time_fs, geometry, members
                )
            )
        self.file.append(records)
        self.n_records += 1

    def summary(self) -> dict[str, Any]:
        """What goes into summary.json."""
        return {"file": self.file.path.name, "every": self.every, "records": self.n_records}

    def _asks_daemon(self, source: Source) -> bool:
        return self._told.get(source.forcefield, 0) > 1 and not source.is_committee_of_ipi()

    def _of_ipi(self, source: Source) -> Members:
        members = source.members_of_ipi()
        if members is None:
            raise DaemonFailure(f"the members of '{source.label}' have no forces any more")
        return members

    def _ask(self, source: Source, geometry: Geometry) -> Members:
        question, answer = self.scratch / "beads.npz", self.scratch / "members.npz"
        np.savez(
            question, numbers=geometry.numbers, pbc=geometry.pbc, cell=geometry.cell,
            positions=geometry.positions,
        )
        answer.unlink(missing_ok=True)
        request = {"file": str(question), "answer": str(answer)}
        event = self.supervisor.ask(source.forcefield, request, self.limit)
        if event["event"] == "members_failed":
            raise DaemonFailure(
                f"the members of '{source.label}' could not be evaluated: {event['message']}"
            )
        with np.load(answer) as arrays:
            return Members(
                arrays["energies"], arrays["member_energies"], arrays["member_forces"],
                arrays.get("member_virials"),
            )

    def _group(self, source: Source) -> str:
        return MemberRecord.group_of(source.system, source.label)

    def _shape(self, source: Source) -> tuple[int, int, int, int]:
        """Of one row of member forces."""
        if self._asks_daemon(source):
            n_members = self._told[source.forcefield]
        else:
            n_members = len(self._of_ipi(source).member_energies)
        return n_members, source.n_beads, source.n_atoms, 3
