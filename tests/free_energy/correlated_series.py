"""Gaussian series whose correlation is known."""

from __future__ import annotations

import math

import numpy as np
from scipy.signal import lfilter


def correlated(n: int, memory: float, seed: int) -> np.ndarray:
    """(n,), stationary, mean 0, variance 1, x_t = memory x_(t-1) + noise."""
    noise = np.random.default_rng(seed).standard_normal(n)
    noise[1:] *= math.sqrt(1.0 - memory**2)
    found: np.ndarray = lfilter([1.0], [1.0, -memory], noise)
    return found
