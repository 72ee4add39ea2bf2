"""Calibration of a SPEC's committee on labelled structures; springs, whose spreads are exact."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write

from pimd.analysis.validation import result_of_validation, validate
from pimd.structure import PotentialError

STIFF = np.array([0.36, 0.38, 0.39, 0.41, 0.42, 0.44])
TRUTH = 0.46
COMMITTEE = (
    "{potential: committee, members: ["
    + "; ".join(f"{{potential: harmonic, k: {k}}}" for k in STIFF)
    + "], alpha: 2.0}"
)


def labelled(path: Path, n: int = 30) -> Path:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(n):
        atoms = Atoms("H3", rng.normal(size=(3, 3)) * 0.3)
        atoms.info["REF_energy"] = 0.5 * TRUTH * float(np.square(atoms.positions).sum())
        atoms.arrays["REF_forces"] = -TRUTH * atoms.positions
        frames.append(atoms)
    write(path, frames)
    return path


def test_alpha_of_energies_and_forces(tmp_path: Path) -> None:
    """Every z is the same, (k - mean)/(2 s): alpha^2 = -1/M + (M - 3)/(M - 1) z^2 on top of 2."""
    done = []
    found = validate(
        COMMITTEE, labelled(tmp_path / "v.extxyz"), progress=lambda n, atoms: done.append(atoms)
    )
    z = (TRUTH - STIFF.mean()) / (2 * STIFF.std(ddof=1))
    alpha = math.sqrt(-1 / 6 + 3 / 5 * z**2)
    assert found.energy.alpha == pytest.approx(alpha, rel=1e-6)
    assert found.forces is not None
    assert found.forces.alpha == pytest.approx(alpha, rel=1e-6)
    assert found.forces.n_points == 30 * 9
    assert done == [90]
    result = result_of_validation(found)
    result.write(tmp_path)
    told = json.loads((tmp_path / "calibration.json").read_text())
    assert [one["name"] for one in told["quantities"]] == ["alpha of energy", "alpha of forces"]
    assert told["data"]["energy"]["z_squared"] == pytest.approx(z**2 / alpha**2, rel=1e-6)
    assert (tmp_path / "calibration_forces.png").stat().st_size > 5000
    assert not result.warnings


def test_alpha_of_forces_of_another_size_is_told(tmp_path: Path) -> None:
    path = labelled(tmp_path / "v.extxyz")
    frames = read(path, ":")
    for frame in frames:  # forces of a reference further away
        frame.arrays["REF_forces"] = -2 * (TRUTH - 0.4) * frame.positions - 0.4 * frame.positions
    write(path, frames)
    result = result_of_validation(validate(COMMITTEE, path))
    assert any("alpha of forces" in one for one in result.warnings)


def test_what_has_no_members_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PotentialError, match="no members"):
        validate("{potential: harmonic, k: 1}", labelled(tmp_path / "v.extxyz"))
