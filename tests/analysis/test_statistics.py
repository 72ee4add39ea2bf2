"""Averages of series whose mean, correlation and beginning are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from pimd.analysis.statistics import (
    TooFewSamples,
    average,
    blocking_error,
    bootstrap,
    inefficiency,
)


def ar1(n: int, phi: float, seed: int, mean: float = 0.0) -> np.ndarray:
    """x_t = phi x_{t-1} + e_t, stationary, variance 1; g = (1 + phi)/(1 - phi)."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(n + 1) * math.sqrt(1 - phi**2)
    noise[0] /= math.sqrt(1 - phi**2)
    return mean + lfilter([1.0], [1.0, -phi], noise)[1:]


def test_inefficiency_of_a_known_process() -> None:
    for phi in (0.0, 0.5, 0.9):
        exact = (1 + phi) / (1 - phi)
        found = np.mean([inefficiency(ar1(50_000, phi, seed)) for seed in range(4)])
        assert found == pytest.approx(exact, rel=0.1)


def test_blocking_says_the_same() -> None:
    for phi in (0.0, 0.9):
        exact = math.sqrt((1 + phi) / (1 - phi) / 50_000)
        found = np.mean([blocking_error(ar1(50_000, phi, seed)) for seed in range(8)])
        assert found == pytest.approx(exact, rel=0.1)


def test_error_bars_cover_what_they_should() -> None:
    """One standard error: 68.3 %; 60 to 76 is three standard deviations of 200 trials."""
    found = [average(ar1(4000, 0.8, seed, mean=2.0), start=0) for seed in range(200)]
    covered = np.mean([abs(a.mean - 2.0) < a.error for a in found])
    assert 0.60 <= covered <= 0.76
    assert not any(a.warnings for a in found[:20] if a.n_effective > 300)


def test_a_beginning_out_of_equilibrium_is_left_out() -> None:
    x = ar1(5000, 0.8, 3)
    x += 30.0 * np.exp(-np.arange(5000) / 50.0)
    found = average(x)
    assert 100 < found.start < 1500
    assert abs(found.mean) < 4 * found.error
    assert abs(average(x, start=0).mean) > 0.2


def test_the_end_of_a_slow_series_is_not_taken_for_its_equilibrium() -> None:
    """Some 12 independent samples, stationary: nothing has to be left out.

    Searched to its end, the mean is off by 3 errors: what little is left looks independent.
    """
    found = [average(ar1(1000, math.exp(-1 / 40), seed)) for seed in range(60)]
    assert max(a.start for a in found) <= 333
    off = math.sqrt(np.mean([a.mean**2 for a in found]))
    said = math.sqrt(np.nanmean([a.error**2 for a in found]))
    assert off < 1.5 * said


def test_a_drift_to_the_end_is_said() -> None:
    x = ar1(2000, 0.5, 5) + np.linspace(20.0, 0.0, 2000)
    found = average(x)
    assert any("equilibrium came late, if at all" in line for line in found.warnings)
    assert not any("came late" in line for line in average(x, start=660).warnings)


def test_too_few_samples_have_no_error() -> None:
    slow = np.linspace(0.0, 1.0, 400)  # one drift
    found = average(slow, start=0)
    assert math.isnan(found.error)
    assert "too few" in found.warnings[0]
    with pytest.raises(TooFewSamples, match="run longer"):
        found.checked()
    few = average(np.random.default_rng(0).normal(size=12), start=0)
    assert few.error > 0
    assert "uncertain" in few.warnings[0]
    assert few.checked() is few
    assert math.isnan(average(np.array([1.0])).error)


def test_what_does_not_change_has_no_error_and_no_warning() -> None:
    found = average(np.full(100, 1.5))
    assert (found.mean, found.error, found.n_effective, found.blocking) == (1.5, 0.0, 100.0, 0.0)
    assert not found.warnings
    assert str(found) == "1.5 ± 0"


@pytest.mark.parametrize("bad", [np.zeros(0), np.zeros((2, 2)), np.array([1.0, np.nan])])
def test_what_is_no_series_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="series"):
        average(bad)


def test_a_start_beyond_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match="start is 10"):
        average(np.arange(10.0), start=10)


def test_bootstrap_of_a_mean_and_of_a_ratio() -> None:
    x, y = ar1(20_000, 0.8, 1, mean=3.0), ar1(20_000, 0.8, 2, mean=2.0)
    exact = 3.0 / math.sqrt(20_000)  # of a mean: sqrt(g), g = 9
    error = bootstrap(np.mean, x, block=60, seed=1).std(ddof=1)
    assert error == pytest.approx(exact, rel=0.15)
    ratios = bootstrap(lambda a, b: a.mean() / b.mean(), x, y, block=60, seed=2)
    assert ratios.std(ddof=1) == pytest.approx(exact * math.hypot(1 / 2, 3 / 4), rel=0.15)
    np.testing.assert_array_equal(ratios, bootstrap(
        lambda a, b: a.mean() / b.mean(), x, y, block=60, seed=2
    ))  # fmt: skip


def test_bootstrap_keeps_columns_together_and_finds_its_blocks() -> None:
    x = ar1(5000, 0.8, 5)
    pairs = np.stack([x, -x], axis=1)
    values = bootstrap(lambda a, _: a.mean(axis=0), pairs, x, n=20)
    assert values.shape == (20, 2)
    np.testing.assert_allclose(values[:, 0], -values[:, 1])


def test_bootstrap_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="one length"):
        bootstrap(np.mean, np.zeros(10), np.zeros(11))
    with pytest.raises(TooFewSamples, match="run longer"):
        bootstrap(np.mean, np.linspace(0, 1, 100))
