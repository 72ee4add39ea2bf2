"""What `pimd evaluate` says while it works: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LineProgress", "NoProgress", "Progress", "make_progress"]

LINE_INTERVAL_S = 10.0


class Progress:
    """Told about every batch; a context manager for the time of the work."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to give back."""

    def update(self, structures: int, atoms: int) -> None:
        """So many structures and atoms are done."""
        raise NotImplementedError


class NoProgress(Progress):
    """Says nothing."""

    def update(self, structures: int, atoms: int) -> None:
        """Nothing to say."""


class LineProgress(Progress):
    """One plain line per interval.

    Args:
        console: where to.
        total: structures in all, if known.
        interval: seconds between lines.
    """

    def __init__(
        self, console: Console, total: int | None, interval: float = LINE_INTERVAL_S
    ) -> None:
        self.console, self.total, self.interval = console, total, interval
        self.start = self._said = time.monotonic()

    def update(self, structures: int, atoms: int) -> None:
        now = time.monotonic()
        if now - self._said < self.interval:
            return
        self._said = now
        rate = structures / (now - self.start)
        of_all = f"/{self.total}" if self.total else ""
        left = f", {(self.total - structures) / rate:.0f} s left" if self.total else ""
        self.console.print(
            f"{structures}{of_all} structures, {atoms / (now - self.start):.3g} atoms/s{left}",
            markup=False,
            highlight=False,
        )


class BarProgress(Progress):
    """A live bar."""

    def __init__(self, console: Console, total: int | None) -> None:
        from rich import progress

        self._bar: Any = progress.Progress(
            progress.TextColumn("evaluating"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[speed]}"),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("structures", total=total, speed="")
        self._start = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(self, structures: int, atoms: int) -> None:
        speed = atoms / max(time.monotonic() - self._start, 1e-9)
        self._bar.update(self._task, completed=structures, speed=f"{speed:.3g} atoms/s")


def make_progress(console: Console, total: int | None) -> Progress:
    """A bar where the console is a terminal, lines elsewhere."""
    return BarProgress(console, total) if console.is_terminal else LineProgress(console, total)
