"""`pimd distributions`: radial distribution functions, bonds, angles, momentum widths of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from pimd.commands.common import (
    OutOption,
    RunArgument,
    SkipOption,
    SystemOption,
    analysis_directory,
    finish,
    stdout,
    user_errors,
)

__all__ = ["distributions"]


def distributions(
    run: RunArgument,
    pair: Annotated[
        list[str] | None,
        typer.Option("--pair", metavar="A-B", help="Pairs of elements, may be repeated; all."),
    ] = None,
    r_max: Annotated[
        float | None,
        typer.Option("--r-max", min=0.0, help="Å; half of the cell's smallest width, at most 10."),
    ] = None,
    bins: Annotated[int, typer.Option("--bins", min=10, help="Of the distances.")] = 200,
    internals: Annotated[
        bool, typer.Option("--internals/--no-internals", help="Bonds and angles too.")
    ] = True,
    skip: SkipOption = None,
    stride: Annotated[
        int, typer.Option("--stride", min=1, help="Take every so many of the stored frames.")
    ] = 1,
    alpha: Annotated[
        float,
        typer.Option("--alpha", min=0.0, help="Factor of the deviations of a committee's members."),
    ] = 1.0,
    arrays: Annotated[
        str, typer.Option("--arrays", help="Where to compute: numpy, cupy, torch or auto.")
    ] = "auto",
    system: SystemOption = 0,
    out: OutOption = None,
) -> None:
    """Radial distribution functions over beads and centroids, bonds, angles, momentum widths.

    With the errors of sampling and, where energies of members are stored, of the committee.
    """
    console = stdout()
    with user_errors(console):
        from pimd.analysis.distribution_result import distributions_result
        from pimd.analysis.distributions import DistributionOptions, distributions_of_run
        from pimd.evaluate_progress import make_progress
        from pimd.record import open_run

        record = open_run(run, system)
        options = DistributionOptions(
            pairs=pair, r_max=r_max, n_bins=bins, internals=internals,
            skip=skip, stride=stride, library=arrays, alpha=alpha,
        )
        with make_progress(console, None) as progress:
            found = distributions_of_run(record, options, progress.update)
        title = (
            f"{record.where}: structure from {found.n_frames} frames of {found.n_beads} beads"
        )
        finish(distributions_result(found, title), analysis_directory(record, out), console)
