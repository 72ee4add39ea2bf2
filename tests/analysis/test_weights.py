"""Exponential averages where exp overflows, and the Kish sample size where it is known."""

from __future__ import annotations

import numpy as np
import pytest

from pimd.analysis.weights import kish, log_mean_exp, normalised


def test_they_are_what_they_say_and_do_not_overflow() -> None:
    x = np.random.default_rng(0).normal(0, 2, (3, 50))
    np.testing.assert_allclose(log_mean_exp(x), np.log(np.exp(x).mean(axis=1)), rtol=1e-13)
    np.testing.assert_allclose(log_mean_exp(x, axis=0), np.log(np.exp(x).mean(axis=0)), rtol=1e-12)
    for shift in (-1e5, 1e5):
        np.testing.assert_allclose(log_mean_exp(x + shift) - shift, log_mean_exp(x), atol=1e-9)
        np.testing.assert_allclose(normalised(x + shift), normalised(x), rtol=1e-9)
        np.testing.assert_allclose(kish(x + shift), kish(x), rtol=1e-9)
    np.testing.assert_allclose(normalised(x).sum(axis=1), 1.0)


def test_minus_infinity_is_a_weight_of_zero() -> None:
    assert log_mean_exp(np.array([-np.inf, 0.0])) == pytest.approx(np.log(0.5))
    assert log_mean_exp(np.array([-np.inf, -np.inf])) == -np.inf
    assert kish(np.array([-np.inf, 3.0, 3.0])) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="no state in common"):
        normalised(np.array([-np.inf, -np.inf]))


@pytest.mark.parametrize("bad", [[], [np.nan, 0.0], [np.inf, 0.0], 3.0])
def test_what_is_no_exponent_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="exponent"):
        log_mean_exp(np.array(bad))


def test_kish_of_equal_and_of_single_weights() -> None:
    assert kish(np.zeros(17)) == pytest.approx(17.0)
    assert kish(np.array([0.0, -800.0, -900.0])) == pytest.approx(1.0)


def test_kish_efficiency_of_oscillators() -> None:
    """x of k = 1 weighted to k = 1 + d: the efficiency of n dof is (sqrt(1 + 2d)/(1 + d))^n."""
    rng, delta, n_dof, n = np.random.default_rng(1), 0.2, 4, 400_000
    x2 = rng.chisquare(n_dof, n)
    exact = (np.sqrt(1 + 2 * delta) / (1 + delta)) ** n_dof
    assert kish(-0.5 * delta * x2) / n == pytest.approx(exact, rel=3e-3)
