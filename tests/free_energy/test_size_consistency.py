"""Units of a system, and differences per unit of several sizes."""

from __future__ import annotations

import numpy as np
import pytest

from pimd.free_energy.size_consistency import count_units, size_consistency

WATER = np.array([8, 1, 1] * 5)
ACETIC_ACID = np.array([6, 1, 1, 1, 6, 8, 8, 1] * 3)


def test_units_are_counted() -> None:
    assert count_units(WATER, "system") == 1
    assert count_units(WATER, "atom") == 15
    assert count_units(WATER, "H2O") == count_units(WATER, "HOH") == 5
    assert count_units(ACETIC_ACID, "CH3COOH") == 3
    assert count_units(ACETIC_ACID, "CH2O") == 6


@pytest.mark.parametrize(
    ("per", "match"),
    [
        ("H2O2", "no multiple"), ("H2", "no multiple"), ("H2OC", "no multiple"),
        ("H4O2", "no multiple"), ("water", "such as H2O"), ("Xx2O", "no element Xx"),
        ("H0O", "such as H2O"),
    ],
)  # fmt: skip
def test_what_the_atoms_are_not_made_of_is_refused(per: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        count_units(WATER, per)


def test_sizes_that_agree_and_sizes_that_do_not() -> None:
    """200 draws each: chance alone is below 1 % in about 1 % of them."""
    rng, units, errors = np.random.default_rng(0), [16, 32, 64, 128], np.full(4, 0.1)
    same = [size_consistency(units, 2.0 + 0.1 * rng.standard_normal(4), errors) for _ in range(200)]
    assert np.mean([not found.consistent for found in same]) < 0.04
    assert np.std([found.mean for found in same]) == pytest.approx(0.05, rel=0.15)
    assert same[0].error == pytest.approx(0.05)
    sloped = [
        size_consistency(
            units, 2.0 + 16.0 / np.array(units) + 0.1 * rng.standard_normal(4), errors
        )
        for _ in range(200)
    ]
    assert np.mean([found.consistent for found in sloped]) < 0.02
    limits = np.array([(found.limit, found.limit_error) for found in sloped])
    assert 0.60 <= np.mean(np.abs(limits[:, 0] - 2.0) < limits[:, 1]) <= 0.76
    slopes = np.array([(found.slope, found.slope_error) for found in sloped])
    assert 0.60 <= np.mean(np.abs(slopes[:, 0] - 16.0) < slopes[:, 1]) <= 0.76


@pytest.mark.parametrize(
    ("units", "errors"), [([4], [1.0]), ([4, 4], [1.0, 1.0]), ([4, 8], [1.0, 0.0])]
)
def test_one_size_is_nothing_to_compare(units: list[int], errors: list[float]) -> None:
    with pytest.raises(ValueError, match="two sizes"):
        size_consistency(units, np.zeros(len(units)), errors)
