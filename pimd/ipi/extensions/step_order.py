"""The order of the operations in a step: splittings and several time steps as one list."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["step_order"]


def step_order(nmts: Sequence[int], splitting: str) -> list[str]:
    """The operations of one time step of i-PI, from first to last.

    Level 0 is kicked by its forces once a step, level l + 1 `nmts[l + 1]` times for each kick of
    level l, symmetrically about the middle of the step, where BAOAB has its thermostat.

    Args:
        nmts: of each level, outermost first.
        splitting: `obabo`, `baoab`, or `nve` for no thermostat.

    Returns:
        `O` the thermostat; `B0`, `B1`, ... half a kick by the forces of a level; `A` half an
        innermost step of the free ring polymer, `AA` two on end; `q` the positions have changed
        and forces will be asked for.
    """
    before, after = _towards_middle(nmts, 0), _from_middle(nmts, 0)
    whole = {
        "nve": [*before, *after],
        "obabo": ["O", *before, *after, "O"],
        "baoab": [*before, "O", *after],
    }[splitting]
    order: list[str] = []
    moved = False
    for operation in whole:
        if operation == "A":
            moved = True
            if order[-1:] == ["A"]:
                order[-1] = "AA"
                continue
        elif moved and operation != "O":
            order.append("q")
            moved = False
        order.append(operation)
    return order


def _towards_middle(nmts: Sequence[int], level: int) -> list[str]:
    """i-PI's `mtsprop_ba`: half a step of a level, ending in the middle."""
    order = _around(nmts, level) * (nmts[level] // 2)
    if nmts[level] % 2:
        last = level + 1 == len(nmts)
        order += [f"B{level}", *("A" if last else _towards_middle(nmts, level + 1))]
    return order


def _from_middle(nmts: Sequence[int], level: int) -> list[str]:
    """i-PI's `mtsprop_ab`: the other half, from the middle on."""
    order = []
    if nmts[level] % 2:
        last = level + 1 == len(nmts)
        order = [*("A" if last else _from_middle(nmts, level + 1)), f"B{level}"]
    return order + _around(nmts, level) * (nmts[level] // 2)


def _around(nmts: Sequence[int], level: int) -> list[str]:
    """One whole step of a level."""
    if level + 1 == len(nmts):
        inner = ["A", "A"]
    else:
        inner = _towards_middle(nmts, level + 1) + _from_middle(nmts, level + 1)
    return [f"B{level}", *inner, f"B{level}"]
