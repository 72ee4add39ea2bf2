"""Estimates of runs in memory whose beads are exact samples of oscillators."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from oscillator_rings import KT, TEMPERATURE, oscillators

from pimd.analysis.comparison_result import comparison_result
from pimd.analysis.estimate_result import result_of
from pimd.analysis.run_convergence import compare
from pimd.analysis.run_estimates import RunEstimates, estimates_of
from pimd.record.run import Run
from pimd.record.series import Series
from pimd.record.setup import Setup
from pimd.units import HARTREE_EV

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from physics.references import oscillator

MASS, N_ATOMS, X = 1.5, 8, 4.0


def oscillator_run(
    n_beads: int, seed: int = 0, n: int = 2000, temperature: float = TEMPERATURE,
    forces: bool = True, **setup: object,
) -> tuple[Run, float]:
    """8 atoms, 3 of O and 5 of H, all oscillators alike; and their force constant."""
    q, k = oscillators(X, n_beads, n * N_ATOMS, MASS, seed, temperature)
    q = q[:, :, 0].reshape(n, N_ATOMS, n_beads, 3).swapaxes(1, 2)
    options = {"mode": "nvt", "thermostats": ("pile_l",), "splitting": "obabo", **setup}
    arrays = {"positions": q, "energies": 0.5 * k * np.square(q).sum(axis=(2, 3))}
    if forces:
        arrays["forces"] = -k * q
    numbers = np.array([8, 8, 8, 1, 1, 1, 1, 1])
    run = Run.from_arrays(
        Setup(numbers, np.full(N_ATOMS, MASS), n_beads, temperature, 0.5, **options),
        10 * np.arange(n), 5.0 * np.arange(n), arrays,
    )
    return run, k


def exact_energy(n_beads: float) -> float:
    """eV of the 24 oscillators."""
    return 3 * N_ATOMS * oscillator(X, n_beads).energy * X * KT


def assert_exact(found: RunEstimates, name: str, exact: float, ceiling: float) -> None:
    one = found.quantities[name]
    assert one.error < ceiling * abs(exact), one
    assert abs(one.value - exact) < 4 * one.error, (name, one, exact)


def test_from_stored_beads() -> None:
    run, k = oscillator_run(8)
    found = estimates_of(run)
    energy = exact_energy(8)
    assert_exact(found, "energy", energy, 0.01)
    assert_exact(found, "potential energy", energy / 2, 0.01)
    assert_exact(found, "kinetic energy, centroid virial", energy / 2, 0.01)
    assert_exact(found, "kinetic energy, thermodynamic", energy / 2, 0.02)
    for symbol in "OH":
        assert_exact(found, f"kinetic energy of {symbol}, per atom", 1000 * energy / 16, 0.01)
        radius = math.sqrt(3 * oscillator(X, 8).gyration * X * KT / k)
        assert_exact(found, f"radius of gyration of {symbol}", radius, 0.01)
        six = found.tensors[symbol]
        for component, one in zip(("xx", "yy", "zz", "xy", "xz", "yz"), six, strict=True):
            diagonal = component[0] == component[1]
            assert abs(one.value - (1000 * energy / 48 if diagonal else 0.0)) < 4 * one.error
    assert_exact(found, "heat capacity C_V", 24 * oscillator(X, 8).heat_capacity, 0.2)
    assert "covariance" in found.quantities["heat capacity C_V"].note
    assert not any("differ" in line for line in found.warnings)


def test_with_the_potential() -> None:
    """Forces that were not stored, and scaled coordinates, whose error is not that of K_td."""
    run, k = oscillator_run(8, n=600, forces=False)
    assert "energy" not in estimates_of(run).quantities
    done = []
    found = estimates_of(
        run, potential=f"harmonic, k: {k:.17g}", progress=lambda *now: done.append(now)
    )
    assert done[-1] == (600 * 8, 600 * 64)
    assert_exact(found, "energy", exact_energy(8), 0.01)
    assert_exact(found, "heat capacity C_V", 24 * oscillator(X, 8).heat_capacity, 0.3)
    assert found.quantities["heat capacity C_V"].note == "scaled coordinates"
    assert "pressure" not in found.quantities  # an external field has none
    assert not any("not the one" in line for line in found.warnings)
    other = estimates_of(run, potential=f"harmonic, k: {1.2 * k:.17g}", stride=10)
    assert any("not the one that moved the beads" in line for line in other.warnings)


def columns(run: Run, k: float) -> dict[str, Series]:
    """What i-PI would have written of the run, every frame."""
    found = estimates_of(run, potential=f"harmonic, k: {k:.17g}")
    step, time = run.step, run.time

    def series(name: str, values: np.ndarray, unit: str = "eV") -> Series:
        return Series(name, step, time, values, unit)

    from pimd.analysis.run_series import gather

    beads = gather(run, TEMPERATURE, f"harmonic, k: {k:.17g}").series
    scaled = np.stack(
        [beads["eps"].values / HARTREE_EV, beads["eps_prime"].values / HARTREE_EV**2], axis=1
    )
    scaled[3] = 0.0  # how i-PI says that it did not converge
    assert "energy" in found.quantities
    return {
        "potential": series("potential", beads["potential"].values),
        "kinetic_cv": series("kinetic_cv", beads["kinetic_cv"].values),
        "kinetic_cv(O)": series("kinetic_cv(O)", beads["kinetic_cv(O)"].values),
        "scaledcoords(fd_delta=-1e-4)": series("scaledcoords(fd_delta=-1e-4)", scaled, ""),
        "r_gyration(H)": series("r_gyration(H)", np.full(len(step), 0.1), "Å"),
        "conserved": series("conserved", np.arange(len(step)) * 1.0),
        "pressure_cv": series("pressure_cv", np.full(len(step), 1e-3), "eV/Å^3"),
        "volume": series("volume", 1000.0 + np.sin(np.arange(len(step))), "Å^3"),
    }


def test_from_columns() -> None:
    run, k = oscillator_run(8, n=800)
    given = columns(run, k)
    bare = Run.from_arrays(run.setup, run.step, run.time, {}, given)
    found, whole = estimates_of(bare), estimates_of(run, potential=f"harmonic, k: {k:.17g}")
    for name in ("energy", "potential energy", "kinetic energy of O, per atom"):
        assert found.quantities[name].value == pytest.approx(whole.quantities[name].value)
        assert found.quantities[name].note in ("column", "V + K, centroid virial")
    assert "kinetic energy of H, per atom" not in found.quantities
    heat = found.quantities["heat capacity C_V"]
    assert heat.note == "scaled coordinates"
    same = whole.quantities["heat capacity C_V"]
    assert abs(heat.value - same.value) < 0.2 * same.error  # one row is left out
    assert any("1 of 800 rows are 0" in line for line in found.warnings)
    assert found.quantities["pressure"].value == pytest.approx(160.2176634)  # MPa
    assert found.quantities["density"].value == pytest.approx(12 * 1.66053906660 / 1000, rel=1e-3)
    assert [one.name for one in found.columns] == ["r_gyration(H)"]
    assert "less than the root" in found.columns[0].note


def test_classical_nuclei_and_constant_pressure() -> None:
    """P = 1: C_V = 3 k an atom. At constant pressure: of V + pV_cell, with volumes that vary."""
    run, _ = oscillator_run(1, n=6000)
    found = estimates_of(run)
    assert found.quantities["C_V per atom"].note == "fluctuations of V"
    assert_exact(found, "C_V per atom", 3.0, 0.1)
    assert not found.tensors
    assert found.quantities["kinetic energy, centroid virial"].error == 0
    # V and the volume independent: C_p = C_V + (p/kT)^2 Var
    rng = np.random.default_rng(3)
    volume = 1000 + 50 * rng.normal(size=6000)
    p = 2 * KT / 50
    setup = Setup(
        run.setup.numbers, run.setup.masses, 1, TEMPERATURE, 0.5, mode="npt", pressure=p,
        thermostats=("langevin",),
    )
    constant = Run.from_arrays(
        setup, run.step, run.time, {"positions": run.read("positions"),
                                    "energies": run.read("energies")},
        {"volume": Series("volume", run.step, run.time, volume, "Å^3")},
    )
    assert_exact(estimates_of(constant), "heat capacity C_p", 24 + 4, 0.1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"thermostats": ("nm_gle",)}, "nm_gle"),
        ({"mode": "nve", "thermostats": ()}, "nve"),
    ],
)
def test_no_heat_capacity_without_a_canonical_ensemble(
    changes: dict[str, object], reason: str
) -> None:
    run, _ = oscillator_run(4, n=200, **changes)
    found = estimates_of(run)
    assert "heat capacity C_V" not in found.quantities
    assert any(reason in line for line in found.notes)
    assert isinstance(found.sample, str)


@pytest.mark.parametrize(
    ("changes", "gone", "kept"),
    [
        ({"thermostats": ("nm_gle",)}, "kinetic energy, thermodynamic", "energy"),
        ({"mode": "sc"}, "potential energy", None),
        (
            {"forcefields": {"a": "{potential: metatomic, model: a.pt, non_conservative: true}"}},
            "kinetic energy, centroid virial", "kinetic energy, thermodynamic",
        ),
    ],
)
def test_estimators_that_do_not_hold_are_left_out(
    changes: dict[str, object], gone: str, kept: str | None
) -> None:
    run, _ = oscillator_run(4, n=200, **changes)
    if kept is None:
        with pytest.raises(ValueError, match=r"nothing that can be averaged.*potential_opsc"):
            estimates_of(run)
        return
    found = estimates_of(run)
    assert gone not in found.quantities
    assert kept in found.quantities
    assert any("left out: " in line for line in found.warnings)


def test_equilibration_and_skip() -> None:
    """A beginning that is not in equilibrium is found, for all series at once, or named."""
    run, _ = oscillator_run(4, n=1500)
    energies = run.read("energies")
    energies[:150] += np.linspace(40, 0, 150)[:, None] * KT
    late = Run.from_arrays(
        run.setup, run.step, run.time,
        {"positions": run.read("positions"), "forces": run.read("forces"), "energies": energies},
    )
    found = estimates_of(late)
    assert 300 < found.begin < 1500  # fs
    assert_exact(found, "energy", exact_energy(4), 0.02)
    named = estimates_of(late, skip=2000.0)
    assert named.quantities["energy"].n_samples == 1100
    assert any("2 ps left out" in line for line in named.notes)
    with pytest.raises(ValueError, match="the run ends at"):
        estimates_of(late, skip=1e6)
    rare = Run.from_arrays(
        run.setup, run.step[:10], run.time[:10], {"positions": run.read("positions")[:10]},
        {"potential": Series("potential", run.step, run.time, energies.mean(axis=1), "eV")},
    )
    found = estimates_of(rare)
    assert "potential energy" in found.quantities
    assert "radius of gyration of H" not in found.quantities
    assert any("squared_gyration(H)" in line and "nothing" in line for line in found.notes)


def test_momenta_that_only_have_the_mean_of_the_temperature() -> None:
    """i-PI's `temperature` of 8 atoms, 4 beads, fixcom: 93 degrees of freedom."""
    run, _ = oscillator_run(4, n=1000)
    kinetic = np.random.default_rng(5).gamma(46.5, size=1000) + 1.5  # kT
    said = []
    for width in (1.0, 0.5):
        squeezed = kinetic.mean() + width * (kinetic - kinetic.mean())
        column = Series("temperature", run.step, run.time, TEMPERATURE * squeezed / 48, "K")
        found = estimates_of(
            Run.from_arrays(run.setup, run.step, run.time, {}, {"temperature": column})
        )
        assert found.momenta is not None
        said.append(any("not distributed" in line for line in found.warnings))
    assert said == [False, True]


