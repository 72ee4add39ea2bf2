"""MBAR over oscillators, whose free energies are exact."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pimd.free_energy.perturbation import NoOverlap, bidirectional
from pimd.free_energy.states import mbar

STATES = ((1.0, 0.0), (2.0, 0.5), (4.0, 1.0))
EXACT = np.array([0.0, 0.346574, 0.693147])


def energies(x: np.ndarray, states: tuple[tuple[float, float], ...] = STATES) -> np.ndarray:
    return np.array([0.5 * k * (x - x0) ** 2 for k, x0 in states])


def samples(state: tuple[float, float], seed: int, n: int = 4000) -> np.ndarray:
    return state[1] + np.random.default_rng(seed).normal(0, 1 / math.sqrt(state[0]), n)


def test_three_oscillators() -> None:
    found = mbar([energies(samples(state, seed)) for seed, state in enumerate(STATES)])
    off = found.differences[0] - EXACT
    assert (np.abs(off[1:]) < 3 * found.errors[0, 1:]).all()
    assert (found.errors[0, 1:] < (0.011, 0.02)).all()
    np.testing.assert_allclose(found.differences, -found.differences.T, atol=1e-10)
    np.testing.assert_allclose(found.overlap.sum(axis=1), 1.0)
    assert (found.n_effective > 3000).all()
    assert not found.warnings


def test_two_states_are_bar() -> None:
    a, b = (energies(samples(state, seed))[:2] for seed, state in enumerate(STATES[:2]))
    pair = mbar([a, b])
    bar = bidirectional(a[1] - a[0], b[0] - b[1])
    assert pair.differences[0, 1] == pytest.approx(bar.difference, abs=1e-7)
    assert pair.errors[0, 1] == pytest.approx(bar.error, rel=0.05)


def test_a_state_that_was_not_sampled_is_reached_from_the_others() -> None:
    tables = [energies(samples(state, seed, 8000)) for seed, state in enumerate(STATES)]
    tables[1] = np.zeros((3, 0))
    found = mbar(tables)
    assert abs(found.differences[0, 1] - EXACT[1]) < 4 * found.errors[0, 1]
    assert found.errors[0, 1] < 0.03


def test_repeated_samples_do_not_make_errors_smaller() -> None:
    tables = [energies(samples(state, seed)) for seed, state in enumerate(STATES)]
    single, repeated = mbar(tables), mbar([np.repeat(table, 5, axis=1) for table in tables])
    np.testing.assert_allclose(repeated.differences, single.differences, atol=1e-6)
    assert repeated.errors[0, 2] == pytest.approx(single.errors[0, 2], rel=0.25)
    np.testing.assert_allclose(repeated.n_effective, single.n_effective, rtol=0.3)


def test_states_without_overlap_are_refused_and_little_overlap_is_said() -> None:
    far = ((1.0, 0.0), (1.0, 0.5), (1.0, 40.0))
    with pytest.raises(NoOverlap, match=r"states \[2\] have no overlap"):
        mbar([energies(samples(s, k), far) for k, s in enumerate(far)])
    near = ((1.0, 0.0), (1.0, 5.0))
    found = mbar([energies(samples(s, k, 20_000), near) for k, s in enumerate(near)])
    assert "put a state between them" in found.warnings[0]


@pytest.mark.parametrize(
    "bad",
    [[np.zeros((1, 5))], [np.zeros((2, 5)), np.zeros((3, 5))], [np.zeros((2, 0))] * 2,
     [np.full((2, 5), np.nan)] * 2],
)  # fmt: skip
def test_what_is_no_table_of_energies_is_refused(bad: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"expected for each|not finite"):
        mbar(bad)
