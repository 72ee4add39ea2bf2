"""The temperature of the canonical ensemble that a run sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["temperature_of"]


def temperature_of(run: Run, temperature: float | None, why: str) -> float:
    """K, of the quantum system.

    Args:
        run: as stored.
        temperature: K, in place of that of the run; None: that of the run.
        why: what needs it, and what to do, for the message of the error.

    Raises:
        ValueError: there is none.
    """
    kelvin = run.setup.temperature if temperature is None else temperature
    if kelvin is None or not kelvin > 0:
        found = "no temperature" if kelvin is None else f"a temperature of {kelvin:g} K"
        mode = run.setup.mode or "without an ensemble"
        raise ValueError(f"{run.where} has {found} (dynamics {mode}): {why}")
    return float(kelvin)
