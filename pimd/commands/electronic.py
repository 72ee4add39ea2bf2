"""`pimd electronic`: free energy of electrons at a temperature of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pimd.commands.common import (
    OutOption,
    SystemOption,
    analysis_directory,
    finish,
    stdout,
    user_errors,
)

if TYPE_CHECKING:
    import numpy as np

    from pimd.free_energy.dos_files import FramesOfStates
    from pimd.record.run import Run

__all__ = ["electronic"]

RUN_FILES = (".xml", ".h5", ".h5md", ".hdf5")


def electronic(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DOS", help="Density of states: .npz, columns in .txt, .dat or .csv, .extxyz "
            "of `pimd evaluate`, or a run that has stored one for each bead.",
        ),
    ],
    temperature: Annotated[
        str,
        typer.Option(
            "--temperature", metavar="T[,T...]",
            help="K, of the electrons; FIRST:LAST:N for N temperatures evenly apart.",
        ),
    ],
    electrons: Annotated[
        float | None,
        typer.Option("--electrons", help="That fill each density of states (default: the file's)."),
    ] = None,
    key: Annotated[
        str, typer.Option("--key", help="Name of the density of states in a run or an .extxyz.")
    ] = "dos",
    grid: Annotated[
        str | None,
        typer.Option(
            "--grid", metavar="FIRST,LAST|FILE",
            help="Energies of the density of states in eV, where the source has none.",
        ),
    ] = None,
    scale: Annotated[
        float, typer.Option("--scale", help="Factor to states/eV, both spins (2: spins apart).")
    ] = 1.0,
    broadening: Annotated[
        float, typer.Option("--broadening", min=0.0, help="eV, of the Gaussians it was made of.")
    ] = 0.0,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run", help="Run that the frames of a file are of: its temperature, and its "
            "committee's error, by the file's `step`.",
        ),
    ] = None,
    skip: Annotated[
        int | None,
        typer.Option(
            "--skip-frames", min=0, help="Leave out so many at the beginning (default: found out).",
        ),
    ] = None,
    system: SystemOption = 0,
    out: OutOption = None,
) -> None:
    """Free energy, energy and entropy of electrons from densities of states, one or one a frame.

    Exit status: 0 done, 2 wrong input or not enough data.
    """
    from pimd.free_energy.electronic_frames import electronic_averages
    from pimd.free_energy.electronic_result import result_of

    console = stdout()
    with user_errors(console):
        temperatures = temperatures_of(temperature)
        frames, opened = _source(source, run, key, _grid(grid), scale, system)
        n = frames.n_electrons if electrons is None else electrons
        if n is None:
            raise ValueError(f"{frames.source} does not say how many electrons: give --electrons")
        h = None if opened is None else _exponents(opened, frames)
        with console.status("electrons") as status:
            found = electronic_averages(
                frames, n, temperatures, h=h, broadening=broadening, start=skip,
                ion_temperature=None if opened is None else opened.setup.temperature,
                say=status.update,
            )
        if opened is None and out is None:
            out = source.parent / "analysis"
        finish(result_of(found, frames, n), analysis_directory(opened, out), console)


def _source(
    source: Path, run: Path | None, key: str, grid: np.ndarray | None, scale: float, system: int
) -> tuple[FramesOfStates, Run | None]:
    """Densities of states, and the run that they are of."""
    from dataclasses import replace

    from pimd import open_run
    from pimd.free_energy.dos_files import dos_of_run, read_dos

    if source.is_dir() or source.suffix in RUN_FILES:
        opened = open_run(source, system=system)
        return dos_of_run(opened, key, grid, scale), opened
    frames = read_dos(source, key, grid)
    if scale != 1.0:
        frames = replace(frames, dos=scale * frames.dos)
    return frames, None if run is None else open_run(run, system=system)


def temperatures_of(text: str) -> list[float]:
    """Temperatures from `T,T,...` or `FIRST:LAST:N`, K.

    Raises:
        ValueError: anything else.
    """
    import numpy as np

    try:
        if ":" in text:
            first, last, count = text.split(":")
            found = np.linspace(float(first), float(last), int(count)).tolist()
        else:
            found = [float(one) for one in text.split(",")]
    except ValueError as error:
        raise ValueError(
            f"--temperature {text}: expected numbers such as 300,1000 or 300:3000:10"
        ) from error
    if not found or not all(0 < one < float("inf") for one in found):
        raise ValueError(f"--temperature {text}: expected positive temperatures in K")
    return found


def _grid(text: str | None) -> np.ndarray | None:
    import numpy as np

    if text is None:
        return None
    if Path(text).is_file():
        return np.loadtxt(text, ndmin=1)
    try:
        ends = np.array([float(one) for one in text.split(",")])
    except ValueError as error:
        raise ValueError(f"--grid {text}: expected FIRST,LAST in eV, or a file") from error
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise ValueError(f"--grid {text}: expected FIRST,LAST in eV, FIRST below LAST")
    return ends


def _exponents(run: Run, frames: FramesOfStates) -> np.ndarray | None:
    """h of the run's committee on the frames; None where it has stored none."""
    from pimd.analysis.run_members import members_of_run
    from pimd.free_energy.sampled import check_canonical
    from pimd.record.missing import NotInRecord

    check_canonical(run)
    try:
        members = members_of_run(run)
    except NotInRecord:
        return None
    if frames.step is None:
        raise ValueError(
            f"{frames.source} does not say of which steps its frames are: a .npz may hold step"
        )
    here, there = members.rows(frames.step)
    if len(there) != len(frames.step):
        raise ValueError(
            f"{len(frames.step) - len(there)} of {len(frames.step)} densities of states are of "
            f"steps at which {run.where} has no energies of members"
        )
    return members.h[:, here]
