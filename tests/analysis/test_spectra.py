"""Spectra of oscillators: where the lines are, their integrals, their widths, their errors."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import lfilter

from pimd.analysis.arrays import place, to_numpy
from pimd.analysis.quantum_correction import (
    CORRECTIONS,
    absorption_factor,
    line_shape_factor,
    reduced_energy,
)
from pimd.analysis.spectra import (
    WINDOWS,
    autocorrelation,
    combined,
    even_spacing,
    resolution,
    stretches,
    transform,
    window,
)
from pimd.units import HBAR_EV_FS, KB_EV_PER_KELVIN


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_autocorrelation_by_definition(library: str) -> None:
    to = place(library)
    a, weights = np.random.default_rng(0).normal(size=(37, 5)), np.arange(1.0, 6.0)
    found = to_numpy(autocorrelation(to(a), 12, to(weights)))
    expected = [(a[: 37 - k] * a[k:] * weights).sum(axis=1).mean() for k in range(12)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        to_numpy(autocorrelation(to(a), 37))[36], a[0] @ a[36], rtol=1e-12
    )


def test_many_columns_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    a = np.random.default_rng(1).normal(size=(20, 7))
    whole = autocorrelation(a, 8, np.arange(7.0))
    monkeypatch.setattr("pimd.analysis.spectra.AT_ONCE", 64)
    np.testing.assert_allclose(autocorrelation(a, 8, np.arange(7.0)), whole, rtol=1e-12)


@pytest.mark.parametrize("name", WINDOWS)
def test_integral_is_that_of_the_correlation_at_zero(name: str) -> None:
    c = np.random.default_rng(2).normal(size=50)
    frequency, s = transform(c, 0.5, name)
    step = frequency[1]
    both_sides = step * (s[0] + 2 * s[1:-1].sum() + s[-1])
    assert both_sides == pytest.approx(c[0], rel=1e-12)
    assert frequency[-1] == pytest.approx(1.0)  # 1/(2 spacing)


@pytest.mark.parametrize("name", WINDOWS)
def test_line_of_an_oscillator(name: str) -> None:
    """cos(2 pi nu t): a line at nu, half of C(0) in it, as wide as the resolution says."""
    spacing, n_lags, nu = 0.5, 800, 0.1003
    c = np.cos(2 * math.pi * nu * spacing * np.arange(n_lags))
    frequency, s = transform(c, spacing, name)
    top = int(np.argmax(s))
    width = resolution(spacing, n_lags, name)
    assert abs(frequency[top] - nu) < 0.15 * width
    above = frequency[s > 0.5 * s[top]]
    assert np.ptp(above) == pytest.approx(width, abs=2 * frequency[1])
    assert 1.0 < width * spacing * n_lags * 1.9 < 4.5  # about 1/(longest time)


def test_widths_of_the_windows() -> None:
    """Of the transform of Hann's window 1.0/T at half height, of none 0.6034/T."""
    assert resolution(0.5, 4000, "hann") * 2000 == pytest.approx(1.0, abs=1e-3)
    assert resolution(0.5, 4000, "none") * 2000 == pytest.approx(0.60335, abs=1e-3)
    for name in WINDOWS:
        assert window(name, 10)[0] == pytest.approx(1.0, abs=1e-15)
    with pytest.raises(ValueError, match="window is one of"):
        window("hamming", 4)


def test_ensemble_of_oscillators_has_a_line_with_an_honest_error() -> None:
    """Many oscillators of random amplitude: int S = <a^2>/2, the mean within its errors."""
    rng = np.random.default_rng(3)
    spacing, nu, n_lags, n = 1.0, 0.07, 200, 40
    t = spacing * np.arange(2 * n_lags)
    correlations = []
    for _ in range(n):
        phase, size = rng.uniform(0, 2 * math.pi, 8), rng.rayleigh(1.0, 8)
        a = size * np.cos(2 * math.pi * nu * t[:, None] + phase)
        correlations.append(autocorrelation(a, n_lags))
    found = combined(correlations, spacing, "hann")
    assert found.n_stretches == n
    assert abs(found.correlation[0] - 8.0) < 4 * found.correlation_error[0]  # 8 of <cos^2> 2
    integral = found.frequency[1] * (found.mean.sum() - 0.5 * (found.mean[0] + found.mean[-1]))
    assert integral == pytest.approx(0.5 * found.correlation[0], rel=1e-9)
    peak = int(np.argmax(found.mean))
    exact = 8.0 * transform(np.cos(2 * math.pi * nu * t[:n_lags]), spacing, "hann")[1]
    assert found.error[peak] < 0.15 * exact[peak]
    assert abs(found.mean[peak] - exact[peak]) < 4 * found.error[peak]
    assert np.isnan(combined(correlations[:4], spacing, "hann").error).all()
    with pytest.raises(ValueError, match="one length"):
        combined([np.zeros(3), np.zeros(4)], 1.0, "hann")


