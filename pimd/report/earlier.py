"""Results that other commands left beside the run: COMMAND.json with its figures."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from pimd.report.section import Picture, Section
from pimd.results.quantity import Quantity
from pimd.results.result import Table

__all__ = ["earlier_sections"]

OWN = re.compile(r"report(_\d+)?")


def earlier_sections(directory: Path) -> tuple[list[Section], list[str]]:
    """One section for each result in a folder, in the order of their names, and what could not be
    read, one line each.

    Args:
        directory: `RUN/analysis`; need not exist.
    """
    files = sorted(p for p in directory.glob("*.json") if not OWN.fullmatch(p.stem))
    sections, troubles = [], []
    for path in files:
        try:
            read = json.loads(path.read_text())
            sections.append(_section(read, _pictures(path, [p.stem for p in files])))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            troubles.append(f"no result of pimd can be read from {path}: {error!r}")
    return sections, troubles


def _section(read: dict[str, Any], pictures: list[Picture]) -> Section:
    command, when = str(read["command"]), str(read.get("date", "")).replace("T", " ")
    made = f"pimd {command}" + (f", {when[:16]} UTC" if when else "")
    return Section(
        str(read["title"]),
        quantities=[_quantity(one) for one in read.get("quantities", [])],
        tables=[
            Table(str(one.get("title", "")), [str(c) for c in one["columns"]],
                  [[_cell(value) for value in row] for row in one["rows"]])
            for one in read.get("tables", [])
        ],
        figures=list(pictures),
        notes=[*(str(note) for note in read.get("notes", [])), f"By {made}."],
        warnings=[str(line) for line in read.get("warnings", [])],
        link=f"pimd {command}",
    )  # fmt: skip


def _quantity(read: dict[str, Any]) -> Quantity:
    return Quantity(
        str(read["name"]), _number(read["value"]), _number(read["error"]),
        str(read.get("unit", "")), read.get("n_effective"), read.get("n_samples"),
        tuple(read.get("warnings", ())), str(read.get("note", "")),
    )  # fmt: skip


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _cell(value: Any) -> object:
    """A cell of a table; a quantity in it is again one."""
    if isinstance(value, dict) and {"name", "value", "error"} <= set(value):
        return _quantity(value)
    return value


def _pictures(path: Path, stems: list[str]) -> list[Picture]:
    """COMMAND.png and COMMAND_*.png, but not those of another command whose name begins alike."""
    longer = [stem for stem in stems if stem.startswith(f"{path.stem}_")]
    found = []
    for png in sorted(path.parent.glob(f"{path.stem}*.png")):
        name = png.stem
        if name != path.stem and not name.startswith(f"{path.stem}_"):
            continue
        if any(name == stem or name.startswith(f"{stem}_") for stem in longer):
            continue
        words = name.removeprefix(path.stem).strip("_").replace("_", " ")
        shown = words.upper() if len(words) < 4 else f"{words[0].upper()}{words[1:]}"
        found.append(Picture(png.read_bytes(), shown))
    return found
