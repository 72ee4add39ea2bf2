"""A number with its error bar, and how a person reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pimd.analysis.statistics import Average

__all__ = ["Quantity", "with_error"]


def with_error(value: float, error: float) -> str:
    """`12.926(13)`: the error in units of the last digit; 1 significant digit, 2 below 3.

    Without an error `12.926 (no error)`; with an error of exactly 0 the number as it is.
    """
    if not math.isfinite(value):
        return "-"
    if math.isnan(error):
        return f"{value:.6g} (no error)"
    if error == 0:
        return f"{value:.8g}"
    if not math.isfinite(error):
        return f"{value:.6g} ± inf"
    digits = 1 - math.floor(math.log10(abs(error)))
    if round(error * 10.0**digits) >= 30:
        digits -= 1
    scaled = round(error * 10.0**digits)
    if digits <= 0:
        step = 10**-digits
        return f"{round(value / step) * step:.0f}({scaled * step:.0f})"
    if digits > 8:
        return f"{value:.6e} ± {error:.1e}"
    return f"{value:.{digits}f}({scaled})"


@dataclass(frozen=True)
class Quantity:
    """A number that was measured.

    Attributes:
        name: what it is.
        value: of it.
        error: standard error; NaN where there is none to be given, never 0 for that.
        unit: of value and error.
        n_effective: independent samples behind it.
        n_samples: samples behind it.
        warnings: what should make a reader careful, one line each.
        note: how it was found, in a few words.
    """

    name: str
    value: float
    error: float
    unit: str = ""
    n_effective: float | None = None
    n_samples: int | None = None
    warnings: tuple[str, ...] = ()
    note: str = ""

    @classmethod
    def of(
        cls, name: str, average: Average, unit: str = "", scale: float = 1.0, note: str = ""
    ) -> Quantity:
        """An average of a series, times `scale`."""
        return cls(
            name, scale * average.mean, abs(scale) * average.error, unit,
            average.n_effective, average.n_samples - average.start, average.warnings, note,
        )

    def __str__(self) -> str:
        return f"{with_error(self.value, self.error)} {self.unit}".rstrip()

    def as_json(self) -> dict[str, Any]:
        """Plain numbers; those that do not exist are None."""
        found: dict[str, Any] = {
            "name": self.name, "value": self.value, "error": self.error, "unit": self.unit,
            "n_effective": self.n_effective, "n_samples": self.n_samples,
        }
        if self.note:
            found["note"] = self.note
        if self.warnings:
            found["warnings"] = list(self.warnings)
        return found
