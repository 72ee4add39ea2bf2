"""docs/nose_hoover.md: its code runs and says what is right, its figures are there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "nose_hoover.md").read_text()


def test_code_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """The double well's <x^2>, and H' conserved, from what the code prints."""
    code = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(code) == 1
    exec(code[0], {})
    mean, spread = map(float, capsys.readouterr().out.split())
    x = np.linspace(-4, 4, 2001)
    weight = np.exp(-((x**2 - 1) ** 2) / 0.5)
    assert abs(mean - (x**2 * weight).sum() / weight.sum()) < 0.02
    assert spread < 0.01 * 100 * 0.5 * 2  # of the 100 kT that the oscillators have


def test_figures_of_the_page() -> None:
    figures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", PAGE)
    assert len(figures) == 2
    for figure in figures:
        assert 1000 < (DOCS / figure).stat().st_size < 200_000
