"""Committee errors of oscillators, whose reweighted averages are exact."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from pimd.analysis.committee import committee_average, exponents, uncertainty_of_spread
from pimd.analysis.reweighting import by_cumulant, directly
from pimd.units import KB_EV_PER_KELVIN

DELTAS = np.array([-0.06, -0.02, 0.02, 0.06])
TEMPERATURE = 1.0 / KB_EV_PER_KELVIN  # kT = 1 eV


def oscillators(n_atoms: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean x^2 and h of members with k = 1 + delta, of n_atoms oscillators with k = kT = 1."""
    sums = np.random.default_rng(seed).chisquare(n_atoms, n)
    return sums / n_atoms, 0.5 * DELTAS[:, None] * sums


def test_cumulants_and_direct_averages() -> None:
    """CEA 1 - delta, exact 1/(1 + delta), next term delta^2."""
    n_atoms, n = 50, 40_000
    a, h = oscillators(n_atoms, n, 0)
    for method, reweight, exact, tolerance in (
        ("cumulant", by_cumulant, 1 - DELTAS, 3e-3), ("direct", directly, 1 / (1 + DELTAS), 3e-3),
    ):  # fmt: skip
        found = committee_average(a, h, method=method)
        blocks = [reweight(a[None, k::10], h[:, k::10])[0] for k in range(10)]
        error = np.std(blocks, axis=0, ddof=1) / np.sqrt(10)
        assert (error < tolerance).all()
        assert (np.abs(found.matrix[0] - exact) < 4 * error).all()
        assert found.model_error == pytest.approx(exact.std(ddof=1), rel=0.05)
        np.testing.assert_allclose(found.second_order[0], DELTAS**2, rtol=0.2, atol=3e-4)
        assert abs(found.mean - 1.0) < 4 * found.statistical_error


def test_the_potential_energy_of_each_member_in_its_own_ensemble() -> None:
    """<k_i x^2/2>_i is kT/2 whatever k_i; other pairs give k_j/k_i of it."""
    x2, h = oscillators(50, 20_000, 10)
    a = 0.5 * (1 + DELTAS)[:, None] * x2
    own = committee_average(a, h, method="direct", paired=True)
    mixed = committee_average(a, h, method="direct")
    exact = 0.5 * (1 + DELTAS)[:, None] / (1 + DELTAS)
    np.testing.assert_allclose(mixed.matrix, exact, atol=6 * mixed.noise)
    np.testing.assert_allclose(np.diag(own.matrix), 0.5, atol=4 * own.statistical_error)
    assert own.model_error < 3 * own.noise < 1e-3
    assert mixed.model_error == pytest.approx(exact.std(ddof=1), rel=0.05)
    assert mixed.model_error > 20 * own.model_error
    with pytest.raises(ValueError, match="same members"):
        committee_average(a[:3], h, paired=True)


def test_the_spread_is_that_of_a_sample() -> None:
    """Two members whose averages are d apart: d/sqrt(2), not d/2."""
    a = np.random.default_rng(11).normal(size=500)
    h = 0.05 * np.array([a, -a])
    found = committee_average(a, h, method="cumulant")
    apart = 2 * 0.05 * a.var()
    assert np.ptp(found.matrix) == pytest.approx(apart, rel=1e-12)
    assert found.model_error == pytest.approx(apart / np.sqrt(2), rel=1e-12)


@pytest.mark.parametrize(
    ("n_members", "known"), [(4, 0.42), (5, 0.36), (8, 0.27), (16, 0.18), (32, 0.13)]
)
def test_a_spread_of_few_members_is_uncertain_itself(n_members: int, known: float) -> None:
    assert uncertainty_of_spread(n_members) == pytest.approx(known, abs=0.005)


@pytest.mark.parametrize("n_members", [2, 4, 8, 16])
def test_so_uncertain_are_the_spreads_of_committees_of_normal_numbers(n_members: int) -> None:
    """Of 2e5 committees."""
    sigma = np.random.default_rng(n_members).normal(size=(200_000, n_members)).std(axis=1, ddof=1)
    assert uncertainty_of_spread(n_members) == pytest.approx(sigma.std() / sigma.mean(), rel=0.01)


def test_the_noise_of_shifts_covers_them() -> None:
    """Of 200 correlated series, 60 to 76 % have their shift within its statistical error."""
    rng = np.random.default_rng(12)
    inside, phi = [], 0.6
    for _ in range(200):
        x = lfilter([np.sqrt(1 - phi**2)], [1.0, -phi], rng.normal(size=(3, 700)))[:, 100:]
        a = 0.6 * x[0] + 0.8 * x[1]
        h = 0.3 * np.array([x[0], x[2]])  # shifts are -0.18 and 0
        found = committee_average(a, h, method="cumulant")
        inside.append(abs(found.matrix[0] - a.mean() - np.array([-0.18, 0.0])) < found.noise)
    share = np.mean(inside)
    assert 0.60 < share < 0.76


