"""Thermodynamic integration on Gauss-Legendre nodes: over the mass, or between two potentials.

Classical -> quantum, with all masses m/g^2, g from 0 (classical) to 1 (the nuclei as they are):

    A_q - A_cl = int_0^1 dg 2 [K(g) - K_cl] / g

K is the kinetic energy by a centroid-virial estimator. In this variable the integrand goes to 0
linearly at the classical end and is flat where all is ground state (M. Ceriotti and T. E. Markland,
J. Chem. Phys. 138, 014112 (2013)); few nodes do. The number of beads is the same at all nodes.

From masses m to alpha m of some atoms, y = (m/mu)^(1/2) from 1 to alpha^(-1/2), K of these atoms:

    A(alpha m) - A(m) = -(3/2) n kT log alpha + int dy 2 [K(y) - K_cl] / y

From U_0 to U_1 with (1 - l) U_0 + l U_1:  A_1 - A_0 = int_0^1 dl <U_1 - U_0>_l.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    "Integral", "Ladder", "between_potentials", "classical_to_quantum", "ladder", "mass_change",
    "mass_change_factors", "quadrature_error",
]

TELLING_NODES = 4
"""Nodes from which the integrand shows how well they integrate it."""


@dataclass(frozen=True)
class Ladder:
    """Where to simulate, from 0 to 1.

    Attributes:
        nodes: (n,) g or lambda, ascending.
        weights: (n,), sum 1.
    """

    nodes: np.ndarray
    weights: np.ndarray

    @property
    def mass_factors(self) -> np.ndarray:
        """(n,) 1/g^2, by which all masses are multiplied."""
        return 1.0 / np.square(self.nodes)


@dataclass(frozen=True)
class Integral:
    """A free-energy difference in the unit of what was integrated.

    Attributes:
        value: the integral.
        error: its standard error, from independent errors at the nodes.
        integrand: (n,) at the nodes.
        integrand_errors: (n,)
    """

    value: float
    error: float
    integrand: np.ndarray
    integrand_errors: np.ndarray


def ladder(n: int) -> Ladder:
    """Gauss-Legendre nodes and weights on (0, 1).

    Args:
        n: nodes; 6 or more for O-H stretches at 300 K (error 1e-4 kT), 4 for the rest of a liquid.

    Raises:
        ValueError: fewer than 2.
    """
    if n < 2:
        raise ValueError(f"an integral on {n} nodes: expected at least 2")
    x, w = np.polynomial.legendre.leggauss(n)
    return Ladder(0.5 * (x + 1.0), 0.5 * w)


def classical_to_quantum(
    rungs: Ladder,
    kinetic: Sequence[float],
    errors: Sequence[float],
    classical_kinetic: float,
) -> Integral:
    """A_q - A_cl from the kinetic energy at each node.

    Args:
        rungs: where it was simulated.
        kinetic: (n,) mean kinetic energies at masses m/g^2, any unit of energy.
        errors: (n,) their standard errors.
        classical_kinetic: 3/2 kT for each atom that moves; 3/2 (N - 1) kT where `kinetic` leaves
            the centre of mass out. (i-PI's kinetic_cv counts all atoms, also with fixcom.)

    Raises:
        ValueError: numbers that do not belong to the nodes, or errors that are negative or NaN.
    """
    values, spreads = _at_nodes(rungs, kinetic, errors)
    factors = 2.0 / rungs.nodes
    return _integral(rungs, factors * (values - classical_kinetic), factors * spreads)


def mass_change_factors(rungs: Ladder, alpha: float) -> np.ndarray:
    """(n,) by what the masses are multiplied at the nodes on the way to alpha times the mass."""
    return 1.0 / np.square(_roots(rungs, alpha))


def mass_change(
    rungs: Ladder,
    alpha: float,
    kinetic: Sequence[float],
    errors: Sequence[float],
    classical_kinetic: float,
) -> Integral:
    """A(alpha m) - A(m) without its classical part, -(3/2) kT log(alpha) for each atom.

    Args:
        rungs: where it was simulated, at masses times `mass_change_factors`.
        alpha: new mass over old one.
        kinetic: (n,) mean kinetic energies of the atoms whose mass changes, centroid virial.
        errors: (n,) their standard errors.
        classical_kinetic: 3/2 kT for each of these atoms.

    Raises:
        ValueError: as `classical_to_quantum`, or an alpha that is no ratio of masses.
    """
    values, spreads = _at_nodes(rungs, kinetic, errors)
    root = _roots(rungs, alpha)
    factors = 2.0 * (1.0 / np.sqrt(alpha) - 1.0) / root
    return _integral(rungs, factors * (values - classical_kinetic), np.abs(factors) * spreads)


def between_potentials(
    rungs: Ladder, differences: Sequence[float], errors: Sequence[float]
) -> Integral:
    """A_1 - A_0 from <U_1 - U_0> at each node, the mean over the beads of a ring polymer.

    Args and errors raised as `classical_to_quantum`.
    """
    return _integral(rungs, *_at_nodes(rungs, differences, errors))


def quadrature_error(rungs: Ladder, integrand: Sequence[float]) -> float:
    """How much the nodes may miss, from how fast the integrand's Legendre coefficients fall off.

    n nodes are exact up to order 2n - 1; the larger of the last two coefficients that they show is
    carried on to order 2n at the rate at which they fell so far. Errors of the integrand make it
    larger. For an O-H stretch it is some ten times what the nodes really miss.

    Returns:
        In the unit of the integrand; NaN for fewer than `TELLING_NODES` nodes.
    """
    n, f = len(rungs.nodes), np.asarray(integrand, dtype=float)
    if n < TELLING_NODES:
        return float("nan")
    polynomials = np.polynomial.legendre.legvander(2.0 * rungs.nodes - 1.0, n - 1)  # [node, k]
    coefficients = np.abs((2 * np.arange(n) + 1) * ((rungs.weights * f) @ polynomials))
    last, largest = coefficients[-2:].max(), coefficients.max()
    if not largest > 0:
        return 0.0
    return float(last * (last / largest) ** ((n + 1) / (n - 1)))


def _roots(rungs: Ladder, alpha: float) -> np.ndarray:
    """(n,) y = (m/mu)^(1/2) at the nodes, from 1 to alpha^(-1/2)."""
    if not alpha > 0:
        raise ValueError(f"alpha is {alpha}, expected the ratio of two masses")
    found: np.ndarray = 1.0 + (1.0 / np.sqrt(alpha) - 1.0) * rungs.nodes
    return found


def _at_nodes(
    rungs: Ladder, values: Sequence[float], errors: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    found, spreads = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    if not found.shape == spreads.shape == rungs.nodes.shape:
        raise ValueError(
            f"expected a value and an error at each of the {len(rungs.nodes)} nodes, got "
            f"{found.shape} and {spreads.shape}"
        )
    if not np.isfinite(found).all() or not (spreads >= 0).all():
        raise ValueError("a value is not finite, or an error negative or unknown")
    return found, spreads


def _integral(rungs: Ladder, integrand: np.ndarray, errors: np.ndarray) -> Integral:
    value = float(rungs.weights @ integrand)
    error = float(np.sqrt(np.square(rungs.weights * errors).sum()))
    return Integral(value, error, integrand, errors)
