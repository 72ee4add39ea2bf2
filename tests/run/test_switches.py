"""`pimd run --stock` and `--show-extensions`: i-PI as it is, and what of it is changed."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from pimd.ipi import extensions

from .runs import ODD, Running, pimd, read_rows, summary, write_input


@pytest.fixture
def named_input(tmp_path: Path) -> Path:
    """An input whose socket has a name of its own."""
    return renamed(write_input(tmp_path, steps=10), f"pimd-switch-{os.getpid()}")


def renamed(xml: Path, address: str) -> Path:
    xml.write_text(xml.read_text().replace("<address>trap<", f"<address>{address}<"))
    return xml


def socket_file(xml: Path) -> Path:
    return Path("/tmp/ipi_" + re.findall("<address>(.*)</address>", xml.read_text())[0])


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of the same input with all extensions."""
    folder = tmp_path_factory.mktemp("fast")
    done = pimd("run", write_input(folder, steps=10))
    assert done.returncode == 0, done.stdout
    return folder / "input.run"


@pytest.mark.parametrize("mode", ["unix", "shm", "inet"])
def test_stock_is_the_same_run_without_extensions(
    fast: Path, named_input: Path, mode: str
) -> None:
    text = named_input.read_text().replace("mode='unix'", f"mode='{mode}'")
    if mode == "inet":
        port = 20000 + os.getpid() % 10000
        text = re.sub("<address>.*</address>", f"<address>localhost</address><port>{port}</port>",
                      text)
    named_input.write_text(text)
    stock = named_input.parent / "stock"
    done = pimd("run", named_input, "--run-dir", stock, "--stock")
    assert done.returncode == 0, done.stdout
    assert "every extension of i-PI is off" in done.stdout
    assert "RESTART is written at the end alone" in done.stdout
    np.testing.assert_allclose(
        read_rows(stock / "sim.out"), read_rows(fast / "sim.out"), rtol=3e-8, atol=1e-12
    )
    data = summary(stock)
    assert data["exit_reason"] == "finished"
    assert set(data["extensions"].values()) == {"i-PI runs as it is installed"}
    assert data["extensions"].keys() == summary(fast)["extensions"].keys()
    assert data["exchanges_per_step"] >= 1.0
    assert data["structures_needed"] >= 40
    if mode != "inet":
        assert not socket_file(named_input).exists()


def test_stock_refuses_a_socket_that_exists(named_input: Path) -> None:
    socket_file(named_input).touch()
    try:
        done = pimd("run", named_input, "--stock")
    finally:
        socket_file(named_input).unlink()
    assert done.returncode == 2
    assert f"the socket {socket_file(named_input)} exists" in words(done.stdout)
    assert "Without --stock" in words(done.stdout)


def test_stock_has_no_nose_hoover_chains(named_input: Path) -> None:
    named_input.write_text(named_input.read_text().replace("mode='pile_l'", "mode='nhc'"))
    done = pimd("run", named_input, "--stock")
    assert done.returncode == 2
    assert "stock i-PI has no Nosé–Hoover chains. Run without --stock" in words(done.stdout)


def test_stock_ends_when_its_daemon_dies(tmp_path: Path) -> None:
    """i-PI's polling thread dies with a driver: waiting for another would last for ever."""
    xml = write_input(tmp_path, f"{{potential: {ODD}:Trap, pause: 0.2}}", steps=500)
    renamed(xml, f"pimd-switch-{os.getpid()}-dies")
    with Running(xml, "--stock") as run:
        run.wait_for_rows(tmp_path / "input.run" / "sim.out", 2)
        os.kill(run.daemon_pid(), signal.SIGKILL)
        text = run.output(60)
        assert run.process.returncode == 1, text
    assert "stock i-PI cannot go on with another" in words(text)
    socket_file(xml).unlink(missing_ok=True)


def test_show_extensions_names_all_and_runs_nothing(named_input: Path) -> None:
    names = {status.name for status in extensions.enable_all()}
    extensions.disable_all()
    for arguments in ((), (named_input,)):
        done = pimd("run", *arguments, "--show-extensions")
        assert done.returncode == 0, done.stdout + done.stderr
        lines = [line.split() for line in done.stdout.splitlines() if line[:1].strip()]
        assert {line[0] for line in lines if line[1:2] == ["on"]} == names
        assert "the beads of a step go to the driver in one message" in words(done.stdout)
    assert not (named_input.parent / "input.run").exists()
    assert not socket_file(named_input).exists()


def test_show_extensions_says_what_is_left_to_i_pi(named_input: Path) -> None:
    open_path = "<normal_modes><open_paths> [0] </open_paths></normal_modes><forces>"
    named_input.write_text(named_input.read_text().replace("<forces>", open_path))
    done = pimd("run", named_input, "--show-extensions")
    assert done.returncode == 0, done.stdout
    assert re.search("left to i-PI: .*open paths", words(done.stdout))


def test_show_extensions_says_why_one_is_off() -> None:
    done = pimd("run", "--stock", "--show-extensions")
    assert done.returncode == 0
    states = {line.split()[1] for line in done.stdout.splitlines() if line[:1].strip()}
    assert states == {"of", "off"}  # the title, and every extension
    assert "off: i-PI runs as it is installed" in words(done.stdout)


def test_show_extensions_of_a_wrong_input() -> None:
    done = pimd("run", "nowhere.xml", "--show-extensions")
    assert done.returncode == 2
    assert "nowhere.xml: no such file" in done.stdout


def test_check_shows_them_too(named_input: Path) -> None:
    done = pimd("check", named_input)
    assert done.returncode == 0, done.stdout
    assert "extensions of i-PI" in done.stdout
    assert re.search(r"^atomic_checkpoints +on ", done.stdout, re.MULTILINE)


def test_run_without_an_input_is_wrong_usage() -> None:
    done = pimd("run")
    assert done.returncode == 2
    assert "give the XML input to run" in words(done.stderr)
