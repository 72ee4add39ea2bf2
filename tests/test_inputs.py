"""Every folder of inputs/ runs as it is with `pimd run` and gives what its expected.json says.

expected.json: `seed` of the input, `steps` of a short run, and under `reference`
    fingerprint   values of single steps of that run, which the seed decides
    averages      means over `steps` without the first `skip`, with where they are known from;
                  `standard_error` is the largest one allowed, null where the series is too
                  short for one
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from physics.references import sampled_oscillator
from physics.sampling import assert_agrees

INPUTS = Path(__file__).parents[1] / "inputs"
NAMES = sorted(path.name for path in INPUTS.iterdir() if (path / "input.xml").is_file())
LIMIT_S = {"nose_hoover": 500, "water": 500, "water_committee": 500, "water_npt": 500}
KB_EV = 8.617333262e-5
EV_FS_HBAR = 0.6582119569509066


def expected(name: str) -> dict[str, Any]:
    return json.loads((INPUTS / name / "expected.json").read_text())


def pimd_run(
    name: str, folder: Path, steps: int, limit: float = 240.0, file: str = "input.xml"
) -> dict[str, np.ndarray]:
    """Run an input as it is; the columns of its simulation.out by name."""
    needs_library(name)
    command = [sys.executable, "-m", "pimd.cli", "run", str(INPUTS / name / file)]
    command += ["--run-dir", str(folder), "--steps", str(steps)]
    if not name.startswith("water"):  # small structures: a second thread only gets in the way
        command += ["--threads", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    assert result.returncode == 0, result.stdout + result.stderr
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["exit_reason"] == "finished"
    assert summary["steps"] == steps
    assert summary["structures_evaluated"] == summary["structures_needed"]
    return read_columns(folder / "simulation.out")


def needs_library(name: str) -> None:
    if name == "water_gfn2":
        pytest.importorskip("tblite")


def read_columns(path: Path) -> dict[str, np.ndarray]:
    names = re.findall(r"^# column +\d+ +--> (\S+) :", path.read_text(), re.MULTILINE)
    table = np.loadtxt(path, ndmin=2)
    assert table.shape[1] == len(names)
    return dict(zip(names, table.T, strict=True))


def averages(name: str) -> list[dict[str, Any]]:
    return expected(name)["reference"]["averages"]


def check_averages(name: str, columns: dict[str, np.ndarray]) -> None:
    for average in averages(name):
        series = columns[average["property"]][columns["step"] >= average["skip"]]
        what = f"{name}: {average['property']}"
        if average["standard_error"] is None:
            deviation = series.mean() - average["value"]
            assert len(series) >= 40
            assert abs(deviation) <= average["tolerance"], f"{what} off by {deviation}"
        else:
            assert_agrees(
                what, series, average["value"],
                ceiling=average["standard_error"], tolerance=average["tolerance"],
            )  # fmt: skip


def test_all_inputs_are_there() -> None:
    assert NAMES == [
        "harmonic", "isotope", "mass_ti", "nose_hoover", "parahydrogen", "promotion", "silicon",
        "water", "water_committee", "water_gfn2", "water_npt",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_folder_is_complete(name: str) -> None:
    """What each folder holds, and what its input says about itself."""
    folder = INPUTS / name
    text = (folder / "input.xml").read_text()
    comment = text[: text.index("<simulation")]
    assert comment.startswith("<!--\n")
    assert "What it shows:" in comment
    assert "pimd run input.xml" in comment
    root = ET.fromstring(text)
    assert int(root.findtext("prng/seed")) == expected(name)["seed"]
    assert root.findtext("system/initialize/file").strip() == "init.xyz"
    assert (folder / "init.xyz").is_file()
    mode = "nhc" if name == "nose_hoover" else "pile_l"
    assert root.find(".//thermostat").get("mode") == mode
    assert root.find("output/checkpoint") is not None
    beads = int(root.find("system/initialize").get("nbeads"))
    assert int(root.findtext("ffsocket/batch_size")) == beads


PARSE = """
import os, sys
from ipi.inputs.simulation import InputSimulation
from ipi.utils.io.inputs import io_xml
for folder in sys.argv[1:]:
    os.chdir(folder)
    with open("input.xml") as file:
        tree = io_xml.xml_parse_file(file)
    simulation = InputSimulation()
    simulation.parse(tree.fields[0][1])
    system = simulation.fetch().syslist[0]
    print(os.path.basename(folder), system.beads.natoms, system.beads.nbeads)
