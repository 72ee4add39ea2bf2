"""Free energy of the electrons at a temperature of their own, from a density of states.

    N = int g f,   f = 1/(1 + exp((e - mu)/kT)),   Omega = -kT int g log(1 + exp(-(e - mu)/kT))
    A(T) = Omega + mu N,   TS = -kT int g [f log f + (1 - f) log(1 - f)],   E = A + TS

relative to the ground state of the same density of states (C. Ben Mahmoud, F. Grasselli and M.
Ceriotti, Phys. Rev. B 106, L121116 (2022)). The chemical potential mu is found anew for every
density of states and temperature. g counts both spins and is kept as it is for all temperatures:
the error of that is of second order in the response of the density. As N is fixed,
dA = -kT int dg log(1 + exp(-(e - mu)/kT)), without a derivative of mu.

A density of states on a grid is taken as linear between its points; see
`pimd.free_energy.bands`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.optimize import brentq

from pimd.free_energy.bands import WINDOW, Bands, NumberedError, entropy_of, fermi, most_nodes
from pimd.units import KB_EV_PER_KELVIN

__all__ = [
    "Electrons", "ManyElectrons", "electrons_of_dos", "electrons_of_levels", "electrons_of_many",
]

CHUNK_NODES = 2_000_000
"""Nodes of the integrals of all densities of states that are in memory at once."""


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


@dataclass(frozen=True)
class ManyElectrons:
    """Electrons of several densities of states at one temperature; arrays of one shape."""

    free_energy: np.ndarray
    energy: np.ndarray
    entropy_term: np.ndarray
    chemical_potential: np.ndarray
    fermi_level: np.ndarray


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
    found = electrons_of_many(energies, np.atleast_2d(dos), n_electrons, temperature)
    return Electrons(*(float(getattr(found, one.name)[0]) for one in fields(Electrons)))


def electrons_of_many(
    energies: np.ndarray, dos: np.ndarray, n_electrons: np.ndarray | float, temperature: float
) -> ManyElectrons:
    """Electrons of densities of states on one grid, each with a chemical potential of its own.

    Args:
        energies: (n,) eV, ascending.
        dos: (..., n) states/eV, both spins.
        n_electrons: one number, or (...).
        temperature: K.

    Returns:
        Arrays of shape (...).

    Raises:
        ValueError: as `electrons_of_dos`; says which of them by its number in the flat order.
    """
    kt = _kt(temperature)
    g = np.asarray(dos, dtype=float)
    shape = g.shape[:-1]
    g = g.reshape(-1, g.shape[-1])
    n = np.broadcast_to(np.asarray(n_electrons, dtype=float), shape).ravel()
    at_once = max(1, CHUNK_NODES // max(1, most_nodes(np.asarray(energies), kt)))
    parts = []
    for start in range(0, len(g), at_once):
        part = slice(start, start + at_once)
        try:
            bands = Bands(energies, g[part], n[part])
            mu, free, entropy = bands.thermal(kt)
        except NumberedError as error:
            raise NumberedError(error.message, error.number + start, len(g) > 1) from error
        parts.append((free, free + entropy, entropy, mu, bands.fermi_level))
    return ManyElectrons(*(np.concatenate(one).reshape(shape) for one in zip(*parts, strict=True)))


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
    level = float(0.5 * (e[homo] + e[homo + 1]) if full else e[homo])
    span = WINDOW * kt + float(np.ptp(e))
    mu = float(brentq(
        lambda m: float(g @ fermi((e - m) / kt)) - n_electrons, e[0] - span, e[-1] + span,
        xtol=1e-14, rtol=8.9e-16,
    ))  # fmt: skip
    x = (e - mu) / kt
    free_energy = float(mu * n_electrons - kt * (g @ np.logaddexp(0.0, -x)) - filled @ e)
    entropy = float(kt * (g @ entropy_of(x)))
    return Electrons(free_energy, free_energy + entropy, entropy, mu, level)


def _kt(temperature: float) -> float:
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature} K, expected a positive number")
    return KB_EV_PER_KELVIN * temperature
