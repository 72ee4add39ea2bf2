"""Free energy of the electrons at a temperature of their own, from a density of states.

    N = int g f,   f = 1/(1 + exp((e - mu)/kT)),   Omega = -kT int g log(1 + exp(-(e - mu)/kT))
    A(T) = Omega + mu N,   TS = -kT int g [f log f + (1 - f) log(1 - f)],   E = A + TS

relative to the ground state of the same density of states (C. Ben Mahmoud, F. Grasselli and M.
Ceriotti, Phys. Rev. B 106, L121116 (2022)). The chemical potential mu is found anew for every
density of states and temperature. g counts both spins and is kept as it is for all temperatures:
the error of that is of second order in the response of the density. As N is fixed,
dA = -kT int dg log(1 + exp(-(e - mu)/kT)), without a derivative of mu.

A density of states on a grid is taken as linear between its points. With G = int g, and f the step
at E_F in the ground state, partial integration leaves nothing singular to integrate:

    A(T) - A(0) = (mu - E_F) N - [int G f - int^E_F G]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from pimd.units import KB_EV_PER_KELVIN

__all__ = ["Electrons", "electrons_of_dos", "electrons_of_levels"]

WINDOW = 40.0
"""kT on both sides of mu, beyond which f is 1 or 0 to rounding."""
SEGMENTS_PER_KT = 2.0
NODES, WEIGHTS = np.polynomial.legendre.leggauss(6)
NEGATIVE = 1e-9
"""Of its largest value, by which a density of states may be below 0."""


@dataclass(frozen=True)
class Electrons:
    """Electrons at one temperature, eV, relative to their ground state.

    Attributes:
        free_energy: A(T) - A(0).
        energy: E(T) - E(0).
        entropy_term: T S.
        chemical_potential: mu(T).
        fermi_level: E_F; within a gap the middle of it.
    """

    free_energy: float
    energy: float
    entropy_term: float
    chemical_potential: float
    fermi_level: float


def electrons_of_dos(
    energies: np.ndarray, dos: np.ndarray, n_electrons: float, temperature: float
) -> Electrons:
    """Electrons of a density of states.

    Args:
        energies: (n,) eV, ascending.
        dos: (n,) states/eV, both spins.
        n_electrons: that fill it; those of bands below the grid left out.
        temperature: K, of the electrons.

    Raises:
        ValueError: no density of states, one that cannot hold the electrons, or one that ends
            where states are still occupied.
    """
    kt = _kt(temperature)
    bands = _Bands(energies, dos, n_electrons)
    mu = bands.chemical_potential(kt)
    n = n_electrons
    e, weights = bands.nodes(mu, kt)
    x = (e - mu) / kt
    f = _fermi(x)
    below, fermi = bands.edge(mu, kt), bands.fermi_level
    filled = bands.second(below) + weights @ (bands.integrated(e) * f) - bands.second(fermi)
    free_energy = float((mu - fermi) * n - filled)
    entropy = float(kt * (weights @ (bands.density(e) * _entropy(x))))
    return Electrons(free_energy, free_energy + entropy, entropy, mu, fermi)


def electrons_of_levels(
    levels: np.ndarray, degeneracies: np.ndarray, n_electrons: float, temperature: float
) -> Electrons:
    """Electrons in discrete levels.

    Args:
        levels: (n,) eV.
        degeneracies: (n,) states of each level, both spins.
        n_electrons: more than 0 and less than all levels hold.
        temperature: K.

    Raises:
        ValueError: levels that cannot hold the electrons.
    """
    kt = _kt(temperature)
    e, g = np.asarray(levels, dtype=float), np.asarray(degeneracies, dtype=float)
    if e.ndim != 1 or e.shape != g.shape or not len(e) or not (g > 0).all():
        raise ValueError("expected levels and their degeneracies, (n,) each, degeneracies > 0")
    order = np.argsort(e, kind="stable")
    e, g = e[order], g[order]
    room = float(g.sum())
    if not 0 < n_electrons < room:
        raise ValueError(
            f"{n_electrons:g} electrons in {room:g} states: expected more than 0, less than all"
        )
    filled = np.clip(n_electrons - (np.cumsum(g) - g), 0.0, g)
    homo = int(np.flatnonzero(filled)[-1])
    full = filled[homo] == g[homo]
    fermi = float(0.5 * (e[homo] + e[homo + 1]) if full else e[homo])
    span = WINDOW * kt + float(np.ptp(e))
    mu = float(brentq(
        lambda m: float(g @ _fermi((e - m) / kt)) - n_electrons, e[0] - span, e[-1] + span,
        xtol=1e-14, rtol=8.9e-16,
    ))  # fmt: skip
    x = (e - mu) / kt
    free_energy = float(mu * n_electrons - kt * (g @ np.logaddexp(0.0, -x)) - filled @ e)
    entropy = float(kt * (g @ _entropy(x)))
    return Electrons(free_energy, free_energy + entropy, entropy, mu, fermi)


def _kt(temperature: float) -> float:
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature} K, expected a positive number")
    return KB_EV_PER_KELVIN * temperature


def _fermi(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 - np.tanh(0.5 * x))


def _entropy(x: np.ndarray) -> np.ndarray:
    """-f log f - (1 - f) log(1 - f) at f = 1/(1 + exp x), even in x."""
    y = np.abs(x)
    return np.log1p(np.exp(-y)) + y * _fermi(y)


class _Bands:
    """A density of states that is linear between grid points, and its first two integrals."""

    def __init__(self, energies: np.ndarray, dos: np.ndarray, n_electrons: float) -> None:
        e, g = np.asarray(energies, dtype=float), np.asarray(dos, dtype=float)
        if e.ndim != 1 or e.shape != g.shape or len(e) < 2 or not (np.diff(e) > 0).all():
            raise ValueError(
                "expected a density of states on a grid: ascending energies and values, (n,) each, "
                f"got {e.shape} and {g.shape}"
            )
        if not np.isfinite(g).all() or g.min() < -NEGATIVE * max(g.max(), 0.0):
            raise ValueError("the density of states is negative or not finite somewhere")
        self._e, self._g = e, np.maximum(g, 0.0)
        h = np.diff(e)
        first = 0.5 * h * (self._g[1:] + self._g[:-1])
        self._first = np.concatenate([[0.0], np.cumsum(first)])  # G at the grid points
        second = self._first[:-1] * h + h**2 * (2.0 * self._g[:-1] + self._g[1:]) / 6.0
        self._second = np.concatenate([[0.0], np.cumsum(second)])
        self._n = float(n_electrons)
        if not 0 < self._n < self._first[-1]:
            raise ValueError(
                f"the density of states holds {self._first[-1]:.6g} electrons, expected more than "
                f"{n_electrons:g}"
            )
        self.fermi_level = 0.5 * (self._reached(-1e-12) + self._reached(1e-12))

    def density(self, e: np.ndarray) -> np.ndarray:
        return np.interp(e, self._e, self._g)

    def integrated(self, e: np.ndarray) -> np.ndarray:
        """G(e), exact for a linear density."""
        k, d, slope = self._place(e)
        found: np.ndarray = self._first[k] + d * (self._g[k] + 0.5 * slope * d)
        return found

    def second(self, e: float) -> float:
        """Integral of G up to e."""
        k, d, slope = self._place(np.asarray(e))
        return float(self._second[k] + d * (self._first[k] + d * (self._g[k] / 2 + slope * d / 6)))

    def _place(self, e: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        k = np.clip(np.searchsorted(self._e, e, side="right") - 1, 0, len(self._e) - 2)
        slope = (self._g[k + 1] - self._g[k]) / (self._e[k + 1] - self._e[k])
        return k, e - self._e[k], slope

    def _reached(self, more: float) -> float:
        """Where G is N and a relative bit more: both ends of a gap together."""
        n = self._n * (1.0 + more)
        k = int(np.clip(np.searchsorted(self._first, n, side="right") - 1, 0, len(self._e) - 2))
        a = 0.5 * (self._g[k + 1] - self._g[k]) / (self._e[k + 1] - self._e[k])
        b, c = self._g[k], n - self._first[k]
        root = b + np.sqrt(max(b * b + 4.0 * a * c, 0.0))
        return float(self._e[k] + (2.0 * c / root if root > 0 else 0.0))

    def edge(self, mu: float, kt: float) -> float:
        """Below it everything is occupied."""
        return float(np.clip(mu - WINDOW * kt, self._e[0], self._e[-1]))

    def nodes(self, mu: float, kt: float) -> tuple[np.ndarray, np.ndarray]:
        """Where to integrate around mu, and with which weights (Gauss-Legendre by pieces)."""
        low, high = self.edge(mu, kt), float(np.clip(mu + WINDOW * kt, self._e[0], self._e[-1]))
        inside = self._e[(self._e > low) & (self._e < high)]
        even = np.linspace(low, high, max(2, int(SEGMENTS_PER_KT * (high - low) / kt) + 1))
        ends = np.unique(np.concatenate([inside, even]))
        half = 0.5 * np.diff(ends)[:, None]
        middle = 0.5 * (ends[1:] + ends[:-1])[:, None]
        return (middle + half * NODES).ravel(), (half * WEIGHTS).ravel()

    def chemical_potential(self, kt: float) -> float:
        """mu where the occupied states are the electrons.

        Raises:
            ValueError: the grid ends where states are still occupied.
        """

        def excess(mu: float) -> float:
            e, weights = self.nodes(mu, kt)
            occupied = weights @ (self.density(e) * _fermi((e - mu) / kt))
            return float(self.integrated(np.asarray(self.edge(mu, kt))) + occupied - self._n)

        low, high = self._e[0] - WINDOW * kt, self._e[-1] + WINDOW * kt
        mu = float(brentq(excess, low, high, xtol=1e-14, rtol=8.9e-16))
        left = float(_fermi((self._e[-1] - mu) / kt) * self._g[-1] * kt)
        if left > 1e-8 * self._n:
            raise ValueError(
                f"the density of states ends {(self._e[-1] - mu) / kt:.1f} kT above the chemical "
                f"potential, where it is not 0: {left:.1e} electrons are cut off; extend the grid"
            )
        return mu
