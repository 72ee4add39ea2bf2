"""With all extensions on, a run is the run of stock i-PI, to rounding.

Whatever the registry switches on takes part; what an extension leaves to i-PI must be left whole.
All kinds of motion run over real sockets, with the daemon, for some tens of steps: long enough
for every term to have acted, too short for rounding to grow.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from extensions_harness import environment
from fast_paths_inputs import CASES, DEFAULTS, SPEC, addresses, input_xml, water_xyz

HERE = Path(__file__).parent
LIMIT_S = 240.0
ROUNDING = 1e-10
"""Of the largest number of its kind; measured: 5e-13, and 1e-11 for what is written of the
pressure, a difference of large numbers."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases, by i-PI as it is in `off` and with all extensions in `on`, side by side."""
    folder = tmp_path_factory.mktemp("fast_paths")
    structure = folder / "init.xyz"
    structure.write_text(water_xyz())
    with contextlib.ExitStack() as stack:
        runs = {}
        for which in ("off", "on"):
            sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fp-")))
            (folder / which / "runs").mkdir(parents=True)
            for name, case in CASES.items():
                (folder / which / f"{name}.xml").write_text(
                    input_xml(name, case, sockets, structure)
                )
            stack.enter_context(_ended(_daemon(folder / which, sockets, structure)))
            runs[which] = stack.enter_context(_ended(_simulations(folder / which, which)))
        for which, run in runs.items():
            status = run.wait(LIMIT_S)
            assert status == 0, (which, (folder / which / "log").read_text()[-3000:])
    return folder


def _simulations(folder: Path, which: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(HERE / "fast_paths_runner.py"), which, *CASES]
    with open(folder / "log", "wb") as log:
        return subprocess.Popen(
            command, cwd=folder / "runs", stdout=log, stderr=log, env=environment()
        )


def _daemon(folder: Path, sockets: Path, structure: Path) -> subprocess.Popen[bytes]:
    """One daemon for the sockets of all cases, as they come."""
    command = [sys.executable, "-m", "pimd.cli", "serve", "--potential", SPEC]
    command += ["--template", str(structure), "--threads", "1"]
    for name, case in CASES.items():
        mode = case.get("socket_mode", DEFAULTS["socket_mode"])
        for address in addresses(name, case):
            command += ["--connect", f"{mode}:{sockets / address}"]
    with open(folder / "daemon.log", "wb") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment())


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process, which does not outlive the block."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


@pytest.mark.parametrize("name", CASES)
def test_a_run_is_the_stock_run(both: Path, name: str) -> None:
    """The state at the end, all that i-PI has booked, and every row that was written."""
    folders = [both / which / "runs" / name for which in ("off", "on")]
    off, on = (dict(np.load(folder / "state.npz")) for folder in folders)
    assert on.keys() == off.keys()
    for key, expected in off.items():
        scale = max(np.abs(expected).max(), 1e-6)
        np.testing.assert_allclose(on[key], expected, rtol=0, atol=ROUNDING * scale, err_msg=key)
    for path in sorted(folders[0].glob("*simulation.out")):
        rows_off, rows_on = (np.loadtxt(folder / path.name) for folder in folders)
        steps = CASES[name].get("steps", DEFAULTS["steps"])
        assert rows_off.shape == (steps // 5 + 1, 7)
        np.testing.assert_allclose(rows_on, rows_off, rtol=10 * ROUNDING)
        assert np.ptp(rows_off[:, 2]) > 0.01 * rows_off[0, 2]  # it moved: something was compared
        assert ("npt" in name or name == "nst") == (np.ptp(rows_off[:, 5]) > 0)
