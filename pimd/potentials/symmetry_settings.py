"""Which symmetry functions there are: the settings that fix the descriptors of a network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pimd.structure import PotentialError

__all__ = ["Angular", "Radial", "Settings", "default_settings"]

MAX_ZETA = 32
"""Moments up to rank zeta are summed, (zeta + 1)² of them."""


@dataclass(frozen=True)
class Radial:
    """A G2 function: eta in Å^-2, shift in Å."""

    eta: float
    shift: float = 0.0


@dataclass(frozen=True)
class Angular:
    """A G4 or G5 function: eta in Å^-2, whole zeta >= 1, lambda_ +1 or -1."""

    kind: str
    eta: float
    zeta: int
    lambda_: int


@dataclass(frozen=True)
class Settings:
    """Everything that fixes the descriptors, and their order.

    The descriptors of an atom are, in this order: for each neighbour element each radial
    function; then for each unordered pair of neighbour elements, (0, 0), (0, 1), ..., (1, 1), ...,
    each angular function.

    Attributes:
        elements: atomic numbers, ascending; the type of an atom is its element's place here.
        cutoff: Å, of the radial functions.
        angular_cutoff: Å, of the angular functions, of each of the distances they hold.
        radial: one set for each neighbour element.
        angular: one set for each unordered pair of neighbour elements.

    Raises:
        PotentialError: for what is no set of symmetry functions.
    """

    elements: tuple[int, ...]
    cutoff: float
    angular_cutoff: float
    radial: tuple[Radial, ...]
    angular: tuple[Angular, ...]

    def __post_init__(self) -> None:
        elements = self.elements
        if not elements or list(elements) != sorted({int(z) for z in elements}):
            raise PotentialError(
                f"elements are atomic numbers, ascending and each once, got {elements}"
            )
        if not 0 < min(elements) <= max(elements) < 119:
            raise PotentialError(f"elements are atomic numbers from 1 to 118, got {elements}")
        for name in ("cutoff", "angular_cutoff"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise PotentialError(f"{name} is a length in Å, > 0, got {value!r}")
        if not self.radial and not self.angular:
            raise PotentialError("symmetry functions: at least one radial or angular is needed")
        functions: list[Radial | Angular] = [*self.radial, *self.angular]
        for one in functions:
            _check(one)

    @property
    def range(self) -> float:
        """Å: pairs at this distance or beyond matter to no function."""
        return max(self.cutoff, self.angular_cutoff if self.angular else 0.0)

    @property
    def element_pairs(self) -> tuple[tuple[int, int], ...]:
        """Unordered pairs of types, in the order of the descriptors."""
        types = range(len(self.elements))
        return tuple(itertools.combinations_with_replacement(types, 2))

    @property
    def n_descriptors(self) -> int:
        """Descriptors of each atom."""
        return len(self.elements) * len(self.radial) + len(self.element_pairs) * len(self.angular)

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """From what `as_dict` gave, read back from JSON.

        Raises:
            PotentialError: if that is not what it is.
        """
        try:
            return cls(
                elements=tuple(int(z) for z in values["elements"]),
                cutoff=float(values["cutoff"]),
                angular_cutoff=float(values["angular_cutoff"]),
                radial=tuple(Radial(float(r["eta"]), float(r["shift"])) for r in values["radial"]),
                angular=tuple(
                    Angular(str(a["kind"]), float(a["eta"]), int(a["zeta"]), int(a["lambda_"]))
                    for a in values["angular"]
                ),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PotentialError(
                f"these are no settings of symmetry functions: {type(error).__name__} {error}"
            ) from error


def _check(one: Radial | Angular) -> None:
    """Raise PotentialError for parameters that no symmetry function has."""
    if not (math.isfinite(one.eta) and one.eta >= 0.0):
        raise PotentialError(f"eta of a symmetry function is in Å^-2, >= 0, got {one.eta!r}")
    if isinstance(one, Radial):
        if not math.isfinite(one.shift):
            raise PotentialError(f"the shift of a G2 function is in Å, got {one.shift!r}")
        return
    if one.kind not in ("G4", "G5"):
        raise PotentialError(f"angular symmetry functions are G4 or G5, got {one.kind!r}")
    if one.zeta != int(one.zeta) or not 1 <= one.zeta <= MAX_ZETA:
        raise PotentialError(
            f"zeta of an angular function is a whole number from 1 to {MAX_ZETA}, got {one.zeta!r}"
        )
    if one.lambda_ not in (-1, 1):
        raise PotentialError(f"lambda of an angular function is 1 or -1, got {one.lambda_!r}")


def default_settings(
    elements: Sequence[int],
    cutoff: float = 6.0,
    angular_cutoff: float = 4.0,
    n_radial: int = 8,
    n_angular: int = 3,
    zetas: Sequence[int] = (1, 2, 4),
    kind: str = "G5",
    nearest: float = 0.8,
) -> Settings:
    """Functions that cover all distances evenly.

    Radial: Gaussians centred from `nearest` to the cutoff, at equal distances d, as wide as
    they are apart, eta = 1 / (2 d²). Angular: widths eta = 1 / s², s evenly up to the angular
    cutoff, with each zeta and both signs of lambda; but (1 - c)² tells nothing where 1 + c,
    1 - c and (1 + c)² are there, (1 + c)² - (1 - c)² = 2 (1 + c) - 2 (1 - c), and is left out.

    Args:
        elements: atomic numbers.
        cutoff, angular_cutoff: Å.
        n_radial: Gaussians for each neighbour element.
        n_angular: widths for each pair of neighbour elements.
        zetas: whole exponents of the angle.
        kind: "G5", or "G4", which costs a sum over triples of atoms.
        nearest: Å, centre of the first Gaussian.

    Raises:
        PotentialError: for no radial function, or none within the cutoff.
    """
    if n_radial < 1 or n_angular < 0 or nearest >= cutoff:
        raise PotentialError(
            "expected one radial function or more, and the first within the cutoff; got "
            f"{n_radial} radial and {n_angular} angular, from {nearest} to {cutoff} Å"
        )
    spacing = (cutoff - nearest) / n_radial
    radial = tuple(
        Radial(round(0.5 / spacing**2, 6), round(nearest + k * spacing, 6))
        for k in range(n_radial)
    )
    widths = [angular_cutoff * (k + 1) / n_angular for k in range(n_angular)]
    angular = tuple(
        Angular(kind, round(1.0 / width**2, 6), int(zeta), lambda_)
        for width in widths
        for zeta in zetas
        for lambda_ in (1, -1)
        if not (zeta == 2 and lambda_ == -1 and 1 in zetas)
    )
    found = tuple(sorted({int(z) for z in elements}))
    return Settings(found, float(cutoff), float(angular_cutoff), radial, angular)
