"""The parts of a report: sections with numbers, tables and figures."""

from __future__ import annotations

from dataclasses import dataclass, field

from pimd.results.quantity import Quantity
from pimd.results.result import Draw, Table

__all__ = ["Figure", "Picture", "Section"]


@dataclass(frozen=True)
class Figure:
    """What is drawn for the page.

    Attributes:
        name: of its file.
        draw: draws it.
        caption: what it shows, one or two sentences.
        height: inches, of a figure 6.4 inches wide.
    """

    name: str
    draw: Draw
    caption: str
    height: float = 3.6


@dataclass(frozen=True)
class Picture:
    """An image that is there already, as PNG."""

    png: bytes
    caption: str


@dataclass
class Section:
    """A part of the page.

    Attributes:
        title: of it.
        link: what leads to it at the top of the page; empty: its title.
        text: paragraphs before everything else.
        quantities: numbers with errors.
        tables: after them.
        figures: drawn, or there already.
        notes: small print, one line each.
        warnings: what should make a reader careful, one line each; all of them stand at the top of
            the page too.
    """

    title: str
    text: list[str] = field(default_factory=list)
    quantities: list[Quantity] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure | Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    link: str = ""
