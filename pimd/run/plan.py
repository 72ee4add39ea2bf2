"""From what i-PI will ask to the daemons that answer: one daemon for each distinct potential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pimd.ipi.input import InputFile
from pimd.ipi.systems import SocketUse
from pimd.run.supervisor import Plan
from pimd.structure import Structure

__all__ = ["SocketPaths", "ask_in_batches", "make_plans"]


@dataclass
class SocketPaths:
    """Private socket files of a run, one for each socket forcefield."""

    folder: Path
    paths: dict[str, str] = field(default_factory=dict)

    @classmethod
    def for_input(cls, document: InputFile, folder: Path) -> SocketPaths:
        """Short names: the path of a unix socket holds 107 characters at most."""
        names = [socket.name for socket in document.sockets]
        return cls(folder, {name: str(folder / f"{k}.sock") for k, name in enumerate(names)})

    def addresses(self, uses: list[SocketUse]) -> dict[str, str]:
        """Socket name -> address for its daemon."""
        modes = {use.name: use.forcefield.socket.mode for use in uses}
        return {
            name: f"{'shm' if mode == 'shm' else 'unix'}:{self.paths[name]}"
            for name, mode in modes.items()
        }


def ask_in_batches(uses: list[SocketUse]) -> None:
    """Have i-PI send all beads of a round in one message, whatever the input says."""
    for use in uses:
        use.forcefield.socket.batch_size = use.n_beads
        use.forcefield.socket.consolidate_messages = True


def make_plans(
    document: InputFile,
    uses: list[SocketUse],
    addresses: Mapping[str, str],
    *,
    threads: int | None,
    connect_timeout: float,
    trial: bool = False,
    requests: bool = False,
) -> list[Plan]:
    """One plan for each distinct potential, with every socket it serves.

    `addresses`: socket name -> where i-PI will listen. With `trial`, the daemons evaluate a full
    round at their warm-up and report its cost; with `requests`, they will be asked for the forces
    of members.
    """
    plans: dict[str, Plan] = {}
    for use in uses:
        spec = next(s.spec for s in document.sockets if s.name == use.name)
        assert spec is not None  # InputFile.check_served has seen to it
        options = {k: v for k, v in spec.options.items() if k != "pbc"}
        key = str(type(spec)(spec.potential, options))
        if key not in plans:
            plans[key] = Plan(
                name=spec.potential,
                requests=requests,
                config={
                    "spec": key,
                    "targets": [],
                    "threads": threads,
                    "connect_timeout": connect_timeout,
                },
            )
        plans[key].config["targets"].append(
            {
                "name": use.name,
                "address": addresses[use.name],
                "n_connections": use.n_systems,
                "trial_structures": use.n_beads if trial else 0,
                "structure": _periodic(use.structure, spec.options.get("pbc")).as_lists(),
            }
        )
    return list(plans.values())


def _periodic(structure: Structure, pbc: Any) -> Structure:
    """The structure with the periodicity a SPEC asks for; None: as it is."""
    if pbc is None:
        return structure
    return Structure(structure.numbers, structure.positions, structure.cell, pbc)
