"""`mpiexec -n 3 pimd relabel`: the same label as from one process."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pimd
from pimd.record.h5md_file import H5MDFile
from pimd.record.h5md_layout import Field, SystemLayout

pytest.importorskip("mpi4py")
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}"
                       + os.environ.get("PATH", ""))
if MPIEXEC is None:
    pytest.skip("needs mpiexec", allow_module_level=True)

T, P, N = 12, 4, 3
SPEC = "{potential: harmonic, k: 2.0}"
PROGRAM = """
import typer
from pimd.commands.relabel import relabel
app = typer.Typer(pretty_exceptions_enable=False)
app.command()(relabel)
app()
"""


@pytest.fixture
def directory(tmp_path):
    layout = SystemLayout(
        np.array([8, 1, 1]), np.array([15.999, 1.008, 1.008]), ("O", "H", "H"),
        np.zeros(3, dtype=bool), P, 300.0, 0.5,
        (Field("cells", "cell", (3, 3), "Angstrom"),
         Field("positions", "beads", (P, N, 3), "Angstrom")),
    )
    rng = np.random.default_rng(2)
    file = H5MDFile(tmp_path / "sim.trajectory.h5", [0])
    for k in range(T):
        file.append(0, layout, {
            "step": np.array(k), "time": np.array(0.5 * k), "cells": 30.0 * np.eye(3),
            "positions": rng.normal(size=(P, N, 3)),
        })
    file.close()
    return tmp_path


def mpiexec(directory, spec):
    return subprocess.run(
        [MPIEXEC, "-n", "3", sys.executable, "-c", PROGRAM, str(directory),
         "--potential", spec, "--forces", "--batch-atoms", str(P * N)],
        capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_ranks_give_what_one_process_gives(directory):
    done = mpiexec(directory, SPEC)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 ranks evaluate" in done.stderr
    run = pimd.open_run(directory)
    label = run.label("harmonic")
    positions = run.read("positions")
    np.testing.assert_allclose(label.energies, (positions**2).sum(axis=(2, 3)), rtol=1e-13)
    np.testing.assert_allclose(label.forces, -2.0 * positions, rtol=1e-13)


def test_a_failure_on_a_rank_ends_all(directory):
    done = mpiexec(directory, "stillinger_weber")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "is for silicon" in done.stderr
