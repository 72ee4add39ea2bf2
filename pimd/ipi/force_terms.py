"""Which potentials a system of an i-PI input moves on, with what weight, and what else acts on it.

The Hamiltonian of a system is the sum over its `<force>` elements of weight times the sum of the
`mts_weights`, times the energy of the forcefield: a force that only serves as the cheap inner part
of multiple time stepping has weights that add up to 0, and is not in the Hamiltonian.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pimd.ipi.input import InputError
from pimd.ipi.run_input import read_systems, root_of

__all__ = ["ForceTerms", "read_force_terms"]

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?")


@dataclass(frozen=True)
class ForceTerms:
    """What acts on the atoms of one system.

    Attributes:
        weights: forcefield -> its weight in the Hamiltonian; those of weight 0 left out.
        contracted: forcefields evaluated on fewer beads than there are.
        biased: whether there is a `<bias>`, which is part of what is sampled.
        coloured: modes of thermostats with a matrix C of their own, whose stationary distribution
            is not that of the temperature (quantum thermostats, PIGLET).
    """

    weights: dict[str, float]
    contracted: tuple[str, ...] = ()
    biased: bool = False
    coloured: tuple[str, ...] = ()


def read_force_terms(path: Path, system: int = 0) -> ForceTerms:
    """The forces of one system of an input or a RESTART.

    Raises:
        InputError: it cannot be read, or has no such system.
    """
    systems = read_systems(root_of(path))
    if not 0 <= system < len(systems):
        raise InputError(f"{path} has {len(systems)} system(s), there is no system {system}")
    found = systems[system].element
    beads = systems[system].n_beads or 1
    weights: dict[str, float] = {}
    contracted = []
    for force in found.findall("forces/force"):
        name = force.get("forcefield", "").strip()
        levels = _numbers(force.findtext("mts_weights"))
        weight = float(force.get("weight", "1")) * (sum(levels) if levels else 1.0)
        weights[name] = weights.get(name, 0.0) + weight
        if 0 < int(force.get("nbeads", "0")) < beads:
            contracted.append(name)
    return ForceTerms(
        {name: weight for name, weight in weights.items() if abs(weight) > 1e-12},
        tuple(contracted),
        found.find("ensemble/bias/force") is not None,
        tuple(
            thermostat.get("mode", "")
            for motion in found.findall("motion")
            for thermostat in motion.iter("thermostat")
            if re.sub(r"[\[\]\s]", "", thermostat.findtext("C") or "")
        ),
    )


def _numbers(text: str | None) -> list[float]:
    return [float(number.lower().replace("d", "e")) for number in NUMBER.findall(text or "")]
