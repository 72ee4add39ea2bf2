"""What a run is reweighted from, and to: centred members, their own, baselines, labels."""

from __future__ import annotations

import numpy as np
import pytest

from pimd.analysis.committee import committee_average
from pimd.analysis.run_members import members_of_labels, members_of_run
from pimd.evaluator import Evaluator
from pimd.potentials.base import Wanted
from pimd.potentials.registry import make_potential
from pimd.record.labels import Label
from pimd.record.missing import NotInRecord
from pimd.record.run import Run
from pimd.record.setup import Setup
from pimd.structure import Structure
from pimd.units import HARTREE_EV, KB_EV_PER_KELVIN

KT = KB_EV_PER_KELVIN * 300.0
STIFF = np.array([0.9, 0.95, 1.0, 1.05, 1.15])
"""Force constants of the members, eV/Å^2."""


def run_of(arrays: dict[str, np.ndarray], n_forcefields: int = 1, **setup: object) -> Run:
    n, n_beads = next(iter(arrays.values())).shape[0], arrays["member_energies"].shape[2]
    given = {"temperature": 300.0, "mode": "nvt", **setup}
    units = {"committee_energy": "a.u."}
    return Run.from_arrays(
        Setup(np.array([1]), np.array([1.0]), n_beads, timestep=0.5,
              forcefields={f"f{k}": "" for k in range(n_forcefields)}, **given),  # type: ignore[arg-type]
        np.arange(n) * 10, np.arange(n) * 5.0, arrays, units=units,
    )  # fmt: skip


