"""Densities of states that are linear between grid points, many at once: filling and integrals.

With G the integral of g, and f the step at E_F in the ground state, partial integration leaves
nothing singular to integrate:

    A(T) - A(0) = (mu - E_F) N - [int G f - int^E_F G]

Around the Fermi levels the integrals are Gauss-Legendre between grid points, and between points a
kT apart where the grid is coarser, with as many nodes as the poles of f, pi kT away, ask for;
below, everything is occupied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

__all__ = ["Bands", "NumberedError", "entropy_of", "fermi", "most_nodes"]

WINDOW = 40.0
"""kT on both sides of mu, beyond which f is 1 or 0 to rounding."""
SLACK = 3.0
"""kT by which mu may differ from the Fermi level before more of the grid is looked at."""
FINE = 0.5
"""kT between grid points above which there are nodes between them besides."""
ROUNDING = 1e-14
"""Relative error of integrals of f."""
NOTHING = 1e-12
"""Share of the electrons that is rounding."""
NEGATIVE = 1e-9
"""Of its largest value, by which a density of states may be below 0."""
CUT_OFF = 1e-8
"""Share of the electrons that may be missing where the grid ends."""
MOST_ITERATIONS = 200
STEP = 1e-8
"""kT of a step of Newton's method after which the next one, by its square, is rounding."""


def most_nodes(energies: np.ndarray, kt: float) -> int:
    """Nodes of the integrals of one density of states on a grid, at most about."""
    return 6 * (len(energies) + int(float(np.ptp(energies)) / kt))


@dataclass(frozen=True)
class Window:
    """Where f is neither 1 nor 0, of several densities of states.

    Attributes:
        e, weights: (m,) eV, nodes and weights of the integrals.
        weighted: (n_dos, m), weights times g.
        low: eV, below which everything is occupied.
        below: (n_dos,) states there.
        is_all: whether it is the whole grid.
    """

    e: np.ndarray
    weights: np.ndarray
    weighted: np.ndarray
    low: float
    below: np.ndarray
    is_all: bool


class NumberedError(ValueError):
    """One of several densities of states cannot be filled.

    Args:
        message: with a {} for which of them it is.
        number: of it.
        several: whether to say so.
    """

    def __init__(self, message: str, number: int, several: bool = True) -> None:
        super().__init__(message.format(f" number {number}" if several else ""))
        self.message, self.number = message, number


def fermi(x: np.ndarray) -> np.ndarray:
    """1/(1 + exp x)."""
    found: np.ndarray = expit(-x)
    return found


def entropy_of(x: np.ndarray) -> np.ndarray:
    """-f log f - (1 - f) log(1 - f) at f = 1/(1 + exp x), even in x."""
    y = np.abs(x)
    return np.log1p(np.exp(-y)) + y * fermi(y)


