"""Crossing of work distributions and convergence, where the answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from correlated_series import correlated

from pimd.free_energy.diagnostics import convergence, crossing
from pimd.free_energy.perturbation import NoOverlap, bidirectional, one_sided

EXACT = 0.7


def gaussian_work(spread: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Both works of two states EXACT apart: means EXACT + s^2/2 and -EXACT + s^2/2."""
    shift = 0.5 * spread**2
    first, last = (spread * correlated(n, 0.0, 2 * seed + k) for k in (0, 1))
    return EXACT + shift + first, -EXACT + shift + last


def test_distributions_of_work_cross_at_the_difference() -> None:
    found = [crossing(*gaussian_work(1.5, 20_000, seed)) for seed in range(20)]
    error = np.std(found, ddof=1) / math.sqrt(20)
    assert error < 0.01
    assert abs(np.mean(found) - EXACT) < 4 * error
    bar = [bidirectional(*gaussian_work(1.5, 20_000, seed)).difference for seed in range(3)]
    np.testing.assert_allclose(found[:3], bar, atol=0.06)


def test_distributions_apart_do_not_cross() -> None:
    first, last = gaussian_work(20.0, 1000, 0)
    assert math.isnan(crossing(first, last))
    assert math.isnan(crossing(np.arange(3.0), -np.arange(3.0)))  # too few in any bin


def estimate(series: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Of the series, and of the work in the other direction as if it were as much."""
    found = [one_sided(series[0]), one_sided(-series[0])]
    return np.array([f.difference for f in found]), np.array([f.error for f in found])


def test_stationary_samples_converge_from_both_ends() -> None:
    w = correlated(4000, 0.5, 1)
    found, other = convergence(estimate, [w])
    assert other.first[2] == one_sided(-w[:1200]).difference
    assert other.last_errors[2] == one_sided(-w[2800:]).error
    whole = one_sided(w)
    assert found.fractions[-1] == 1.0
    assert found.first[-1] == found.last[-1] == whole.difference
    assert found.first[4] == one_sided(w[:2000]).difference
    assert found.last[4] == one_sided(w[2000:]).difference
    assert abs(found.drift) < 3


def test_a_drift_is_seen() -> None:
    w = correlated(4000, 0.5, 1) + np.where(np.arange(4000) < 2000, 0.0, 0.25)
    assert convergence(estimate, [w])[0].drift > 3


def test_parts_that_are_too_small_have_no_answer() -> None:
    found, _ = convergence(estimate, [correlated(20, 0.0, 1), np.zeros((2, 0))])
    assert np.isnan(found.first[0])
    assert found.first[-1] == pytest.approx(one_sided(correlated(20, 0.0, 1)).difference)
    wide = np.where(np.arange(60) % 10 == 9, -6.0, 0.0)  # one in ten carries the average
    some, _ = convergence(estimate, [wide])
    assert np.isnan(some.first[1:-2]).all()
    assert math.isnan(some.drift)
    with pytest.raises(NoOverlap):
        convergence(estimate, [100.0 * correlated(50, 0.0, 1)])
