"""Power spectra of correlation functions, with errors from independent stretches of trajectory.

    C(t) = <a(0) . a(t)>,      S(nu) = int_-inf^inf C(t) w(t) cos(2 pi nu t) dt

so that int_0^inf S dnu = C(0)/2. The trajectory is cut into stretches of at least twice the
correlation time that is kept; each gives C(t), by Fourier transform and with the number of terms
at every t divided out, and S; the mean over stretches has their standard error. w(t) falls to 0 at
the longest time and so sets the resolution.

In units: t in fs, nu in 1/fs; wavenumbers are nu/c.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pimd.analysis.arrays import namespace, to_numpy
from pimd.analysis.statistics import FEWEST

__all__ = [
    "WAVENUMBER", "WINDOWS", "Spectrum", "autocorrelation", "combined", "even_spacing",
    "resolution", "stretches", "transform", "window",
]  # fmt: skip

WAVENUMBER = 1.0 / 2.99792458e-5
"""cm^-1 of 1/fs."""
WINDOWS = ("hann", "blackman", "gaussian", "none")
PADDING = 4
"""Points of the spectrum for each independent one: a smooth curve, no more information."""
AT_ONCE = 2**22
"""Numbers that are Fourier-transformed at once."""


@dataclass(frozen=True)
class Spectrum:
    """A spectrum, (n_frequencies,), and the correlation function, (n_times,), that it is of.

    Attributes:
        frequency: 1/fs, from 0 to what the spacing of the frames allows.
        mean: S(nu), unit of C times fs.
        error: standard error; NaN where there are too few stretches.
        time: fs.
        correlation: C(t).
        correlation_error: of it.
        n_stretches: independent stretches of trajectory.
        resolution: full width at half maximum of a line, 1/fs.
        stretch_spectra: (n_stretches, n_frequencies), what the mean is of.
    """

    frequency: np.ndarray
    mean: np.ndarray
    error: np.ndarray
    time: np.ndarray
    correlation: np.ndarray
    correlation_error: np.ndarray
    n_stretches: int
    resolution: float
    stretch_spectra: np.ndarray

    @property
    def wavenumber(self) -> np.ndarray:
        """cm^-1."""
        return self.frequency * WAVENUMBER

    def integral(self) -> tuple[float, float]:
        """Over all wavenumbers from 0, and its standard error; NaN for too few stretches."""
        rows = self.stretch_spectra
        step = self.frequency[1] * WAVENUMBER
        values = step * (rows.sum(axis=1) - 0.5 * (rows[:, 0] + rows[:, -1]))
        return float(values.mean()), float(_standard_error(values[:, None])[0])


def even_spacing(time: np.ndarray) -> float:
    """Time between frames, fs.

    Raises:
        ValueError: fewer than 4 frames, or they are not evenly spaced.
    """
    t = np.asarray(time, dtype=float)
    if len(t) < 4:
        raise ValueError(f"a spectrum of {len(t)} frames: at least 4 are needed")
    steps = np.diff(t)
    spacing = float(np.median(steps))
    odd = np.flatnonzero(np.abs(steps - spacing) > 1e-6 * spacing + 1e-9 * abs(t[-1]))
    if not spacing > 0 or len(odd):
        k = int(odd[0]) if len(odd) else 0
        raise ValueError(
            f"a spectrum needs frames at even times; they are {spacing:g} fs apart, but {t[k]:g} "
            f"and {t[k + 1]:g} fs follow each other"
        )
    return float((t[-1] - t[0]) / (len(t) - 1))


def stretches(n_frames: int, n_lags: int) -> list[slice]:
    """Cuts frames into stretches of at least twice `n_lags`, none left out, all about as long.

    Raises:
        ValueError: not even one.
    """
    n = n_frames // (2 * n_lags)
    if n < 1:
        raise ValueError(
            f"{n_frames} frames are too few for correlations over {n_lags}: at least "
            f"{2 * n_lags} are needed; shorten the correlation time, or run longer"
        )
    edges = np.linspace(0, n_frames, n + 1).astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]


def autocorrelation(series: Any, n_lags: int, weights: Any | None = None) -> Any:
    """C(0) ... C(n_lags - 1) of one stretch, summed over columns.

    Args:
        series: (n_frames, n_columns).
        n_lags: at most n_frames.
        weights: (n_columns,) of the sum, such as masses; None: 1.

    Returns:
        (n_lags,), the mean over all pairs of frames that far apart.
    """
    xp = namespace(series)
    n_frames, n_columns = series.shape
    n = 2 ** math.ceil(math.log2(n_frames + n_lags))  # zeros, so that nothing comes round
    power: Any = 0.0
    for start in range(0, n_columns, max(1, AT_ONCE // n)):
        part = slice(start, start + max(1, AT_ONCE // n))
        transformed = xp.fft.rfft(series[:, part], n=n, axis=0)
        squares = xp.real(transformed) ** 2 + xp.imag(transformed) ** 2
        if weights is not None:
            squares = squares * weights[part]
        power = power + xp.sum(squares, axis=1)
    from array_api_compat import device

    terms = n_frames - xp.arange(n_lags, dtype=series.dtype, device=device(series))
    return xp.fft.irfft(xp.astype(power, xp.complex128), n=n)[:n_lags] / terms


def window(name: str, n_lags: int) -> np.ndarray:
    """w(t) at the lags 0 to n_lags - 1; it would be 0 at n_lags.

    Raises:
        ValueError: an unknown window.
    """
    x = np.arange(n_lags) / n_lags
    if name == "hann":
        return 0.5 + 0.5 * np.cos(math.pi * x)
    if name == "blackman":
        return 0.42 + 0.5 * np.cos(math.pi * x) + 0.08 * np.cos(2 * math.pi * x)
    if name == "gaussian":
        return np.exp(-0.5 * (3.0 * x) ** 2)
    if name == "none":
        return np.ones(n_lags)
    raise ValueError(f"window is one of {', '.join(WINDOWS)}, got '{name}'")


def transform(correlation: np.ndarray, spacing: float, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies, 1/fs, and S(nu) of correlations (..., n_lags) `spacing` fs apart.

    The sum over lags from the far past to the far future: int_0^(highest) S dnu = C(0)/2 exactly.
    """
    c = np.asarray(correlation, dtype=float)
    n_lags = c.shape[-1]
    n = 2 * n_lags * PADDING
    both = np.zeros((*c.shape[:-1], n))
    both[..., :n_lags] = c * window(name, n_lags)
    both[..., n - n_lags + 1 :] = both[..., n_lags - 1 : 0 : -1]
    spectrum = spacing * np.fft.rfft(both, axis=-1).real
    return np.fft.rfftfreq(n, spacing), spectrum


