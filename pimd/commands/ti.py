"""`pimd ti`: a ladder of runs, and the free energy that it integrates to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pimd.commands.common import SkipOption, finish, say_error, stdout, user_errors

__all__ = ["ti"]


def ti(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT.xml|LADDER", help="i-PI's XML input, or a ladder.")
    ],
    nodes: Annotated[
        int, typer.Option("--nodes", min=2, help="Gauss-Legendre nodes.")
    ] = 6,
    between: Annotated[
        str, typer.Option(
            "--between", metavar="SPEC0,SPEC1",
            help="Between two potentials, or from that of the input to SPEC1, instead of from "
            "classical to quantum nuclei.",
        ),
    ] = "",
    substitute: Annotated[
        str, typer.Option(
            "--substitute", "-s", metavar="LABEL=MASS",
            help="From the mass of the input to this one, amu, of all atoms LABEL: H=2.014.",
        ),
    ] = "",
    potential: Annotated[
        list[str] | None,
        typer.Option("--potential", metavar="[NAME=]SPEC", help="As for pimd run."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder of the ladder (default: INPUT.ti)."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Steps of each node.")
    ] = None,
    skip: SkipOption = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads of each daemon.")
    ] = None,
    warm_up_limit: Annotated[
        float, typer.Option("--warm-up-limit", help="Seconds a potential may take to get ready.")
    ] = 600.0,
    write_only: Annotated[
        bool, typer.Option("--write-only", help="Write the inputs of the ladder and end.")
    ] = False,
) -> None:
    """Thermodynamic integration: classical to quantum nuclei, isotopes, or two potentials.

    Writes the inputs of a ladder, runs them side by side on the same daemons, and integrates. The
    same command goes on with a ladder that was interrupted; a larger --steps makes it longer. Given
    the folder of a ladder it integrates what is there.

    Exit status: 0 done, 1 a run failed, 2 wrong input or not enough data, 130 Ctrl-C.
    """
    console = stdout()
    with user_errors(console):
        from pimd.free_energy.ladder_report import ladder_result
        from pimd.free_energy.ladder_results import analyse_ladder
        from pimd.free_energy.ladder_runs import open_ladder, run_ladder, write_ladder
        from pimd.ipi.input import read_input
        from pimd.run.child import DaemonFailure
        from pimd.run.together import Options

        if source.is_dir():
            runs = open_ladder(source)
        else:
            document = read_input(source)
            document.set_potentials(potential or [])
            if steps is not None:
                document.total_steps = steps
            folder = out or source.resolve().with_name(source.stem + ".ti")
            runs = write_ladder(
                document, folder, nodes, isotope=substitute, between=between
            )
            console.print(
                f"{source} -> {runs.folder}: {len(runs.nodes)} nodes", markup=False,
                highlight=False, soft_wrap=True,
            )
            if write_only:
                return
            try:
                run_ladder(
                    runs,
                    lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
                    Options(threads=threads, warm_up_limit=warm_up_limit),
                )
            except (DaemonFailure, KeyboardInterrupt) as error:
                say_error(console, str(error) or "stopped; the same command goes on from there")
                raise typer.Exit(1 if isinstance(error, DaemonFailure) else 130) from error
        finish(ladder_result(analyse_ladder(runs, skip)), runs.folder, console)