def test_two_estimators_that_disagree_are_told() -> None:
    run, _ = oscillator_run(4, n=1000)
    column = Series("kinetic_td", run.step, run.time, np.random.default_rng(0).normal(size=1000))
    off = Run.from_arrays(
        run.setup, run.step, run.time,
        {name: run.read(name) for name in ("positions", "forces", "energies")},
        {"kinetic_td": column},
    )
    assert any("two kinetic energies differ" in line for line in estimates_of(off).warnings)


def test_one_frame_of_beads_on_one_point() -> None:
    """The beginning of a run: numbers without errors, which say so."""
    q = np.ones((1, 4, 2, 3))
    setup = Setup(np.array([1, 1]), np.ones(2), 4, 300.0, 0.5, mode="nvt")
    run = Run.from_arrays(
        setup, np.array([0]), np.array([0.0]),
        {"positions": q, "forces": 0 * q, "energies": np.zeros((1, 4))},
    )
    found = estimates_of(run)
    assert found.quantities["radius of gyration of H"].value == 0
    assert all(np.isnan(one.error) for one in found.quantities.values())
    assert found.quantities["energy"].warnings
    assert "heat capacity C_V" not in found.quantities


def test_what_cannot_be_estimated() -> None:
    run, _ = oscillator_run(2, n=20)
    none = Setup(run.setup.numbers, run.setup.masses, 2, None)
    with pytest.raises(ValueError, match="--temperature"):
        estimates_of(Run.from_arrays(none, run.step, run.time, {}))
    with pytest.raises(ValueError, match="neither properties nor positions"):
        estimates_of(Run.from_arrays(run.setup, run.step, run.time, {}))
    bare = Run.from_arrays(run.setup, run.step, run.time, {"energies": run.read("energies")})
    with pytest.raises(ValueError, match="positions"):
        estimates_of(bare, potential="harmonic, k: 1.0")


