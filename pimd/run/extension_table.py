"""What of i-PI is changed: which extensions are on, what for, and why one is not."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pimd.ipi import extensions
from pimd.ipi.input import InputError, read_input
from pimd.ipi.server import IpiServer
from pimd.ipi.systems import socket_uses, system_infos
from pimd.run.plan import SocketPaths, ask_in_batches

__all__ = ["extension_table", "show_extensions"]


def extension_table(
    statuses: Sequence[extensions.ExtensionStatus], left: Mapping[str, Sequence[str]]
) -> Table:
    """Name, whether it is on, what it is for, and why it is off.

    Args:
        statuses: of `enable_all`.
        left: name -> what of an input it leaves to i-PI's own code, where that is known.
    """
    table = Table(
        title="extensions of i-PI", title_justify="left", show_header=False, box=None,
        padding=(0, 2, 0, 0),
    )
    for status in statuses:
        table.add_row(status.name, "on" if status.enabled else "off", status.purpose)
        if not status.enabled:
            table.add_row("", "", f"off: {status.reason}")
        for line in left.get(status.name, ()):
            table.add_row("", "", f"left to i-PI: {line}")
    return table


def show_extensions(input: Path | None, stock: bool, console: Console) -> int:
    """`pimd run --show-extensions`: the table, without a daemon and without a step.

    With an input i-PI loads it, and the table says what of it is left to i-PI's own code.
    Returns the exit status: 0, or 2 where the input is wrong.
    """
    if input is None or stock:
        console.print(extension_table(extensions.enable_all(extensions.Settings(stock=stock)), {}))
        extensions.disable_all()
        return 0
    where = Path.cwd()
    scratch = Path(tempfile.mkdtemp(prefix="pimd-extensions-"))
    try:
        _show_for(input, scratch, console)
    except (InputError, extensions.ExtensionError) as error:
        console.print(f"error: {error}", style="red", highlight=False, markup=False,
                      soft_wrap=True)
        return 2
    finally:
        os.chdir(where)
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


def _show_for(input: Path, scratch: Path, console: Console) -> None:
    document = read_input(input)
    sockets = SocketPaths.for_input(document, scratch)
    run_folder = scratch / "run"
    run_folder.mkdir()
    server = IpiServer(
        document.xml(), input.resolve().parent, run_folder,
        extensions.Settings(private_sockets=sockets.paths),
    )
    server.load(lambda found: ask_in_batches(socket_uses(found, system_infos(found))))
    left = extensions.left_to_ipi(server.simulation)
    server.end()
    console.print(extension_table(server.extension_status, left))
