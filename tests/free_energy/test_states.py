"""MBAR over oscillators, whose free energies are exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
from correlated_series import correlated

from pimd.analysis.quiet_pymbar import using_pymbar
from pimd.free_energy.perturbation import NoOverlap, bidirectional
from pimd.free_energy.states import mbar

STATES = ((1.0, 0.0), (2.0, 0.5), (4.0, 1.0))
EXACT = np.array([0.0, 0.346574, 0.693147])


def energies(x: np.ndarray, states: tuple[tuple[float, float], ...] = STATES) -> np.ndarray:
    return np.array([0.5 * k * (x - x0) ** 2 for k, x0 in states])


def samples(
    state: tuple[float, float], seed: int, n: int = 4000, memory: float = 0.0
) -> np.ndarray:
    return state[1] + correlated(n, memory, seed) / math.sqrt(state[0])


def test_three_oscillators() -> None:
    found = mbar([energies(samples(state, seed, 12_000)) for seed, state in enumerate(STATES)])
    off = found.differences[0] - EXACT
    assert (np.abs(off[1:]) < 3 * found.errors[0, 1:]).all()
    assert (found.errors[0, 1:] < 0.01).all()
    np.testing.assert_allclose(found.differences, -found.differences.T, atol=1e-10)
    np.testing.assert_allclose(found.overlap.sum(axis=1), 1.0)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1.0)
    assert (found.n_effective > 9000).all()
    assert not found.warnings


def test_independent_samples_have_the_errors_of_shirts_and_chodera() -> None:
    tables = [energies(samples(state, seed)) for seed, state in enumerate(STATES)]
    with using_pymbar() as pymbar:
        solved = pymbar.MBAR(np.concatenate(tables, axis=1), [4000] * 3)
        expected = solved.compute_free_energy_differences()["dDelta_f"]
    np.testing.assert_allclose(mbar(tables).errors, expected, rtol=0.05, atol=1e-12)


def test_error_bars_cover_what_they_should() -> None:
    """One standard error over 200 seeds: 60 to 76 %, each state correlated in its own way."""
    drawn, errors = [], []
    for seed in range(200):
        plans = zip(STATES, (1200, 600, 300), (0.9, 0.5, 0.0), strict=True)
        found = mbar([
            energies(samples(state, 10 * seed + k, n, memory))
            for k, (state, n, memory) in enumerate(plans)
        ])
        drawn.append(found.differences[0, 1:] - EXACT[1:])
        errors.append(found.errors[0, 1:])
    covered = (np.abs(drawn) < errors).mean(axis=0)
    assert ((covered >= 0.60) & (covered <= 0.76)).all()
    np.testing.assert_allclose(np.mean(errors, axis=0), np.std(drawn, axis=0), rtol=0.15)


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


def test_a_state_reached_by_a_few_samples_is_refused() -> None:
    """No state of its own samples, and the others have next to none where it is."""
    states = ((1.0, 0.0), (1.0, 0.5), (1.0, 6.0))
    tables = [energies(samples(s, k), states) for k, s in enumerate(states)]
    tables[2] = np.zeros((3, 0))
    with pytest.raises(NoOverlap, match="state 2 rests on"):
        mbar(tables)
    nearer = ((1.0, 0.0), (1.0, 0.5), (1.0, 3.0))
    tables = [energies(samples(s, k, 2000), nearer) for k, s in enumerate(nearer)]
    tables[2] = np.zeros((3, 0))
    assert any("state 2 rests on" in text for text in mbar(tables).warnings)


@pytest.mark.parametrize(
    "bad",
    [[np.zeros((1, 5))], [np.zeros((2, 5)), np.zeros((3, 5))], [np.zeros((2, 0))] * 2,
     [np.full((2, 5), np.nan)] * 2],
)  # fmt: skip
def test_what_is_no_table_of_energies_is_refused(bad: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"expected for each|not finite"):
        mbar(bad)
