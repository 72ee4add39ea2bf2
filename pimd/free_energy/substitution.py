"""Which atoms become which isotope: `H=2.014`, or `H=D`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Substitution", "isotope_labels", "read_substitution"]

HYDROGENS = ("D", "T")
"""Isotopes that i-PI has labels for."""
SAME_MASS = 0.01
"""amu, within which a hydrogen is taken for one of them."""


@dataclass(frozen=True)
class Substitution:
    """A change of mass of atoms of one kind.

    Attributes:
        label: of these atoms.
        mass: the new one, amu.
        alpha: new mass over old one.
        atoms: (n,) their indices.
    """

    label: str
    mass: float
    alpha: float
    atoms: np.ndarray

    def __str__(self) -> str:
        return f"{self.label} to {self.mass:.6g} u (alpha = {self.alpha:.6g})"


def read_substitution(text: str, labels: Sequence[str], masses: np.ndarray) -> Substitution:
    """A substitution as people write it.

    Args:
        text: LABEL=MASS in amu, or LABEL=ISOTOPE with a name that i-PI knows, such as D.
        labels: of all atoms.
        masses: amu, (n_atoms,), of all atoms.

    Raises:
        ValueError: no such atoms, no mass, or atoms of one label with different masses.
    """
    label, _, word = (part.strip() for part in text.partition("="))
    atoms = np.flatnonzero(np.array(labels) == label)
    mass = _mass(word)
    if not len(atoms) or not mass > 0:
        raise ValueError(
            f"--substitute {text}: expected LABEL=MASS with a mass in amu and a label of "
            f"{', '.join(sorted(set(labels)))}, such as H=2.014"
        )
    old = np.asarray(masses, dtype=float)[atoms]
    if np.ptp(old) > 1e-6 * old[0]:
        raise ValueError(
            f"--substitute {text}: atoms {label} have masses from {old.min():g} to "
            f"{old.max():g} amu; substitution starts from one isotope"
        )
    return Substitution(label, mass, mass / float(old[0]), atoms)


def isotope_labels(symbols: Sequence[str], masses: np.ndarray) -> list[str]:
    """Symbols, but D and T for hydrogens of their mass."""
    found = list(symbols)
    for k, (symbol, mass) in enumerate(zip(symbols, masses, strict=True)):
        for label in HYDROGENS if symbol == "H" else ():
            if abs(mass - _mass(label)) < SAME_MASS:
                found[k] = label
    return found


def _mass(word: str) -> float:
    """amu; NaN where it is none."""
    try:
        return float(word)
    except ValueError:
        from ipi.utils.units import Elements

        return float(Elements.mass_list.get(word, math.nan))
