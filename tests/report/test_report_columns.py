"""What i-PI's properties are called and shown in."""

from __future__ import annotations

import pytest

from pimd.report.columns import column, is_averaged


@pytest.mark.parametrize(
    ("name", "unit", "words", "shown"),
    [
        ("potential", "eV", "potential energy", "eV"),
        ("kinetic_cv(O)", "eV", "kinetic energy, centroid virial, O", "eV"),
        ("pressure_cv", "eV/Å^3", "pressure, centroid virial", "MPa"),
        ("my_own_thing", "", "my own thing", ""),
    ],
)
def test_words(name: str, unit: str, words: str, shown: str) -> None:
    found = column(name, unit)
    assert (found.words, found.unit) == (words, shown)


def test_pressure_is_shown_in_megapascal() -> None:
    """1 eV is 1.602176634e-19 J and 1 Å^3 1e-30 m^3."""
    assert column("pressure_md", "eV/Å^3").scale == pytest.approx(1.602176634e-19 / 1e-30 / 1e6)


def test_what_has_no_mean() -> None:
    assert [name for name in ("step", "time", "conserved", "temperature", "kinetic_cv(H)")
            if is_averaged(name)] == ["temperature", "kinetic_cv(H)"]
