"""Mean, spread, centring and calibration: exact identities, and recovery of a known alpha."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pimd.potentials.committee_statistics import (
    c4,
    calibrate,
    calibrate_spread,
    calibrated,
    centred,
    mean,
    spread,
)

rng = np.random.default_rng(3)
MEMBERS = rng.normal(size=(8, 7, 3))


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_numpy_and_torch_give_the_same(kind) -> None:
    members = kind(MEMBERS)
    np.testing.assert_allclose(mean(members), MEMBERS.mean(0), atol=1e-15)
    np.testing.assert_allclose(spread(members), MEMBERS.std(0, ddof=1), rtol=1e-14)
    wide = calibrated(members, 1.7)
    np.testing.assert_allclose(mean(wide), MEMBERS.mean(0), atol=1e-15)
    np.testing.assert_allclose(spread(wide), 1.7 * MEMBERS.std(0, ddof=1), rtol=1e-14)
    sampled = kind(np.arange(21.0).reshape(7, 3))
    moved = centred(members, sampled)
    np.testing.assert_allclose(mean(moved), sampled, atol=1e-14)
    np.testing.assert_allclose(spread(moved), spread(members), rtol=1e-12)


def test_spread_is_of_a_sample() -> None:
    """ddof 1: two members at a distance d have s = d/sqrt(2)."""
    assert float(spread(np.array([1.0, 3.0]))) == pytest.approx(2.0 / np.sqrt(2.0), rel=1e-15)
    with pytest.raises(ValueError, match="at least 2 members"):
        spread(np.ones((1, 4)))


@pytest.mark.parametrize(
    ("n_members", "expected"),
    [(2, np.sqrt(2 / np.pi)), (4, 0.9213), (5, 0.9400), (8, 0.9650), (16, 0.9835), (32, 0.9920)],
)
def test_expected_bias_of_the_spread(n_members: int, expected: float) -> None:
    assert c4(n_members) == pytest.approx(expected, abs=5e-5)
    sample = np.random.default_rng(n_members).normal(size=(n_members, 100_000))
    assert spread(sample).mean() == pytest.approx(c4(n_members), abs=4 / np.sqrt(2e5 * n_members))


def draws(n_members: int, n_points: int, alpha: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Members around a centre with widths that differ, and references alpha times as wide."""
    random = np.random.default_rng(seed)
    centre, width = random.normal(size=n_points), random.uniform(0.1, 3.0, n_points)
    members = centre + width * random.normal(size=(n_members, n_points))
    return members, centre + alpha * width * random.normal(size=n_points)


def test_alpha_is_recovered() -> None:
    """M = 8, 1e5 points: 1.700 +- 0.01."""
    found = calibrate(*draws(8, 100_000, 1.7, seed=1))
    assert found.method == "finite_m"
    assert found.alpha == pytest.approx(1.7, abs=0.01)
    assert found.error < 0.01
    assert abs(found.alpha - 1.7) < 4 * found.error
    assert found.n_points == 100_000


def test_error_of_alpha_is_the_scatter_of_repetitions() -> None:
    found = [calibrate(*draws(12, 2000, 1.3, seed)) for seed in range(60)]
    alphas = np.array([f.alpha for f in found])
    errors = np.array([f.error for f in found])
    assert alphas.std(ddof=1) == pytest.approx(errors.mean(), rel=0.35)  # 9 % expected
    assert alphas.mean() == pytest.approx(1.3, abs=4 * alphas.std() / np.sqrt(60))


def test_likelihood_does_not_correct_for_the_number_of_members() -> None:
    """<z²> = (alpha² + 1/M)(M-1)/(M-3), M = 8: alpha comes out 2.055."""
    found = calibrate(*draws(8, 100_000, 1.7, seed=1), method="likelihood")
    assert found.alpha == pytest.approx(np.sqrt((1.7**2 + 1 / 8) * 7 / 5), abs=0.015)
    assert found.alpha == pytest.approx(2.055, abs=0.02)


def test_likelihood_is_maximal() -> None:
    members, reference = draws(6, 500, 0.8, seed=4)
    errors, width = reference - members.mean(0), spread(members)
    best = calibrate_spread(errors, width, None)
    assert best.method == "likelihood"

    def loss(alpha: float) -> float:
        return float(np.sum(np.log(alpha**2 * width**2) + errors**2 / (alpha * width) ** 2))

    assert loss(best.alpha) < min(loss(0.99 * best.alpha), loss(1.01 * best.alpha))


def test_few_members_are_warned_of() -> None:
    few = draws(5, 50_000, 1.7, seed=2)
    with pytest.warns(UserWarning, match="5 members are too few to correct"):
        found = calibrate(*few)
    assert found.method == "likelihood"
    assert found.alpha == pytest.approx(2.491, abs=0.15)
    with pytest.warns(UserWarning, match="infinite variance"):
        found = calibrate(*few, method="finite_m")
    assert found.alpha == pytest.approx(1.703, abs=0.1)
    with pytest.raises(ValueError, match="finite_m needs at least 4 members, got 3"):
        calibrate(few[0][:3], few[1], method="finite_m")


def test_torch_and_any_shape() -> None:
    members, reference = draws(8, 600, 1.2, seed=6)
    flat = calibrate(members, reference)
    folded = torch.tensor(members).view(8, 20, 30), torch.tensor(reference).view(20, 30)
    shaped = calibrate(*folded)
    assert shaped == flat


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((8, 3)), np.ones(3)), "spreads positive"),
        ((MEMBERS[:, :, 0], np.ones(6)), "expected members"),
        ((np.full((8, 2), np.nan), np.ones(2)), "must be finite"),
        ((MEMBERS[:, 0, 0], np.array(MEMBERS[:, 0, 0].mean())), "all zero"),
        ((np.arange(8.0)[:, None], np.array([3.6])), "even the error of a mean of 8"),
        ((MEMBERS, MEMBERS[0], "guess"), "one of auto, finite_m, likelihood"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibrate(*arguments)
