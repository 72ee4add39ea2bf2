"""What a run left behind, as arrays with units: `pimd.open_run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["open_run"]


def open_run(path: str | Path, system: int = 0) -> Run:
    """The record of a run, read from its files as it is asked for.

    Args:
        path: directory of a run, its XML input, or an .h5 file it wrote.
        system: which of its systems, from 0.

    Returns:
        The run; `pimd.record.run.Run` says what it can be asked.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it holds no run that can be read; the message says why.
    """
    from pimd.record.open import open_run as open_now

    return open_now(path, system)
