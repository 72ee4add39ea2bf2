"""Electrons along a trajectory: averages, errors, nuclei that follow, and files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pimd.commands.electronic import electronic, temperatures_of
from pimd.free_energy.bands import NumberedError
from pimd.free_energy.dos_files import FramesOfStates, dos_of_run, read_dos
from pimd.free_energy.electronic import electrons_of_dos, electrons_of_levels, electrons_of_many
from pimd.free_energy.electronic_frames import electronic_averages
from pimd.record.run import Run
from pimd.record.setup import Setup
from pimd.units import KB_EV_PER_KELVIN

HOT = 0.1 / KB_EV_PER_KELVIN  # kT = 0.1 eV
GRID = np.linspace(-6.0, 6.0, 241)


def constant_bands(heights: np.ndarray) -> FramesOfStates:
    """Constant densities of states, A = -pi^2/6 g kT^2, filled to the middle of the grid."""
    return FramesOfStates(GRID, heights[..., None] * np.ones(len(GRID)))


def fill(frames: FramesOfStates) -> np.ndarray:
    return 6.0 * frames.dos[..., 0]


def test_many_at_once_are_those_one_by_one() -> None:
    """Also where one has a gap, and one is nearly empty."""
    rng = np.random.default_rng(0)
    dos = 1.0 + 0.5 * np.cumsum(rng.normal(size=(30, len(GRID))), axis=1) / 10
    dos = np.maximum(dos, 0.02)
    dos[3, np.abs(GRID - 1.0) < 0.8] = 0.0
    room = 0.5 * ((dos[:, 1:] + dos[:, :-1]) * np.diff(GRID)).sum(axis=1)
    n = rng.uniform(0.05, 0.6, 30) * room
    n[3] = 0.5 * ((dos[3, 1:] + dos[3, :-1]) * np.diff(GRID))[GRID[1:] < 1.0].sum()
    for temperature in (300.0, 3000.0):
        many = electrons_of_many(GRID, dos.reshape(5, 6, -1), n.reshape(5, 6), temperature)
        assert many.free_energy.shape == (5, 6)
        for k in range(30):
            one = electrons_of_dos(GRID, dos[k], n[k], temperature)
            for name in ("free_energy", "energy", "entropy_term", "chemical_potential"):
                found = getattr(many, name).ravel()[k]
                assert found == pytest.approx(getattr(one, name), rel=1e-10, abs=1e-12)


def test_the_chemical_potential_in_a_gap() -> None:
    """g = a below -1 eV and b above 1 eV: mu = kT/2 log(a/b), also where f is below rounding."""
    e = np.array([-3.0, -1.0, -1.0 + 1e-9, 1.0 - 1e-9, 1.0, 3.0])
    g = np.array([2.0, 2.0, 0.0, 0.0, 0.5, 0.5])
    for temperature in (300.0, 600.0):
        found = electrons_of_dos(e, g, 4.0 + 1e-9, temperature)
        kt = KB_EV_PER_KELVIN * temperature
        assert found.chemical_potential == pytest.approx(0.5 * kt * math.log(4.0), rel=1e-6)


def test_averages_and_their_errors() -> None:
    """<A> = -pi^2/6 <g> kT^2 over frames and beads, statistical error that of <g> of frames."""
    heights = 1.0 + 0.1 * np.random.default_rng(1).uniform(-1, 1, size=(1, 400, 4))
    frames = constant_bands(heights)
    moved = electronic_averages(frames, 4.0, [0.02 / KB_EV_PER_KELVIN], start=0)
    # E_F = -6 + 4/g away from the edge: A = -pi^2/6 g kT^2 still
    of_frames = -math.pi**2 / 6 * heights.mean(axis=(0, 2)) * 0.02**2
    a = moved.points[0].averages["free_energy"]
    assert a.mean == pytest.approx(of_frames.mean(), abs=1e-10)
    assert a.error == pytest.approx(of_frames.std(ddof=1) / 20, rel=0.15)
    np.testing.assert_allclose(moved.fermi_level, (-6 + 4 / heights).mean(axis=(0, 2)), rtol=1e-12)
    assert math.isnan(moved.points[0].model_errors["free_energy"])


def test_the_committees_error() -> None:
    """Members of g differ by 1 %, and the potential's members shift <A> by -<dA dh>."""
    rng = np.random.default_rng(2)
    noise = rng.normal(size=1500)
    heights = np.array([0.99, 1.00, 1.01])[:, None, None] * (1.0 + 0.05 * noise)[None, :, None]
    frames = constant_bands(heights)
    scale = math.pi**2 / 6 * 0.02**2
    temperature = 0.02 / KB_EV_PER_KELVIN
    alone = electronic_averages(frames, 4.0, [temperature], start=0).points[0]
    assert alone.model_errors["free_energy"] == pytest.approx(0.01 * scale, rel=0.01)
    assert alone.committee is None
    h = 0.2 * np.array([noise, -noise])
    both = electronic_averages(frames, 4.0, [temperature], h=h, start=0).points[0]
    assert both.committee is not None
    # a shift of g by -+ 0.05 * 0.2
    assert both.committee.sigma_potential == pytest.approx(0.01 * math.sqrt(2) * scale, rel=0.1)
    x = np.array([0.99, 1.0, 1.01])[:, None] * np.array([1 - 0.01, 1 + 0.01])
    assert both.model_errors["free_energy"] == pytest.approx(scale * x.std(ddof=1), rel=0.1)
    with pytest.raises(ValueError, match="exponents of 3 frames"):
        electronic_averages(frames, 4.0, [temperature], h=h[:, :3])


