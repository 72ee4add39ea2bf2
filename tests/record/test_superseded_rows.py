"""Rows that a resumed run wrote twice; values at steps."""

import numpy as np
import pytest

from pimd.record.series import Series, superseded


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        ([], []),
        ([0, 2, 4], [0, 2, 4]),
        ([0, 2, 4, 4, 6], [0, 2, 4, 6]),
        ([0, 2, 4, 6, 8, 4, 6], [0, 2, 4, 6]),  # what followed step 4 was given up
        ([0, 5, 10, 3, 8, 10, 9, 12], [0, 3, 8, 9, 12]),
        ([4, 4, 4], [4]),
    ],
)
def test_a_row_counts_if_all_after_it_are_later(steps, kept):
    steps = np.array(steps, dtype=np.int64)
    rows = ~superseded(steps)
    assert steps[rows].tolist() == kept


def test_of_rows_written_twice_the_later_one_counts():
    rows = ~superseded(np.array([0, 1, 2, 1, 2, 3]))
    assert np.flatnonzero(rows).tolist() == [0, 3, 4, 5]


def test_values_at_steps():
    series = Series("x", [0, 10, 20], [0.0, 1.0, 2.0], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    found = series.at([20, 5, 0])
    assert found[0].tolist() == [5.0, 6.0]
    assert np.isnan(found[1]).all()
    assert found[2].tolist() == [1.0, 2.0]


def test_a_series_has_as_many_values_as_steps():
    with pytest.raises(ValueError, match="3 steps, 3 times, 2 values"):
        Series("x", [0, 1, 2], [0.0, 1.0, 2.0], [1.0, 2.0])