def test_several_runs(tmp_path: Path) -> None:
    """Replicas pooled, the limit in P, and two temperatures whose ensembles are checked."""
    runs = []
    for n_beads, seed in ((16, 1), (16, 2), (24, 3), (48, 4)):
        run, _ = oscillator_run(n_beads, seed, n=500)
        runs.append(estimates_of(run))
    warm, _ = oscillator_run(16, 5, n=500, temperature=320.0)
    runs.append(estimates_of(warm))
    for k, run in enumerate(runs):
        run.name = f"run{k}"
    found = compare(runs)
    assert [(run.n_beads, run.temperature) for run in found.runs] == [
        (48, 300), (24, 300), (16, 300), (16, 320)
    ]
    pooled = found.runs[2]
    assert pooled.name == "run0 + run1"
    assert pooled.quantities["energy"].error == pytest.approx(
        runs[0].quantities["energy"].error / math.sqrt(2), rel=0.1
    )
    (title, limits), = found.beads.items()
    assert "300 K" in title
    assert abs(limits["energy"].value - exact_energy(np.inf)) < 4 * limits["energy"].error
    assert not found.steps
    verdicts = {(pair.first, pair.second): pair.check for pair in found.pairs}
    check = verdicts[("run0", "run4")]
    assert check is not None
    assert check.passed
    (slope,) = found.slopes
    exact = 24 * oscillator(X * 300 / 310, 16).heat_capacity
    assert abs(slope.value - exact) < 4 * slope.error
    assert slope.error < 0.8 * exact
    result = comparison_result(found)
    names = {path.name for path in result.write(tmp_path)}
    assert names == {"estimate.json", "estimate_beads.png", "estimate_ensembles.png"}
    written = json.loads((tmp_path / "estimate.json").read_text())
    assert written["data"]["limits"]["beads"][title]["energy"]["value"] == limits["energy"].value
    other, _ = oscillator_run(4, n=50)
    small = estimates_of(other)
    small.n_atoms = 7
    with pytest.raises(ValueError, match="differ in atoms"):
        compare([runs[0], small])


def test_the_result_of_one_run(tmp_path: Path) -> None:
    run, _ = oscillator_run(4, n=300)
    result = result_of(estimates_of(run))
    assert {path.name for path in result.write(tmp_path)} == {
        "estimate.json", "estimate_running.png"
    }
    written = json.loads((tmp_path / "estimate.json").read_text())
    energy = next(one for one in written["quantities"] if one["name"] == "energy")
    assert energy["unit"] == "eV"
    assert energy["error"] > 0
    assert energy["n_effective"] > 10
    assert len(written["data"]["kinetic_tensors"]["H"]) == 6
