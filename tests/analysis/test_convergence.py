"""Extrapolation in beads and time step, on the exact averages of an oscillator at P and dt."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from pimd.analysis.comparison_result import comparison_result
from pimd.analysis.convergence import limit, pooled
from pimd.analysis.run_convergence import compare
from pimd.analysis.run_estimates import RunEstimates
from pimd.results.quantity import Quantity
from pimd.results.style import new_figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from physics.references import oscillator, sampled_oscillator


def test_beads_to_infinity() -> None:
    """x = 5: the energy at 16 to 64 beads, known to 1e-4, gives that of infinitely many."""
    beads = np.array([16, 24, 32, 64])
    rng = np.random.default_rng(3)
    exact = np.array([oscillator(5.0, p).energy for p in beads])
    found = limit(1 / beads, exact + 1e-4 * rng.normal(size=4), [1e-4] * 4)
    true = oscillator(5.0, np.inf).energy
    assert abs(found.value - true) < 4 * found.error
    assert found.error < 2e-4
    assert found.used.all()
    assert not found.warnings
    assert found.finest == pytest.approx(oscillator(5.0, 64).energy - true, abs=4e-4)
    assert abs(exact[0] - true) > 50 * found.error  # P = 16 itself is far off


def test_beads_too_few_for_the_line_are_left_out() -> None:
    """With 4 and 6 beads the oscillator is far from 1/P^2."""
    beads = np.array([4, 6, 32, 48, 64, 96])
    exact = [oscillator(10.0, p).energy for p in beads]
    found = limit(1 / beads, exact, [3e-4] * 6)
    assert list(1 / found.h[~found.used]) == [6, 4]
    assert any("left out" in text for text in found.warnings)
    assert abs(found.value - oscillator(10.0, np.inf).energy) < 2 * found.error


def test_time_step_to_zero() -> None:
    """K_td under OBABO at P = 8, dt 0.05 to 0.3 in the oscillator's own units."""
    steps = [0.05, 0.1, 0.2, 0.3]
    values = [sampled_oscillator(8, 5.0, 1.0, dt, "obabo").kinetic_td for dt in steps]
    found = limit(steps, values, [1e-4] * 4)
    assert found.value == pytest.approx(0.242122, abs=3 * found.error)
    assert found.slope < -20 * found.slope_error


def test_the_line_is_the_weighted_one() -> None:
    rng = np.random.default_rng(0)
    x = np.array([0.1, 0.2, 0.3])
    errors = np.array([0.01, 0.02, 0.05])
    draws = np.array([
        (found.value, found.slope)
        for found in (limit(x, 1 + 2 * x**2 + errors * rng.normal(size=3), errors)
                      for _ in range(2000))
        if found.used.all()
    ])
    found = limit(x, 1 + 2 * x**2, errors)
    assert (found.value, found.slope) == (pytest.approx(1), pytest.approx(2))
    assert found.chi2 < 1e-20
    assert draws.mean(axis=0) == pytest.approx([1, 2], abs=0.05)
    assert draws.std(axis=0) == pytest.approx([found.error, found.slope_error], rel=0.06)


def test_what_cannot_be_extrapolated() -> None:
    with pytest.raises(ValueError, match="two different"):
        limit([0.1, 0.1], [1, 2], [1, 1])
    with pytest.raises(ValueError, match="positive errors"):
        limit([0.1, 0.2], [1, 2], [np.nan, 1])
    with pytest.raises(ValueError, match="each h"):
        limit([0.1, 0.2], [1, 2, 3], [1, 1, 1])
    assert any("two points" in text for text in limit([0.1, 0.2], [1, 2], [1, 1]).warnings)


def test_pooling() -> None:
    found = pooled([1.0, 1.1], [0.1, 0.2])
    assert found.value == pytest.approx((1.0 * 100 + 1.1 * 25) / 125)
    assert found.error == pytest.approx(1 / np.sqrt(125))
    assert not found.warnings
    apart = pooled([1.0, 3.0, 1.1], [0.1, 0.1, 0.1])
    assert apart.probability < 1e-6
    assert "do not" in apart.warnings[0]
    with pytest.raises(ValueError, match="positive errors"):
        pooled([1.0], [0.0])


def test_runs_that_differ_in_the_time_step() -> None:
    """Grouped by what else they are, each quantity extrapolated, and drawn."""
    runs = []
    for n_beads in (8, 16):
        for dt in (0.1, 0.2, 0.3):
            exact = sampled_oscillator(n_beads, 5.0, 1.0, dt, "obabo")
            run = RunEstimates(f"{n_beads}, {dt}", 1, n_beads, dt, 300.0, None)
            run.add(Quantity("kinetic energy, thermodynamic", exact.kinetic_td, 1e-3, "eV"))
            run.add(Quantity("potential energy", exact.potential, 1e-3, "eV"))
            run.add(Quantity("temperature", 300.0, 1.0, "K"))
            runs.append(run)
    found = compare(runs)
    assert list(found.steps) == ["300 K, 16 beads", "300 K, 8 beads"]
    for title, n_beads in (("300 K, 16 beads", 16), ("300 K, 8 beads", 8)):
        limits = found.steps[title]
        assert set(limits) == {"kinetic energy, thermodynamic", "potential energy"}
        for one in limits.values():
            true = 0.5 * oscillator(5.0, n_beads).energy
            assert abs(one.value - true) < 3 * one.error
    assert len(found.beads) == 3  # of each time step
    result = comparison_result(found)
    assert set(result.figures) == {"beads", "time_step"}
    figure = new_figure()
    result.figures["time_step"](figure)
    assert len(figure.axes) == 2
