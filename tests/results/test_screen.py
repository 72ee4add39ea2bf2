"""Tables in a narrow terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from pimd.results.quantity import Quantity
from pimd.results.result import Result, Table
from pimd.results.screen import as_said, text_table


def shown(result: Result, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    result.show(console)
    return console.export_text()


def test_numbers_stay_whole_and_words_give_way() -> None:
    names = ["from one potential to another", "hysteresis"]
    table = Table("ways", ["by", "F_1 - F_0, meV/molecule", "effective samples", "skewness"])
    for k, name in enumerate(names):
        table.rows.append([name, Quantity("", -1234.5678 - k, 0.0123), 123456 + k, 0.25])
    text = shown(Result("x", "title", [Quantity("a free energy", -98.7654, 0.0012, "meV")],
                        [table]), 54)
    for whole in ("-1234.568(12)", "-1235.568(12)", "123456", "0.25", "-98.7654(12)",
                  "hysteresis", "effective", "skewness"):
        assert whole in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 54


def test_many_columns_fit_at_the_cost_of_words() -> None:
    table = Table("", ["run", "estimator", "from", "atoms", "frames", "ln zeta", "heaviest",
                       "spread / kT"])
    table.rows.append(["a_long_name", "scaled coordinates", "isotope_zetasc(0.500442;D)", 16, 190,
                       "-2.435(16)", "0.8 %", 0.21])
    lines = shown(Result("x", "title", tables=[table]), 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("-2.435(16)" in line and "0.21" in line for line in lines)


def test_a_path_is_short_on_screen_and_whole_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    run = tmp_path / "water" / "input.run"
    result = Result("x", "title", tables=[Table("", ["run", "frames"], [[run, 5]])])
    assert "water/input.run" in shown(result, 80)
    assert str(tmp_path) not in shown(result, 80)
    (written,) = result.write(tmp_path)
    assert json.loads(written.read_text())["tables"][0]["rows"] == [[str(run), 5]]
    assert as_said(tmp_path.parent.parent / "x") == str(tmp_path.parent.parent / "x")


def test_words_in_brackets_are_no_markup() -> None:
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(text_table(["[bold]", "n"], [["[red]x", "1"]], [False, True]))
    text = console.export_text()
    assert "[bold]" in text
    assert "[red]x" in text
