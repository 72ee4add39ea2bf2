"""The drift of the conserved quantity and its error; long series made short."""

from __future__ import annotations

import numpy as np
import pytest
import report_runs

from pimd.report.conserved import conserved_section, drift
from pimd.report.drawing import thinned, time_axis


def test_exact_line() -> None:
    time = 0.5 * np.arange(50) + 3.0
    found = drift(time, 2.0 - 0.25 * time, 10)
    assert found.slope == pytest.approx(-0.25, rel=1e-12)
    assert found.scatter == pytest.approx(0.0, abs=1e-13)
    np.testing.assert_allclose(found.line, 2.0 - 0.25 * time[10:], rtol=1e-12)


def test_error_of_the_slope_covers() -> None:
    """One standard error holds the true slope in 68 % of 200 correlated series: 60 to 76 %."""
    time = np.arange(800.0)
    inside = 0
    for seed in range(200):
        found = drift(time, 0.01 * time + report_runs.correlated(800, seed, 0.6), 0)
        inside += abs(found.slope - 0.01) < found.error
    assert 120 <= inside <= 152


def test_too_few_independent_samples_have_no_error() -> None:
    time = np.arange(30.0)
    found = drift(time, np.sin(2 * np.pi * time / 60.0) ** 3, 0)
    assert np.isnan(found.error)
    with pytest.raises(ValueError, match="needs 3 samples"):
        drift(time, time, 28)


def test_units() -> None:
    """1e-5 eV/fs of six atoms are 10/6 meV per atom and picosecond."""
    section = conserved_section(report_runs.run(drift=1e-5), 0.0)
    assert section is not None
    (found,) = section.quantities
    assert found.unit == "meV/atom/ps"
    assert abs(found.value - 10.0 / 6.0) < 3.0 * found.error < 0.5


def test_thinned_lines_keep_their_extremes() -> None:
    x = np.arange(50_000.0)
    y = np.random.default_rng(1).normal(size=x.size)
    y[31_234], y[77] = 40.0, np.nan
    short_x, short_y = thinned(x, y, 500)
    assert len(short_x) <= 500
    assert (np.diff(short_x) > 0).all()
    assert short_y.max() == 40.0
    assert short_y.min() == np.nanmin(y)
    assert short_x[short_y.argmax()] == 31_234


@pytest.mark.parametrize(("longest", "unit"), [(900.0, "fs"), (2000.0, "ps"), (3e6, "ns")])
def test_units_of_time(longest: float, unit: str) -> None:
    shown, found = time_axis(np.array([0.0, longest]))
    assert found == unit
    assert shown[1] == longest / {"fs": 1.0, "ps": 1e3, "ns": 1e6}[unit]
