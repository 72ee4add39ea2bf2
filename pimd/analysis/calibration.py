"""How well a committee's spread tells its errors, and the alpha that makes it do so.

alpha is that of `pimd.potentials.committee_statistics.calibrate`. What alpha was fitted to cannot
test it: <z^2> and the coverage are those of folds that alpha was not fitted to. With M members

    z = error / (alpha s),    <z^2> = (1 + 1/(M alpha^2)) (M - 1)/(M - 3)

is no normal deviate even for a perfect committee: s has M - 1 degrees of freedom, and so

    error / (s sqrt(alpha^2 + 1/M))    follows Student's t with M - 1 degrees of freedom,

which coverage and likelihood are measured against. Where alpha was found by likelihood, without a
correction for M, they are measured against a normal distribution of width alpha s.

alpha is of one property: that of energies need not be that of forces.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pimd.potentials.committee_statistics import Calibration, calibrate, expected_z, spread

__all__ = ["CalibrationReport", "calibration_report"]

N_FOLDS = 5
N_BINS = 8
FEWEST_IN_BIN = 5
BIASED = 3.0
ALL_ALIKE = 0.9
"""Mean error over its standard error, and its share of the mean square, beyond which reference and
potential seem to count from different zeros."""


@dataclass(frozen=True)
class CalibrationReport:
    """The calibration of one property on a validation set.

    Attributes:
        alpha: factor of the members' deviations.
        error: standard error of alpha.
        method: `finite_m` or `likelihood`.
        n_points, n_members: it is of.
        mean_error, rms_error: of the committee's mean, reference minus mean.
        sharpness: root mean square of alpha s.
        z_squared: mean of z^2, each fold with the alpha of the others.
        z_expected: of a calibrated committee; None where there is none (M <= 3).
        likelihood: mean negative log likelihood of the errors, with natural logarithms.
        likelihood_before: the same with alpha = 1.
        miscalibration: area between the coverage of central intervals and what it should be, 0 to
            1/2.
        levels, coverage: (n_levels,) of central intervals, and the share of errors within.
        predicted, actual: (n_bins,) root mean square of alpha s (with the error of a mean of M),
            and of the errors, of points of similar s.
        counts: (n_bins,) points.
        warnings: what should make a reader careful, one line each.
    """

    alpha: float
    error: float
    method: str
    n_points: int
    n_members: int
    mean_error: float
    rms_error: float
    sharpness: float
    z_squared: float
    z_expected: float | None
    likelihood: float
    likelihood_before: float
    miscalibration: float
    levels: np.ndarray
    coverage: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray
    counts: np.ndarray
    warnings: tuple[str, ...] = ()


def calibration_report(
    members: np.ndarray, reference: np.ndarray, *, method: str = "auto", n_folds: int = N_FOLDS
) -> CalibrationReport:
    """Calibrate a committee and test it.

    Args:
        members: (n_members, n_points) predictions for what no member was trained on.
        reference: (n_points,).
        method: as of `calibrate_spread`.
        n_folds: parts of the points, each of neighbours in their order, that are left out in turn.

    Raises:
        ValueError: as `calibrate`, or fewer points than two for each fold.
    """
    v, truth = np.asarray(members, dtype=float), np.asarray(reference, dtype=float)
    if v.ndim != 2 or truth.shape != v.shape[1:]:
        raise ValueError(
            f"expected members (n_members, n_points) of a reference (n_points,), got {v.shape} "
            f"and {truth.shape}"
        )
    if truth.size < 2 * n_folds:
        raise ValueError(
            f"{truth.size} points: at least {2 * n_folds} are needed to calibrate and to test it"
        )
    fit, said = _quietly(v, truth, method)
    errors, widths = truth - v.mean(axis=0), spread(v)
    n_members, finite = len(v), fit.method == "finite_m"
    z = np.concatenate([
        errors[part] / (_without(v, truth, part, fit.method) * widths[part])
        for part in np.array_split(np.arange(truth.size), n_folds)
    ])  # fmt: skip
    scaled = z if not finite else z / math.sqrt(1.0 + 1.0 / (n_members * fit.alpha**2))
    law = stats.t(n_members - 1) if finite else stats.norm()
    levels = np.linspace(0.0, 1.0, 101)
    inside = np.abs(2.0 * law.cdf(scaled) - 1.0)
    coverage = (inside[:, None] <= levels).mean(axis=0)
    shift = 1.0 / n_members if finite else 0.0
    predicted, actual, counts = _bins(errors, widths, math.sqrt(fit.alpha**2 + shift))
    return CalibrationReport(
        alpha=fit.alpha, error=fit.error, method=fit.method, n_points=truth.size,
        n_members=n_members, mean_error=float(errors.mean()), rms_error=_rms(errors),
        sharpness=_rms(fit.alpha * widths), z_squared=float(np.square(z).mean()),
        z_expected=expected_z(n_members, fit.alpha) if finite else 1.0,
        likelihood=_likelihood(errors, widths * math.sqrt(fit.alpha**2 + shift), law),
        likelihood_before=_likelihood(errors, widths * math.sqrt(1.0 + shift), law),
        miscalibration=float(np.abs(coverage - levels).mean()),
        levels=levels, coverage=coverage, predicted=predicted, actual=actual, counts=counts,
        warnings=(*said, *_cautions(errors)),
    )  # fmt: skip


def _quietly(v: np.ndarray, truth: np.ndarray, method: str) -> tuple[Calibration, list[str]]:
    """The fit, and what it warns of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = calibrate(v, truth, method)
    return found, list(dict.fromkeys(str(one.message) for one in said))


def _without(v: np.ndarray, truth: np.ndarray, part: np.ndarray, method: str) -> float:
    """alpha of all points but these."""
    others = np.setdiff1d(np.arange(truth.size), part)
    return _quietly(v[:, others], truth[others], method)[0].alpha


def _bins(
    errors: np.ndarray, widths: np.ndarray, factor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predicted and actual errors of points in bins of equal ratios of s; scarce bins left out."""
    low, high = float(widths.min()), float(widths.max())
    edges = np.geomspace(low, high * (1.0 + 1e-12), N_BINS + 1) if high > low else [low, 2.0 * low]
    place = np.clip(np.digitize(widths, edges) - 1, 0, len(edges) - 2)
    kept = [k for k in range(len(edges) - 1) if (place == k).sum() >= FEWEST_IN_BIN]
    if not kept:
        place, kept = np.zeros(len(errors), dtype=int), [0]
    return (
        np.array([factor * _rms(widths[place == k]) for k in kept]),
        np.array([_rms(errors[place == k]) for k in kept]),
        np.array([int((place == k).sum()) for k in kept]),
    )


def _likelihood(errors: np.ndarray, widths: np.ndarray, law: stats.rv_frozen) -> float:
    return float(np.mean(np.log(widths) - law.logpdf(errors / widths)))


def _cautions(errors: np.ndarray) -> list[str]:
    of_mean = float(errors.std(ddof=1)) / math.sqrt(errors.size)
    if of_mean > 0 and abs(errors.mean()) > BIASED * of_mean:
        share = errors.mean() ** 2 / np.square(errors).mean()
        if share > ALL_ALIKE:
            return [
                f"errors are {errors.mean():.3g} on average, {100 * share:.0f} % of their mean "
                "square: do reference and potential count from the same zero?"
            ]
    return []


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
