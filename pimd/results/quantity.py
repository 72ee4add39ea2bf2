"""A number with its error bar, and how a person reads it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pimd.analysis.statistics import Average

__all__ = ["OF_NUMBERS", "Quantity", "quantity_rows", "with_error"]

OF_NUMBERS = ("value (error)", "effective samples")
"""Columns of `quantity_rows` that hold numbers."""


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

    @classmethod
    def root_of(cls, name: str, average: Average, unit: str = "", note: str = "") -> Quantity:
        """Root of an average that is not negative; its error by d sqrt(x) = dx / (2 sqrt(x))."""
        root = math.sqrt(average.mean)
        error = average.error / (2.0 * root) if root > 0 else math.nan
        return cls(
            name, root, error, unit,
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


def quantity_rows(quantities: Sequence[Quantity]) -> tuple[list[str], list[list[str]]]:
    """Names of columns, and the words of each quantity in them; only columns that hold something.

    They are "" for the name of the quantity, "value (error)", "unit", "effective samples", "by".
    """
    counted = any(one.n_effective is not None for one in quantities)
    noted = any(one.note for one in quantities)
    columns = ["", "value (error)", "unit"]
    columns += ["effective samples"] * counted + ["by"] * noted
    rows = []
    for one in quantities:
        row = [one.name, str(replace(one, unit="")), one.unit]
        if counted:
            row.append("" if one.n_effective is None else f"{one.n_effective:.0f}")
        if noted:
            row.append(one.note)
        rows.append(row)
    return columns, rows
