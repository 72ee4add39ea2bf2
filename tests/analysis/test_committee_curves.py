"""Committee errors of curves: every point is an average of its own."""

from __future__ import annotations

import numpy as np
import pytest

from pimd.analysis.committee import committee_average
from pimd.analysis.committee_curves import committee_curve

DELTAS = np.array([-0.06, -0.02, 0.02, 0.06])


def distances(n_atoms: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Histograms of |x| of oscillators with k = kT = 1, h of members k = 1 + delta, bin edges."""
    x = np.random.default_rng(seed).normal(size=(n, n_atoms))
    edges = np.linspace(0.0, 3.0, 13)
    curves = np.array([np.histogram(np.abs(row), edges)[0] for row in x]) / n_atoms
    return curves, 0.5 * DELTAS[:, None] * np.square(x).sum(axis=1), edges


def test_the_distribution_of_distances_under_each_member() -> None:
    from scipy.special import erf

    curves, h, edges = distances(50, 5000, 0)
    found = committee_curve(curves, h, method="direct")
    for i, k in enumerate(1 + DELTAS):
        exact = np.diff(erf(edges * np.sqrt(0.5 * k)))
        assert (np.abs(found.matrix[:, i] - exact) < 4.5 * np.hypot(
            found.statistical_error, found.noise)).all()
    exact = np.array([np.diff(erf(edges * np.sqrt(0.5 * k))) for k in 1 + DELTAS])
    strong = exact.std(axis=0, ddof=1) > 3 * found.noise
    assert strong.sum() > 4
    np.testing.assert_allclose(
        found.model_error[strong], exact.std(axis=0, ddof=1)[strong], rtol=0.35
    )


def test_each_point_is_the_average_of_one_observable() -> None:
    curves, h, _ = distances(40, 600, 1)
    for method in ("direct", "cumulant"):
        found = committee_curve(curves, h, method=method)
        for point in (0, 5):
            one = committee_average(curves[:, point], h, method=method)
            np.testing.assert_allclose(found.matrix[point], one.matrix[0], rtol=1e-12)
            assert found.mean[point] == pytest.approx(one.mean, rel=1e-12)
            assert found.model_error[point] == pytest.approx(one.model_error, rel=1e-9)
            assert found.statistical_error[point] == pytest.approx(one.statistical_error, rel=0.3)
            assert found.noise[point] == pytest.approx(one.noise, rel=0.3)


def test_correlated_curves_have_larger_statistical_errors() -> None:
    curves, h, _ = distances(40, 600, 2)
    slow, slow_h = np.repeat(curves, 8, axis=0), np.repeat(h, 8, axis=1)
    fast, found = committee_curve(curves, h), committee_curve(slow, slow_h)
    assert found.inefficiency == pytest.approx(8, rel=0.3)
    np.testing.assert_allclose(found.mean, fast.mean)
    ratio = np.sqrt(np.square(found.statistical_error / fast.statistical_error).mean())
    assert ratio == pytest.approx(1.0, abs=0.25)


def test_a_short_run_has_no_statistical_error() -> None:
    curves, h, _ = distances(40, 20, 3)
    slow = committee_curve(np.repeat(curves[:3], 8, axis=0), np.repeat(h[:, :3], 8, axis=1))
    assert np.isnan(slow.statistical_error).all()
    assert any("no statistical error" in line for line in slow.warnings)
    with pytest.raises(ValueError, match="expected curves"):
        committee_curve(curves[:5], h)
