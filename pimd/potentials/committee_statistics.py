"""Mean, spread and calibration of a committee of models; numpy arrays or torch tensors.

For M members V_i along the first axis,

    mean         V = 1/M sum_i V_i
    spread       s² = 1/(M-1) sum_i (V_i - V)²
    calibrated   V_i <- V + alpha (V_i - V), so that the spread becomes alpha s
    centred      V_i <- V_samp + (V_i - V), where dynamics follows V_samp, not V

the same linear maps for energies, forces, virials and other predictions. The calibration alpha
is fitted to errors against references that no member was trained on.

The spread of a few members is itself uncertain: E[s]/sigma = c4(M), 0.92 for M = 4 and 0.97 for
M = 8, with a relative standard deviation of 42 % and 27 %.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

__all__ = [
    "Calibration", "c4", "calibrate", "calibrate_spread", "calibrated", "centred", "expected_z",
    "mean", "spread",
]

Array = TypeVar("Array", np.ndarray, Tensor)

METHODS = ("auto", "finite_m", "likelihood")
FEW_MEMBERS = 6
"""With fewer members than this the finite-M estimate has an infinite variance."""


def mean(members: Array) -> Array:
    """Mean over members: (n_members, ...) -> (...)."""
    return members.mean(0)


def spread(members: Array) -> Array:
    """Standard deviation over members with M - 1 in the denominator: (n_members, ...) -> (...).

    Raises:
        ValueError: for fewer than two members.
    """
    if len(members) < 2:
        raise ValueError(f"a spread needs at least 2 members, got {len(members)}")
    deviations = members - members.mean(0)
    return ((deviations * deviations).sum(0) / (len(members) - 1)) ** 0.5


def calibrated(members: Array, alpha: float) -> Array:
    """V + alpha (V_i - V): the same mean, and alpha times the spread."""
    if alpha == 1.0:
        return members
    average = members.mean(0)
    return average + alpha * (members - average)


def centred(members: Array, sampled: Array) -> Array:
    """V_samp + (V_i - V): members whose mean is what dynamics follows.

    Args:
        members: (n_members, ...)
        sampled: (...), of the potential that is sampled: the model's own energy where that is
            not the mean of its members, or one with a weighted baseline.
    """
    return members + (sampled - members.mean(0))


def c4(n_members: int) -> float:
    """E[s]/sigma of M normal deviates: sqrt(2/(M-1)) Gamma(M/2) / Gamma((M-1)/2)."""
    if n_members < 2:
        raise ValueError(f"a spread needs at least 2 members, got {n_members}")
    half = 0.5 * n_members
    return math.sqrt(1.0 / (half - 0.5)) * math.exp(math.lgamma(half) - math.lgamma(half - 0.5))


@dataclass(frozen=True)
class Calibration:
    """The scale of a committee's spread.

    Attributes:
        alpha: factor of the deviations from the mean.
        error: standard error of alpha, from the scatter of the points.
        method: `finite_m` or `likelihood`.
        n_points: points it was fitted to.
    """

    alpha: float
    error: float
    method: str
    n_points: int


def calibrate(members: Any, reference: Any, method: str = "auto") -> Calibration:
    """alpha of a committee, from its predictions for structures that no member was trained on.

    Args:
        members: (n_members, ...) predictions, not calibrated; numpy or torch.
        reference: (...) the same quantity from the reference method.
        method: see `calibrate_spread`.

    Raises:
        ValueError: as `calibrate_spread`; shapes that do not belong together.
    """
    values, truth = _numpy(members), _numpy(reference)
    if values.ndim == 0 or values.shape[1:] != truth.shape:
        raise ValueError(
            f"expected members (n_members, ...) of a reference (...), got {values.shape} and "
            f"{truth.shape}"
        )
    return calibrate_spread(truth - values.mean(0), spread(values), len(values), method)


def calibrate_spread(
    errors: Any, spreads: Any, n_members: int | None, method: str = "auto"
) -> Calibration:
    """alpha from errors and spreads, z_A = error_A / s_A over points A.

    `finite_m`: alpha² = -1/M + (M-3)/(M-1) <z²>. If members are independent draws around a
    centre and the reference is a draw with alpha times their width, this is unbiased: it removes
    the error of the mean of M members, and the tail that 1/s² has for small M. It needs M >= 4,
    and its own variance is finite only for M >= 6.

    `likelihood`: alpha² = <z²>, the maximum of the likelihood of errors that are normal with
    the width alpha s. It corrects nothing: for M = 8 alpha comes out 20 % too large if the
    members are as above. For spreads that come from no small sample it is right.

    `auto`: `finite_m` for M >= 6, `likelihood` for fewer (with a warning) and where there are
    no members.

    Args:
        errors: reference minus mean, (...).
        spreads: of the members, not calibrated, (...), > 0.
        n_members: None for an uncertainty that is no spread of members.
        method: `auto`, `finite_m` or `likelihood`.

    Raises:
        ValueError: spreads that are not positive, too few members for the method, or members
            spread so widely that no alpha explains errors so small.

    Source: Imbalzano et al., J. Chem. Phys. 154, 074102 (2021).
    """
    if method not in METHODS:
        raise ValueError(f"the method is one of {', '.join(METHODS)}; got {method!r}")
    error, width = _numpy(errors).ravel(), _numpy(spreads).ravel()
    if error.shape != width.shape or not error.size:
        raise ValueError(f"expected as many spreads as errors, got {width.size} and {error.size}")
    if not (np.isfinite(error).all() and np.isfinite(width).all() and (width > 0.0).all()):
        raise ValueError(
            "errors must be finite and spreads positive: members that agree exactly (copies of "
            "one model, or lone atoms) cannot be calibrated"
        )
    squares = (error / width) ** 2
    slope, shift = 1.0, 0.0
    chosen = _method(method, n_members)
    if chosen == "finite_m":
        assert n_members is not None
        slope, shift = (n_members - 3) / (n_members - 1), 1.0 / n_members
    if not squares.any():
        raise ValueError("the errors are all zero: are the references those of the mean itself?")
    squared = slope * float(squares.mean()) - shift
    if squared <= 0.0:
        raise ValueError(
            f"the errors are too small for the spread, <z²> = {squares.mean():.3g}: even the "
            f"error of a mean of {n_members} members would be larger. Are the references among "
            "the training data? method: likelihood gives a number all the same"
        )
    alpha = math.sqrt(squared)
    scatter = float(squares.std(ddof=1)) if squares.size > 1 else math.nan
    deviation = slope * scatter / math.sqrt(squares.size) / (2.0 * alpha)
    return Calibration(alpha, deviation, chosen, int(squares.size))


def expected_z(n_members: int, alpha: float) -> float | None:
    """<z²> of a calibrated committee: (1 + 1 / (M alpha²)) (M - 1) / (M - 3); None for M <= 3."""
    if n_members <= 3:
        return None
    return (1.0 + 1.0 / (n_members * alpha**2)) * (n_members - 1) / (n_members - 3)


def _method(method: str, n_members: int | None) -> str:
    """The method to use; warns where few members make it doubtful."""
    if n_members is None:
        if method == "finite_m":
            raise ValueError("finite_m needs members; use method likelihood")
        return "likelihood"
    if n_members < 2:
        raise ValueError(f"a spread needs at least 2 members, got {n_members}")
    if method == "likelihood":
        return method
    if n_members >= FEW_MEMBERS:
        return "finite_m"
    if method == "finite_m":
        if n_members < 4:
            raise ValueError(f"finite_m needs at least 4 members, got {n_members}")
        warnings.warn(
            f"the calibration of {n_members} members has an infinite variance; use 6 or more",
            stacklevel=3,
        )
        return "finite_m"
    warnings.warn(
        f"{n_members} members are too few to correct the calibration for their number: alpha is "
        "that of the largest likelihood, which overestimates it; use 6 or more members",
        stacklevel=3,
    )
    return "likelihood"


def _numpy(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
