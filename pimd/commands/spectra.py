"""`pimd spectra`: vibrational density of states, infrared and Raman spectra of runs."""

from __future__ import annotations

from typing import Annotated

import typer

from pimd.commands.common import (
    OutOption,
    RunsArgument,
    SystemOption,
    analysis_directory,
    finish,
    in_fs,
    stdout,
    user_errors,
)

__all__ = ["spectra"]


def spectra(
    runs: RunsArgument,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind", help="vibrations, infrared or raman, may be repeated; what the runs allow."
        ),
    ] = None,
    time: Annotated[
        float | None,
        typer.Option(
            "--time", metavar="FS", min=0.0,
            help="Length of the correlation functions, which sets the resolution; 1000 at most.",
        ),
    ] = None,
    window: Annotated[
        str, typer.Option("--window", help="hann, blackman, gaussian or none.")
    ] = "hann",
    correction: Annotated[
        str,
        typer.Option("--correction", help="Quantum correction: kubo, standard, schofield or none."),
    ] = "kubo",
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", metavar="K", min=0.0, help="That of the runs."),
    ] = None,
    skip: Annotated[
        float,
        typer.Option(
            "--skip", metavar="PS", min=0.0, callback=in_fs,
            help="Left out at the beginning of each.",
        ),
    ] = 0.0,
    arrays: Annotated[
        str, typer.Option("--arrays", help="Where to compute: numpy, cupy, torch or auto.")
    ] = "numpy",
    system: SystemOption = 0,
    out: OutOption = None,
) -> None:
    """Spectra from classical, RPMD or TRPMD runs: vibrations, infrared, isotropic and VH Raman.

    Several runs are independent trajectories of the same system; errors are from all of them.
    """
    console = stdout()
    with user_errors(console):
        from pimd.analysis.spectra_of_runs import SpectraOptions, spectra_of_runs
        from pimd.analysis.spectra_result import spectra_result
        from pimd.record import open_run

        options = SpectraOptions(
            kinds=kind, longest_time=time, window=window, correction=correction,
            temperature=temperature, skip=skip, library=arrays,
        )
        records = [open_run(path, system) for path in runs]
        found = spectra_of_runs(records, options)
        several = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        title = (
            f"{records[0].where}{several}: spectra of {found.dynamics} dynamics at "
            f"{found.temperature:.4g} K"
        )
        finish(spectra_result(found, title), analysis_directory(records[0], out), console)
