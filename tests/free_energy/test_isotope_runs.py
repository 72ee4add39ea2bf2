"""ln zeta of runs: from stored beads and from i-PI's columns, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from ladder_trap import KT, MASS, OMEGA, SPEC, SPRING, TEMPERATURE
from oscillator_beads import oscillator_beads

from pimd.free_energy.isotope_beads import WrongPotential
from pimd.free_energy.isotope_report import isotope_result
from pimd.free_energy.isotope_runs import zeta_of_run
from pimd.free_energy.isotopes import largest_variance
from pimd.free_energy.perturbation import NoOverlap
from pimd.free_energy.sampled import NotCanonical
from pimd.potentials.registry import Spec
from pimd.record.run import Run
from pimd.record.setup import Setup
from pimd.units import AMU_ANGSTROM2_PER_FS2_EV, HBAR_EV_FS

N_BEADS, N_ATOMS, N_FRAMES = 4, 8, 1500
DOUBLE = f"H={2 * MASS:.8f}"
EXACT = {2.0: 3 * math.log(1.38158984), 0.5: 3 * math.log(0.50820794)}
"""ln zeta in three dimensions; at 4 beads, and for alpha = 1/2 at 16."""


def setup(n_beads: int = N_BEADS, **values: object) -> Setup:
    given: dict[str, object] = {
        "numbers": np.ones(N_ATOMS, dtype=int), "masses": np.full(N_ATOMS, MASS),
        "n_beads": n_beads, "temperature": TEMPERATURE, "timestep": 0.5, "mode": "nvt",
        "thermostats": ("pile_l",), "forcefields": {"trap": SPEC},
    }
    return Setup(**{**given, **values})  # type: ignore[arg-type]


def trap(n_frames: int = N_FRAMES, n_beads: int = N_BEADS, seed: int = 0, **values: object) -> Run:
    """Exact, independent samples of the beads of particles in a trap."""
    q = oscillator_beads(
        n_beads, n_frames * N_ATOMS * 3, seed, kt=KT, mass=MASS * AMU_ANGSTROM2_PER_FS2_EV,
        omega=OMEGA, hbar=HBAR_EV_FS,
    )
    q = q.reshape(n_frames, N_ATOMS, 3, n_beads).transpose(0, 3, 1, 2)
    energies = 0.5 * SPRING * np.square(q).sum(axis=(2, 3))
    step = np.arange(n_frames)
    arrays = {
        "positions": q, "energies": energies, "cells": np.tile(50.0 * np.eye(3), (n_frames, 1, 1)),
    }
    return Run.from_arrays(setup(n_beads, **values), step, 10.0 * step, arrays)


def test_stored_beads() -> None:
    """alpha = 2 at P = 4: both estimators, each within its error."""
    zeta = zeta_of_run(trap(), DOUBLE)
    assert [one.estimator for one in zeta.estimates] == ["scaled coordinates", "thermodynamic"]
    assert not zeta.refused
    assert zeta.alpha == pytest.approx(2.0)
    for one, ceiling in zip(zeta.estimates, (0.01, 0.03), strict=True):
        assert abs(one.log_zeta - EXACT[2.0]) < 4 * one.error
        assert one.error < ceiling
    # relative variances of one sample in three dimensions: 1.101^3 - 1 and 1.264^3 - 1
    errors = [one.error for one in zeta.estimates]
    ratio = math.sqrt((1.264**3 - 1) / (1.101**3 - 1))
    assert errors[1] / errors[0] == pytest.approx(ratio, rel=0.15)


def test_the_thermodynamic_estimator_is_left_out_where_its_variance_is_infinite() -> None:
    zeta = zeta_of_run(trap(400, 16, 2), f"H={0.5 * MASS:.8f}")
    (only,) = zeta.estimates
    assert only.estimator == "scaled coordinates"
    assert abs(only.log_zeta - EXACT[0.5]) < 4 * only.error
    assert only.error < 0.02
    assert "infinite" in zeta.refused[0]


def test_and_where_there_are_too_few_samples_for_it() -> None:
    zeta = zeta_of_run(trap(40, 16, 2), DOUBLE)
    assert len(zeta.estimates) == 1
    assert "too much for" in zeta.refused[0]


@pytest.mark.parametrize(("n_beads", "alpha"), [(4, 2.0), (8, 1.5), (32, 1.125)])
def test_largest_variance_is_that_of_a_free_particle(n_beads: int, alpha: float) -> None:
    rng = np.random.default_rng(1)
    s = 0.5 * np.square(rng.standard_normal((200_000, n_beads - 1))).sum(axis=1)  # beta_P S
    weights = alpha ** (0.5 * (n_beads - 1)) * np.exp(-(alpha - 1.0) * s)
    assert weights.mean() == pytest.approx(1.0, abs=0.02)
    assert weights.var() == pytest.approx(largest_variance(n_beads, alpha, 1), rel=0.05)
    assert largest_variance(n_beads, 0.5) == math.inf
    assert largest_variance(4000, 2.0) == math.inf


def test_some_atoms_of_each_frame_do_too() -> None:
    run = trap()
    few = zeta_of_run(run, DOUBLE, n_atoms=2, stride=3).estimates[0]
    assert few.sided.n_samples < N_FRAMES / 3
    assert abs(few.log_zeta - EXACT[2.0]) < 4 * few.error
    assert few.error > 2.0 * zeta_of_run(run, DOUBLE).estimates[0].error


def test_what_was_evaluated_is_not_evaluated_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pimd.evaluator import Evaluator

    calls = []
    stock = Evaluator.evaluate
    monkeypatch.setattr(
        Evaluator, "evaluate", lambda self, *a, **k: calls.append(1) or stock(self, *a, **k)
    )
    run, keep = trap(20), tmp_path / "kept.npz"
    first = zeta_of_run(run, DOUBLE, keep=keep)
    n_calls = len(calls)
    assert n_calls >= 1
    again = zeta_of_run(run, DOUBLE, keep=keep)
    assert len(calls) == n_calls
    np.testing.assert_array_equal(again.estimates[0].work, first.estimates[0].work)
    other = zeta_of_run(trap(20, seed=1), DOUBLE, keep=keep)  # other positions, the same steps
    assert len(calls) > n_calls
    assert other.estimates[0].log_zeta != first.estimates[0].log_zeta
    n_calls = len(calls)
    zeta_of_run(trap(20, seed=1), f"H={1.5 * MASS}", keep=keep)
    assert len(calls) > n_calls


def test_the_potential_is_evaluated_with_the_options_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that change no energy, too, such as in which parts and on which device."""
    from pimd.daemon import child

    made = []
    stock = child.make_evaluator

    def noted(spec: Spec, **options: object) -> object:
        made.append((spec.options, stock(spec, **options)))  # type: ignore[arg-type]
        return made[-1][1]

    monkeypatch.setattr(child, "make_evaluator", noted)
    spec = SPEC.replace("}", ", chunking: 16, device: cpu, properties: dipole}")
    found = zeta_of_run(trap(20, forcefields={"trap": spec}), DOUBLE)
    ((options, evaluator),) = made
    assert (options["chunking"], options["device"]) == (16, "cpu")
    assert evaluator.splitter.chunking == 16
    plain = zeta_of_run(trap(20), DOUBLE)
    assert found.estimates[0].log_zeta == pytest.approx(plain.estimates[0].log_zeta, abs=1e-10)


