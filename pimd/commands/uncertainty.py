"""`pimd uncertainty`: the committee's error of averages, beside the statistical one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pimd.commands.common import (
    OutOption,
    SkipOption,
    SystemOption,
    analysis_directory,
    finish,
    stdout,
    user_errors,
)

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["uncertainty"]


def uncertainty(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]", help="Directory of a run (INPUT.run), its input, or its .h5; not "
            "needed where only a committee is calibrated.",
        ),
    ] = None,
    observable: Annotated[
        list[str] | None,
        typer.Option(
            "--observable", metavar="NAME",
            help="potential, kinetic, pressure, rdf:O-H, gyration:H, a property or extra by its "
            "name, or NAME=FILE with columns step and value, or step and a value for each "
            "member; may be repeated (default: potential and kinetic energy).",
        ),
    ] = None,
    members: Annotated[
        str,
        typer.Option(
            "--members", metavar="LABEL[,LABEL...]",
            help="Labels of `pimd relabel` that are the committee: one of a committee, or several "
            "models (default: the member energies that the run has stored).",
        ),
    ] = "",
    about: Annotated[
        str,
        typer.Option(
            "--about", help="own: averages the members would have given; centred: members moved "
            "so that their mean is what was sampled; auto: own where they are known.",
        ),
    ] = "auto",
    method: Annotated[
        str, typer.Option("--method", help="direct, cumulant, or auto: by the variance of h.")
    ] = "auto",
    alpha: Annotated[
        float | None,
        typer.Option(
            "--alpha", min=0.0, help="Factor of the members' deviations, on top of what the "
            "potential has (default: 1, or that of --validation).",
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            "--validation", metavar="FILE", help="Labelled structures that no member was trained "
            "on: find alpha, and say how well the spread tells the error.",
        ),
    ] = None,
    potential: Annotated[
        str | None,
        typer.Option(
            "--potential", metavar="SPEC",
            help="The committee to calibrate (default: that of the run).",
        ),
    ] = None,
    skip: SkipOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the bootstrap.")] = 0,
    system: SystemOption = 0,
    out: OutOption = None,
) -> None:
    """The error that a committee of potentials makes in averages, beside the statistical one.

    Averages are reweighted to every member over all beads, directly or by the cumulant expansion.

    Exit status: 0 done, 2 wrong input or not enough data.
    """
    from pimd import open_run

    console = stdout()
    with user_errors(console):
        if run is None and validation is None:
            raise ValueError("expected a run, or --validation with --potential")
        opened = None if run is None else open_run(run, system=system)
        if opened is None and out is None:
            out = Path("calibration")
        directory = analysis_directory(opened, out)
        factor = 1.0 if alpha is None else alpha
        if validation is not None:
            found = _calibrate(potential or _spec_of(opened), validation, console, directory)
            factor = found if alpha is None else alpha
        if opened is not None:
            _average(
                opened, console, directory, observables=tuple(observable or ()), alpha=factor,
                about=about, method=None if method == "auto" else method,
                labels=tuple(name.strip() for name in members.split(",") if name.strip()),
                skip=skip, seed=seed,
            )


def _average(run: Any, console: Console, directory: Path, **options: Any) -> None:
    from pimd.analysis.uncertainty import UncertaintyOptions, uncertainty_of_run
    from pimd.analysis.uncertainty_result import result_of

    with console.status("energies of members") as status:
        found = uncertainty_of_run(run, UncertaintyOptions(**options), say=status.update)
    finish(result_of(found), directory, console)


def _calibrate(spec: str, file: str, console: Console, directory: Path) -> float:
    """alpha of energies."""
    from pimd.analysis.validation import result_of_validation, validate
    from pimd.evaluate_progress import make_progress

    with make_progress(console, None) as progress:
        found = validate(spec, file, progress=progress.update)
    finish(result_of_validation(found), directory, console)
    return found.energy.alpha


def _spec_of(run: Any) -> str:
    """The potential of a run with one forcefield."""
    specs = [] if run is None else [one for one in run.setup.forcefields.values() if one]
    if len(specs) != 1:
        raise ValueError("which committee is to be calibrated? Give it with --potential SPEC")
    return str(specs[0])
