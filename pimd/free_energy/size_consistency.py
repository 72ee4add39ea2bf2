"""Free energies per atom or molecule, and whether they depend on the size of the system.

An extensive difference per molecule d(n) of n molecules is the same for all n; where the system is
too small for its potentials it goes as d + b/n. A weighted mean with its chi^2 says whether the
sizes agree, a weighted line against 1/n where they lead to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pimd.analysis.convergence import UNLIKELY, pooled, weighted_line

__all__ = ["SizeConsistency", "count_units", "size_consistency"]


@dataclass(frozen=True)
class SizeConsistency:
    """The same difference per unit from systems of several sizes.

    Attributes:
        units: (n,) their sizes.
        values, errors: (n,) per unit.
        mean, error: weighted by the errors, as if size did not matter.
        chi2: of the values about their mean, n - 1 degrees of freedom.
        probability: that chance alone makes it as large.
        slope, slope_error: of the values with 1/units.
        limit, limit_error: at 1/units = 0.
        consistent: whether they agree.
    """

    units: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    mean: float
    error: float
    chi2: float
    probability: float
    slope: float
    slope_error: float
    limit: float
    limit_error: float

    @property
    def consistent(self) -> bool:
        return self.probability >= UNLIKELY


def count_units(numbers: np.ndarray, per: str) -> int:
    """How many atoms, molecules or systems there are.

    Args:
        numbers: (n_atoms,) atomic numbers.
        per: "system", "atom", or a molecule as its formula.

    Raises:
        ValueError: a formula that cannot be read, or that the atoms are no multiple of.
    """
    if per == "system":
        return 1
    if per == "atom":
        return len(numbers)
    from ase.data import atomic_numbers, chemical_symbols

    wanted: dict[int, int] = {}
    if not re.fullmatch(r"(?:[A-Z][a-z]?(?:[1-9]\d*)?)+", per):
        raise ValueError(f"per '{per}': expected atom, system, or a formula such as H2O")
    for symbol, count in re.findall(r"([A-Z][a-z]?)(\d*)", per):
        if symbol not in atomic_numbers:
            raise ValueError(f"per '{per}': there is no element {symbol}")
        number = atomic_numbers[symbol]
        wanted[number] = wanted.get(number, 0) + int(count or 1)
    found = {int(z): int(n) for z, n in zip(*np.unique(numbers, return_counts=True), strict=True)}
    units = {found.get(z, 0) / n for z, n in wanted.items()}
    if found.keys() != wanted.keys() or len(units) != 1 or not next(iter(units)).is_integer():
        text = "".join(f"{chemical_symbols[z]}{n}" for z, n in found.items())
        raise ValueError(f"per '{per}': {text} is no multiple of it")
    return int(units.pop())


def size_consistency(
    units: Sequence[int], values: Sequence[float], errors: Sequence[float]
) -> SizeConsistency:
    """Whether a difference per unit depends on the size of the system.

    Args:
        units: (n,) sizes, at least two different ones.
        values: (n,) per unit.
        errors: (n,) their standard errors, > 0.

    Raises:
        ValueError: fewer sizes, or errors that are not positive.
    """
    n = np.asarray(units, dtype=float)
    x, e = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    if not n.shape == x.shape == e.shape or len(np.unique(n)) < 2 or not (e > 0).all():
        raise ValueError("expected values with errors of at least two sizes")
    mean = pooled(x, e)
    (limit, slope), covariance, _ = weighted_line(1.0 / n, x, e)
    limit_error, slope_error = np.sqrt(np.diag(covariance))
    return SizeConsistency(
        n, x, e, mean.value, mean.error, mean.chi2, mean.probability,
        float(slope), float(slope_error), float(limit), float(limit_error),
    )
