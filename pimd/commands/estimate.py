"""`pimd estimate`: averages of runs with their errors; convergence and ensembles of several."""

from __future__ import annotations

from typing import Annotated

import typer

from pimd.commands.common import (
    OutOption,
    RunsArgument,
    SkipOption,
    SystemOption,
    analysis_directory,
    finish,
    stdout,
    user_errors,
)

__all__ = ["estimate"]


def estimate(
    runs: RunsArgument,
    potential: Annotated[
        str | None,
        typer.Option(
            "--potential", metavar="SPEC",
            help="The potential that moved the beads, to evaluate stored beads with: for forces "
            "that were not stored, pressures, and heat capacities by scaled coordinates.",
        ),
    ] = None,
    evaluate: Annotated[
        bool,
        typer.Option(
            "--evaluate", help="The same with the potential that the input of the run names."
        ),
    ] = False,
    skip: SkipOption = None,
    stride: Annotated[
        int, typer.Option("--stride", min=1, help="Take every so many of the stored frames.")
    ] = 1,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", metavar="K", help="Where the run has none of its own."),
    ] = None,
    system: SystemOption = 0,
    out: OutOption = None,
) -> None:
    """Energies, kinetic energies, heat capacity, pressure and radius of gyration, with errors.

    From the properties that i-PI wrote, and from stored beads. Several runs of one system: replicas
    are pooled, runs with different numbers of beads or time steps extrapolated, and pairs at
    different temperatures or pressures checked for the ensembles they should sample.

    Exit status: 0 done, 2 wrong input or not enough data, 130 Ctrl-C.
    """
    console = stdout()
    with user_errors(console):
        from pimd.analysis.comparison_result import comparison_result
        from pimd.analysis.estimate_result import result_of
        from pimd.analysis.run_convergence import compare
        from pimd.analysis.run_estimates import estimates_of
        from pimd.evaluate_progress import NoProgress, make_progress
        from pimd.record import open_run

        if potential is not None and evaluate:
            raise ValueError("--potential SPEC or --evaluate, not both")
        records = [open_run(path, system) for path in runs]
        spec = "run" if evaluate else potential
        found = []
        for record in records:
            with NoProgress() if spec is None else make_progress(console, None) as progress:
                found.append(estimates_of(
                    record, potential=spec, skip=skip, stride=stride, temperature=temperature,
                    progress=progress.update,
                ))  # fmt: skip
        result = result_of(found[0]) if len(found) == 1 else comparison_result(compare(found))
        finish(result, analysis_directory(records[0], out), console)
