"""What the commands that analyse runs share: arguments, errors as one line, results on disk."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from pimd.results.result import Result

__all__ = [
    "OutOption",
    "RunArgument",
    "RunsArgument",
    "SkipOption",
    "SystemOption",
    "analysis_directory",
    "finish",
    "in_fs",
    "say_error",
    "stdout",
    "user_errors",
]

RunArgument = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="Directory of a run (INPUT.run), its input, or its .h5."),
]
RunsArgument = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", help="Directories of runs (INPUT.run), or their .h5 files."),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Folder for JSON and figures (default: RUN/analysis)."
    ),
]


def in_fs(picoseconds: float | None) -> float | None:
    """fs, in which all but the command line has times."""
    return None if picoseconds is None else 1000.0 * picoseconds


SkipOption = Annotated[
    float | None,
    typer.Option(
        "--skip", metavar="PS", min=0.0, callback=in_fs,
        help="Leave out so many picoseconds at the beginning (default: found out).",
    ),
]
SystemOption = Annotated[
    int, typer.Option("--system", min=0, help="Which system of a run that has several.")
]


def stdout() -> Console:
    """Where results are printed."""
    return Console(file=sys.stdout)


@contextmanager
def user_errors(console: Console) -> Iterator[None]:
    """A ValueError or a missing file becomes one red line and exit status 2."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        say_error(console, str(error))
        raise typer.Exit(2) from error


def say_error(console: Console, message: str) -> None:
    """One red line."""
    console.print(message, style="bold red", markup=False, highlight=False, soft_wrap=True)


def analysis_directory(run: Any, out: Path | None) -> Path:
    """Where results of a run go: `out`, or `analysis` in the directory of the run."""
    return Path(out) if out is not None else Path(run.directory) / "analysis"


def finish(result: Result, directory: Path, console: Console) -> None:
    """Print a result and write its files.

    Raises:
        ValueError: they cannot be written.
    """
    result.show(console)
    paths = result.write(directory)
    names = ", ".join(path.name for path in paths)
    console.print(f"{directory}: {names}", markup=False, highlight=False, soft_wrap=True)
