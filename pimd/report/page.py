"""Sections as one HTML page that refers to nothing outside itself.

A content security policy in the page forbids the browser to load anything from anywhere.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources

from pimd.report.section import Figure, Picture, Section
from pimd.report.viewer import Viewer
from pimd.results.quantity import OF_NUMBERS, Quantity, quantity_rows
from pimd.results.result import Table, in_words
from pimd.results.style import new_figure

__all__ = ["Page", "html"]

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'unsafe-inline' blob:; img-src data: blob:; font-src data:; "
    "connect-src data: blob:; worker-src blob: data:; form-action 'none'; base-uri 'none'"
)
"""Nothing may be loaded; chemiscope's maps in three dimensions compile functions of their own."""
WIDTH = 6.4
"""Inches of a figure."""
SHORTER = {"effective samples": "N eff"}
"""Heads of columns."""


@dataclass
class Page:
    """All that the page shows, in its order.

    Attributes:
        title: of the page.
        subtitle: what was simulated, in one line.
        facts: (what, value, unit or remark) of the box at the top.
        warnings: what should make a reader careful; first of all.
        sections: before the viewer.
        viewer: frames to look at; None: there is none.
        viewer_words: what stands above it, or why it is not there.
        after: sections that follow the viewer.
        texts: (title, text) of what can be unfolded at the end.
        footer: one line.
    """

    title: str
    subtitle: str
    facts: list[tuple[str, str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    viewer: Viewer | None = None
    viewer_words: list[str] = field(default_factory=list)
    after: list[Section] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    footer: str = ""


def html(page: Page) -> str:
    """The page."""
    parts = [_section(section) for section in page.sections]
    titles = [section.link or section.title for section in page.sections]
    if page.viewer is not None or page.viewer_words:
        parts.append(_viewer(page))
        titles.append("Frames")
    parts += [_section(section) for section in page.after]
    titles += [section.link or section.title for section in page.after]
    if page.texts:
        unfolded = "".join(
            f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"
            for title, text in page.texts
        )
        parts.append(f'<section class="not-printed" id="files"><h2>Files</h2>{unfolded}</section>')
        titles.append("Files")
    links = "".join(f'<a href="#{_anchor(t)}">{escape(t)}</a>' for t in titles)
    return "\n".join([
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(page.title)}</title>",
        f"<style>\n{_file('page.css')}</style>\n</head>\n<body>",
        f'<header class="top"><h1>{escape(page.title)}</h1>',
        f'<p class="subtitle">{escape(page.subtitle)}</p>',
        _facts(page.facts), _warnings(page.warnings), f"<nav>{links}</nav></header>",
        "<main>", *parts, "</main>",
        f"<footer><p>{escape(page.footer)}</p></footer>",
        _viewer_code(page.viewer),
        "</body>\n</html>\n",
    ])  # fmt: skip


def _facts(facts: Sequence[tuple[str, str, str]]) -> str:
    if not facts:
        return ""
    cells = "".join(
        f"<div><dt>{escape(what)}</dt>"
        f"<dd>{escape(value)} <small>{escape(remark)}</small></dd></div>"
        for what, value, remark in facts
    )
    return f'<dl class="facts">{cells}</dl>'


def _warnings(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return (
        '<div class="careful" role="note"><h2>To be careful about</h2>'
        f"<ul>{_items(lines)}</ul></div>"
    )


def _items(lines: Iterable[str]) -> str:
    return "".join(f"<li>{escape(line[:1].upper() + line[1:])}</li>" for line in lines)


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    parts += [f"<p>{escape(text)}</p>" for text in section.text]
    if section.warnings:
        parts.append(f'<ul class="warnings">{_items(section.warnings)}</ul>')
    if section.quantities:
        parts.append(_quantities(section.quantities))
    parts += [_table(table) for table in section.tables]
    if section.figures:
        parts.append(f'<div class="figures">{"".join(map(_figure, section.figures))}</div>')
    if section.notes:
        notes = "".join(f"<p>{escape(note)}</p>" for note in section.notes)
        parts.append(f'<div class="notes">{notes}</div>')
    return f'<section id="{_anchor(section.link or section.title)}">{"".join(parts)}</section>'


def _quantities(quantities: Sequence[Quantity]) -> str:
    columns, words = quantity_rows(quantities)
    align = [' class="number"' if column in OF_NUMBERS else "" for column in columns]
    head = "".join(
        f"<th{a}>{SHORTER.get(column, column)}</th>"
        for a, column in zip(align, columns, strict=True)
    )
    rows = []
    for one, row in zip(quantities, words, strict=True):
        cells = [escape(word) for word in row]
        if "by" in columns:
            cells[-1] = f"<small>{cells[-1]}</small>"
        rows.append("<tr>" + "".join(
            f"<td{a}>{cell}</td>" for a, cell in zip(align, cells, strict=True)
        ) + "</tr>")
        rows += [
            f'<tr class="warning"><td colspan="{len(columns)}">{escape(line)}</td></tr>'
            for line in one.warnings
        ]
    return _wide(f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>")


def _table(table: Table) -> str:
    align = [
        ' class="number"' if table.is_numeric(k) else "" for k in range(len(table.columns))
    ]
    parts = [f"<caption>{escape(table.title)}</caption>"] if table.title else []
    if any(table.columns):
        head = "".join(
            f"<th{a}>{escape(c)}</th>" for a, c in zip(align, table.columns, strict=True)
        )
        parts.append(f"<thead><tr>{head}</tr></thead>")
    rows = "".join(
        "<tr>" + "".join(
            f"<td{a}>{escape(in_words(value))}</td>" for a, value in zip(align, row, strict=False)
        ) + "</tr>"
        for row in table.rows
    )  # fmt: skip
    return _wide("".join(parts) + f"<tbody>{rows}</tbody>")


def _wide(inside: str) -> str:
    return f'<div class="wide"><table>{inside}</table></div>'


def _figure(figure: Figure | Picture) -> str:
    if isinstance(figure, Picture):
        kind, content = "image/png", figure.png
    else:
        kind, content = "image/svg+xml", _svg(figure)
    source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    alt = escape(figure.caption, quote=True)
    caption = f"<figcaption>{escape(figure.caption)}</figcaption>" if figure.caption else ""
    return f'<figure><img alt="{alt}" src="{source}">{caption}</figure>'


def _svg(figure: Figure) -> bytes:
    """The same bytes for the same figure."""
    from matplotlib import rc_context

    canvas, out = new_figure(WIDTH, figure.height), io.BytesIO()
    with rc_context({"svg.hashsalt": "pimd", "svg.fonttype": "path"}):
        figure.draw(canvas)
        canvas.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _viewer(page: Page) -> str:
    words = "".join(f"<p>{escape(text)}</p>" for text in page.viewer_words)
    place = "" if page.viewer is None else (
        '<div id="viewer"><p id="viewer-state" aria-live="polite"></p>'
        '<noscript><p>The viewer needs JavaScript.</p></noscript>'
        '<div id="viewer-meta" hidden></div><div class="viewer-columns">'
        '<div><div id="viewer-map"></div></div><div><div id="viewer-structure"></div></div></div>'
        '<div id="viewer-info"></div></div>'
        '<p class="only-printed notes">The viewer is not printed.</p>'
    )
    return f'<section id="frames"><h2>Frames</h2>{words}{place}</section>'


def _viewer_code(viewer: Viewer | None) -> str:
    if viewer is None:
        return ""
    return (
        f'<script type="application/gzip" id="viewer-code">{viewer.script}</script>\n'
        f'<script type="application/gzip" id="viewer-data">{viewer.data}</script>\n'
        f"<script>\n{_file('viewer.js')}</script>"
    )


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _file(name: str) -> str:
    return (resources.files("pimd.report") / name).read_text(encoding="utf-8")
