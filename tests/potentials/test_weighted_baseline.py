"""The weighted baseline: its formula, derivatives, limits and what happens as systems grow."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from committee_parts import Born, Heads, PerElement

from pimd.evaluator import Evaluated, Evaluator
from pimd.potentials.base import Potential, Structure, Wanted
from pimd.potentials.committee import Committee
from pimd.potentials.registry import make_potential
from pimd.testing import check_potential, example_structures

STRUCTURES = example_structures(7.0)
N = np.array([len(s) for s in STRUCTURES])
STARTS = np.array([0, *N.cumsum()])
BASELINE = "lennard_jones, mode: smooth, cutoff: 7.0, sigma: 3.3"
STRENGTHS = (30.0, 55.0, 80.0)
KNOWN = ("wb_mixing", "baseline_energy", "committee_energy")
EVERYTHING = Wanted(properties=KNOWN, member_forces=True, member_virials=True)


def committee(**options: Any) -> Committee:
    chosen: dict[str, Any] = {
        "members": [Born(s) for s in STRENGTHS], "baseline": BASELINE, "sigma_b": 0.05,
        "alpha": 1.3, "stacking": "never", "device": "cpu",
    }
    return Committee(**{**chosen, **options})


def evaluate(potential: Potential, wanted: Wanted = EVERYTHING, structures=None) -> Evaluated:
    return Evaluator(potential, force_limit=1e9).evaluate_structures(
        STRUCTURES if structures is None else structures, wanted
    )


def of(spec: Any) -> Evaluated:
    """The prediction of one part alone."""
    return evaluate(spec if isinstance(spec, Potential) else make_potential(spec), Wanted())


def per_structure(forces: np.ndarray) -> list[np.ndarray]:
    return np.split(forces, STARTS[1:-1])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"learned": "total"},
        {"composition": {"Ar": 0.3}, "learned": "total"},
        {"sigma_b": 0.005, "alpha": 0.7},
        {"members": [Heads([30.0, 40.0, 90.0], head=45.0), Born(70.0)]},
        {"stacking": "always"},
        {"members": [f"harmonic, k: {k}" for k in (0.005, 0.01, 0.02)], "sigma_b": 0.1},
    ],
    ids=["difference", "total", "composition", "unsure", "ensemble", "stacked", "harmonic"],
)
def test_contract_and_derivatives(options: dict) -> None:
    """Forces and virials are those of U by finite differences, to 1e-6, where w is neither 0
    nor 1 and its gradient matters."""
    potential = committee(**options)
    w = evaluate(potential).properties["wb_mixing"]
    assert ((w > 0.05) & (w < 0.95)).any(), w
    print(w, check_potential(potential, STRUCTURES))


@pytest.mark.parametrize("learned", ["difference", "total"])
@pytest.mark.parametrize("composition", [0.0, 0.4])
def test_formula(learned: str, composition: float) -> None:
    """Against the formula written out structure by structure from the parts alone."""
    alpha, sigma_b = 1.3, 0.05
    found = evaluate(
        committee(learned=learned, composition={"Ar": composition} if composition else None)
    )
    base, parts = of(BASELINE), [of(Born(s)) for s in STRENGTHS]
    sign = 1.0 if learned == "total" else 0.0
    for k, n in enumerate(N):
        v = np.array([p.energies[k] - sign * base.energies[k] for p in parts])
        own = np.array([p.energies[k] + (1 - sign) * base.energies[k] for p in parts])
        e0, m = composition * n, len(parts)
        variance, s_b = alpha**2 * v.var(ddof=1), n * sigma_b**2
        w = s_b / (s_b + variance)
        u = base.energies[k] + e0 + w * (v.mean() - e0)
        assert found.energies[k] == pytest.approx(u, abs=1e-12)
        assert found.properties["wb_mixing"][k] == pytest.approx(w, rel=1e-12)
        assert found.properties["baseline_energy"][k] == pytest.approx(base.energies[k], rel=1e-14)
        # a member alone is known from what is told
        told = found.properties["committee_energy"][k]
        np.testing.assert_allclose(
            told + (found.member_energies[:, k] - found.energies[k]) / alpha, own, atol=1e-12
        )
        for name, cut in (("forces", per_structure), ("virials", list)):
            f_b = cut(getattr(base, name))[k]
            f = np.array([cut(getattr(p, name))[k] - sign * f_b for p in parts])
            covariance = np.tensordot(v - v.mean(), f - f.mean(0), 1) / (m - 1)
            slope = -2 * (v.mean() - e0) * s_b / (s_b + variance) ** 2 * alpha**2
            expected = f_b + w * f.mean(0) + slope * covariance
            assert np.abs(slope * covariance).max() > 1e-3 * np.abs(expected).max()
            np.testing.assert_allclose(
                cut(getattr(found, name))[k], expected, rtol=0, atol=1e-11 * np.abs(f).max()
            )


def test_spread_is_that_of_the_models_and_the_mean_is_what_is_sampled() -> None:
    """The weight takes nothing off sigma: else an extrapolation would look certain."""
    found = evaluate(committee())
    plain = evaluate(committee(baseline=None), Wanted())
    np.testing.assert_allclose(
        found.member_energies.std(0, ddof=1), plain.member_energies.std(0, ddof=1), rtol=1e-10
    )
    np.testing.assert_allclose(found.member_energies.mean(0), found.energies, rtol=0, atol=1e-13)


def test_sure_members_give_the_corrected_potential() -> None:
    found = evaluate(committee(members=[Born(55.0), Born(55.0)]))
    base, part = of(BASELINE), of(Born(55.0))
    np.testing.assert_array_equal(found.properties["wb_mixing"], 1.0)
    for name in ("energies", "forces", "virials"):
        expected = getattr(base, name) + getattr(part, name)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(getattr(found, name), expected, rtol=0, atol=1e-14 * scale)


def test_unsure_members_give_the_baseline() -> None:
    """w ~ S_b/S as sigma grows: U -> V_b and F -> F_b in proportion, up to terms of order w."""
    base = of(BASELINE)
    before: list[float] | None = None
    largest_w = 1.0
    for alpha in (1e3, 1e4, 1e5):
        found = evaluate(committee(alpha=alpha))
        off = [np.abs(getattr(found, n) - getattr(base, n)).max() for n in ("energies", "forces")]
        if before is not None:
            np.testing.assert_allclose(off, np.array(before) / 100.0, rtol=3 * largest_w)
        before, largest_w = off, found.properties["wb_mixing"].max()
    assert largest_w < 1e-4
    assert max(off) < 1e-6


def test_composition_is_the_zero_of_the_correction() -> None:
    """Members that count from another zero: the same forces once it is named."""
    shift = {18: 7.0}
    members = [Born(s) for s in STRENGTHS]

    class Shifted(Born):
        def shape(self, batch, vectors):
            own = batch.sum_over_atoms(batch.positions.new_ones(batch.n_atoms)) * shift[18]
            return super().shape(batch, vectors) + own / self.strength

    usual = evaluate(committee(members=members))
    named = evaluate(
        committee(members=[Shifted(s) for s in STRENGTHS], composition={"Ar": 7.0})
    )
    np.testing.assert_allclose(named.energies, usual.energies + 7.0 * N, rtol=1e-12)
    np.testing.assert_allclose(named.forces, usual.forces, rtol=0, atol=1e-10)
    unnamed = committee(members=[Shifted(s) for s in STRENGTHS])
    evaluator = Evaluator(unnamed)
    with pytest.warns(UserWarning, match=r"correction to the baseline is 7\.\d+ eV per atom"):
        found = evaluator.evaluate_structures(STRUCTURES)
    assert np.abs(found.forces - usual.forces).max() > 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluator.evaluate_structures(STRUCTURES)  # said once


# -- size -----------------------------------------------------------------------------------------

SPREADS = {1: np.array([1.0, -1.0, 1.0, -1.0]), 8: np.array([1.0, 1.0, -1.0, -1.0])}


def elements(number: int, other: int) -> tuple[list[Structure], Committee]:
    """Two clusters, both of them far apart in one structure, and a committee whose errors for
    different elements are independent."""
    rng = np.random.default_rng(2)
    cluster = rng.normal(scale=1.5, size=(6, 3))
    far = np.array([500.0, 0.0, 0.0])
    structures = [
        Structure(np.full(6, number), cluster),
        Structure(np.full(6, other), cluster + far),
        Structure(np.repeat([number, other], 6), np.concatenate([cluster, cluster + far])),
    ]
    members = [
        PerElement({z: -0.02 + 0.01 * float(d[i]) for z, d in SPREADS.items()}) for i in range(4)
    ]
    baseline = PerElement({1: -0.5, 8: -0.3})
    return structures, Committee(members, baseline=baseline, sigma_b=0.04, device="cpu")


def test_parts_far_apart_with_independent_errors_are_as_if_alone() -> None:
    """S and S_b both add up: where the parts are alike, so are w, U, forces and virials."""
    structures, potential = elements(1, 8)
    found = evaluate(potential, structures=structures)
    w = found.properties["wb_mixing"]
    assert 0.1 < w[0] < 0.9
    np.testing.assert_allclose(w, w[0], rtol=1e-12)
    assert found.energies[2] == pytest.approx(found.energies[0] + found.energies[1], abs=1e-12)
    np.testing.assert_allclose(found.forces[12:], found.forces[:12], rtol=0, atol=1e-12)
    virials = found.virials
    np.testing.assert_allclose(virials[2], virials[0] + virials[1], rtol=0, atol=1e-10)
    assert np.abs(found.forces).max() > 1e-3


def test_copies_share_their_errors_and_are_weighted_less() -> None:
    """S of two copies is 4 S, S_b is 2 S_b: w = 1/(1 + 2 S/S_b), known, not the same."""
    structures, potential = elements(1, 1)
    found = evaluate(potential, structures=structures)
    w = found.properties["wb_mixing"]
    assert w[0] == pytest.approx(w[1], rel=1e-9)
    ratio = 1.0 / w[0] - 1.0  # S/S_b
    assert w[2] == pytest.approx(1.0 / (1.0 + 2.0 * ratio), rel=1e-9)


def test_the_error_of_the_baseline_grows_with_the_root_of_the_number_of_atoms() -> None:
    """sigma_b is per square root of an atom: i-PI's total is sqrt(N) times that."""
    found = evaluate(committee())
    variance = found.member_energies.var(0, ddof=1)
    w = found.properties["wb_mixing"]
    np.testing.assert_allclose(np.sqrt(variance * w / (1 - w)), 0.05 * np.sqrt(N), rtol=1e-9)
