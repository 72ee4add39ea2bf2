"""The lines of a spectrum: where they are and how high, with errors from its stretches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pimd.analysis.peaks import vertex
from pimd.analysis.spectra import WAVENUMBER, Spectrum
from pimd.analysis.statistics import FEWEST

__all__ = ["Line", "find_lines"]

SIGNIFICANT = 3.0
"""Errors by which a line stands above nothing."""
LOBE, LOBES = 0.04, 6.0
"""Height of the side lobes of a line (2.7 % with Hann's window), and widths over which they go."""


@dataclass(frozen=True)
class Line:
    """A maximum of a spectrum.

    Attributes:
        position, position_error: cm^-1; NaN for an error from too few stretches.
        height, height_error: in the unit of the spectrum.
    """

    position: float
    position_error: float
    height: float
    height_error: float


def find_lines(spectrum: Spectrum, least: float = 0.02) -> list[Line]:
    """Maxima that stand out by `least` of the highest and by 3 errors, one resolution apart.

    The error of a position is that of the jackknife: the maximum nearby in the mean of all
    stretches but one, for each of them.
    """
    from scipy.signal import find_peaks

    mean, spacing = spectrum.mean, spectrum.frequency[1]
    apart = max(1, round(spectrum.resolution / spacing))
    padded = np.concatenate([[mean[1]], mean, [-math.inf]])  # a maximum at 0 is one
    tops, _ = find_peaks(padded, distance=apart, prominence=least * float(mean.max()))
    tops = tops - 1
    kept = [
        int(k) for k in tops
        if not any(abs(k - o) < LOBES * apart and mean[k] < LOBE * mean[o] for o in tops)
    ]  # fmt: skip
    lines = [_line(spectrum, k, max(1, apart // 2)) for k in kept]
    return [line for line in lines if not line.height < SIGNIFICANT * line.height_error]


def _line(spectrum: Spectrum, k: int, reach: int) -> Line:
    """The maximum at point k; it stays within `reach` points."""
    near = slice(max(0, k - reach), k + reach + 1)
    rows = spectrum.stretch_spectra[:, near]
    position, height = vertex(spectrum.mean[near])
    unit = spectrum.frequency[1] * WAVENUMBER
    n = len(rows)
    if n < FEWEST:
        errors = np.full(2, math.nan)
    else:
        left_out = (rows.sum(axis=0) - rows) / (n - 1)
        values = np.array([vertex(row) for row in left_out])
        errors = np.sqrt((n - 1) / n * np.square(values - values.mean(axis=0)).sum(axis=0))
    return Line(
        float(unit * (near.start + position)), float(unit * errors[0]), height, float(errors[1])
    )
