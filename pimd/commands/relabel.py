"""`pimd relabel`: energies, and forces, of stored beads under another potential."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from pimd.commands.common import RunArgument, SystemOption, user_errors

__all__ = ["relabel"]


def relabel(
    run: RunArgument,
    potential: Annotated[
        str, typer.Option("--potential", metavar="SPEC", help="What evaluates the beads.")
    ],
    name: Annotated[
        str | None,
        typer.Option("--name", help="Of the label (default: the name of the potential)."),
    ] = None,
    forces: Annotated[bool, typer.Option("--forces", help="Keep forces too.")] = False,
    stride: Annotated[
        int, typer.Option("--stride", metavar="FRAMES", min=1, help="Only every so many frames.")
    ] = 1,
    start: Annotated[int, typer.Option("--start", min=0, help="First frame, from 0.")] = 0,
    stop: Annotated[
        int | None, typer.Option("--stop", min=1, help="Frame to stop before (default: none).")
    ] = None,
    batch_atoms: Annotated[
        int | None,
        typer.Option(
            "--batch-atoms", min=1,
            help="Atoms of one batch, at most, unless one frame has more (default: 20000).",
        ),
    ] = None,
    system: SystemOption = 0,
) -> None:
    """Evaluate the stored beads of a run with any potential; kept in RUN/labels/NAME.h5.

    What is done is not done again, so that an interrupted command goes on where it was. Under
    mpiexec the batches go to all ranks but the first.
    """
    from pimd.evaluate_progress import make_progress
    from pimd.record import open_run
    from pimd.relabel.job import Job
    from pimd.relabel.ranks import ranks
    from pimd.relabel.report import summary_lines

    # results go to stdout, the progress and errors to stderr
    console = Console(file=sys.stderr)
    with user_errors(console), ranks() as mine:
        if not mine.leads:
            return
        record = open_run(run, system)
        if mine.executor is not None:
            console.print(f"{mine.n_workers} ranks evaluate", highlight=False)
        job = Job(
            record, potential, name=name, forces=forces, batch_atoms=batch_atoms,
            executor=mine.executor,
        )
        try:
            job.make(
                slice(start, stop, stride), lambda total: make_progress(console, total)
            )
        except KeyboardInterrupt:
            console.print("interrupted; the same command goes on from here", highlight=False)
            raise typer.Exit(130) from None
        for line in summary_lines(record, record.label(job.name, forces=False)):
            typer.echo(line)
