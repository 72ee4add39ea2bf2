"""The error of a quantity that a run has not stored, with the lines that would have done it."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["NotInRecord", "not_in_record"]


class NotInRecord(ValueError):
    """A run has not stored what was asked for; the message names the XML that stores it."""


STORED_BY = {
    "positions": "positions",
    "velocities": "velocities",
    "momenta": "momenta",
    "forces": "forces",
    "energies": "energies",
    "member_energies": "members",
    "centroids": "x_centroid",
}
"""Name -> what the list of an h5md trajectory calls it."""


def not_in_record(name: str, where: object, available: Iterable[str]) -> NotInRecord:
    """The error for a quantity of frames that was not stored."""
    stored = STORED_BY.get(name, name)
    there = ", ".join(sorted(available)) or "nothing"
    return NotInRecord(
        f"{where} holds no {name}; it holds {there}. In <output>, these lines store it:\n"
        "  <trajectory format='h5md' filename='trajectory' stride='50'> "
        f"[positions, {stored}] </trajectory>"
        if name != "positions"
        else f"{where} holds no positions; it holds {there}. In <output>, these lines store "
        "them:\n  <trajectory format='h5md' filename='trajectory' stride='50'> "
        "[positions, energies] </trajectory>"
    )


def no_property(name: str, where: object, available: Iterable[str]) -> NotInRecord:
    """The error for a property that was not written."""
    there = ", ".join(sorted(available)) or "none"
    return NotInRecord(
        f"{where} has no property {name}; it has {there}. In <output>, this line writes it:\n"
        f"  <properties filename='out' stride='10'> [step, time, {name}] </properties>"
    )
