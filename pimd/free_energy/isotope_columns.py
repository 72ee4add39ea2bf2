"""Isotope estimators from the columns that i-PI writes: `isotope_zetasc`, `isotope_zetatd`.

Each has three components. Only the third counts here, the mean over the atoms of the exponential,
for the thermodynamic estimator with its factor in front; the first two are sums over beads in
hartree, not divided by their number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["Column", "isotope_columns"]

NAME = re.compile(r"isotope_zeta(sc|td)\((.*)\)")


@dataclass(frozen=True)
class Column:
    """One isotope column of a run.

    Attributes:
        name: as i-PI writes it.
        scaled: by scaled coordinates; False: thermodynamic.
        alpha: new mass over old one.
        label: of the atoms, or the index of one.
        time: fs, (n,).
        exponentials: (n,), whose average over the run is zeta.
    """

    name: str
    scaled: bool
    alpha: float
    label: str
    time: np.ndarray
    exponentials: np.ndarray


def isotope_columns(run: Run) -> list[Column]:
    """The isotope columns of a run, none where it has none.

    Raises:
        ValueError: one has an argument that cannot be read.
    """
    found = []
    for name, series in run.properties.items():
        match = NAME.fullmatch(name.strip())
        if match is None:
            continue
        if series.values.ndim != 2 or series.values.shape[1] != 3:
            raise ValueError(f"{run.where}: {name} has values {series.values.shape}, not 3 columns")
        alpha, label = _arguments(match[2], name, run.where)
        found.append(Column(
            name, match[1] == "sc", alpha, label, series.time, series.values[:, 2]
        ))
    return found


def _arguments(text: str, name: str, where: str) -> tuple[float, str]:
    """alpha and atom of `2.0;H` or `alpha=2.0;atom=H`."""
    words = {"alpha": "1.0", "atom": ""}
    for place, word in zip(("alpha", "atom"), text.split(";"), strict=False):
        key, equals, value = (part.strip() for part in word.partition("="))
        words[key if equals else place] = value if equals else key
    try:
        return float(words["alpha"]), words["atom"]
    except ValueError:
        raise ValueError(f"{where}: cannot read the arguments of {name}") from None
