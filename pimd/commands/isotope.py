"""`pimd isotope`: what a change of isotope does, and fractionation between two runs."""

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

__all__ = ["isotope"]


def isotope(
    runs: RunsArgument,
    substitute: Annotated[
        str, typer.Option(
            "--substitute", "-s", metavar="LABEL=MASS",
            help="Atoms and their new mass in amu, or a name that i-PI knows: H=2.014, H=D.",
        ),
    ],
    potential: Annotated[
        str, typer.Option(
            "--potential", metavar="SPEC",
            help="The potential that was sampled, where the run does not say it.",
        ),
    ] = "",
    source: Annotated[
        str, typer.Option(
            "--from", metavar="auto|beads|columns",
            help="Stored beads, or i-PI's isotope_zetasc and isotope_zetatd.",
        ),
    ] = "auto",
    atoms: Annotated[
        int | None, typer.Option(
            "--atoms", min=1, help="Of stored beads: atoms of a frame, drawn anew (default: all)."
        ),
    ] = None,
    stride: Annotated[
        int, typer.Option("--stride", min=1, help="Of stored beads: every so many frames.")
    ] = 1,
    skip: SkipOption = None,
    system: SystemOption = 0,
    out: OutOption = None,
) -> None:
    """Isotope substitution by direct estimators, and fractionation between runs.

    ln zeta = ln [Q(new)/Q(old)] without its classical factor, for one atom at a time: by scaled
    coordinates, and by the thermodynamic estimator where its variance allows. Given two runs, of
    two phases, also 10³ ln alpha of the first over the second. Stored beads are evaluated once more
    with the potential that was sampled; what was evaluated is kept, so that an interrupted command
    goes on.

    Exit status: 0 done, 2 wrong input or not enough data, 130 Ctrl-C.
    """
    console = stdout()
    with user_errors(console):
        import pimd
        from pimd.free_energy.isotope_report import isotope_result
        from pimd.free_energy.isotope_runs import zeta_of_run

        opened = [pimd.open_run(path, system=system) for path in runs]
        zetas = []
        for run in opened:
            folder = analysis_directory(run, None)
            name = substitute.replace("=", "_").replace("/", "_")
            zetas.append(zeta_of_run(
                run, substitute, potential=potential, source=source, skip=skip, stride=stride,
                n_atoms=atoms, keep=folder / f"isotope_{name}_{system}.npz",
                say=lambda line: console.print(line, markup=False, highlight=False),
            ))
        finish(isotope_result(zetas), analysis_directory(opened[0], out), console)