"""


def test_stock_ipi_takes_them() -> None:
    """i-PI alone, without anything of pimd, reads every input but those with our thermostat or our
    record."""
    ours = [
        name for name in NAMES
        if name == "nose_hoover" or "format='h5md'" in (INPUTS / name / "input.xml").read_text()
    ]
    folders = [str(INPUTS / name) for name in NAMES if name not in ours]
    result = subprocess.run(
        [sys.executable, "-c", PARSE, *folders], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    read = [line.split() for line in result.stdout.splitlines() if line.split()[:1]]
    found = {row[0]: (int(row[1]), int(row[2])) for row in read if row[0] in NAMES}
    everything = {
        "harmonic": (64, 8),
        "mass_ti": (64, 16),
        "parahydrogen": (32, 12),
        "promotion": (48, 8),
        "silicon": (64, 8),
        "water": (192, 32),
        "water_committee": (192, 32),
        "water_gfn2": (9, 8),
        "water_npt": (192, 32),
    }
    assert found == {name: size for name, size in everything.items() if name not in ours}
    assert len(found) >= 4


@pytest.mark.parametrize("name", NAMES)
def test_short_run(name: str, tmp_path: Path) -> None:
    """The fingerprint; and, where they are known and cheap, averages."""
    cheap = name in ("harmonic", "silicon")
    steps = expected(name)["steps"]
    if cheap:
        steps = max(average["steps"] for average in averages(name))
    columns = pimd_run(name, tmp_path / "run", steps, LIMIT_S.get(name, 240.0))
    check_fingerprint(expected(name)["reference"]["fingerprint"], columns)
    if cheap:
        check_averages(name, columns)


def check_fingerprint(entries: list[dict[str, Any]], columns: dict[str, np.ndarray]) -> None:
    for entry in entries:
        (row,) = np.flatnonzero(columns["step"] == entry["step"])
        got = columns[entry["property"]][row]
        assert got == pytest.approx(entry["value"], rel=0, abs=entry["tolerance"]), entry


def test_classical_water_on_one_chain(tmp_path: Path) -> None:
    """classical.xml of nose_hoover: the fingerprint, and that H' is conserved meanwhile."""
    given = expected("nose_hoover")["classical"]
    columns = pimd_run("nose_hoover", tmp_path / "run", given["steps"], file="classical.xml")
    check_fingerprint(given["fingerprint"], columns)
    exchanged = np.ptp(columns["potential{electronvolt}"])
    assert np.ptp(columns["conserved{electronvolt}"]) < 0.03 * exchanged


@pytest.mark.physics
def test_parahydrogen_kinetic_energy(tmp_path: Path) -> None:
    (average,) = averages("parahydrogen")
    columns = pimd_run("parahydrogen", tmp_path / "run", average["steps"], limit=3600.0)
    check_averages("parahydrogen", columns)


def test_reference_of_harmonic() -> None:
    """The averages in expected.json are those of 192 exactly solved oscillators."""
    root = ET.parse(INPUTS / "harmonic" / "input.xml").getroot()
    wavenumber = float(re.search(r"wavenumber: ([0-9.]+)", root.findtext("ffsocket/parameters"))[1])
    quantum = wavenumber * 1.2398419843320026e-4  # hbar omega, eV
    beta = quantum / (KB_EV * float(root.findtext("system/ensemble/temperature")))
    assert beta == pytest.approx(5.0, abs=1e-4)
    step = float(root.findtext("system/motion/dynamics/timestep")) * quantum / EV_FS_HBAR
    exact = sampled_oscillator(8, beta, 1.0, step, "obabo")
    for average in averages("harmonic"):
        estimator = average["property"].partition("{")[0]
        value = 192 * quantum * getattr(exact, estimator)
        assert average["value"] == pytest.approx(value, rel=1e-5)
        assert average["tolerance"] < 0.025 * value


def test_reference_of_silicon() -> None:
    """The average in expected.json is that of the crystal's harmonic modes."""
    from pimd.evaluator import Evaluator
    from pimd.ipi.structure_files import template_structure
    from pimd.potentials.registry import make_potential
    from pimd.structure import Structure

    crystal = template_structure(INPUTS / "silicon" / "init.xyz")
    evaluator = Evaluator(make_potential("stillinger_weber"), skin=0.0, max_atoms=2048)
    n, shift = 3 * len(crystal), 0.01  # Å
    moved = [
        Structure(
            crystal.numbers,
            crystal.positions + sign * shift * unit.reshape(-1, 3),
            crystal.cell,
            crystal.pbc,
        )
        for sign in (1, -1)
        for unit in np.eye(n)
    ]
    forces = evaluator.evaluate_structures(moved).forces
    assert forces is not None
    plus, minus = forces.reshape(2, n, n)  # [coordinate moved, force component]
    hessian = -(plus - minus) / (2 * shift)  # eV/Å²
    amu = 103.642696562  # amu Å²/fs² in eV
    squares = np.linalg.eigvalsh(0.5 * (hessian + hessian.T) / (28.0855 * amu))[3:]
    kt = KB_EV * 300.0
    kinetic = 1.5 * kt  # of the centre of mass, which the estimator counts though it is fixed
    for omega in np.sqrt(squares):  # rad/fs, and the time step is 1 fs
        exact = sampled_oscillator(8, EV_FS_HBAR * omega / kt, 1.0, omega, "obabo")
        kinetic += EV_FS_HBAR * omega * exact.kinetic_cv
    (average,) = averages("silicon")
    assert average["value"] == pytest.approx(kinetic, rel=2e-4)
    assert average["tolerance"] <= 0.01 * kinetic
