"""`pimd distributions` and `pimd spectra` as commands: what they print, write and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pimd.commands.distributions import distributions
from pimd.commands.spectra import spectra
from pimd.record.run import Run
from pimd.record.setup import Setup

app = typer.Typer()
app.command()(distributions)
app.command()(spectra)
runner = CliRunner()


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Two waters that shake at random, opened wherever a run is asked for."""
    rng = np.random.default_rng(0)
    one = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    rest = np.concatenate([one, one + np.array([3.0, 0.0, 1.0])])
    shape = (300, 2, 6, 3)
    setup = Setup(
        np.array([8, 1, 1] * 2), np.array([15.999, 1.008, 1.008] * 2), 2, 300.0, 0.5,
        np.ones(3, dtype=bool), "nvt", thermostats=("pile_l",),
    )  # fmt: skip
    step = 2 * np.arange(300)
    arrays = {
        "positions": rest + 0.02 * rng.normal(size=shape),
        "forces": rng.normal(size=shape),
        "velocities": 0.01 * np.cumsum(rng.normal(size=shape), axis=0) / 10,
        "cells": np.broadcast_to(9.0 * np.eye(3), (300, 3, 3)),
    }
    run = Run.from_arrays(setup, step, 0.5 * step, arrays, directory=tmp_path)
    monkeypatch.setattr("pimd.record.open_run", lambda path, system=0: run)
    return run


def test_distributions(record: Run, tmp_path: Path) -> None:
    result = runner.invoke(app, ["distributions", str(tmp_path), "--r-max", "4.4", "--pair", "O-O"])
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    assert "structure from 300 frames of 2 beads" in words
    data = json.loads((tmp_path / "analysis" / "distributions.json").read_text())
    assert "momentum width of H" in {quantity["name"] for quantity in data["quantities"]}
    curves = {(d["kind"], d["name"], d["of"]): d for d in data["data"]["distributions"]}
    assert set(curves) == {
        (kind, name, of) for of in ("beads", "centroids")
        for kind, name in (("rdf", "O-O"), ("bond", "H-O"), ("angle", "H-O-H"))
    }  # fmt: skip
    assert max(curves["rdf", "O-O", "beads"]["x"]) < 4.4
    assert (tmp_path / "analysis" / "distributions_rdf.png").stat().st_size > 5000


def test_distributions_without_internals_elsewhere(record: Run, tmp_path: Path) -> None:
    out = tmp_path / "other"
    arguments = ["--no-internals", "--bins", "50", "--skip", "0.1", "--stride", "3"]
    result = runner.invoke(app, ["distributions", str(tmp_path), "--out", str(out), *arguments])
    assert result.exit_code == 0, result.output
    data = json.loads((out / "distributions.json").read_text())
    assert {d["kind"] for d in data["data"]["distributions"]} == {"rdf"}
    assert data["data"]["n_frames"] == 67  # of the 200 from 100 fs on


def test_spectra(record: Run, tmp_path: Path) -> None:
    result = runner.invoke(app, ["spectra", str(tmp_path), "--time", "20"])
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    assert "spectra of thermostatted RPMD dynamics at 300 K" in words
    assert "exact for the Kubo-transformed correlation function" in words
    assert "thermostat pile_l acts" in words
    data = json.loads((tmp_path / "analysis" / "spectra.json").read_text())
    assert set(data["data"]["vibrations"]) == {"all", "H", "O"}
    assert (tmp_path / "analysis" / "spectra_vibrations.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["distributions", "--pair", "O-C"], "two elements of the run (H, O)"),
        (["distributions", "--r-max", "6"], "nearest images go only to 4.5"),
        (["distributions", "--arrays", "jax"], "numpy, cupy, torch or auto"),
        (["spectra", "--kind", "raman"], "holds no polarizability"),
        (["spectra", "--window", "boxcar"], "hann, blackman, gaussian, none"),
        (["spectra", "--correction", "magic"], "kubo, standard, schofield, none"),
        (["spectra", "--time", "5000"], "run longer"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(
    record: Run, tmp_path: Path, arguments: list[str], words: str
) -> None:
    result = runner.invoke(app, [arguments[0], str(tmp_path), *arguments[1:]])
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
