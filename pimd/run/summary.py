"""What a run leaves to say: summary.json, and the same for a reader."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from rich.console import Console
from rich.table import Table

from pimd.run.progress import duration
from pimd.run.supervisor import Totals

__all__ = ["RunSummary", "time_fractions", "versions"]

STAGE_WORDS = {
    "model": "model",
    "neighbours": "neighbour lists",
    "copies": "copies to and from tensors",
    "wire": "wire (messages in and out)",
    "ipi": "i-PI's Python",
}


@dataclass
class RunSummary:
    """One part of a run, from its start or its RESTART to its end.

    Attributes:
        steps: steps done in this part.
        last_step, total_steps: where the run stands, and where it should end.
        ms_per_step: wall time of the loop over steps, outputs included.
        exchanges_per_step: messages with positions sent to daemons, per step.
        structures_evaluated: structures the potential evaluated for those steps.
        structures_needed: structures i-PI asked for.
        time_fractions: share of the wall time, by stage; they add up to 1.
        exit_reason: `finished`, `stopped` (as asked), or `failed`.
        message: what happened, in words.
        uncertainty: sigma per atom of each committee, mean and largest, and what was kept.
    """

    steps: int = 0
    last_step: int = 0
    total_steps: int = 0
    wall_seconds: float = 0.0
    ms_per_step: float | None = None
    exchanges_per_step: float | None = None
    structures_evaluated: int = 0
    structures_needed: int = 0
    evaluated_per_needed: float | None = None
    time_fractions: dict[str, float] = field(default_factory=dict)
    exit_reason: str = "failed"
    message: str = ""
    potentials: dict[str, str] = field(default_factory=dict)
    n_atoms: list[int] = field(default_factory=list)
    n_beads: list[int] = field(default_factory=list)
    device: str = "cpu"
    versions: dict[str, str] = field(default_factory=dict)
    daemon_restarts: int = 0
    written: list[str] = field(default_factory=list)
    extensions: dict[str, str] = field(default_factory=dict)
    uncertainty: dict[str, Any] = field(default_factory=dict)

    def set_work(self, work: Totals, exchanges: int) -> None:
        """Fill what follows from the daemons' totals over the steps and i-PI's messages."""
        self.structures_evaluated = work.structures_evaluated
        self.structures_needed = work.structures_needed
        if work.structures_needed:
            self.evaluated_per_needed = work.structures_evaluated / work.structures_needed
        if self.steps:
            self.ms_per_step = 1000.0 * self.wall_seconds / self.steps
            self.exchanges_per_step = exchanges / self.steps
        self.time_fractions = time_fractions(work, self.wall_seconds)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def print(self, console: Console, folder: str) -> None:
        """The summary as a reader wants it."""
        table = Table(title=f"{self.exit_reason}: {self.message}", title_justify="left",
                      show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_row("steps", f"{self.steps} (now at {self.last_step} of {self.total_steps})")
        if self.ms_per_step:
            rate = 1000.0 / self.ms_per_step
            table.add_row("speed", f"{rate:.2f} steps/s, {self.ms_per_step:.2f} ms/step, "
                                   f"{duration(self.wall_seconds)} in all")
            shares = sorted(self.time_fractions.items(), key=lambda item: -item[1])
            table.add_row("time went to", ", ".join(
                f"{STAGE_WORDS.get(name, name)} {100 * share:.1f} %" for name, share in shares
            ))
        if self.structures_needed:
            table.add_row("structures", (
                f"{self.structures_evaluated} evaluated for {self.structures_needed} needed "
                f"({self.evaluated_per_needed:.2f}), {self.exchanges_per_step or 0:.2f} "
                "exchanges per step"
            ))
        for name, values in self.uncertainty.get("committees", {}).items():
            if values["max_at"] is not None:
                table.add_row(f"sigma of {name}", _sigma_words(values))
        if self.daemon_restarts:
            table.add_row("daemon", f"died and was replaced {self.daemon_restarts} times")
        table.add_row("written", f"{folder}")
        table.add_row("", _shorten(self.written))
        console.print(table)


def _sigma_words(values: dict[str, Any]) -> str:
    at = values["max_at"]
    return (
        f"{1000 * values['mean']:.3g} meV/atom, largest {1000 * values['max']:.3g} at step "
        f"{at['step']}, system {at['system']}, bead {at['bead']} (read {values['steps_read']} "
        "times)"
    )


def _shorten(names: list[str], limit: int = 12) -> str:
    """File names, with the per-bead ones of one trajectory as one."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        stem = name.rstrip("0123456789") if "_" in name and "." not in name.split("_")[-1] else name
        head, _, tail = name.rpartition("_")
        digits, dot, extension = tail.partition(".")
        if head and digits.isdigit():
            stem = f"{head}_*{dot}{extension}"
        groups.setdefault(stem, []).append(name)
    words = [
        f"{stem} ({len(found)} files)" if len(found) > 1 else found[0]
        for stem, found in groups.items()
    ]
    return ", ".join(words[:limit]) + (f" and {len(words) - limit} more" * (len(words) > limit))


def time_fractions(work: Totals, wall_seconds: float) -> dict[str, float]:
    """Shares of the wall time: the daemons' stages, and i-PI's Python for the rest.

    While a daemon waits, i-PI works. With several daemons the waiting of one hides in the work of
    another; then their busy times are scaled so that the shares add up to 1.
    """
    if wall_seconds <= 0:
        return {}
    busy = {name: seconds for name, seconds in work.seconds.items() if name != "wait"}
    total = max(sum(busy.values()), 1e-30)
    scale = min(1.0, wall_seconds / total)
    shares = {name: seconds * scale / wall_seconds for name, seconds in busy.items()}
    return {"ipi": max(0.0, 1.0 - sum(shares.values())), **shares}


def versions() -> dict[str, str]:
    """Versions of what took part."""
    found = {"python": platform.python_version()}
    for name in ("pimd", "ipi", "torch", "numpy", "ase", "vesin", "torch-pme"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
