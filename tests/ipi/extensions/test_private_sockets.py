"""Forcefields listen where only the run knows; what lies about from before does not matter."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from extensions_harness import Run, environment, input_xml, socket_xml

from pimd.ipi.extensions.private_sockets import _listen, remove_if_stale


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A path short enough for a socket."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="ext-") as folder:
        yield f"{folder}/a.sock"


def leave_behind(path: str) -> None:
    """A socket file as a killed run leaves it."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)


def test_a_taken_port_does_not_matter_and_restart_is_the_input(new_run: Callable[..., Run]) -> None:
    run = new_run()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        xml = socket_xml(mode="inet", address="127.0.0.1", port=port)
        leave_behind(run.socket())
        run.start(input_xml(steps=5, forcefields=xml), private_sockets={"driver": run.socket()})
        run.driver()
        assert run.wait() == 0
    assert run.steps() == list(range(6))
    forcefield = ET.parse(run.folder / "RESTART").getroot().find("ffsocket")
    assert forcefield is not None
    assert forcefield.get("mode", "inet") == "inet"  # which is not written, as the default
    assert (forcefield.findtext("address") or "").strip() == "127.0.0.1"
    assert int(forcefield.findtext("port") or 0) == port
    assert not os.path.exists(run.socket())


def test_a_stale_file_at_the_address_of_the_input(new_run: Callable[..., Run]) -> None:
    run = new_run()
    leave_behind(run.socket())
    run.start(input_xml(steps=5))
    run.driver()
    assert run.wait() == 0
    assert f"removed {run.socket()}, left behind" in run.tail()


def test_stock_ipi_fails_at_a_stale_file(new_run: Callable[..., Run]) -> None:
    run = new_run()
    leave_behind(run.socket())
    run.start(input_xml(steps=5), stock=True)
    assert run.wait() != 0
    assert "Error opening unix socket" in run.tail()


def test_shared_memory_keeps_its_mode(new_run: Callable[..., Run]) -> None:
    """With i-PI's own python driver, which finds the control socket at the private path."""
    run = new_run()
    run.start(
        input_xml(steps=5, forcefields=socket_xml(mode="shm", address="elsewhere")),
        private_sockets={"driver": run.socket()},
    )
    run.wait_for(lambda: os.path.exists(run.socket()), "the socket")
    client = Path(sys.executable).with_name("i-pi-driver-py")
    folder, name = os.path.split(run.socket())
    command = [sys.executable, str(client), "--shm", "-S", f"{folder}/", "-a", name, "-m", "dummy"]
    run.drivers.append(
        subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=run.log)
    )
    assert run.wait() == 0
    assert run.report()["counters"] == {"driver": [6, 48]}
    forcefield = ET.parse(run.folder / "RESTART").getroot().find("ffsocket")
    assert forcefield is not None
    assert forcefield.get("mode") == "shm"


def test_only_stale_sockets_are_removed(short: str, tmp_path: Path) -> None:
    assert not remove_if_stale(short)
    leave_behind(short)
    assert remove_if_stale(short)
    assert not os.path.exists(short)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(short)
        server.listen(1)
        assert not remove_if_stale(short)
        assert os.path.exists(short)
    plain = tmp_path / "file"
    plain.write_text("data")
    assert not remove_if_stale(str(plain))
    assert plain.read_text() == "data"


def test_errors_say_what_is_wrong(short: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="longer than the 103 bytes"):
        _listen(str(tmp_path / ("x" * 120)), 1)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(short)
        server.listen(1)
        with pytest.raises(RuntimeError, match="cannot open the socket"):
            _listen(short, 1)
