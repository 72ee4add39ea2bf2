"""`pimd fep`: free-energy differences between potentials, from stored beads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

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

__all__ = ["fep"]


def fep(
    runs: RunsArgument,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to", metavar="SPEC",
            help="A potential that was not sampled, e.g. the reference of a trained one; may be "
            "given several times.",
        ),
    ] = None,
    potential: Annotated[
        list[str] | None,
        typer.Option(
            "--potential", metavar="[NAME=]SPEC",
            help="What served the forcefield NAME, where the runs do not say it.",
        ),
    ] = None,
    per: Annotated[
        str,
        typer.Option("--per", help="Of what: atom, system, or a molecule as its formula (H2O)."),
    ] = "atom",
    stride: Annotated[int, typer.Option("--stride", min=1, help="Every so many frames.")] = 1,
    check: Annotated[
        bool,
        typer.Option(
            "--check/--no-check",
            help="Evaluate three frames of each run with the potential that it sampled, and "
            "compare with what is stored.",
        ),
    ] = True,
    skip: SkipOption = None,
    system: SystemOption = 0,
    out: OutOption = None,
) -> None:
    """Free energies of potentials from stored beads: EXP, BAR, or MBAR.

    One run and --to: from the potential that was sampled to the other (EXP). Runs of two
    potentials: BAR with EXP from both sides. More of either: MBAR. Energies that are missing are
    evaluated and kept with the runs. Runs of several sizes are compared per atom or molecule.

    Exit status: 0 done, 2 wrong input, no overlap, or runs that cannot be reweighted, 130
    interrupted.
    """
    from pimd.evaluate_progress import make_progress
    from pimd.free_energy.promotion import free_energies
    from pimd.free_energy.promotion_result import promotion_result
    from pimd.record import open_run

    console = stdout()
    with user_errors(console):
        opened = [open_run(path, system=system) for path in runs]
        try:
            found = free_energies(
                opened, _resolved(to or []), per=per, potentials=_named(potential or []),
                skip=skip, stride=stride, check=check,
                progress=lambda total: make_progress(Console(file=sys.stderr), total),
            )
        except KeyboardInterrupt:
            console.print("interrupted; the same command goes on from here", highlight=False)
            raise typer.Exit(130) from None
        finish(promotion_result(found), analysis_directory(opened[0], out), console)


def _resolved(specs: list[str]) -> list[str]:
    """With the files that they name as seen from here."""
    from pimd.potentials.registry import parse_spec

    return [str(parse_spec(spec).resolved(Path.cwd())) for spec in specs]


def _named(assignments: list[str]) -> dict[str, str]:
    """NAME=SPEC or SPEC -> the name, or "", and the SPEC."""
    from pimd.potentials.registry import split_name

    named = dict(split_name(text) for text in assignments)
    return dict(zip(named, _resolved(list(named.values())), strict=True))