class Bands:
    """Densities of states on one grid, filled with electrons.

    Args:
        energies: (n,) eV, ascending.
        dos: (n_dos, n) states/eV, both spins.
        n_electrons: of each, (n_dos,) or one number.

    Attributes:
        fermi_level: (n_dos,) eV, within a gap the middle of it.

    Raises:
        NumberedError: no grid, a density that is negative, or one that cannot hold the electrons.
    """

    def __init__(
        self, energies: np.ndarray, dos: np.ndarray, n_electrons: np.ndarray | float
    ) -> None:
        e, g = np.asarray(energies, dtype=float), np.asarray(dos, dtype=float)
        if e.ndim != 1 or g.shape[1:] != e.shape or len(e) < 2 or not (np.diff(e) > 0).all():
            raise ValueError(
                "expected a density of states on a grid: ascending energies and values, (n,) each, "
                f"got {e.shape} and {g.shape[1:]}"
            )
        bad = ~(g.min(axis=1) >= -NEGATIVE * np.maximum(g.max(axis=1), 0.0))
        bad |= ~np.isfinite(g).all(axis=1)
        if bad.any():
            raise NumberedError(
                "the density of states{} is negative or not finite somewhere", _first(bad)
            )
        self._e, self._g = e, np.maximum(g, 0.0)
        h = np.diff(e)
        zero = np.zeros((len(g), 1))
        first = 0.5 * h * (self._g[:, 1:] + self._g[:, :-1])
        self._first = np.concatenate([zero, np.cumsum(first, axis=1)], axis=1)  # G on the grid
        second = self._first[:, :-1] * h
        second += h**2 * (2.0 * self._g[:, :-1] + self._g[:, 1:]) / 6.0
        self._second = np.concatenate([zero, np.cumsum(second, axis=1)], axis=1)
        self._slope = np.concatenate([np.diff(self._g, axis=1) / h, zero], axis=1)
        self._n = np.broadcast_to(np.asarray(n_electrons, dtype=float), len(g))
        room = self._first[:, -1]
        bad = ~((self._n > 0) & (self._n < room))
        if bad.any():
            k = _first(bad)
            raise NumberedError(
                f"the density of states{{}} holds {room[k]:.6g} electrons, expected more than "
                f"{self._n[k]:g}", k,
            )
        # both edges of a gap, where there is one
        self._edges = self._reached(-NOTHING), self._reached(NOTHING)
        self.fermi_level = 0.5 * (self._edges[0] + self._edges[1])

    def thermal(self, kt: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """mu, A(T) - A(0) and TS, (n_dos,) each, eV.

        Raises:
            NumberedError: a grid ends where states are still occupied.
        """
        mu, window = self._chemical_potential(kt)
        x = (window.e - mu[:, None]) / kt
        level = self.fermi_level
        filled = self._second_at(np.full(len(mu), window.low)) - self._second_at(level)
        filled += np.einsum("dm,dm->d", window.weights * self._at(window.e)[1], fermi(x))
        free = (mu - level) * self._n - filled
        return mu, free, kt * np.einsum("dm,dm->d", window.weighted, entropy_of(x))

    def _chemical_potential(self, kt: float) -> tuple[np.ndarray, Window]:
        """mu where the occupied states are the electrons, and where f is neither 1 nor 0."""
        slack = SLACK * kt
        while True:
            window = self._window(slack, kt)
            mu = self._solved(window, kt)
            away = np.abs(mu - self.fermi_level).max()
            if away <= slack or window.is_all:
                break
            slack = max(2.0 * slack, 1.1 * away)
        left = fermi((self._e[-1] - mu) / kt) * self._g[:, -1] * kt
        bad = left > CUT_OFF * self._n
        if bad.any():
            k = _first(bad)
            raise NumberedError(
                f"the density of states{{}} ends {(self._e[-1] - mu[k]) / kt:.1f} kT above the "
                f"chemical potential, where it is not 0: {left[k]:.1e} electrons are cut off; "
                "extend the grid", k,
            )
        return mu, window

    def _solved(self, window: Window, kt: float) -> np.ndarray:
        """mu by Newton's method within brackets.

        Electrons above the Fermi level are weighed against holes below it, so that mu is right in
        a gap too, where both are few.
        """
        holes = window.e < self.fermi_level[:, None]
        sign = np.where(holes, -1.0, 1.0)
        # what the nodes miss of the step of the ground state, where it is not in a gap
        missed = window.below + (window.weighted * holes).sum(axis=1) - self._n
        missed = np.where(np.abs(missed) > NOTHING * self._n, missed, 0.0)
        low = np.full(len(self._g), self._e[0] - WINDOW * kt)
        high = np.full(len(self._g), self._e[-1] + WINDOW * kt)
        mu = self.fermi_level.copy()
        for _ in range(MOST_ITERATIONS):
            share = fermi(sign * (window.e - mu[:, None]) / kt)  # of electrons, or of holes
            carriers = window.weighted * share
            excess = missed + np.einsum("dm,dm->d", carriers, sign)
            slope = np.einsum("dm,dm->d", carriers, 1.0 - share) / kt
            low, high = np.where(excess < 0, mu, low), np.where(excess > 0, mu, high)
            with np.errstate(divide="ignore", invalid="ignore"):
                guess = mu - excess / slope
            inside = (guess >= low) & (guess <= high)
            new = np.where(excess == 0, mu, np.where(inside, guess, 0.5 * (low + high)))
            moved, mu = np.abs(new - mu).max(), new
            if moved <= STEP * kt:
                break
        return mu

    def _window(self, slack: float, kt: float) -> Window:
        """Nodes around the Fermi levels of all, where mu may be `slack` away from them."""
        reach = slack + WINDOW * kt
        ends = self._edges[0].min() - reach, self._edges[1].max() + reach
        low, high = (float(np.clip(end, self._e[0], self._e[-1])) for end in ends)
        inside = self._e[(self._e > low) & (self._e < high)]
        cuts = np.concatenate([[low], inside, [high]])
        if np.diff(cuts).max() > FINE * kt:
            even = np.linspace(low, high, max(2, math.ceil((high - low) / kt) + 1))
            cuts = np.union1d(cuts, even)
        # Gauss-Legendre converges as rho^-2n, rho by the distance of the poles of f
        rho = 2.0 * math.pi * kt / np.diff(cuts).max()
        count = max(2, math.ceil(-math.log(ROUNDING) / (2.0 * math.log(rho + math.hypot(rho, 1)))))
        nodes, weights = np.polynomial.legendre.leggauss(count)
        half = 0.5 * np.diff(cuts)[:, None]
        e = (0.5 * (cuts[1:] + cuts[:-1])[:, None] + half * nodes).ravel()
        w = (half * weights).ravel()
        g, below = self._at(e)[0], self._at(np.array([low]))[1][:, 0]
        return Window(e, w, w * g, low, below, bool(low == self._e[0] and high == self._e[-1]))

    def _at(self, e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """g and G at energies (m,), (n_dos, m) each; exact for a linear density."""
        k = np.clip(np.searchsorted(self._e, e, side="right") - 1, 0, len(self._e) - 2)
        d = e - self._e[k]
        here, rise = self._g[:, k], self._slope[:, k] * d
        return here + rise, self._first[:, k] + d * (here + 0.5 * rise)

    def _second_at(self, e: np.ndarray) -> np.ndarray:
        """Integral of G up to e, (n_dos,)."""
        k = np.clip(np.searchsorted(self._e, e, side="right") - 1, 0, len(self._e) - 2)
        row = np.arange(len(e))
        d, g = e - self._e[k], self._g[row, k]
        found: np.ndarray = self._second[row, k] + d * (
            self._first[row, k] + d * (g / 2 + self._slope[row, k] * d / 6)
        )
        return found

    def _reached(self, more: float) -> np.ndarray:
        """Where G is N and a relative bit more: both ends of a gap together."""
        n = self._n * (1.0 + more)
        k = np.clip((self._first <= n[:, None]).sum(axis=1) - 1, 0, len(self._e) - 2)
        row = np.arange(len(n))
        a, b = 0.5 * self._slope[row, k], self._g[row, k]
        c = n - self._first[row, k]
        root = b + np.sqrt(np.maximum(b * b + 4.0 * a * c, 0.0))
        step = np.divide(2.0 * c, root, out=np.zeros_like(c), where=root > 0)
        found: np.ndarray = self._e[k] + step
        return found


def _first(bad: np.ndarray) -> int:
    return int(np.flatnonzero(bad)[0])
