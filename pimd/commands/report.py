"""`pimd report`: a run in one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pimd.commands.common import (
    RunArgument,
    SkipOption,
    SystemOption,
    analysis_directory,
    stdout,
    user_errors,
)

__all__ = ["report"]


def report(
    run: RunArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.html", help="Default: RUN/report.html."),
    ] = None,
    skip: SkipOption = None,
    frames: Annotated[
        int,
        typer.Option("--frames", min=0, help="Frames in the viewer, at most; 0: no viewer."),
    ] = 100,
    system: SystemOption = 0,
) -> None:
    """Everything about a run on one page: figures, averages with errors, results of the other
    commands, and a viewer of frames coloured by uncertainty. The file needs no network.

    Exit status: 0 written, 2 wrong input.
    """
    console = stdout()
    with user_errors(console):
        from pimd import open_run
        from pimd.report import report_run

        opened = open_run(run, system=system)
        with console.status("reading the run and drawing"):
            made = report_run(opened, skip=skip, frames=frames)
            folder = analysis_directory(opened, None if out is None else out.parent)
            page = out or folder.parent / f"{made.result.command}.html"
            made.write(page)
            files = made.result.write(folder)
        made.result.show(console)
        console.print(
            f"{page}: {page.stat().st_size / 1e6:.1f} MB, for any browser; {files[0]} has its "
            "numbers", markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
