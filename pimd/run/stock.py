"""`pimd run --stock`: i-PI as it is installed, to compare with; where it listens, what it lacks.

No extension is on. What only they make possible is missing, and said before the first step; the
daemon, the batch of all beads and the XML are the same as ever.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from pimd.ipi.input import InputError
from pimd.ipi.systems import SocketUse

__all__ = ["NOTES", "input_addresses"]

NOTES = (
    "stock: every extension of i-PI is off, for comparison",
    "stock: a daemon that dies ends the run, one that hangs is waited for (--compute-limit does "
    "nothing)",
    "stock: RESTART is written at the end alone (--restart-interval does nothing), and a resumed "
    "run may double rows",
)
"""What is different, one line each."""


def input_addresses(uses: list[SocketUse], folder: Path) -> dict[str, str]:
    """Socket name -> address at which i-PI itself will listen, as a daemon needs it.

    Args:
        uses: the sockets of the run.
        folder: where i-PI runs; a prefix of sockets may be relative to it.

    Raises:
        InputError: if somebody else listens there, or a run that was killed left the file: i-PI
            would refuse, and the daemon would serve the other.
    """
    return {use.name: _address(use.name, use.forcefield.socket, folder) for use in uses}


def _address(name: str, interface: Any, folder: Path) -> str:
    if interface.mode == "inet":
        _check_port(name, interface.address, interface.port)
        host = interface.address if interface.address not in ("", "0.0.0.0") else "127.0.0.1"
        return f"inet:{host}:{interface.port}"
    path = folder / (interface.sockets_prefix + interface.address)
    if path.exists():
        raise InputError(
            f"<ffsocket name='{name}'>: the socket {path} exists, so that stock i-PI cannot listen "
            "there. Stop the run that uses it; if there is none, it was left behind: remove it. "
            "Without --stock sockets are the run's own, and this cannot happen"
        )
    return f"{interface.mode}:{path}"


def _check_port(name: str, host: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError(
                f"<ffsocket name='{name}'>: stock i-PI cannot listen at {host}:{port}: "
                f"{error.strerror or error}. Stop the run that uses it, or choose another port"
            ) from None
