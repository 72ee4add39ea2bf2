"""`pimd train` from the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from labelled import clusters, labelled, write_labels
from typer.testing import CliRunner

from pimd.cli import app
from pimd.evaluator import Evaluator
from pimd.potentials.behler_parrinello import BehlerParrinello, load_model

PIMD = [sys.executable, "-m", "pimd.cli"]
SMALL = [
    "--members", "4", "--hidden", "8", "--radial", "6", "--angular", "1", "--batch", "8",
    "--angular-cutoff", "5", "--lr", "0.02", "--dtype", "float64", "--threads", "1",
]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "data.extxyz", labelled(clusters(40, seed=4)))


def test_trains_and_writes_all(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Model, card and figures; the model gives the errors that the card states."""
    command = ["train", "data.extxyz", "--out", "m.npz", "--epochs", "6", *SMALL]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    names = {"m.npz", "m.card.json", "m.card.md", "m.learning.png", "m.calibration.png"}
    assert names | {"m.parity.png", "data.extxyz"} == {p.name for p in tmp_path.iterdir()}
    for word in ("epoch 6/6", "validation", "test", "alpha", "m.calibration.png"):
        assert word in result.output
    model, inside = load_model(tmp_path / "m.npz")
    card = json.loads((tmp_path / "m.card.json").read_text())
    assert inside == card
    assert card["calibration"]["alpha"] == pytest.approx(float(model.alpha))
    assert "force RMSE" in (tmp_path / "m.card.md").read_text()

    from pimd.training.data import read_labels, split

    frames, _ = read_labels(data)
    test = split(frames, 0.1, 0.1, seed=0).test
    potential = BehlerParrinello(tmp_path / "m.npz")
    found = Evaluator(potential, skin=0.0).evaluate_structures([one.structure for one in test])
    forces = np.concatenate([one.forces for one in test])
    rmse = 1000 * np.sqrt(np.mean((found.forces - forces) ** 2))
    stated = card["errors"]["test"]["force_rmse_mev_per_angstrom"]
    assert rmse == pytest.approx(stated, abs=1e-3)
    sizes = np.array([len(one.structure) for one in test])
    errors = (found.energies - [one.energy for one in test]) / sizes
    stated = card["errors"]["test"]["energy_rmse_mev_per_atom"]
    assert 1000 * np.sqrt(np.mean(errors**2)) == pytest.approx(stated, abs=1e-4)


KILLED = """
import os, signal, sys
from pimd.training import job, trainer
job.CHECKPOINT_INTERVAL_S = 0.0
epoch = trainer.Trainer._epoch
def killed(self, number):
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return epoch(self, number)
trainer.Trainer._epoch = killed
from pimd.cli import app
app(sys.argv[1:])
"""


def test_killed_and_resumed_gives_the_same_file(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 in the middle, then --resume: the weights of a training left alone."""
    monkeypatch.chdir(tmp_path)
    command = ["train", "data.extxyz", "--epochs", "12", *SMALL]
    killed = [*command, "--out", "killed.npz"]
    process = subprocess.run([sys.executable, "-c", KILLED, *killed], cwd=tmp_path, timeout=240)
    assert process.returncode == -signal.SIGKILL
    checkpoint = tmp_path / "killed.checkpoint"
    assert checkpoint.exists()
    assert not (tmp_path / "killed.npz").exists()
    result = CliRunner().invoke(app, killed)
    assert result.exit_code == 2
    assert "--resume" in result.output
    for arguments in ([*killed, "--resume"], [*command, "--out", "whole.npz"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    assert not checkpoint.exists()
    with np.load(tmp_path / "killed.npz") as one, np.load(tmp_path / "whole.npz") as other:
        for name in one.files:
            if name != "card":  # holds times
                assert np.array_equal(one[name], other[name]), name


def test_interrupted_keeps_the_best_and_says_how_to_go_on(data: Path, tmp_path: Path) -> None:
    command = ["train", "data.extxyz", "--out", "m.npz", "--epochs", "100000", *SMALL]
    with subprocess.Popen(
        [*PIMD, *command, "--patience", "100000"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "--resume goes on" in rest
    assert (tmp_path / "m.checkpoint").is_file()
    load_model(tmp_path / "m.npz")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "m.pth"], "take --out m.npz"),
        (["--out", "no/m.npz"], "no folder no"),
        (["--out", "m.npz", "--validation", "none.extxyz"], "none.extxyz: no such file"),
        (["--out", "m.npz", "--validation", "1.5"], "--validation is a share"),
        (["--out", "m.npz", "--hidden", "a"], "--hidden 'a': expected numbers"),
        (["--out", "m.npz", "--dtype", "half"], "--dtype: expected float32 or float64"),
        (["--out", "m.npz", "--cutoff", "3", "--angular-cutoff", "4"], "--angular-cutoff"),
        (["--out", "m.npz", "--baseline", "H=-1"], "lacks Ar"),
        (["--out", "m.npz", "--resume"], "nothing to resume"),
        (["--out", "m.npz", "--energy-key", "DFT"], "no energy; looked for DFT"),
    ],
)
def test_wrong_usage_says_what_to_do(
    data: Path, tmp_path: Path, arguments: list[str], message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    result = CliRunner().invoke(app, ["train", "data.extxyz", *arguments])
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert not (tmp_path / "m.npz").exists()
