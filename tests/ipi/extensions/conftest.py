from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from extensions_harness import Run

from pimd.ipi import extensions


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
