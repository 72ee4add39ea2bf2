"""The commands of pimd; no logic."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pimd.commands.distributions import distributions
from pimd.commands.electronic import electronic
from pimd.commands.estimate import estimate
from pimd.commands.fep import fep
from pimd.commands.isotope import isotope
from pimd.commands.relabel import relabel
from pimd.commands.report import report
from pimd.commands.spectra import spectra
from pimd.commands.ti import ti
from pimd.commands.uncertainty import uncertainty

app = typer.Typer(
    name="pimd",
    help="Path-integral driver for i-PI: all beads of a machine-learning potential in one batch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _positive(value: float | None) -> float | None:
    """A threshold is a positive number."""
    if value is not None and not 0.0 < value < float("inf"):
        raise typer.BadParameter(f"expected a positive number in eV per atom, got {value:g}")
    return value


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
    input: Annotated[
        Path | None, typer.Argument(metavar="INPUT.xml", help="i-PI's XML input.")
    ] = None,
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
    stop_above: Annotated[
        float | None,
        typer.Option(
            "--stop-above", metavar="SIGMA", callback=_positive,
            help="Stop when the uncertainty of a bead exceeds this, eV per atom; its structure "
            "goes to stopped.extxyz. Checked after every step.",
        ),
    ] = None,
    save_above: Annotated[
        float | None,
        typer.Option(
            "--save-above", metavar="SIGMA", callback=_positive,
            help="Keep the worst bead of a step beyond this, eV per atom, in uncertain.extxyz.",
        ),
    ] = None,
    save_spacing: Annotated[
        int,
        typer.Option(
            "--save-spacing", metavar="STEPS", min=1,
            help="Steps between two beads kept of one ring polymer, at least.",
        ),
    ] = 100,
    save_limit: Annotated[
        int,
        typer.Option("--save-limit", min=1, help="Beads kept in all: the first that come."),
    ] = 200,
    member_forces_every: Annotated[
        int | None,
        typer.Option(
            "--member-forces-every", metavar="STEPS", min=1,
            help="Write energies, forces and virials of all members of committees to members.h5 "
            "every so many steps.",
        ),
    ] = None,
    stock: Annotated[
        bool,
        typer.Option("--stock", help="i-PI as it is installed, every extension off; to compare."),
    ] = False,
    show_extensions: Annotated[
        bool,
        typer.Option(
            "--show-extensions",
            help="Print what of i-PI is changed, whether it is on or why not, and end; with an "
            "input also what of it is left to i-PI's own code.",
        ),
    ] = False,
) -> None:
    """Run an i-PI input: starts the daemon, runs i-PI, shows progress, sums up.

    Exit status: 0 finished or stopped as asked (by a signal, an EXIT file, total_time or
    --stop-above), 1 failed, 2 wrong input or usage.
    """
    from pimd.run.extension_table import show_extensions as show
    from pimd.run.launch import RunOptions
    from pimd.run.launch import run as run_input
    from pimd.run.uncertainty import UncertaintyOptions

    if show_extensions:
        raise typer.Exit(show(input, stock, Console(file=sys.stdout)))
    if input is None:
        raise typer.BadParameter("missing: give the XML input to run", param_hint="INPUT.xml")
    uncertainty = UncertaintyOptions(
        stop_above=stop_above, save_above=save_above, save_spacing=save_spacing,
        save_limit=save_limit, members_every=member_forces_every,
    )
    options = RunOptions(
        input=input, run_dir=run_dir, potentials=potential or [], steps=steps, resume=resume,
        fresh=fresh, threads=threads, interval=interval, warm_up_limit=warm_up_limit,
        compute_limit=compute_limit, restart_interval=restart_interval, stock=stock,
        uncertainty=uncertainty,
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
def train(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA.extxyz", help="Structures with energies (eV) and forces (eV/Å)."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Model file to write, .npz or .pt.")],
    validation: Annotated[
        str, typer.Option("--validation", help="Share of DATA, or a file of its own.")
    ] = "0.1",
    test: Annotated[str, typer.Option("--test", help="Share of DATA, or a file.")] = "0.1",
    members: Annotated[int, typer.Option("--members", help="Members of the committee.")] = 8,
    hidden: Annotated[
        str, typer.Option("--hidden", help="Neurons of the hidden layers of each element.")
    ] = "24,24",
    cutoff: Annotated[float, typer.Option("--cutoff", help="Å, of radial functions.")] = 6.0,
    angular_cutoff: Annotated[
        float, typer.Option("--angular-cutoff", help="Å, of angular functions.")
    ] = 4.0,
    radial: Annotated[
        int, typer.Option("--radial", help="Radial functions for each neighbour element.")
    ] = 8,
    angular: Annotated[
        int, typer.Option("--angular", help="Widths of angular functions for each pair of them.")
    ] = 3,
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the data, at most.")] = 300,
    batch: Annotated[int, typer.Option("--batch", help="Structures in a step.")] = 8,
    lr: Annotated[float, typer.Option("--lr", help="Learning rate at the start.")] = 5e-3,
    lr_stop: Annotated[float, typer.Option("--lr-stop", help="And after the last epoch.")] = 2e-5,
    energy_prefactors: Annotated[
        str, typer.Option("--energy-prefactors", help="Of the loss, at the start and the end.")
    ] = "0.02,2",
    force_prefactors: Annotated[
        str, typer.Option("--force-prefactors", help="Of the loss, at the start and the end.")
    ] = "1,1",
    subsample: Annotated[
        float, typer.Option("--subsample", help="Share of the data that each member learns from.")
    ] = 0.8,
    patience: Annotated[
        int, typer.Option("--patience", help="Stop after so many epochs without a better one.")
    ] = 100,
    seed: Annotated[int, typer.Option("--seed", help="Of weights, shares and orders.")] = 0,
    dtype: Annotated[str, typer.Option("--dtype", help="float32 or float64.")] = "float32",
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", help="Energies of lone atoms, eV, like H=-13.6,O=-2041.8."),
    ] = None,
    energy_key: Annotated[
        str | None, typer.Option("--energy-key", help="Default: REF_energy or energy.")
    ] = None,
    forces_key: Annotated[
        str | None, typer.Option("--forces-key", help="Default: REF_forces or forces.")
    ] = None,
    max_force: Annotated[
        float, typer.Option("--max-force", help="eV/Å; frames beyond are left out.")
    ] = 100.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a training that was stopped or killed.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite OUT.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, ...")] = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Train a Behler-Parrinello committee: model, card, learning curves, calibration.

    Exit status: 0 trained, 2 wrong data or usage, 130 stopped by Ctrl-C (--resume goes on).
    """
    from pimd.training.command import TrainRequest, train_command

    options = {
        "members": members, "cutoff": cutoff, "angular_cutoff": angular_cutoff,
        "radial": radial, "angular": angular, "epochs": epochs, "batch": batch,
        "subsample": subsample, "patience": patience, "seed": seed, "dtype": dtype,
    }
    request = TrainRequest(
        data=data, out=out, options=options, hidden=hidden, rates=(lr, lr_stop),
        energy_prefactors=energy_prefactors, force_prefactors=force_prefactors,
        validation=validation, test=test, baseline=baseline, energy_key=energy_key,
        forces_key=forces_key, max_force=max_force, resume=resume, force=force, device=device,
        threads=threads,
    )
    raise typer.Exit(train_command(request, Console(file=sys.stdout)))


@app.command()
def serve(
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
    potential: Annotated[
        str | None,
        typer.Option(
            "--potential", metavar="SPEC",
            help="e.g. qtip4pf. Without it each server's <parameters> name one: built-in "
            "potentials, and files as --allow-model-dir says.",
        ),
    ] = None,
    allow_model_dir: Annotated[
        list[Path] | None,
        typer.Option(
            "--allow-model-dir", metavar="DIR",
            help="Servers may name model files and potentials in this folder; may be repeated. "
            "Loading one runs what is in it.",
        ),
    ] = None,
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
            allow_model_dirs=allow_model_dir or [],
        )
    )


for _command in (
    relabel, estimate, distributions, spectra, uncertainty, fep, ti, isotope, electronic, report,
):
    app.command(rich_help_panel="What runs have written")(_command)


def main() -> None:
    """Entry point of the `pimd` program."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
