"""The forces of every member, evaluated when the parent process asks, beside the serving.

i-PI's messages carry no member forces, which as JSON would cost more than the model. Instead the
parent writes one JSON object a line into a pipe,

    {"members": ID, "file": STRUCTURES.npz, "answer": ANSWER.npz}

where STRUCTURES holds numbers (n_atoms,), pbc (3,), cell (3, 3) and positions
(n_structures, n_atoms, 3) in Å. They are evaluated in the loop's thread, between rounds. ANSWER
appears as a whole with energies, member_energies, member_forces and, where the potential gives
them, member_virials, in eV and Å, shapes as in `pimd.potentials.base.Prediction` but for forces:
(n_members, n_structures, n_atoms, 3). Members are centred on what is sampled, as in the extras.
The event is

    members         id: the answer is there
    members_failed  id, message
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from functools import partial as bound
from pathlib import Path
from typing import Any

import numpy as np

from pimd.daemon.loop import Loop
from pimd.daemon.status import Report
from pimd.evaluator import Evaluator
from pimd.potentials.base import PotentialError, Structure, Wanted
from pimd.potentials.committee_statistics import centred
from pimd.whole_file import whole_file

__all__ = ["MemberRequests", "evaluate_members"]


def evaluate_members(
    evaluator: Evaluator, structures: Sequence[Structure]
) -> dict[str, np.ndarray]:
    """What every member says of structures with the same atoms; arrays as in the module.

    Raises:
        PotentialError: the potential gives no forces of members.
    """
    potential = evaluator.potential
    wanted = Wanted(
        forces=True, virials=potential.gives_virials, member_forces=True,
        member_virials=potential.gives_virials,
    )
    found = evaluator.evaluate_structures(structures, wanted)
    if found.member_energies is None or found.member_forces is None:
        what = "has no members" if found.member_energies is None else "gives no forces of members"
        raise PotentialError(f"{potential.name} {what}: leave out --member-forces-every")
    assert found.forces is not None
    n_members = len(found.member_energies)
    shape = n_members, len(structures), len(structures[0]), 3
    arrays = {
        "energies": found.energies,
        "member_energies": centred(found.member_energies, found.energies),
        "member_forces": centred(found.member_forces, found.forces).reshape(shape),
    }
    if found.member_virials is not None and found.virials is not None:
        arrays["member_virials"] = centred(found.member_virials, found.virials)
    return arrays


class MemberRequests:
    """Answers what comes through a pipe.

    Args:
        fd: the reading end.
        report: gets the events.
    """

    def __init__(self, fd: int, report: Report) -> None:
        self._fd, self._report = fd, report

    def start(self, loop: Loop, evaluator: Evaluator) -> None:
        """Read requests in a thread; the loop answers each when it is idle."""

        def read() -> None:
            with os.fdopen(self._fd, "r") as pipe:
                for line in pipe:
                    request = json.loads(line)
                    loop.when_idle(bound(self._answer, evaluator, request))

        threading.Thread(target=read, name="pimd-member-requests", daemon=True).start()

    def _answer(self, evaluator: Evaluator, request: dict[str, Any]) -> None:
        try:
            with np.load(request["file"]) as asked:
                numbers, pbc, cell = asked["numbers"], asked["pbc"], asked["cell"]
                positions = asked["positions"]
            structures = [Structure(numbers, x, cell, pbc) for x in positions]
            arrays = evaluate_members(evaluator, structures)
            with whole_file(Path(request["answer"])) as temporary, open(temporary, "wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
        except Exception as error:
            message = str(error) or type(error).__name__
            self._report({"event": "members_failed", "id": request["members"], "message": message})
        else:
            self._report({"event": "members", "id": request["members"]})
