"""The commands of pimd; no logic."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    name="pimd",
    help="Path-integral driver for i-PI: all beads of a machine-learning potential in one batch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

InputArgument = Annotated[Path, typer.Argument(metavar="INPUT.xml", help="i-PI's XML input.")]
PotentialsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--potential",
        metavar="[NAME=]SPEC",
        help="What serves the socket forcefield NAME, e.g. qtip4pf or "
        "'driver={potential: qtip4pf, cutoff: 9}'. Replaces what the XML says.",
    ),
]
RunDirOption = Annotated[
    Path | None,
    typer.Option("--run-dir", help="Where the run works (default: INPUT.run beside the input)."),
]
StepsOption = Annotated[
    int | None, typer.Option("--steps", min=1, help="End at this step instead of total_steps.")
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads of the potential.")
]
WarmUpOption = Annotated[
    float, typer.Option("--warm-up-limit", help="Seconds a potential may take to get ready.")
]


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print versions and exit.")] = False,
) -> None:
    if version:
        from pimd.run.summary import versions

        for name, number in versions().items():
            typer.echo(f"{name} {number}")
        raise typer.Exit


@app.command()
def run(
    input: InputArgument,
    potential: PotentialsOption = None,
    run_dir: RunDirOption = None,
    steps: StepsOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint of the run.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Move an earlier run aside and start again.")
    ] = False,
    threads: ThreadsOption = None,
    interval: Annotated[
        float | None,
        typer.Option("--interval", help="Seconds between lines in a log (default: 1, 5, then 30)."),
    ] = None,
    warm_up_limit: WarmUpOption = 600.0,
    compute_limit: Annotated[
        float,
        typer.Option("--compute-limit", help="Seconds a daemon may take for one round."),
    ] = 3600.0,
    restart_interval: Annotated[
        float, typer.Option("--restart-interval", help="Seconds between writes of RESTART.")
    ] = 60.0,
) -> None:
    """Run an i-PI input: starts the daemon, runs i-PI, shows progress, sums up.

    Exit status: 0 finished or stopped as asked, 1 failed, 2 wrong input or usage.
    """
    from pimd.run.launch import RunOptions
    from pimd.run.launch import run as run_input

    options = RunOptions(
        input=input, run_dir=run_dir, potentials=potential or [], steps=steps, resume=resume,
        fresh=fresh, threads=threads, interval=interval, warm_up_limit=warm_up_limit,
        compute_limit=compute_limit, restart_interval=restart_interval,
    )
    raise typer.Exit(run_input(options, Console(file=sys.stdout)))


@app.command()
def check(
    input: InputArgument,
    potential: PotentialsOption = None,
    steps: StepsOption = None,
    threads: ThreadsOption = None,
    warm_up_limit: WarmUpOption = 600.0,
) -> None:
    """Do everything `pimd run` does but the dynamics, and print what would run."""
    from pimd.run.check import check as check_input
    from pimd.run.launch import RunOptions

    options = RunOptions(
        input=input, potentials=potential or [], steps=steps, threads=threads,
        warm_up_limit=warm_up_limit,
    )
    raise typer.Exit(check_input(options, Console(file=sys.stdout)))


@app.command()
def evaluate(
    structures: Annotated[str, typer.Argument(help="Any file ASE reads, e.g. traj.extxyz@::10.")],
    potential: Annotated[str, typer.Option("--potential", metavar="SPEC", help="e.g. qtip4pf")],
    out: Annotated[Path, typer.Option("--out", help="extxyz file to write.")],
    properties: Annotated[
        str, typer.Option("--properties", help="Comma-separated, e.g. dipole,born_charges.")
    ] = "",
    batch_atoms: Annotated[
        int, typer.Option("--batch-atoms", min=1, help="Atoms in one batch, at most.")
    ] = 20000,
    force: Annotated[bool, typer.Option("--force", help="Overwrite OUT.")] = False,
) -> None:
    """Evaluate structures in batches: energies, forces, stress and properties as extxyz."""
    from pimd.evaluate import evaluate_command

    names = tuple(name.strip() for name in properties.split(",") if name.strip())
    raise typer.Exit(
        evaluate_command(
            structures, potential, out,
            properties=names, batch_atoms=batch_atoms, force=force,
            console=Console(file=sys.stdout),
        )
    )


@app.command()
def serve(
    potential: Annotated[str, typer.Option("--potential", metavar="SPEC", help="e.g. qtip4pf")],
    connect: Annotated[
        list[str],
        typer.Option(
            "--connect", metavar="ADDRESS",
            help="unix:NAME, unix:/path, inet:HOST:PORT or shm:NAME of an i-PI; may be repeated.",
        ),
    ],
    template: Annotated[
        list[Path],
        typer.Option(
            "--template", metavar="FILE",
            help="Structure that gives the species: one for all, or one for each --connect.",
        ),
    ],
    beads: Annotated[
        int,
        typer.Option(
            "--beads", min=1,
            help="Connections to open for each address: for an i-PI without <batch_size>, one "
            "for each bead, so that all beads still make one batch.",
        ),
    ] = 1,
    threads: ThreadsOption = None,
    connect_timeout: Annotated[
        float, typer.Option("--connect-timeout", help="Seconds to wait for a server to appear.")
    ] = 600.0,
    reconnect_timeout: Annotated[
        float, typer.Option("--reconnect-timeout", help="Seconds to wait for a server that left.")
    ] = 30.0,
) -> None:
    """Serve one or more running i-PI (stock i-pi too) with one batched potential."""
    from pimd.daemon.command import serve_command

    raise typer.Exit(
        serve_command(
            potential, connect, template,
            beads=beads, threads=threads, connect_timeout=connect_timeout,
            reconnect_timeout=reconnect_timeout, console=Console(file=sys.stdout),
        )
    )


def main() -> None:
    """Entry point of the `pimd` program."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
