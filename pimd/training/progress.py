"""What `pimd train` says while it works: a live bar on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pimd.run.progress import duration
from pimd.training.trainer import Epoch

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["TrainingProgress"]

LINE_INTERVAL_S = 10.0


class TrainingProgress:
    """Told about every epoch; a context manager for the time of the training.

    Args:
        console: where to.
        epochs: at most.
        interval: seconds between lines in a log; on a terminal every epoch is shown.
    """

    def __init__(
        self, console: Console, epochs: int, interval: float = LINE_INTERVAL_S
    ) -> None:
        self.console, self.epochs, self.interval = console, epochs, interval
        self._bar: Any = None
        self._said = float("-inf")
        self._first: Epoch | None = None
        self._start = time.monotonic()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            from rich import progress

            self._bar = progress.Progress(
                progress.BarColumn(bar_width=20),
                progress.TextColumn("{task.description}"),
                console=self.console,
            )
            self._task = self._bar.add_task("descriptors of the first epoch", total=self.epochs)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, epoch: Epoch, best: int) -> None:
        """An epoch is done; `best` is the one whose weights are kept."""
        self._first = self._first or epoch
        done = epoch.epoch - self._first.epoch + 1
        each = (time.monotonic() - self._start) / done
        text = "  ".join(
            [
                f"epoch {epoch.epoch}/{self.epochs}",
                f"rate {epoch.rate:.1e}",
                f"E {1000 * epoch.train_energy:.2f} | {1000 * epoch.energy:.2f} meV/atom",
                f"F {1000 * epoch.train_forces:.1f} | {1000 * epoch.forces:.1f} meV/Å",
                f"best {best}",
                f"ETA {duration(each * (self.epochs - epoch.epoch))}",
            ]
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=epoch.epoch, description=text)
            return
        now = time.monotonic()
        if now - self._said >= self.interval or epoch.epoch == self.epochs:
            self._said = now
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)
