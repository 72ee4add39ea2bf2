"""Means with standard errors that know of autocorrelation, and the assertion built on them.

A sampled number agrees with its reference if |mean - reference| <= 4 standard errors; because
a poor run passes that with ease, the standard error has a ceiling of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MIN_BLOCKS = 20
"""Fewer blocks do not give a standard error worth asserting on."""


@dataclass(frozen=True)
class Estimate:
    """A mean, its standard error, and what the error was made from.

    Attributes:
        mean, error: of the series.
        inefficiency: samples per independent sample, (error / naive error)^2.
        n_samples, block: length of the series, and of the blocks whose means were taken as
            independent.
    """

    mean: float
    error: float
    inefficiency: float
    n_samples: int
    block: int


def estimate(series: np.ndarray) -> Estimate:
    """Mean and standard error of a stationary, correlated series (n_samples,).

    Blocking (H. Flyvbjerg and H. G. Petersen, J. Chem. Phys. 91, 461 (1989)): the series is
    averaged in pairs again and again; with blocks of length B the error of the mean is
    s_B = std(block means)/sqrt(number of blocks). Of the lengths that leave 20 blocks the
    smallest with B^3 > 2 n (s_B/s_1)^4 is taken (R. M. Lee et al., Phys. Rev. E 83, 066706
    (2011)), where statistical and systematic error of s_B balance.

    Raises:
        ValueError: a series too short for its correlation; not finite.
    """
    series = np.asarray(series, dtype=float)
    n_samples = len(series)
    if n_samples < MIN_BLOCKS or not np.isfinite(series).all():
        raise ValueError(f"expected at least {MIN_BLOCKS} finite samples, got {n_samples}")
    blocks, length = series, 1
    naive = _error_of_mean(series)
    if naive == 0:
        return Estimate(float(series.mean()), 0.0, 1.0, n_samples, 1)
    while len(blocks) >= MIN_BLOCKS:
        error = _error_of_mean(blocks)
        ratio = error / naive
        if length**3 > 2 * n_samples * ratio**4:
            return Estimate(float(series.mean()), error, ratio**2, n_samples, length)
        blocks = 0.5 * (blocks[0 : len(blocks) // 2 * 2 : 2] + blocks[1::2])
        length *= 2
    raise ValueError(
        f"{n_samples} samples are too few for their correlation: blocks of {length // 2} are not "
        f"independent yet (error {error:.3g}, naive {naive:.3g})"
    )


def assert_agrees(
    what: str,
    series: np.ndarray,
    reference: float,
    *,
    ceiling: float,
    tolerance: float | None = None,
    reference_error: float = 0.0,
    sigmas: float = 4.0,
) -> Estimate:
    """Assert that the mean of a series is `reference`, to 4 standard errors and to a tolerance.

    Args:
        what: name in the message.
        series: (n_samples,), equally spaced in time, equilibrated.
        reference: exact, or sampled with `reference_error`.
        ceiling: largest standard error allowed, same unit as the series.
        tolerance: largest |mean - reference| allowed besides, same unit.
    """
    result = estimate(series)
    error = np.hypot(result.error, reference_error)
    deviation = result.mean - reference
    message = (
        f"{what}: {result.mean:.8g} +- {result.error:.2g} (ceiling {ceiling:.2g}), reference "
        f"{reference:.8g} +- {reference_error:.2g}, deviation {deviation:.3g} = "
        f"{deviation / error if error else np.inf * deviation:.2f} standard errors"
        f"{'' if tolerance is None else f', tolerance {tolerance:.2g}'}; {result.n_samples} "
        f"samples, {result.inefficiency:.1f} per independent one"
    )
    print(message)
    assert error <= ceiling, message
    assert abs(deviation) <= sigmas * error, message
    assert tolerance is None or abs(deviation) <= tolerance, message
    return result


def _error_of_mean(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))
