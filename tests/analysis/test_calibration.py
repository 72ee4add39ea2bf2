"""Calibration of committees whose members and references are drawn from known distributions."""

from __future__ import annotations

import numpy as np
import pytest

from pimd.analysis.calibration import calibration_report


def draws(n_members: int, n: int, alpha: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Members about a centre with widths that differ, references alpha times as wide."""
    rng = np.random.default_rng(seed)
    centre, width = rng.normal(size=n), rng.uniform(0.05, 3.0, n)
    members = centre + width * rng.normal(size=(n_members, n))
    return members, centre + alpha * width * rng.normal(size=n)


def test_alpha_of_eight_members_and_what_it_is_tested_on() -> None:
    """alpha = 1.7; <z^2> and the coverage of folds that alpha was not fitted to."""
    n = 100_000
    report = calibration_report(*draws(8, n, 1.7, seed=1))
    assert report.alpha == pytest.approx(1.700, abs=0.01)
    assert report.method == "finite_m"
    expected = (1 + 1 / (8 * 1.7**2)) * 7 / 5
    assert report.z_expected == pytest.approx(expected, rel=0.01)
    assert report.z_squared == pytest.approx(expected, rel=0.03)
    assert report.miscalibration < 3 / np.sqrt(n)
    np.testing.assert_allclose(report.coverage, report.levels, atol=5 / np.sqrt(n))
    assert report.likelihood < report.likelihood_before
    assert not report.warnings


def test_a_normal_distribution_is_not_what_eight_members_make() -> None:
    """Against a normal law the same committee would look ill calibrated: t with 7 degrees."""
    members, reference = draws(8, 50_000, 1.0, seed=2)
    right = calibration_report(members, reference)
    naive = calibration_report(members, reference, method="likelihood")
    assert right.miscalibration < 0.005 < naive.miscalibration
    assert right.likelihood < naive.likelihood


def test_predicted_and_actual_errors_of_bins() -> None:
    """Many members know their width: errors of points of similar s are those predicted."""
    report = calibration_report(*draws(64, 40_000, 0.6, seed=3))
    np.testing.assert_allclose(
        report.actual / report.predicted, 1.0, atol=5 * (0.5 / report.counts.min()) ** 0.5
    )
    assert report.predicted.max() > 10 * report.predicted.min()
    assert report.counts.sum() <= 40_000


def test_alpha_is_tested_on_what_it_was_not_fitted_to() -> None:
    """With few points, <z^2> of points that alpha was fitted to is 1 by construction; left-out
    points tell that it is more."""
    held_out = []
    for seed in range(200):
        report = calibration_report(*draws(200, 10, 1.0, seed), method="likelihood", n_folds=5)
        held_out.append(report.z_squared)
    # <1/mean of 8 squares of normal deviates> = 8/6
    assert np.mean(held_out) == pytest.approx(8 / 6, abs=4 * np.std(held_out) / np.sqrt(200))
    assert np.std(held_out) / np.sqrt(200) < 0.08


def test_energies_that_count_from_another_zero_are_told() -> None:
    members, reference = draws(8, 400, 1.0, seed=4)
    report = calibration_report(members, reference + 50.0)
    assert any("same zero" in line for line in report.warnings)


def test_few_members_are_told() -> None:
    report = calibration_report(*draws(4, 400, 1.0, seed=5))
    assert report.method == "likelihood"
    assert report.z_expected == 1.0
    assert any("too few" in line for line in report.warnings)


def test_what_cannot_be_tested_is_refused() -> None:
    members, reference = draws(8, 9, 1.0, seed=6)
    with pytest.raises(ValueError, match="at least 10"):
        calibration_report(members, reference)
    with pytest.raises(ValueError, match="expected members"):
        calibration_report(members, reference[:5])
