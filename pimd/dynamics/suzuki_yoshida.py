"""Suzuki-Yoshida weights: a symmetric step of second order made into one of higher order.

With S(h) a time-reversible step of length h and error of order h^3, the product

    S(w_1 h) S(w_2 h) ... S(w_n h),    sum w_i = 1,    w_i = w_(n+1-i),

is reversible too, and of fourth order for n = 3 and 5, of sixth for n = 7. Some weights are
negative: these stages go backwards in time.

Sources: H. Yoshida, Phys. Lett. A 150, 262 (1990) (n = 3, and n = 7, his solution A);
M. Suzuki, J. Math. Phys. 32, 400 (1991) (n = 5).
"""

from __future__ import annotations

__all__ = ["ORDERS", "suzuki_yoshida"]

_THREE = 1.0 / (2.0 - 2.0 ** (1.0 / 3.0))
_FIVE = 1.0 / (4.0 - 4.0 ** (1.0 / 3.0))
_SEVEN = (0.784513610477560, 0.235573213359357, -1.17767998417887)

_HALVES: dict[int, tuple[float, ...]] = {1: (), 3: (_THREE,), 5: (_FIVE, _FIVE), 7: _SEVEN}
"""The weights before the one in the middle."""

ORDERS = tuple(_HALVES)
"""The numbers of stages n that there are weights for."""


def suzuki_yoshida(order: int) -> tuple[float, ...]:
    """The weights w_1 ... w_n of n = `order` stages; their sum is 1.

    Raises:
        ValueError: for an order that is not one of `ORDERS`.
    """
    if order not in _HALVES:
        raise ValueError(f"the Suzuki-Yoshida order is one of {ORDERS}, got {order!r}")
    half = _HALVES[order]
    return (*half, 1.0 - 2.0 * sum(half), *reversed(half))
