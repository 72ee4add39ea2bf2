"""The outcome of an analysis: numbers, tables and figures; on screen, as JSON and as PNG."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pimd.results.quantity import OF_NUMBERS, Quantity, quantity_rows
from pimd.results.screen import as_said, text_table
from pimd.results.style import new_figure, save
from pimd.whole_file import write_text

__all__ = ["Result", "Table", "in_words", "plain"]

Draw = Callable[[Any], None]
"""Draws on an empty matplotlib Figure."""


@dataclass
class Table:
    """Rows of what belongs together; cells are numbers, words, paths or `Quantity`."""

    title: str
    columns: list[str]
    rows: list[Sequence[object]] = field(default_factory=list)

    def is_numeric(self, column: int) -> bool:
        """Whether a column, by its index, holds numbers and nothing else."""
        cells = [row[column] for row in self.rows if column < len(row)]
        cells = [cell for cell in cells if cell is not None]
        return bool(cells) and all(
            isinstance(cell, (int, float, np.integer, np.floating, Quantity))
            and not isinstance(cell, bool) for cell in cells
        )

    def as_json(self) -> dict[str, Any]:
        return {"title": self.title, "columns": self.columns, "rows": plain(self.rows)}


@dataclass
class Result:
    """What a command has found.

    Attributes:
        command: its name, which is that of the files: COMMAND.json, COMMAND_FIGURE.png.
        title: one line.
        quantities: numbers with errors.
        tables: of what is more than a few numbers.
        notes: what a reader should know, one line each.
        warnings: what should make a reader careful, one line each.
        data: anything else for the JSON file; numpy arrays may be in it.
        figures: name -> what draws it; the name may be empty where there is but one.
    """

    command: str
    title: str
    quantities: list[Quantity] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Draw] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Everything but the figures; numbers that do not exist are None."""
        from importlib import metadata

        return {
            "command": self.command,
            "title": self.title,
            "pimd": metadata.version("pimd"),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "quantities": plain([one.as_json() for one in self.quantities]),
            "tables": [table.as_json() for table in self.tables],
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "data": plain(self.data),
        }

    def write(self, directory: Path) -> list[Path]:
        """Write COMMAND.json and the figures into a folder, which is made; returns the files.

        Raises:
            ValueError: it cannot be written there.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            paths = [directory / f"{self.command}.json"]
            write_text(paths[0], json.dumps(self.as_json(), indent=1, allow_nan=False) + "\n")
            for name, draw in self.figures.items():
                paths.append(directory / (f"{self.command}_{name}.png" if name
                                          else f"{self.command}.png"))
                figure = new_figure()
                draw(figure)
                save(figure, paths[-1])
        except OSError as error:
            raise ValueError(f"cannot write results into {directory}: {error}") from error
        return paths

    def show(self, console: Any) -> None:
        """Print it."""
        console.print(self.title, style="bold", markup=False, highlight=False)
        if self.quantities:
            columns, rows = quantity_rows(self.quantities)
            console.print(text_table(
                columns, rows, [one in OF_NUMBERS for one in columns], width=console.width
            ))
        for table in self.tables:
            console.print(text_table(
                table.columns, [[in_words(value) for value in row] for row in table.rows],
                [table.is_numeric(k) for k in range(len(table.columns))],
                table.title, console.width,
            ))
        for note in self.notes:
            console.print(note, markup=False, highlight=False)
        for line in self.warnings:
            console.print(f"warning: {line}", style="yellow", markup=False, highlight=False)
        for one in self.quantities:
            for line in one.warnings:
                console.print(
                    f"warning: {one.name}: {line}", style="yellow", markup=False, highlight=False
                )


def plain(value: Any) -> Any:
    """Lists, words and finite numbers of anything that a result holds; what is neither is None.

    Raises:
        TypeError: something that has no place in JSON.
    """
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Quantity):
        return plain(value.as_json())
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Sequence):
        return [plain(one) for one in value]
    raise TypeError(f"a result cannot hold a {type(value).__name__}")


def in_words(value: object) -> str:
    """A cell of a table as it is shown."""
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}" if math.isfinite(value) else "-"
    if isinstance(value, Path):
        return as_said(value)
    return "" if value is None else str(value)