def test_nuclei_follow_hot_electrons() -> None:
    """A Gaussian in the nuclei: F = <A> - Var(A)/2kT."""
    rng = np.random.default_rng(3)
    temperature, scale = HOT, math.pi**2 / 6 * 0.1**2
    cold, width = 0.004, 0.003  # eV: kT of the nuclei, spread of A
    heights = 2.0 + width / scale * rng.normal(size=(1, 2000, 1))
    found = electronic_averages(
        constant_bands(heights), 6.0, [temperature], ion_temperature=cold / KB_EV_PER_KELVIN,
        start=0,
    )
    relaxed = found.points[0].relaxed
    assert relaxed is not None
    lower = found.points[0].averages["free_energy"].mean - cold * relaxed.difference
    assert lower == pytest.approx(width**2 / (2 * cold), abs=4 * cold * relaxed.error)
    assert cold * relaxed.error < 0.1 * lower


def test_broadening_is_told_and_is_contamination() -> None:
    """Two levels 1 eV apart, kT = 0.1 eV: broadened by 0.02 eV A is right to 5 %, by 0.2 eV not."""
    exact = electrons_of_levels(np.array([0.0, 1.0]), np.array([2.0, 2.0]), 2.0, HOT).entropy_term
    e = np.linspace(-3.0, 4.0, 2801)
    found = {}
    for width in (0.02, 0.2):
        lines = np.exp(-0.5 * ((e[:, None] - [0.0, 1.0]) / width) ** 2)
        dos = (2 * lines / (width * math.sqrt(2 * math.pi))).sum(axis=1)
        point = electronic_averages(
            FramesOfStates(e, dos[None, None, None]), 2.0, [HOT], broadening=width
        ).points[0]
        found[width] = point.averages["entropy_term"].mean
        assert bool(point.warnings) == (width == 0.2)
    assert found[0.02] == pytest.approx(exact, rel=0.05)
    assert found[0.2] > 1.5 * exact


def test_one_that_cannot_be_filled_is_named() -> None:
    dos = np.ones((1, 6, 5, len(GRID)))
    dos[0, 3, 2] = 0.1
    with pytest.raises(NumberedError, match=r"number 17 holds 1\.2 electrons"):
        electronic_averages(FramesOfStates(GRID, dos), 6.0, [HOT])


