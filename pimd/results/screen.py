"""Tables and paths for a terminal, however narrow: numbers stay whole, words give way."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["as_said", "text_table"]

NARROWEST_HEAD = 7
"""Letters of a head above numbers, at least, before it goes on in the next line."""
LONGEST_WORD = 18
"""Letters of a word, at most, that is kept whole."""


def text_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], title: str = ""
) -> Any:
    """A table of rich.

    Args:
        columns: heads.
        rows: words; a row may be shorter than the head.
        numeric: of each column, whether it holds numbers: they are aligned to the right, and never
            cut or broken.
        title: above it.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=title or None, box=box.SIMPLE, title_justify="left", padding=(0, 1, 0, 0)
    )
    for k, head in enumerate(columns):
        cells = [row[k] for row in rows if k < len(row)]
        if numeric[k]:
            widest = max((len(cell) for cell in cells), default=0)
            lines = textwrap.wrap(head, max(widest, NARROWEST_HEAD), break_long_words=False)
            table.add_column(escape("\n".join(lines)), justify="right", no_wrap=True)
        else:
            words = (len(word) for text in (head, *cells) for word in text.split())
            width = min(max(words, default=0), LONGEST_WORD)
            table.add_column(escape(head), min_width=width, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def as_said(path: Path) -> str:
    """A path as short as it can be said from where the user stands."""
    relative = os.path.relpath(path, os.environ.get("PWD", os.getcwd()))
    return relative if not relative.startswith(os.path.join("..", "..")) else str(path)
