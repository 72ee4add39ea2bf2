"""The directory of a run: what lies in it, whether it may be used, what is stale.

    input.xml      what i-PI was given
    i-pi.log       what i-PI printed
    daemon.log     what the daemon printed
    summary.json   written at the end of each part of the run
    RESTART        where to go on from

and, where they were asked for,

    uncertain.extxyz   beads beyond --save-above
    stopped.extxyz     the bead that exceeded --stop-above
    members.h5         what the members of committees say, every --member-forces-every steps

plus everything the input asks i-PI to write.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pimd.whole_file import write_text

__all__ = ["END_PATIENCE_S", "RunDirectory", "RunDirectoryError", "default_run_directory"]

END_PATIENCE_S = 5.0
"""How long a run waits for one in its directory that is on its way out."""


class RunDirectoryError(ValueError):
    """The run directory cannot be used as asked; the message says what to do."""


def default_run_directory(input_path: Path) -> Path:
    """`water/input.xml` runs in `water/input.run`."""
    resolved = input_path.resolve()
    return resolved.with_name(resolved.stem + ".run")


class RunDirectory:
    """One directory that holds one run and its continuations."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path).resolve()

    @property
    def input(self) -> Path:
        return self.path / "input.xml"

    @property
    def restart(self) -> Path:
        return self.path / "RESTART"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    def read_summary(self) -> dict[str, Any] | None:
        """The last summary, or None; a half-written file counts as none."""
        try:
            summary = json.loads(self.summary.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return summary if isinstance(summary, dict) else None

    def is_finished(self) -> bool:
        summary = self.read_summary()
        return summary is not None and summary.get("exit_reason") == "finished"

    def is_used(self) -> bool:
        return self.path.is_dir() and any(
            path.exists() for path in (self.input, self.restart, self.summary)
        )

    def never_began(self) -> bool:
        """Whether a run failed here before its first step, so that nothing can be lost."""
        summary = self.read_summary()
        return (
            summary is not None
            and summary.get("exit_reason") == "failed"
            and summary.get("last_step") == 0
            and not self.restart.exists()
        )

    def _clear(self) -> None:
        """Remove the files of a run that never began, and no others."""
        written = (self.read_summary() or {}).get("written", [])
        for name in {"input.xml", "i-pi.log", "daemon.log", "summary.json", *written}:
            (self.path / Path(name).name).unlink(missing_ok=True)

    def start_new(self, *, aside: bool = False) -> list[str]:
        """Make an empty directory for a new run; returns what there is to say.

        With `aside`, an earlier run is moved to NAME.1, NAME.2, ...; otherwise it is never
        touched.

        Raises:
            RunDirectoryError: if it holds a run, or files of something else.
        """
        said = []
        if self.never_began():
            self._clear()
        elif self.is_used():
            if not aside:
                raise RunDirectoryError(
                    f"{self.path} holds a finished run; nothing was touched.\n"
                    "Use --run-dir for another place, --fresh to move it aside, or --resume "
                    "with a larger --steps to make it longer."
                    if self.is_finished()
                    else f"{self.path} holds an unfinished run; nothing was touched.\n"
                    "Use --resume to go on from its RESTART, --fresh to move it aside, or "
                    "--run-dir for another place."
                )
            said.append(f"moved the earlier run to {self._move_aside()}")
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RunDirectoryError(
                f"{self.path} exists and holds no run of pimd: choose another --run-dir"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        return said

    def continue_run(self) -> list[str]:
        """Check that the run can go on and clear what is stale; returns what there is to say.

        Raises:
            RunDirectoryError: if there is no RESTART.
        """
        if not self.is_used():
            raise RunDirectoryError(
                f"{self.path} holds no run to resume"
                + ("" if self.path.is_dir() else ": the directory does not exist")
                + "; start it without --resume"
            )
        said = []
        exit_file = self.path / "EXIT"
        if exit_file.exists():
            exit_file.unlink()
            said.append("removed the EXIT file that had stopped the run before")
        return said

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write summary.json in one step, so that a reader never sees half of it."""
        write_text(self.summary, json.dumps(summary, indent=2) + "\n", sync=True)

    def _move_aside(self) -> Path:
        number = 1
        while (target := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        self.path.rename(target)
        return target
