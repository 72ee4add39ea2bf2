"""How sure the potential is while a run goes on: shown, counted, and acted upon.

sigma is the standard deviation of a committee over the energy of one bead; all limits and words
are per atom. Without a limit it is read when the progress is shown and at no other time; with one,
after every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pimd.ipi.uncertainty import Source
from pimd.run.frames import FrameFile, FramePlace, too_close

__all__ = ["KEPT_FILE", "STOPPED_FILE", "NoUncertainty", "Uncertainty", "UncertaintyOptions"]

KEPT_FILE = "uncertain.extxyz"
STOPPED_FILE = "stopped.extxyz"


class NoUncertainty(ValueError):
    """No potential of the run tells an uncertainty, or has members, but an option needs it."""

    def __init__(self, options: str, lacks: str = "tells an uncertainty") -> None:
        super().__init__(
            f"{options}: no potential of this input {lacks}; use a committee, such as "
            "{potential: committee, members: [a.model; b.model]}, or a model with an energy "
            "ensemble"
        )


@dataclass(frozen=True)
class UncertaintyOptions:
    """What the command line asks for.

    Attributes:
        stop_above: eV per atom; the run stops when a bead exceeds it. None: never.
        save_above: eV per atom; beads that exceed it are kept. None: none are.
        save_spacing: steps between two beads kept of one system, at least.
        save_limit: beads kept in one run directory, at most.
        members_every: steps between records of the forces of all members; None: none.
    """

    stop_above: float | None = None
    save_above: float | None = None
    save_spacing: int = 100
    save_limit: int = 200
    members_every: int | None = None

    @property
    def every_step(self) -> bool:
        """Whether sigma is needed after every step."""
        return self.stop_above is not None or self.save_above is not None

    @property
    def limits(self) -> str:
        """The limits given, as they are written."""
        given = {"--stop-above": self.stop_above, "--save-above": self.save_above}
        return ", ".join(name for name, value in given.items() if value is not None)

    def check(self, tells: bool, has_members: bool) -> None:
        """Raise NoUncertainty where a potential would have to tell an uncertainty, or to have
        members, and none does."""
        if self.limits and not tells:
            raise NoUncertainty(self.limits)
        if self.members_every is not None and not has_members:
            raise NoUncertainty("--member-forces-every", "has members")


@dataclass
class Statistics:
    """sigma per atom of one committee over what was read, eV."""

    total: float = 0.0
    count: int = 0
    steps: int = 0
    last_step: int = -1
    largest: float = -1.0
    largest_at: FramePlace | None = None

    def note(self, per_atom: np.ndarray, place: Callable[[int], FramePlace], step: int) -> None:
        """Count the beads of one system after one step; what is not finite is left out."""
        finite = np.isfinite(per_atom)
        self.total += float(per_atom[finite].sum())
        self.count += int(finite.sum())
        self.steps += step != self.last_step
        self.last_step = step
        worst = int(np.argmax(np.where(finite, per_atom, -1.0)))
        if per_atom[worst] > self.largest:
            self.largest, self.largest_at = float(per_atom[worst]), place(worst)

    def as_dict(self) -> dict[str, Any]:
        at = self.largest_at
        if at is None:
            return {"mean": None, "max": None, "max_at": None, "steps_read": self.steps}
        return {
            "mean": self.total / self.count,
            "max": self.largest,
            "max_at": {
                "step": at.step, "time_fs": at.time_fs, "system": at.system, "bead": at.bead,
            },
            "steps_read": self.steps,
        }


class Uncertainty:
    """Reads sigma, counts it, keeps uncertain beads and stops the run.

    Args:
        found: what may tell an uncertainty.
        options: limits.
        folder: the run directory.
        stop: ends the run after the outputs of the step, with a message.
        say: prints one line.
    """

    def __init__(
        self,
        found: list[Source],
        options: UncertaintyOptions,
        folder: Path,
        stop: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self.sources, self.options = found, options
        self.stop, self.say = stop, say
        self.folder = folder
        self.stopped = ""
        self._statistics: dict[str, Statistics] = {}
        self._kept = FrameFile(folder / KEPT_FILE)
        if options.save_above is not None:
            self._kept = FrameFile.opened(self._kept.path)
        self._kept_before = self._kept.count
        self._full_said = self._unphysical_said = False
        self._unphysical = 0

    def begin(self) -> None:
        """The forces of the first structures are there.

        Raises:
            NoUncertainty: a limit was given, and nothing tells an uncertainty.
        """
        if self.options.every_step and all(source.sigma() is None for source in self.sources):
            raise NoUncertainty(self.options.limits)

    def check(self, step: int) -> None:
        """After a step, with its limits: count, keep, stop."""
        beyond = []
        for source, per_atom in self._read(step):
            bead = int(np.argmax(np.where(np.isnan(per_atom), np.inf, per_atom)))
            beyond.append((source, bead, float(per_atom[bead])))
        options = self.options
        if options.save_above is not None:
            self._keep([one for one in beyond if not one[2] <= options.save_above], step)
        if options.stop_above is not None and not self.stopped:
            over = [one for one in beyond if not one[2] <= options.stop_above]  # NaN too
            if over:
                self._stop(*max(over, key=_sort_key), step)

    def shown(self, step: int) -> dict[str, tuple[float, float]]:
        """For the progress line: committee -> mean and largest sigma, eV per atom."""
        found: dict[str, list[np.ndarray]] = {}
        reads = self._values() if self.options.every_step else self._read(step)
        for source, per_atom in reads:
            found.setdefault(source.label, []).append(per_atom)
        values = {label: np.concatenate(parts) for label, parts in found.items()}
        return {label: (float(v.mean()), float(v.max())) for label, v in values.items()}

    def summary(self) -> dict[str, Any]:
        """What goes into summary.json; empty where nothing told an uncertainty."""
        if not self._statistics:
            return {}
        found: dict[str, Any] = {
            "unit": "eV/atom",
            "read": "after every step" if self.options.every_step else "when progress was shown",
            "committees": {k: v.as_dict() for k, v in self._statistics.items()},
        }
        if self.options.save_above is not None:
            found["kept"] = {
                "file": KEPT_FILE, "frames": self._kept.count - self._kept_before,
                "frames_in_all": self._kept.count, "unphysical_refused": self._unphysical,
            }
        if self.stopped:
            found["stopped"] = {"message": self.stopped, "file": STOPPED_FILE}
        return found

    def _values(self) -> list[tuple[Source, np.ndarray]]:
        """(source, (n_beads,) eV per atom) of all that tell one."""
        values = [(source, source.sigma()) for source in self.sources]
        return [(source, v / source.n_atoms) for source, v in values if v is not None]

    def _read(self, step: int) -> list[tuple[Source, np.ndarray]]:
        """`_values`, counted."""
        values = self._values()
        for source, per_atom in values:
            one = self._statistics.setdefault(source.label, Statistics())
            one.note(per_atom, partial(_place, source, step=step), step)
        return values

    def _keep(self, beyond: list[tuple[Source, int, float]], step: int) -> None:
        """Keep the worst bead of each system whose last one is long enough ago."""
        spacing = self.options.save_spacing
        due: dict[int, tuple[Source, int, float]] = {}
        for one in sorted(beyond, key=_sort_key):
            last = self._kept.last_steps.get(one[0].system)
            if last is None or step - last >= spacing:
                due[one[0].system] = one
        for source, bead, per_atom in due.values():
            if self._kept.count >= self.options.save_limit:
                if not self._full_said:
                    self.say(
                        f"{KEPT_FILE} holds {self._kept.count} frames, the first that came: no "
                        "more are kept (--save-limit)"
                    )
                self._full_said = True
                return
            self._keep_one(source, bead, per_atom, step)

    def _keep_one(self, source: Source, bead: int, per_atom: float, step: int) -> None:
        frame = source.frame(bead, per_atom * source.n_atoms)
        problem = too_close(frame.structure)
        if problem is not None:
            self._unphysical += 1
            if not self._unphysical_said:
                self.say(f"step {step}, {_where(source, bead, self.sources)}: not kept in "
                         f"{KEPT_FILE}, {problem}; others like it are left out too")
            self._unphysical_said = True
            return
        self._kept.append(frame, _place(source, bead, step))

    def _stop(self, source: Source, bead: int, per_atom: float, step: int) -> None:
        frame = source.frame(bead, per_atom * source.n_atoms)
        file = FrameFile(self.folder / STOPPED_FILE)
        file.append(frame, _place(source, bead, step))
        limit = self.options.stop_above
        assert limit is not None
        problem = too_close(frame.structure)
        self.stopped = (
            f"sigma is {1000 * per_atom:.3g} meV/atom at step {step}, "
            f"{_where(source, bead, self.sources)}, above the limit of {1000 * limit:.3g}; the "
            f"structure is in {STOPPED_FILE}" + (f" ({problem})" if problem else "")
        )
        self.stop(self.stopped)


def _sort_key(one: tuple[Source, int, float]) -> float:
    return float("inf") if np.isnan(one[2]) else one[2]


def _place(source: Source, bead: int, step: int) -> FramePlace:
    return FramePlace(step, source.time_fs, source.system, bead, source.label)


def _where(source: Source, bead: int, all_sources: list[Source]) -> str:
    words = [f"bead {bead}"]
    if len({s.system for s in all_sources}) > 1:
        words.append(f"system {source.system}")
    if len({s.label for s in all_sources}) > 1:
        words.append(f"'{source.label}'")
    return " of ".join(words)