def run_command(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(electronic)
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, " ".join(result.output.split())


def test_the_command_on_one_density_of_states(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "dos.txt", np.column_stack([GRID, np.ones(len(GRID))]))
    status, said = run_command(
        str(tmp_path / "dos.txt"), "--electrons", "6", "--temperature", f"{HOT},{HOT / 2}"
    )
    assert status == 0, said
    told = json.loads((tmp_path / "analysis" / "electronic.json").read_text())
    assert told["quantities"][0]["value"] == pytest.approx(-0.01644934, abs=1e-8)
    assert told["quantities"][1]["value"] == pytest.approx(-0.01644934 / 4, abs=1e-8)
    assert told["quantities"][0]["error"] is None  # nothing was sampled
    assert (tmp_path / "analysis" / "electronic_temperature.png").stat().st_size > 5000


def test_the_command_on_frames_of_members(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    dos = 1.0 + 0.1 * rng.uniform(size=(3, 50, 2, 1)) * np.ones(len(GRID))
    np.savez(tmp_path / "dos.npz", energies=GRID, member_dos=dos, n_electrons=5.0)
    status, said = run_command(
        str(tmp_path / "dos.npz"), "--temperature", "300:1500:3", "--out", str(tmp_path / "out")
    )
    assert status == 0, said
    told = json.loads((tmp_path / "out" / "electronic.json").read_text())
    assert [one["name"][:8] for one in told["quantities"]] == ["A(300 K)", "A(900 K)", "A(1500 K"]
    kt = KB_EV_PER_KELVIN * 900.0
    expected = -math.pi**2 / 6 * dos[..., 0].mean() * kt**2
    assert told["quantities"][1]["value"] == pytest.approx(expected, rel=1e-6)
    point = told["data"]["points"][1]
    assert point["model_errors"]["free_energy"] == pytest.approx(
        math.pi**2 / 6 * kt**2 * dos[..., 0].mean(axis=(1, 2)).std(ddof=1), rel=1e-4
    )


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("{dos}", "--temperature", "300"), "give --electrons"),
        (("{dos}", "--temperature", "warm", "--electrons", "6"), "expected numbers"),
        (("{dos}", "--temperature", "-3", "--electrons", "6"), "positive"),
        (("missing.npz", "--temperature", "300"), "no such file"),
        (("{dos}", "--temperature", "300", "--electrons", "600"), "holds 12 electrons"),
    ],
)
def test_wrong_use_is_told(tmp_path: Path, arguments: tuple[str, ...], match: str) -> None:
    dos = tmp_path / "dos.dat"
    np.savetxt(dos, np.column_stack([GRID, np.ones(len(GRID))]))
    status, said = run_command(*(one.format(dos=dos) for one in arguments))
    assert status == 2
    assert match in said


def test_densities_of_states_of_a_run() -> None:
    rng = np.random.default_rng(6)
    dos = rng.uniform(1.0, 2.0, size=(20, 2, len(GRID)))
    run = Run.from_arrays(
        Setup(np.array([1]), np.array([1.0]), 2, 300.0), np.arange(20), np.arange(20.0),
        {"dos": dos, "member_dos": np.stack([dos, 1.1 * dos], axis=1)},
    )
    found = dos_of_run(run, "dos", np.array([-6.0, 6.0]), scale=2.0)
    np.testing.assert_allclose(found.dos, 2.0 * dos[None])
    np.testing.assert_allclose(found.energies, GRID)
    members = dos_of_run(run, "member_dos", GRID)
    assert members.dos.shape == (2, 20, 2, len(GRID))
    np.testing.assert_allclose(members.dos[1], 1.1 * dos)
    with pytest.raises(ValueError, match="no ldos"):
        dos_of_run(run, "ldos", GRID)


def test_temperatures() -> None:
    assert temperatures_of("300,1000") == [300.0, 1000.0]
    assert temperatures_of("300:600:4") == [300.0, 400.0, 500.0, 600.0]


def test_extxyz_of_evaluate(tmp_path: Path) -> None:
    from ase import Atoms
    from ase.io import write

    rows = np.random.default_rng(5).uniform(size=(3, 11))
    frames = [Atoms("H", [[0.0, 0.0, 0.0]], info={"dos": row}) for row in rows]
    write(tmp_path / "a.extxyz", frames)
    found = read_dos(tmp_path / "a.extxyz", grid=np.array([-1.0, 1.0]))
    np.testing.assert_allclose(found.dos[0, :, 0], rows)
    np.testing.assert_allclose(found.energies, np.linspace(-1, 1, 11))
    with pytest.raises(ValueError, match="--grid"):
        read_dos(tmp_path / "a.extxyz")
    with pytest.raises(ValueError, match="no ldos among"):
        read_dos(tmp_path / "a.extxyz", "ldos", np.array([-1.0, 1.0]))