def resolution(spacing: float, n_lags: int, name: str) -> float:
    """Full width at half maximum of the line of a steady oscillation, 1/fs."""
    n = 64 * n_lags
    padded = np.zeros(n)
    w = window(name, n_lags)
    padded[:n_lags], padded[n - n_lags + 1 :] = w, w[:0:-1]
    line = np.fft.rfft(padded).real
    k = int(np.flatnonzero(line < 0.5 * line[0])[0])
    part = (line[k - 1] - 0.5 * line[0]) / (line[k - 1] - line[k])
    return float(2.0 * (k - 1 + part) / (n * spacing))


def combined(correlations: Iterable[Any], spacing: float, name: str) -> Spectrum:
    """The spectrum of the correlation functions of independent stretches.

    Args:
        correlations: (n_lags,) of each stretch, all as long.
        spacing: fs between lags.
        name: of the window.

    Raises:
        ValueError: none, or they differ in length.
    """
    rows: Sequence[np.ndarray] = [to_numpy(one) for one in correlations]
    if not rows or len({len(one) for one in rows}) != 1:
        raise ValueError("expected correlation functions of one length, at least one")
    c = np.stack(rows)
    frequency, spectra = transform(c, spacing, name)
    return Spectrum(
        frequency, spectra.mean(axis=0), _standard_error(spectra), spacing * np.arange(c.shape[1]),
        c.mean(axis=0), _standard_error(c), len(c), resolution(spacing, c.shape[1], name), spectra,
    )  # fmt: skip


def _standard_error(rows: np.ndarray) -> np.ndarray:
    """Of the mean of independent rows; NaN for fewer than five."""
    if len(rows) < FEWEST:
        return np.full(rows.shape[1], math.nan)
    found: np.ndarray = rows.std(axis=0, ddof=1) / math.sqrt(len(rows))
    return found
