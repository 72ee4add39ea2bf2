"""Tables and paths for a terminal, however narrow: numbers stay whole, words give way."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["as_said", "text_table"]

NARROWEST_HEAD = 7
"""Letters of a head above numbers, at least, before it goes on in the next line."""
LONGEST_WORD = 18
"""Letters of a word, at most, that is kept whole."""
SHORTEST_WORD = 6
"""Letters of a word that stay together however narrow the terminal is."""
NUMBER = re.compile(r"([-+]?\d[\d.]*(\(\d+\))?(e[-+]?\d+)?( %)?|-)?")
"""A cell of words that is a number."""


def text_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool],
    title: str = "", width: int = 80,
) -> Any:
    """A table of rich.

    Args:
        columns: heads.
        rows: words; a row may be shorter than the head.
        numeric: of each column, whether it holds numbers: they are aligned to the right, and never
            cut or broken. A column of words that are numbers is one too.
        title: above it.
        width: of the terminal, in letters.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=title or None, box=box.SIMPLE, title_justify="left", padding=(0, 1, 0, 0)
    )
    heads, least, fixed = [], [], []
    for k, head in enumerate(columns):
        cells = [row[k] for row in rows if k < len(row)]
        fixed.append(numeric[k] or (any(cells) and all(map(NUMBER.fullmatch, cells))))
        if fixed[k]:
            widest = max((len(cell) for cell in cells), default=0)
            lines = textwrap.wrap(head, max(widest, NARROWEST_HEAD), break_long_words=False)
            heads.append("\n".join(lines))
            least.append(max(widest, *map(len, lines), 0))
        else:
            words = (len(word) for text in (head, *cells) for word in text.split())
            heads.append(head)
            least.append(min(max(words, default=0), LONGEST_WORD))
    _narrow(least, fixed, width - 2 * len(columns) - 1)  # less padding and rules
    for head, number, one in zip(heads, fixed, least, strict=True):
        if number:
            table.add_column(escape(head), justify="right", no_wrap=True)
        else:
            table.add_column(escape(head), min_width=one, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _narrow(least: list[int], numeric: Sequence[bool], width: int) -> None:
    """Take letters from the widest columns of words until all fit, or none has any to give."""
    words = [k for k, number in enumerate(numeric) if not number]
    while sum(least) > width and words:
        widest = max(words, key=lambda k: least[k])
        if least[widest] <= SHORTEST_WORD:
            return
        least[widest] -= 1


def as_said(path: Path) -> str:
    """A path as short as it can be said from where the user stands."""
    relative = os.path.relpath(path, os.environ.get("PWD", os.getcwd()))
    return relative if not relative.startswith(os.path.join("..", "..")) else str(path)