def columns(run: Run) -> Run:
    """The run without beads, with what i-PI would have written."""
    zeta = zeta_of_run(run, DOUBLE, source="beads", skip=0.0)
    properties = {
        name: np.stack([one.work, one.work**2, np.exp(-one.work)], axis=1)
        for name, one in zip(
            ("isotope_zetasc(2.0;H)", "isotope_zetatd(alpha=2.0;atom=H)"), zeta.estimates,
            strict=True,
        )
    }
    return Run.from_arrays(run.setup, run.step, run.time, {}, properties)


def test_columns_say_what_the_beads_say() -> None:
    run = trap(600)
    by_beads = zeta_of_run(run, DOUBLE, skip=0.0)
    by_columns = zeta_of_run(columns(run), DOUBLE, skip=0.0)
    for one, two in zip(by_beads.estimates, by_columns.estimates, strict=True):
        assert two.source.startswith("isotope_zeta")
        assert two.log_zeta == pytest.approx(one.log_zeta, abs=1e-10)
        assert two.error == pytest.approx(one.error, rel=1e-6)


def test_columns_of_another_substitution_do_not_count() -> None:
    with pytest.raises(ValueError, match=r"isotope_zetasc\(1\.5"):
        zeta_of_run(columns(trap(100)), f"H={1.5 * MASS:.8f}", source="columns")
    with pytest.raises(ValueError, match="positions"):
        zeta_of_run(columns(trap(100)), f"H={1.5 * MASS:.8f}")


def test_what_is_no_canonical_sample_of_the_potential_is_refused() -> None:
    with pytest.raises(NotCanonical, match="gle"):
        zeta_of_run(trap(20, thermostats=("gle",)), DOUBLE)
    with pytest.raises(NotCanonical, match="nve"):
        zeta_of_run(trap(20, mode="nve"), DOUBLE)
    with pytest.raises(WrongPotential, match="not the potential that was sampled"):
        zeta_of_run(trap(20), DOUBLE, potential="{potential: harmonic, k: 2.0, pbc: False}")
    with pytest.raises(ValueError, match="source"):
        zeta_of_run(trap(20), DOUBLE, source="thin air")
    with pytest.raises(ValueError, match="label of H"):
        zeta_of_run(trap(20), "O=18")
    with pytest.raises(NoOverlap, match="scaled coordinates"):
        zeta_of_run(trap(3, 16), "H=0.1")


def test_deuterium_is_known_by_its_mass() -> None:
    run = trap(30, masses=np.full(N_ATOMS, 2.0141))
    assert zeta_of_run(run, "D=H").alpha == pytest.approx(1.00794 / 2.0141)
    with pytest.raises(ValueError, match="label of D"):
        zeta_of_run(run, "H=D")


def test_fractionation_between_two_runs(tmp_path: Path) -> None:
    first, second = (zeta_of_run(trap(300, seed=s), DOUBLE) for s in (3, 4))
    result = isotope_result([first, second])
    (by_scaled, by_springs) = [q for q in result.quantities if q.name.startswith("10³")]
    expected = 1000 * (first.estimates[0].log_zeta - second.estimates[0].log_zeta)
    assert by_scaled.value == pytest.approx(expected)
    assert abs(by_scaled.value) < 4 * by_scaled.error
    assert by_springs.error > by_scaled.error
    written = result.write(tmp_path)
    assert [path.name for path in written] == ["isotope.json", "isotope.png"]
    with pytest.raises(ValueError, match="one temperature"):
        isotope_result([first, dataclasses.replace(second, temperature=350.0)])
