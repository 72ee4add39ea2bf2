"""What tests of the daemon share: a listening socket, a run of i-PI to compare with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import daemon_ipi as ipi
import pytest
from daemon_servers import UnixServer


@pytest.fixture
def server() -> Iterator[UnixServer]:
    """Closed at the end of the test."""
    made = UnixServer()
    yield made
    made.close()


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with i-PI's own harmonic potential, inside i-PI."""
    folder = tmp_path_factory.mktemp("reference")
    with ipi.IPi(ipi.write_input(folder, ipi.ffdirect())) as run:
        assert run.wait() == 0, run.text()
    assert len(ipi.properties(folder).splitlines()) == ipi.STEPS + 1
    return folder
