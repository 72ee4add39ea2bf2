"""Which estimators a run cannot have, because of how it was run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["Caveat", "caveats"]

OF_FORCES = ("kinetic_cv", "kinetic_tens", "pressure_cv", "stress_cv", "eps", "eps_prime")


@dataclass(frozen=True)
class Caveat:
    """Series that mean nothing in this run, without the element in brackets, and why."""

    names: tuple[str, ...]
    reason: str


def caveats(run: Run) -> list[Caveat]:
    """What is to be left out of the estimates of a run."""
    found = []
    setup = run.setup
    if setup.mode.startswith("sc"):
        found.append(Caveat(
            (*OF_FORCES, "potential", "kinetic_td", "spring", "squared_gyration"),
            f"{setup.mode} samples the Suzuki-Chin density, in which beads do not count alike: its "
            "energies are i-PI's columns potential_opsc and kinetic_opsc (or _tdsc), not these",
        ))  # fmt: skip
    coloured = [mode for mode in setup.thermostats if "gle" in mode]
    if coloured and run.n_beads > 1:
        found.append(Caveat(
            ("kinetic_td", "spring"),
            f"coloured noise ({', '.join(coloured)}) makes springs that are not those of the "
            "temperature: the thermodynamic estimator does not hold",
        ))  # fmt: skip
    if _is_non_conservative(run):
        found.append(Caveat(
            OF_FORCES,
            "its forces are no derivatives of its energy (non_conservative), and virial estimators "
            "rest on their being so",
        ))  # fmt: skip
    return found


def _is_non_conservative(run: Run) -> bool:
    """Whether a potential that acted with a weight gave forces of a network's own."""
    from pimd.free_energy.sampled import sampled_mixture
    from pimd.potentials.registry import parse_spec

    try:
        specs = [spec for spec, _ in sampled_mixture(run).terms]
    except ValueError:  # of which the potential is not known
        return False
    return not all(parse_spec(spec).is_conservative for spec in specs)
