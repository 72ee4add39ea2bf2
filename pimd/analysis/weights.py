"""Exponential averages without overflow, and how many samples they really rest on.

    <exp(x)> = exp(x_max) <exp(x - x_max)>
    Kish effective sample size  (sum w)^2 / sum w^2
"""

from __future__ import annotations

import numpy as np

__all__ = ["kish", "log_mean_exp", "normalised"]


def log_mean_exp(exponents: np.ndarray, axis: int = -1) -> np.ndarray:
    """log of the mean of exp(exponents) along an axis.

    Raises:
        ValueError: no exponents, or one that is NaN or +inf.
    """
    x = _checked(exponents, axis)
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)  # all are -inf: the mean is 0, its log -inf
    with np.errstate(divide="ignore"):
        found = np.log(np.exp(x - top).mean(axis=axis, keepdims=True)) + top
    return np.squeeze(found, axis=axis)


def normalised(exponents: np.ndarray, axis: int = -1) -> np.ndarray:
    """exp(exponents) over their sum along an axis: weights that add up to 1.

    Raises:
        ValueError: as `log_mean_exp`, and where all weights are 0.
    """
    x = _checked(exponents, axis)
    top = x.max(axis=axis, keepdims=True)
    if not np.isfinite(top).all():
        raise ValueError("all weights are 0: the two ensembles have no state in common")
    weights = np.exp(x - top)
    found: np.ndarray = weights / weights.sum(axis=axis, keepdims=True)
    return found


def kish(exponents: np.ndarray, axis: int = -1) -> np.ndarray:
    """Kish effective sample size of the weights exp(exponents), from 1 to their number.

    L. Kish, Survey Sampling (1965). Raises ValueError as `normalised`.
    """
    return np.asarray(1.0 / np.square(normalised(exponents, axis)).sum(axis=axis))


def _checked(exponents: np.ndarray, axis: int) -> np.ndarray:
    x = np.asarray(exponents, dtype=float)
    if x.ndim == 0 or x.shape[axis] == 0:
        raise ValueError("an exponential average of nothing")
    if np.isnan(x).any() or np.isposinf(x).any():
        raise ValueError("an exponent is not a number, or infinite")
    return x
