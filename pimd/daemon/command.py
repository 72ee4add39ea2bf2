"""`pimd serve`: the daemon as a program, telling what happens in plain lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pimd.daemon.address import AddressError
from pimd.daemon.memory import keep_memory
from pimd.daemon.threads import share_cores
from pimd.notices import notices_as_events
from pimd.structure import PotentialError

if TYPE_CHECKING:
    from pimd.daemon.status import ExitReason

__all__ = ["event_line", "make_targets", "serve_command"]

LINES = {
    "loading": "loading {spec}",
    "warmed_up": "{simulation}: {n_atoms} atoms, V = {energy_ev:.6f} eV, largest force "
    "{largest_force:.3g} eV/Å, {seconds:.1f} s",
    "ready": "{potential} on {device}, waiting for {simulations}",
    "connected": "connected to {simulation}",
    "note": "{simulation}: {message}",
    "finished": "{simulation}: the server said EXIT",
    "warning": "warning: {simulation}: {message}",
    "error": "error: {message}",
    "end": "ended: {message}",
}


def event_line(event: dict[str, Any]) -> str | None:
    """One line for an event worth reading, None for the others."""
    line = LINES.get(event["event"])
    values = {k: ", ".join(v) if isinstance(v, list) else v for k, v in event.items()}
    return None if line is None else line.format(**values)


def make_targets(
    connect: Sequence[str], templates: Sequence[Path], beads: int, pbc: Any = None
) -> list[Any]:
    """A target for each address, with a template of its own or the one for all.

    Raises:
        PotentialError: for a template that cannot be read, or another number of templates.
    """
    from pimd.daemon.serve import Target
    from pimd.ipi.pes import template_structure

    if len(templates) not in (1, len(connect)):
        raise PotentialError(
            f"{len(connect)} addresses and {len(templates)} templates: give one template for "
            "all, or one for each address, in the same order"
        )
    structures = [template_structure(path, pbc) for path in templates]
    structures = structures * (len(connect) if len(structures) == 1 else 1)
    return [Target(a, s, beads) for a, s in zip(connect, structures, strict=True)]


def serve_command(
    potential: str | None,
    connect: Sequence[str],
    templates: Sequence[Path],
    *,
    beads: int,
    threads: int | None,
    connect_timeout: float,
    reconnect_timeout: float,
    console: Console,
    allow_model_dirs: Sequence[Path] = (),
) -> int:
    """Serve until the servers end; returns the exit status, 2 for wrong usage.

    Without a potential, each server names its own, as far as `pimd.daemon.trust` lets it.
    """
    tell: Callable[[str], None] = lambda text: console.print(  # noqa: E731
        text, highlight=False, markup=False, soft_wrap=True
    )

    def report(event: dict[str, Any]) -> None:
        line = event_line(event)
        if line is not None:
            tell(line)

    options: dict[str, Any] = {
        "connect_timeout": connect_timeout, "reconnect_timeout": reconnect_timeout,
        "report": report,
    }
    share_cores()
    keep_memory()
    try:
        with notices_as_events(report):
            if potential is None:
                targets = make_targets(connect, templates, beads)
                reason = _serve_named(targets, allow_model_dirs, threads, options)
            else:
                if allow_model_dirs:
                    tell("note: --allow-model-dir is for potentials that servers name; here "
                         "--potential serves all of them")
                reason = _serve_given(potential, connect, templates, beads, threads, options)
    except (PotentialError, AddressError, ValueError) as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False,
                      soft_wrap=True)
        return 2
    return reason.status


def _serve_given(
    potential: str,
    connect: Sequence[str],
    templates: Sequence[Path],
    beads: int,
    threads: int | None,
    options: dict[str, Any],
) -> ExitReason:
    """One potential for all servers."""
    from pimd.potentials.registry import parse_spec

    spec = parse_spec(potential).resolved(Path.cwd())
    targets = make_targets(connect, templates, beads, spec.options.get("pbc"))
    options["report"]({"event": "loading", "spec": str(spec)})
    _use_threads(threads)
    from pimd.daemon.child import make_evaluator, property_names, sends_member_forces
    from pimd.daemon.serve import serve

    evaluator = make_evaluator(spec)
    try:
        return serve(
            evaluator, targets, properties=property_names(spec),
            member_forces=sends_member_forces(spec), spec=spec, **options,
        )
    finally:
        evaluator.potential.close()


def _serve_named(
    targets: list[Any], allowed: Sequence[Path], threads: int | None, options: dict[str, Any]
) -> ExitReason:
    """The potential that each server names, if it may be loaded."""
    from pimd.daemon.trust import allowed_folders

    folders = allowed_folders(allowed)
    _use_threads(threads)
    from pimd.daemon.models import NamedModels
    from pimd.daemon.serve import serve_named

    return serve_named(NamedModels(folders, Path.cwd()), targets, **options)


def _use_threads(threads: int | None) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)
