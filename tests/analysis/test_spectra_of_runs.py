"""Spectra of runs of oscillators: lines, sum rules, depolarisation, what disturbs them."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pimd.analysis.lines import find_lines
from pimd.analysis.quantum_correction import absorption_factor
from pimd.analysis.spectra import WAVENUMBER
from pimd.analysis.spectra_of_runs import SpectraOptions, spectra_of_runs
from pimd.analysis.spectra_result import spectra_result
from pimd.record.missing import NotInRecord
from pimd.record.run import Run
from pimd.record.setup import Setup
from pimd.units import AMU_ANGSTROM2_PER_FS2_EV, COULOMB_EV_ANGSTROM, KB_EV_PER_KELVIN

TEMPERATURE = 300.0
KT = KB_EV_PER_KELVIN * TEMPERATURE
LINES = {"H": 2500.0, "O": 800.0}
"""cm^-1 of the atoms of either element."""
MASSES = {"H": 1.008, "O": 15.999}
SPACING = 2.0
EDGE = 10.0
CHARGE = 0.4


def oscillators(
    n_beads: int = 1,
    n_frames: int = 401,
    seed: int = 0,
    thermostats: tuple[str, ...] = (),
    mode: str = "nve",
) -> Run:
    """4 H and 2 O, each an isotropic oscillator with a phase and an amplitude of its own.

    Beads differ from the centroid by noise that adds up to nothing.
    """
    rng = np.random.default_rng(seed)
    symbols = ["H"] * 4 + ["O"] * 2
    mass = np.array([MASSES[s] for s in symbols])
    omega = 2 * math.pi * np.array([LINES[s] for s in symbols])[:, None] / WAVENUMBER  # 1/fs
    size = np.sqrt(KT / (mass * AMU_ANGSTROM2_PER_FS2_EV))[:, None] / omega
    a, b = rng.normal(size=(2, 6, 3)) * size
    t = SPACING * np.arange(n_frames)[:, None, None]
    c, s = np.cos(omega * t), np.sin(omega * t)
    x, v = a * c + b * s, omega * (b * c - a * s)
    noise = rng.normal(size=(n_frames, n_beads, 6, 3))
    noise -= noise.mean(axis=1, keepdims=True)
    setup = Setup(
        np.array([1] * 4 + [8] * 2), mass, n_beads, TEMPERATURE, 0.5, np.ones(3, dtype=bool),
        mode, thermostats=thermostats, fixcom=False,
    )  # fmt: skip
    step = 4 * np.arange(n_frames)
    arrays = {
        "positions": (rng.uniform(0, EDGE, (6, 3)) + x)[:, None] + 0.1 * noise,
        "velocities": v[:, None] + 0.01 * noise,
        "cells": np.broadcast_to(EDGE * np.eye(3), (n_frames, 3, 3)),
        "dipole": np.repeat(CHARGE * x[:, None, :4].sum(axis=2), n_beads, axis=1),
    }
    return Run.from_arrays(setup, step, 0.5 * step, arrays)


def independent(n: int, **options: Any) -> list[Run]:
    return [oscillators(seed=seed, **options) for seed in range(n)]


OPTIONS = SpectraOptions(longest_time=400.0)


def without(run: Run, *names: str, **more: np.ndarray) -> Run:
    kept = {name: run.read(name) for name in run.names if name not in names}
    return Run.from_arrays(run.setup, run.step, run.time, kept | more)


@pytest.mark.parametrize("n_beads", [1, 4])
def test_vibrations_have_their_lines_and_their_degrees_of_freedom(n_beads: int) -> None:
    found = spectra_of_runs(independent(16, n_beads=n_beads), OPTIONS)
    assert found.dynamics == ("classical" if n_beads == 1 else "RPMD")
    assert not found.warnings
    for group, n in (("all", 18), ("H", 12), ("O", 6)):
        assert found.degrees[group] == n
        value, error = found.vibrations[group].integral()
        assert error < 0.12 * n
        assert abs(value - n) < 4 * error
    for group, expected in LINES.items():
        (line,) = find_lines(found.vibrations[group])
        assert line.position == pytest.approx(expected, abs=1.5)
        assert line.position_error < 1.0
    assert [round(line.position, -2) for line in find_lines(found.vibrations["all"])] == [800, 2500]
    spectrum = found.vibrations["H"]
    inside = np.abs(spectrum.wavenumber - 2500) < 200
    step = spectrum.wavenumber[1]
    assert step * spectrum.mean[inside].sum() == pytest.approx(spectrum.integral()[0], rel=0.01)


def test_velocities_from_positions_give_the_same() -> None:
    run = oscillators(2, 3000)
    ours = spectra_of_runs([run], OPTIONS).vibrations["all"]
    found = spectra_of_runs([without(run, "velocities")], OPTIONS).vibrations["all"]
    top = int(np.argmax(ours.mean))
    assert found.mean[top] == pytest.approx(ours.mean[top], rel=0.02)
    assert find_lines(found)[1].position == pytest.approx(find_lines(ours)[1].position, abs=0.5)


def test_infrared_obeys_its_sum_rule() -> None:
    """int n alpha dnu~ = N q^2/(4 eps0 c^2 V m) for classical line shapes (kubo)."""
    found = spectra_of_runs(independent(40), OPTIONS)
    assert found.infrared is not None
    value, error = found.infrared.integral()  # cm^-2
    per_eps0 = 4 * math.pi * COULOMB_EV_ANGSTROM
    light = 2997.92458
    mass = MASSES["H"] * AMU_ANGSTROM2_PER_FS2_EV
    exact = 4 * CHARGE**2 * per_eps0 / (4 * light**2 * EDGE**3 * mass) * 1e16
    assert error < 0.12 * exact
    assert abs(value - exact) < 4 * error
    (line,) = find_lines(found.infrared)
    assert line.position == pytest.approx(LINES["H"], abs=1.5)


def test_corrections_change_heights_as_they_say() -> None:
    run = oscillators(n_frames=3000)
    found = {
        name: spectra_of_runs([run], dataclasses.replace(OPTIONS, correction=name)).infrared
        for name in ("kubo", "standard")
    }
    kubo, standard = found["kubo"], found["standard"]
    assert kubo is not None
    assert standard is not None
    omega = 2 * math.pi * kubo.frequency[1:]
    ratio = absorption_factor(omega, 300.0, "standard") / absorption_factor(omega, 300.0, "kubo")
    np.testing.assert_allclose(standard.mean[1:], kubo.mean[1:] * ratio, rtol=1e-9, atol=1e-12)
    assert standard.mean[0] == pytest.approx(kubo.mean[0])  # the classical limit


def test_jumps_of_the_dipole_are_taken_out_or_told() -> None:
    run = oscillators(n_frames=3000)
    smooth = spectra_of_runs([run], OPTIONS).infrared
    dipole = run.read("dipole").copy()
    dipole[1000:, :, 0] += EDGE
    dipole[2000:, :, 2] -= 2 * EDGE
    found = spectra_of_runs([without(run, "dipole", dipole=dipole)], OPTIONS)
    assert smooth is not None
    assert found.infrared is not None
    np.testing.assert_allclose(found.infrared.mean, smooth.mean, rtol=1e-9, atol=1e-12)
    assert any("2 jumps of the dipole" in line for line in found.warnings)
    dipole[1500:] += 0.4 * EDGE
    found = spectra_of_runs([without(run, "dipole", dipole=dipole)], OPTIONS)
    assert any("wrapped into the cell" in line for line in found.warnings)


def with_polarizability(run: Run, isotropic: float, anisotropic: float) -> Run:
    x = run.read("positions").mean(axis=1)
    x = x - x.mean(axis=0)
    tensor = isotropic * x[:, 0, 0, None, None] * np.eye(3)
    tensor = tensor + anisotropic * x[:, 4, 1, None, None] * np.diag([1.0, -1.0, 0.0]) + np.eye(3)
    return without(run, polarizability=np.repeat(tensor[:, None], run.n_beads, axis=1))


def test_raman_of_isotropic_and_traceless_vibrations() -> None:
    run = oscillators(2, 3000)
    options = dataclasses.replace(OPTIONS, kinds=["raman"])
    breathing = spectra_of_runs([with_polarizability(run, 1.0, 0.0)], options).raman
    np.testing.assert_allclose(breathing["depolarised"].mean, 0.0, atol=1e-12)
    (line,) = find_lines(breathing["polarised"])
    assert line.position == pytest.approx(LINES["H"], abs=2.0)
    bending = spectra_of_runs([with_polarizability(run, 0.0, 1.0)], options)
    result = spectra_result(bending, "raman")
    (ratio,) = [q for q in result.quantities if "depolarisation" in q.name]
    assert ratio.value == pytest.approx(0.75)
    assert ratio.error == pytest.approx(0.0, abs=1e-9)
    (line,) = find_lines(bending.raman["depolarised"])
    assert line.position == pytest.approx(LINES["O"], abs=2.0)


def test_several_runs_are_averaged() -> None:
    runs = independent(6, n_frames=850)
    found = spectra_of_runs(runs, OPTIONS)
    assert found.vibrations["all"].n_stretches == 12
    other = oscillators(n_frames=500)
    hot = Run.from_arrays(
        dataclasses.replace(other.setup, temperature=400.0), other.step, other.time,
        {"velocities": other.read("velocities")},
    )  # fmt: skip
    with pytest.raises(ValueError, match="different atoms or temperatures"):
        spectra_of_runs([runs[0], hot], OPTIONS)


def test_temperature_is_that_of_the_centroids_where_there_is_none() -> None:
    runs = independent(60)
    free = [
        Run.from_arrays(
            dataclasses.replace(run.setup, temperature=None), run.step, run.time,
            {"velocities": run.read("velocities"), "cells": run.read("cells")},
        )
        for run in runs
    ]  # fmt: skip
    found = spectra_of_runs(free, OPTIONS)
    assert found.temperature == pytest.approx(300.0, rel=0.1)  # 18 modes of 60 runs: 3 %
    assert found.vibrations["all"].integral()[0] == pytest.approx(18.0)
    half = spectra_of_runs(runs, dataclasses.replace(OPTIONS, temperature=150.0))
    assert any("not at 150 K" in line for line in half.warnings)


def test_what_disturbs_is_said() -> None:
    langevin = oscillators(4, 3000, thermostats=("pile_l",), mode="nvt")
    found = spectra_of_runs([langevin], OPTIONS)
    assert found.dynamics == "thermostatted RPMD"
    assert any("pile_l" in line for line in found.warnings)
    mild = independent(16, n_beads=4, thermostats=("pile_g",), mode="nvt")
    assert not spectra_of_runs(mild, OPTIONS).warnings
    run = oscillators(n_frames=3000)
    sparse = Run.from_arrays(
        run.setup, run.step[::4], run.time[::4], {"velocities": run.read("velocities")[::4]}
    )
    said = spectra_of_runs([sparse], dataclasses.replace(OPTIONS, longest_time=60.0)).warnings
    assert any("wide by the length" in line for line in said)
    relaxing = Run.from_arrays(
        dataclasses.replace(run.setup, dynamics="minimize"), run.step, run.time,
        {"velocities": run.read("velocities")},
    )
    with pytest.raises(ValueError, match="needs dynamics"):
        spectra_of_runs([relaxing])


def test_a_spectrum_that_does_not_end_is_told() -> None:
    """White noise: lines beyond the highest frequency come back below it."""
    run = oscillators(n_frames=3000)
    noise = np.random.default_rng(0).normal(scale=0.01, size=run.read("velocities").shape)
    said = spectra_of_runs([without(run, "velocities", velocities=noise)], OPTIONS).warnings
    assert any("mirrored" in line for line in said)


def test_what_was_not_stored_is_asked_for() -> None:
    run = oscillators(n_frames=500)
    with pytest.raises(NotInRecord, match="polarizability"):
        spectra_of_runs([run], SpectraOptions(kinds=["raman"]))
    with pytest.raises(ValueError, match="vibrations, infrared, raman"):
        SpectraOptions(kinds=["uv"])
    bare = Run.from_arrays(run.setup, run.step, run.time, {"energies": np.zeros((500, 1))})
    with pytest.raises(NotInRecord, match="velocities"):
        spectra_of_runs([bare])
    with pytest.raises(ValueError, match="run longer"):
        spectra_of_runs([run], SpectraOptions(longest_time=5000.0))


def test_result_has_lines_with_errors_and_figures(tmp_path: Path) -> None:
    run = with_polarizability(oscillators(n_frames=4000), 1.0, 0.5)
    result = spectra_result(spectra_of_runs([run], OPTIONS), "oscillators")
    files = {path.name for path in result.write(tmp_path)}
    assert files == {
        "spectra.json", "spectra_vibrations.png", "spectra_infrared.png", "spectra_raman.png"
    }
    data = json.loads((tmp_path / "spectra.json").read_text())
    rows = {(row[0], round(row[1]["value"], -2)) for row in data["tables"][0]["rows"]}
    assert {("vibrations, H", 2500), ("vibrations, O", 800), ("infrared", 2500)} <= rows
    assert any("harmonic" in note for note in data["notes"])
