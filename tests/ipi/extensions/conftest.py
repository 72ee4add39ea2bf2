from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from extensions_harness import Run
from ipi.interfaces import sockets

from pimd.ipi import extensions
from pimd.ipi.extensions.socket_faults import SocketFaults


@pytest.fixture
def new_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Makes runs, which end with the test."""
    runs: list[Run] = []

    def make(name: str = "run", **kwargs: int) -> Run:
        runs.append(Run(tmp_path / name, **kwargs))
        return runs[-1]

    yield make
    for run in runs:
        run.close()


@pytest.fixture
def extensions_off() -> Iterator[None]:
    """i-PI in this process is stock before and after."""
    extensions.disable_all()
    yield
    extensions.disable_all()


@pytest.fixture
def faults_on(extensions_off: None) -> Iterator[None]:
    """The extension `socket_faults`, and no other."""
    faults = SocketFaults()
    assert faults.self_check() is None
    faults.enable()
    yield
    faults.disable()


@pytest.fixture
def pair() -> Iterator[tuple[Any, socket.socket]]:
    """i-PI's end of a connection, ready to read an answer, and the driver's."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0.1)
    driver = sockets.Driver(ours)
    ours.close()
    driver.silence_limit = 0.5
    driver.status = sockets.Status.Up | sockets.Status.HasData
    yield driver, theirs
    driver.close()
    theirs.close()
