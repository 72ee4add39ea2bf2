"""Nosé–Hoover chains through `pimd check` and `pimd run`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .runs import pimd, read_rows, summary, write_input

NHC = "<thermostat mode='nhc'><tau units='femtosecond'> 50 </tau>{}</thermostat>"


def nhc_input(folder: Path, more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    path = write_input(folder, steps=12)
    text = path.read_text()
    start, end = text.index("<thermostat"), text.index("</thermostat>") + len("</thermostat>")
    path.write_text(text[:start] + NHC.format(more) + text[end:])
    return path


def test_check_says_what_is_not_ergodic(tmp_path: Path) -> None:
    done = pimd("check", nhc_input(tmp_path, "<coupling> global </coupling>"))
    assert done.returncode == 0, done.stdout
    words = " ".join(done.stdout.split())
    assert "Nosé–Hoover chains, global, 4 links, order 3, tau 50 fs" in words
    assert "warning: one Nosé–Hoover chain for a whole ring polymer is not ergodic" in words
    assert "use <coupling> massive </coupling>" in words


def test_stock_ipi_has_no_chains(tmp_path: Path) -> None:
    done = pimd("run", nhc_input(tmp_path), "--stock")
    assert done.returncode == 2, done.stdout
    words = " ".join(done.stdout.split())
    assert "<thermostat mode='nhc'> is the extension 'nose_hoover' of pimd" in words
    assert "Run without --stock" in words


def test_a_resumed_run_goes_on_to_rounding(tmp_path: Path) -> None:
    whole, parts = nhc_input(tmp_path / "whole"), nhc_input(tmp_path / "parts")
    done = pimd("run", whole)
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout
    assert "NVT NHC OBABO" in done.stdout
    assert pimd("run", parts, "--steps", 6).returncode == 0
    assert pimd("run", parts, "--steps", 12, "--resume").returncode == 0
    assert summary(parts.parent / "input.run")["last_step"] == 12
    rows = [np.array(read_rows(path.parent / "input.run" / "sim.out")) for path in (whole, parts)]
    assert rows[0].shape == (7, 4)
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-9)