def test_kish_efficiency() -> None:
    a, h = oscillators(576, 60_000, 1)
    found = committee_average(a, h, method="cumulant")
    np.testing.assert_allclose(found.efficiency, [0.3086, 0.8869, 0.8952, 0.3968], rtol=0.06)
    np.testing.assert_allclose(found.variances, 0.5 * 576 * DELTAS**2, rtol=0.03)
    assert committee_average(a, h).method == "cumulant"
    assert committee_average(*oscillators(50, 5000, 2)).method == "direct"


def test_the_total_spread_is_made_of_both_parts() -> None:
    """The formula of Imbalzano et al. over the matrix of the cumulant expansion, to rounding."""
    rng = np.random.default_rng(3)
    a, h = rng.normal(size=(5, 400)), rng.normal(size=(4, 400))
    h -= h.mean(axis=0)
    found = committee_average(a, h, method="cumulant")
    m_a, m_v = 5, 4
    total = m_v * (m_a - 1) * found.sigma_observable**2
    total += (m_v - 1) * m_a * found.sigma_potential**2
    assert found.model_error**2 == pytest.approx(total / (m_a * m_v - 1), rel=1e-12)


def test_observable_and_potential_are_not_exchangeable() -> None:
    rng = np.random.default_rng(4)
    h = rng.normal(size=(2, 1000))
    a = 3.0 + 0.1 * h + rng.normal(size=(2, 1000))
    right = committee_average(a, h - h.mean(axis=0), method="cumulant")
    swapped = committee_average(h, a - a.mean(axis=0), method="cumulant")
    assert right.sigma_potential != pytest.approx(swapped.sigma_potential, rel=0.1)
    assert right.mean != pytest.approx(swapped.mean, rel=0.1)


def test_exponents_are_means_over_all_beads() -> None:
    rng = np.random.default_rng(5)
    v = rng.normal(size=(3, 6, 4))
    h = exponents(v, v.mean(axis=0), 300.0)
    beta = 1.0 / (KB_EV_PER_KELVIN * 300.0)
    np.testing.assert_allclose(h, beta * (v - v.mean(axis=0)).mean(axis=-1))
    np.testing.assert_allclose(h.sum(axis=0), 0.0, atol=1e-12)
    first_bead = beta * (v - v.mean(axis=0))[..., 0]
    assert np.abs(h - first_bead).max() > 1.0


def test_recentred_members_are_about_what_was_sampled() -> None:
    rng = np.random.default_rng(6)
    v, sampled = rng.normal(size=(3, 6, 4)), rng.normal(size=(6, 4))
    away = exponents(v, sampled, 300.0)
    assert np.abs(away.mean(axis=0)).max() > 1.0
    centred = exponents(v, sampled, 300.0, recentre=True)
    np.testing.assert_allclose(centred.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(centred - centred[0], away - away[0], atol=1e-12)


def test_what_should_make_a_reader_careful_is_said() -> None:
    a, h = oscillators(50_000, 2000, 7)
    assert any("too far apart" in w for w in committee_average(a, h).warnings)
    noise = np.random.default_rng(8).normal(size=300)
    small = 1e-4 * np.random.default_rng(9).normal(size=(2, 300))
    unresolved = committee_average(noise, small)
    assert not unresolved.resolved
    assert any("sample longer" in w for w in unresolved.warnings)
    with pytest.raises(ValueError, match="use the cumulant"):
        committee_average(a, h, method="direct")


@pytest.mark.parametrize(
    ("shapes", "match"),
    [
        (((1, 5, 4), (5, 4)), "at least 2 members"),
        (((3, 5, 4), (5, 3)), "what was sampled"),
    ],
)
def test_wrong_energies_are_refused(shapes: tuple[tuple[int, ...], ...], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        exponents(np.zeros(shapes[0]), np.zeros(shapes[1]), 300.0)
    with pytest.raises(ValueError, match="temperature"):
        exponents(np.zeros((2, 3, 4)), np.zeros((3, 4)), 0.0)
    with pytest.raises(ValueError, match="observable"):
        committee_average(np.zeros(4), np.zeros((2, 5)))
    with pytest.raises(ValueError, match="method"):
        committee_average(np.arange(5.0), np.zeros((2, 5)), method="exact")