def random_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Energies of 3 members that are centred on what was sampled, 40 frames of 4 beads."""
    rng = np.random.default_rng(seed)
    energies, members = 0.1 * rng.normal(size=(40, 4)), 0.01 * rng.normal(size=(40, 3, 4))
    members += (energies - members.mean(axis=1))[:, None]
    return {"energies": energies, "member_energies": members}


def test_exponents_are_over_all_beads_and_from_what_was_sampled() -> None:
    arrays = random_arrays()
    found = members_of_run(run_of(arrays))
    difference = arrays["member_energies"] - arrays["energies"][:, None]
    np.testing.assert_allclose(found.h, difference.mean(axis=2).T / KT, rtol=1e-12)
    np.testing.assert_allclose(found.h.sum(axis=0), 0.0, atol=1e-12)
    wide = members_of_run(run_of(arrays), alpha=2.5)
    np.testing.assert_allclose(wide.h, 2.5 * found.h, rtol=1e-9)


def test_a_head_of_its_own() -> None:
    """Members about a mean that dynamics did not follow: both questions have an answer."""
    arrays = random_arrays()
    arrays["energies"] = arrays["energies"] + 0.05 * np.random.default_rng(1).normal(size=(40, 4))
    own = members_of_run(run_of(arrays))
    assert own.about == "own"
    assert "did not follow" in own.notes[-1]
    difference = (arrays["member_energies"] - arrays["energies"][:, None]).mean(axis=2).T
    np.testing.assert_allclose(own.h, difference / KT, rtol=1e-12)
    centred = members_of_run(run_of(arrays), about="centred")
    np.testing.assert_allclose(centred.h, own.h - own.h.mean(axis=0), atol=1e-12)


def test_other_forcefields_are_in_what_was_sampled() -> None:
    arrays = random_arrays()
    expected = members_of_run(run_of(arrays)).h
    arrays["energies"] = arrays["energies"] + np.random.default_rng(2).normal(size=(40, 4))
    found = members_of_run(run_of(arrays, n_forcefields=2))
    np.testing.assert_allclose(found.h, expected, atol=1e-12)
    np.testing.assert_allclose(found.energies.mean(axis=0), arrays["energies"], atol=1e-12)
    with pytest.raises(ValueError, match="own energies are not known"):
        members_of_run(run_of(arrays, n_forcefields=2), about="own")


def weighted(n: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """r^2 of an atom that followed a weighted baseline of harmonic members, exactly sampled."""
    members = "; ".join(f"{{potential: harmonic, k: {k}}}" for k in STIFF)
    potential = make_potential(
        f"{{potential: committee, members: [{members}], learned: total, sigma_b: 0.01, "
        "baseline: {potential: harmonic, k: 0.7}}"
    )
    evaluator = Evaluator(potential, skin=0.0)

    def evaluate(r: np.ndarray) -> dict[str, np.ndarray]:
        found = evaluator.evaluate_structures(
            [Structure(np.array([1]), np.array([[x, 0.0, 0.0]])) for x in r],
            Wanted(False, False, ("committee_energy", "wb_mixing")),
        )
        assert found.member_energies is not None
        return {
            "energies": found.energies, "member_energies": found.member_energies,
            **{name: found.properties[name].ravel() for name in found.properties},
        }

    grid = np.linspace(0.0, 2.0, 2001)
    density = grid**2 * np.exp(-evaluate(grid)["energies"] / KT)
    share = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    r = np.interp(np.random.default_rng(seed).uniform(size=n), share / share[-1], grid)
    return np.square(r), evaluate(r)


def test_a_weighted_baseline_is_reweighted_from_what_was_sampled() -> None:
    """<r^2>_i = 3 kT/k_i of members that dynamics followed only in part."""
    n = 12_000
    r2, told = weighted(n, seed=3)
    assert told["wb_mixing"].min() < 0.5  # the baseline takes part
    arrays = {
        "energies": told["energies"][:, None],
        "member_energies": told["member_energies"].T[:, :, None],
        "committee_energy": told["committee_energy"][:, None] / HARTREE_EV,
    }
    found = members_of_run(run_of(arrays))
    assert "weighted baseline" in found.notes[0]
    averages = committee_average(r2, found.h, method="direct")
    exact = 3 * KT / STIFF
    error = float(np.hypot(averages.statistical_error, averages.noise))
    np.testing.assert_allclose(averages.matrix[0], exact, atol=4 * error)
    assert error < 0.015 * exact.min()
    # what was sampled is none of them, and centred members have its average on the whole
    centred = members_of_run(run_of(arrays), about="centred")
    about = committee_average(r2, centred.h, method="direct")
    assert abs(averages.committee_mean - averages.mean) > 5 * averages.statistical_error
    assert abs(about.committee_mean - about.mean) < 0.3 * abs(
        averages.committee_mean - averages.mean
    )


def test_corrections_of_ipi_come_with_their_baseline() -> None:
    """<ffcommittee> writes V_i - V_b, scaled, and baseline_pot."""
    rng = np.random.default_rng(4)
    base, corrections = rng.normal(size=(30, 2)), 0.01 * rng.normal(size=(30, 4, 2))
    sampled = base + 0.7 * corrections.mean(axis=1)
    found = members_of_run(run_of(
        {"energies": sampled, "member_energies": corrections, "baseline_energy": base}
    ))  # fmt: skip
    expected = (base[:, None] + corrections - sampled[:, None]).mean(axis=2).T / KT
    np.testing.assert_allclose(found.h, expected, atol=1e-12)


def test_labels_are_a_committee() -> None:
    arrays = random_arrays()
    run = run_of({**arrays})
    v = arrays["member_energies"]
    for k in range(3):
        energies = v[:, k].copy()
        energies[5] = np.nan  # not labelled
        run.keep_label(f"m{k}", Label(energies, f"spec {k}", run.step))
    found = members_of_labels(run, ["m0", "m1", "m2"])
    assert found.step.tolist() == [s for s in run.step.tolist() if s != 50]
    kept = np.arange(40) != 5
    np.testing.assert_allclose(found.h, members_of_run(run).h[:, kept], atol=1e-12)
    run.keep_label("all", Label(v.mean(axis=1), "committee", run.step, member_energies=v))
    np.testing.assert_allclose(members_of_labels(run, ["all"]).h, members_of_run(run).h, atol=1e-12)
    with pytest.raises(ValueError, match="at least 2 members"):
        members_of_labels(run, ["m0"])


def test_what_cannot_be_reweighted_is_refused() -> None:
    arrays = random_arrays()
    with pytest.raises(ValueError, match="canonical run"):
        members_of_run(run_of(arrays, temperature=None))
    assert members_of_run(run_of(arrays, temperature=None), temperature=300.0).temperature == 300.0
    with pytest.raises(ValueError, match="about is one of"):
        members_of_run(run_of(arrays), about="mean")
    bare = Run.from_arrays(
        Setup(np.array([1]), np.array([1.0]), 4), np.arange(40), np.arange(40.0),
        {"energies": arrays["energies"]},
    )  # fmt: skip
    with pytest.raises(NotInRecord, match="members"):
        members_of_run(bare)
