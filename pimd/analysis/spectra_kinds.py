"""Vibrational density of states, infrared absorption and Raman spectra from time series.

    vibrations  D(nu) = (2/kT) S(nu) of sum_i m_i v_i(0).v_i(t): degrees of freedom in a unit of
                frequency, int D dnu = 3 N
    infrared    n(w) alpha(w) = A(w)/(hbar w) S(w)/(6 eps0 c V),  S of the dipole's derivative, A of
                `absorption_factor`; without a volume the cross-section n alpha V
    Raman       isotropic S_iso of a = Tr P/3, depolarised (VH) S_b/10 with b = P - a 1 and
                S_b of Tr b(0) b(t), polarised VV = S_iso + 4/3 VH; all times Q(w): Stokes

(D. A. McQuarrie, Statistical Mechanics, chapter 21.) Where a derivative was taken from differences
of neighbouring frames, the spectrum is multiplied by (w D/2)^2/sin^2(w D/2), which is exact. The
derivative is what makes the infrared spectrum clean: the slow motion of a large dipole, multiplied
by w^2 afterwards, would leak into all of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pimd.analysis.arrays import place
from pimd.analysis.quantum_correction import absorption_factor, line_shape_factor
from pimd.analysis.spectra import (
    WAVENUMBER,
    Spectrum,
    autocorrelation,
    combined,
    stretches,
)
from pimd.analysis.spectra_series import TimeSeries
from pimd.units import (
    AMU_ANGSTROM2_PER_FS2_EV,
    COULOMB_EV_ANGSTROM,
    HBAR_EV_FS,
    KB_EV_PER_KELVIN,
)

__all__ = ["infrared", "raman", "scaled", "spectrum_of", "vibrations"]

LIGHT_ANGSTROM_PER_FS = 2997.92458
PER_ANGSTROM_IN_PER_CM = 1e8


def spectrum_of(
    series: Sequence[TimeSeries],
    n_lags: int,
    window: str,
    weights: np.ndarray | None = None,
    library: str = "numpy",
) -> Spectrum:
    """S(nu) of series of equal spacing, stretch by stretch.

    Args:
        series: of one run each.
        n_lags: of the correlation functions.
        window: name of it.
        weights: (n_columns,); None: 1.
        library: numpy, cupy, torch or auto.

    Raises:
        ValueError: spacings that differ, or runs that are too short.
    """
    spacing = series[0].spacing
    for one in series:
        if abs(one.spacing - spacing) > 1e-6 * spacing:
            raise ValueError(
                f"runs with frames every {spacing:g} and every {one.spacing:g} fs: spectra of "
                "several runs need the same"
            )
    to = place(library)
    scale: Any = None if weights is None else to(np.asarray(weights, dtype=float))
    found = []
    for one in series:
        for part in stretches(len(one.values), n_lags):
            found.append(autocorrelation(to(one.values[part]), n_lags, scale))
    spectrum = combined(found, spacing, window)
    if not series[0].differentiated:
        return spectrum
    half = math.pi * spectrum.frequency * spacing  # w D/2
    return scaled(spectrum, 1.0 / np.sinc(half / math.pi) ** 2)


def scaled(spectrum: Spectrum, factor: np.ndarray | float) -> Spectrum:
    """The spectrum times a factor, (n_frequencies,) or a number; not its correlation function."""
    return dataclasses.replace(
        spectrum, mean=spectrum.mean * factor, error=spectrum.error * np.abs(factor),
        stretch_spectra=spectrum.stretch_spectra * factor,
    )  # fmt: skip


def vibrations(
    series: Sequence[TimeSeries],
    masses: np.ndarray,
    groups: Mapping[str, np.ndarray],
    temperature: float,
    n_lags: int,
    window: str,
    library: str = "numpy",
) -> dict[str, Spectrum]:
    """Density of states of each group of atoms, degrees of freedom per cm^-1.

    Args:
        series: velocities of centroids, (n_frames, 3 n_atoms) Å/fs.
        masses: (n_atoms,) amu.
        groups: name -> indices of atoms.
        temperature: K, of the centroids' motion.
        n_lags, window, library: as for `spectrum_of`.
    """
    found = {}
    for name, atoms in groups.items():
        columns = (3 * atoms[:, None] + np.arange(3)).ravel()
        weights = np.repeat(masses[atoms], 3) * AMU_ANGSTROM2_PER_FS2_EV
        chosen = [dataclasses.replace(one, values=one.values[:, columns]) for one in series]
        spectrum = spectrum_of(chosen, n_lags, window, weights, library)
        found[name] = scaled(spectrum, 2.0 / (KB_EV_PER_KELVIN * temperature) / WAVENUMBER)
    return found


def infrared(
    series: Sequence[TimeSeries],
    temperature: float,
    volume: float | None,
    n_lags: int,
    window: str,
    correction: str = "kubo",
    library: str = "numpy",
) -> Spectrum:
    """n(w) alpha(w), cm^-1; the cross-section in Å^2 without a volume.

    Args:
        series: time derivatives of the dipole, (n_frames, 3) e Å/fs.
        temperature: K.
        volume: Å^3; None: not periodic.
        n_lags, window, library: as for `spectrum_of`.
        correction: see `pimd.analysis.quantum_correction`.
    """
    spectrum = spectrum_of(series, n_lags, window, library=library)
    omega = 2 * math.pi * spectrum.frequency
    beta = 1.0 / (KB_EV_PER_KELVIN * temperature)
    safe = np.where(omega == 0.0, 1.0, omega)
    absorbed = absorption_factor(safe, temperature, correction) / (HBAR_EV_FS * safe)
    absorbed = np.where(omega == 0.0, beta, absorbed)
    factor = absorbed * 4 * math.pi * COULOMB_EV_ANGSTROM / (6 * LIGHT_ANGSTROM_PER_FS)
    if volume is not None:
        factor = factor * PER_ANGSTROM_IN_PER_CM / volume
    return scaled(spectrum, factor)


def raman(
    series: Sequence[TimeSeries],
    temperature: float,
    n_lags: int,
    window: str,
    correction: str = "kubo",
    library: str = "numpy",
) -> dict[str, Spectrum]:
    """Isotropic, depolarised (VH) and polarised (VV) Stokes spectra.

    Args:
        series: polarizabilities, (n_frames, 9).
        temperature: K.
        n_lags, window, correction, library: as for `infrared`.

    Returns:
        `isotropic`, `depolarised`, `polarised`: squares of the polarizability's unit times fs.
    """
    tensors = [one.values.reshape(-1, 3, 3) for one in series]
    mean = np.concatenate(tensors).mean(axis=0)
    isotropic, anisotropic = [], []
    for one, p in zip(series, tensors, strict=True):
        p = 0.5 * (p + p.transpose(0, 2, 1)) - 0.5 * (mean + mean.T)  # without the elastic line
        trace = np.trace(p, axis1=1, axis2=2) / 3
        b = p - trace[:, None, None] * np.eye(3)
        isotropic.append(TimeSeries(trace[:, None], one.spacing))
        anisotropic.append(TimeSeries(b.reshape(-1, 9), one.spacing))
    iso = spectrum_of(isotropic, n_lags, window, library=library)
    factor = line_shape_factor(2 * math.pi * iso.frequency, temperature, correction)
    iso = scaled(iso, factor)
    vh = scaled(spectrum_of(anisotropic, n_lags, window, library=library), 0.1 * factor)
    vh = dataclasses.replace(
        vh, correlation=0.1 * vh.correlation, correlation_error=0.1 * vh.correlation_error
    )
    rows = iso.stretch_spectra + 4 / 3 * vh.stretch_spectra
    n = len(rows)
    error = rows.std(axis=0, ddof=1) / math.sqrt(n) if n > 1 else np.full(rows.shape[1], math.nan)
    vv = dataclasses.replace(
        iso, mean=rows.mean(axis=0), error=np.where(np.isnan(iso.error), math.nan, error),
        correlation=iso.correlation + 4 / 3 * vh.correlation, stretch_spectra=rows,
    )  # fmt: skip
    return {"isotropic": iso, "depolarised": vh, "polarised": vv}
