"""Averages of curves, such as a radial distribution function, with the committee's error.

Every point of a curve is an observable of its own; h is the same for all. The statistical error
is that of a blocked bootstrap, whose blocks suit the slowest of h and of the curve's largest
principal component. See `pimd.analysis.committee` for the formulas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pimd.analysis.reweighting import (
    block_length,
    cautions,
    choose,
    effective_samples,
    second_order,
    standard_errors,
)
from pimd.analysis.statistics import TooFewSamples, inefficiency

__all__ = ["CommitteeCurve", "committee_curve"]


@dataclass(frozen=True)
class CommitteeCurve:
    """A curve with the error of the model and that of the sampling.

    Attributes:
        mean: (n_points,), over the samples as they were drawn.
        model_error: (n_points,), spread over members, ddof 1.
        statistical_error: (n_points,), standard error of `mean`; NaN where there are too few
            samples for one.
        noise: (n_points,), statistical error of the members' shifts, of which `model_error` is
            the spread.
        matrix: (n_points, n_potentials), the curve of each member.
        second_order: (n_points, n_potentials), the term left out by CEA.
        variances: (n_potentials,) of h.
        n_effective: (n_potentials,) Kish samples over the inefficiency of h.
        inefficiency: samples for one that is independent.
        method: `direct` or `cumulant`.
        warnings: what should make a reader careful, one line each.
    """

    mean: np.ndarray
    model_error: np.ndarray
    statistical_error: np.ndarray
    noise: np.ndarray
    matrix: np.ndarray
    second_order: np.ndarray
    variances: np.ndarray
    n_effective: np.ndarray
    inefficiency: float
    method: str
    warnings: tuple[str, ...] = ()


def committee_curve(
    curves: np.ndarray, h: np.ndarray, *, method: str | None = None, seed: int = 0
) -> CommitteeCurve:
    """Average of a curve, with the committee's error.

    Args:
        curves: (n_samples, n_points), in the order of time.
        h: (n_potentials, n_samples) of `pimd.analysis.reweighting.exponents`.
        method: `direct` or `cumulant`; None: by the variance of h.
        seed: of the bootstrap.

    Raises:
        ValueError: arrays that do not belong together, or a direct average of a few samples.
    """
    a, h = np.asarray(curves, dtype=float).T, np.asarray(h, dtype=float)
    if a.ndim != 2 or h.ndim != 2 or not a.size or a.shape[1] != h.shape[1] or len(h) < 2:
        raise ValueError(
            "expected curves, (n_samples, n_points), and h of at least 2 members, (n_members, "
            f"n_samples), got {np.shape(curves)} and {h.shape}"
        )
    g = np.array([inefficiency(one) for one in h])
    effective = effective_samples(h, g)
    method, reweight = choose(method, h, effective)
    matrix, second = reweight(a, h), second_order(a, h)
    mean = a.mean(axis=1)
    slowest = max(float(g.max()), inefficiency(_largest_component(a)))
    careful = cautions(method, h, matrix - mean[:, None], second)
    model = matrix.std(axis=1, ddof=1)

    def mean_and_shifts(observables: np.ndarray, exponent: np.ndarray) -> np.ndarray:
        average = observables.mean(axis=1, keepdims=True)
        return np.concatenate([average, reweight(observables, exponent) - average], axis=1)

    try:
        errors = standard_errors(mean_and_shifts, a, h, block_length(np.array([slowest])), seed)
    except TooFewSamples as error:
        errors = np.full((len(a), 1 + len(h)), math.nan)
        careful.append(f"no statistical error: {error}")
    noise = np.sqrt(np.square(errors[:, 1:]).mean(axis=1))
    if np.sqrt(np.square(noise).mean()) > 0.5 * np.sqrt(np.square(model).mean()):
        careful.append(
            "the model's error is not well above its statistical error over the curve: sample "
            "longer"
        )
    return CommitteeCurve(
        mean, model, errors[:, 0], noise, matrix, second, h.var(axis=1, ddof=1), effective,
        slowest, method, tuple(careful),
    )


def _largest_component(a: np.ndarray) -> np.ndarray:
    """The series of the largest principal component of rows that vary alike, (n_samples,)."""
    deviations = a - a.mean(axis=1, keepdims=True)
    spread = deviations.std(axis=1, keepdims=True)
    scaled = np.divide(deviations, spread, out=np.zeros_like(deviations), where=spread > 0)
    _, vectors = np.linalg.eigh(scaled @ scaled.T)
    component: np.ndarray = vectors[:, -1] @ scaled
    return component
