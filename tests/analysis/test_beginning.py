"""Where the beginning of a series ends."""

from __future__ import annotations

import numpy as np
import pytest

from pimd.analysis.beginning import beginning, first_at, settled

TIME = 0.1 * np.arange(3, 1003)
"""fs; most are not what a sum or a product of decimals gives."""


@pytest.mark.parametrize("k", [0, 1, 3, 7, 500, 999])
def test_a_sample_at_the_boundary_is_not_left_out(k: int) -> None:
    assert first_at(TIME, TIME[0] + k * 0.1) == k
    assert first_at(TIME, TIME[k] * (1 + 1e-12)) == k
    assert first_at(TIME, TIME[k] + 1e-3) == k + 1
    assert first_at(TIME, TIME[k] - 1e-3) == k


def test_what_is_asked_for_counts_from_the_first_sample() -> None:
    values = np.random.default_rng(0).normal(size=len(TIME))
    assert beginning(values, TIME, 50.0) == 500
    assert beginning(values, TIME, 0.0) == 0
    with pytest.raises(ValueError, match=r"--skip 0\.1: the run has 0\.0999 ps"):
        beginning(values, TIME, 100.0)


def test_some_is_left_out_in_any_case_and_never_most() -> None:
    rng = np.random.default_rng(1)
    independent = rng.normal(size=1000)
    assert 50 <= settled(independent) <= 333
    slow = np.cumsum(rng.normal(size=1000))
    assert 250 <= settled(slow) <= 333