def test_stretches_use_every_frame_once() -> None:
    found = stretches(1003, 100)
    assert len(found) == 5
    assert found[0].start == 0
    assert found[-1].stop == 1003
    assert all(a.stop == b.start for a, b in pairwise(found))
    assert min(s.stop - s.start for s in found) >= 200
    with pytest.raises(ValueError, match="run longer"):
        stretches(199, 100)


def test_times_must_be_even() -> None:
    assert even_spacing(0.5 * np.arange(10) + 3.0) == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"3 and 5 fs follow"):
        even_spacing(np.array([0.0, 1, 2, 3, 5, 6, 7]))
    with pytest.raises(ValueError, match="at least 4"):
        even_spacing(np.arange(3.0))


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_quantum_corrections(correction: str) -> None:
    """Detailed balance, the classical limit, and no jump at zero."""
    omega = np.array([-0.7, -0.1, -1e-9, 0.0, 1e-9, 0.1, 0.7])
    q = line_shape_factor(omega, 300.0, correction)
    x = reduced_energy(omega, 300.0)
    assert x[-1] == pytest.approx(HBAR_EV_FS * 0.7 / (KB_EV_PER_KELVIN * 300.0))
    np.testing.assert_allclose(q[2:5], 1.0, atol=1e-7)
    if correction != "none":
        np.testing.assert_allclose(q[::-1], np.exp(-x) * q, rtol=1e-12)
    np.testing.assert_allclose(
        absorption_factor(omega, 300.0, correction), (1 - np.exp(-x)) * q, rtol=1e-9, atol=1e-13
    )


def test_kubo_is_exact_for_an_oscillator() -> None:
    """<x^2>: hbar/(2 m w) coth(x/2) from kT/(m w^2), summed over both lines."""
    omega = np.array([-0.6, 0.6])
    x = reduced_energy(omega, 300.0)[1]
    q = line_shape_factor(omega, 300.0, "kubo")
    assert 0.5 * q.sum() == pytest.approx(0.5 * x / math.tanh(0.5 * x), rel=1e-12)
    with pytest.raises(ValueError, match="kubo, standard"):
        line_shape_factor(omega, 300.0, "egelstaff")
    with pytest.raises(ValueError, match="positive"):
        line_shape_factor(omega, 0.0, "kubo")


def test_error_bars_of_spectra_cover_what_they_should() -> None:
    """200 runs of a process with C(t) = phi^t, 20 stretches each: 60 to 76 % within one error.

    At one frequency the share of 200 is known to 3.3 %, three times which is allowed.
    """
    phi, n_lags, n_stretches = 0.8, 40, 20
    frequency, exact = transform(phi ** np.arange(n_lags), 1.0, "hann")
    points = np.searchsorted(frequency, [0.0, 0.05, 0.1, 0.3])
    inside = []
    for seed in range(200):
        noise = np.random.default_rng(seed).normal(size=(n_stretches * 2 * n_lags + 200, 1))
        x = lfilter([math.sqrt(1 - phi**2)], [1.0, -phi], noise, axis=0)[200:]
        parts = stretches(len(x), n_lags)
        found = combined([autocorrelation(x[part], n_lags) for part in parts], 1.0, "hann")
        inside.append(np.abs(found.mean - exact)[points] < found.error[points])
    assert (np.mean(inside, axis=0) >= 0.58).all()
    assert 0.60 <= np.mean(inside) <= 0.76
