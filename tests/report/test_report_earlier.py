"""Results of other commands in the report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from pimd.report.earlier import earlier_sections
from pimd.report.section import Picture
from pimd.results.quantity import Quantity
from pimd.results.result import Result, Table
from pimd.results.style import new_axes


def draw(figure: Any) -> None:
    (axes,) = new_axes(figure)
    axes.plot([0, 1], [1, 0])


def test_as_it_was_written(tmp_path: Path) -> None:
    quantities = [Quantity("a", 1.5, math.nan, "eV", 12.4, 50, ("few",)),
                  Quantity("b", 2.5, 0.1, "K", note="by hand")]
    table = Table("rows", ["name", "n"], [["x", 1.25], ["y", quantities[1]], ["z", None]])
    Result("estimate", "Estimators", quantities, [table], ["a note"], ["careful"], {},
           {"": draw, "heat_capacity": draw}).write(tmp_path)
    (section,), troubles = earlier_sections(tmp_path)
    assert not troubles
    assert section.title == "Estimators"
    assert str(section.quantities) == str(quantities)  # NaN is not equal to itself
    assert section.tables[0].rows[:2] == [["x", 1.25], ["y", quantities[1]]]
    assert section.warnings == ["careful"]
    assert section.notes[0] == "a note"
    assert section.notes[1].startswith("By pimd estimate, 2")
    pictures = [one for one in section.figures if isinstance(one, Picture)]
    assert [one.caption for one in pictures] == ["", "Heat capacity"]
    assert pictures[0].png == (tmp_path / "estimate.png").read_bytes()


def test_pictures_go_to_the_right_command(tmp_path: Path) -> None:
    for command in ("ti", "ti_between"):
        Result(command, command, figures={"": draw, "nodes": draw}).write(tmp_path)
    Result("tile", "tile", figures={"": draw}).write(tmp_path)
    sections, _ = earlier_sections(tmp_path)
    assert [len(section.figures) for section in sections] == [2, 2, 1]


def test_own_and_broken_files(tmp_path: Path) -> None:
    for name in ("report", "report_1", "water"):
        Result(name, name).write(tmp_path)
    (tmp_path / "half.json").write_text('{"command": "fe')
    (tmp_path / "other.json").write_text("[1, 2]")
    (tmp_path / "poor.json").write_text(json.dumps({"command": "x", "title": "y",
                                                    "quantities": [{"name": "z"}]}))
    sections, troubles = earlier_sections(tmp_path)
    assert [section.title for section in sections] == ["water"]
    assert len(troubles) == 3
    assert all(str(tmp_path) in line for line in troubles)
    assert earlier_sections(tmp_path / "none") == ([], [])
