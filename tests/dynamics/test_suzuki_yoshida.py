"""The weights: sums, symmetry, the order of what they compose."""

from __future__ import annotations

import numpy as np
import pytest

from pimd.dynamics.suzuki_yoshida import ORDERS, suzuki_yoshida


@pytest.mark.parametrize("order", ORDERS)
def test_weights_are_symmetric_and_sum_to_one(order: int) -> None:
    weights = suzuki_yoshida(order)
    assert len(weights) == order
    assert weights == weights[::-1]
    assert abs(sum(weights) - 1) < 1e-15
    if order > 1:  # errors of third order of the stages cancel
        assert abs(sum(w**3 for w in weights)) < 2e-14
    if order == 7:  # and of fifth, to the digits published
        assert abs(sum(w**5 for w in weights)) < 1e-13


def test_weights_are_those_of_the_literature() -> None:
    np.testing.assert_allclose(
        suzuki_yoshida(3), [1.3512071920, -1.7024143839, 1.3512071920], atol=1e-10
    )
    np.testing.assert_allclose(suzuki_yoshida(5)[:3], [0.4144907718, 0.4144907718, -0.6579630872],
                               atol=1e-10)
    np.testing.assert_allclose(suzuki_yoshida(7)[3], 1.31518632068390, atol=1e-14)


@pytest.mark.parametrize(("order", "power"), [(1, 2), (3, 4), (5, 4), (7, 6)])
def test_composed_steps_have_the_order(order: int, power: int) -> None:
    """A pendulum by leapfrog: the error after one unit of time falls as h^power."""

    def end(h: float) -> np.ndarray:
        q, p = 0.3, 1.1
        for _ in range(round(1 / h)):
            for w in suzuki_yoshida(order):
                p -= 0.5 * w * h * np.sin(q)
                q += w * h * p
                p -= 0.5 * w * h * np.sin(q)
        return np.array([q, p])

    exact = end(1 / 512) if order == 7 else end(1 / 4096)
    errors = [np.abs(end(h) - exact).max() for h in (1 / 4, 1 / 8)]
    assert abs(np.log2(errors[0] / errors[1]) - power) < 0.4


def test_other_orders_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one of \(1, 3, 5, 7\), got 4"):
        suzuki_yoshida(4)
