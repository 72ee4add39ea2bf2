"""A run in one HTML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pimd.report.beginning import beginning
from pimd.report.budget import budget_section
from pimd.report.chemiscope_data import FORCE_SIGMA, GYRATION
from pimd.report.conserved import conserved_section
from pimd.report.earlier import earlier_sections
from pimd.report.frames import Frames, shown_frames
from pimd.report.page import Page, html
from pimd.report.section import Figure, Section
from pimd.report.setting import facts, one_line, setting_section, state_warnings
from pimd.report.spread import Spread, members_trouble, spread
from pimd.report.structure import structure_section
from pimd.report.thermodynamics import average_section, course_section, measured
from pimd.report.uncertainty import uncertainty_section
from pimd.report.viewer import NoViewer, Viewer, viewer
from pimd.results.result import Result
from pimd.run.rundir import RunDirectory
from pimd.whole_file import write_text

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["MOST_FRAMES", "Report", "report_run"]

MOST_FRAMES = 100
"""Frames in the viewer, unless asked for more or fewer."""


@dataclass
class Report:
    """What is known of a run, as a page and as numbers.

    Attributes:
        page: for people.
        result: the numbers, tables and figures of the page, for programs and other pages.
    """

    page: Page
    result: Result = field(repr=False)

    def html(self) -> str:
        """The page in one piece of text, which needs no other file."""
        return html(self.page)

    def write(self, path: Path) -> Path:
        """Write the page in one step, so that nobody sees half of it; returns where.

        Raises:
            ValueError: it cannot be written there.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, self.html())
        except OSError as error:
            raise ValueError(f"cannot write the report {path}: {error}") from error
        return path


def report_run(
    run: Run, *, skip: float | None = None, frames: int = MOST_FRAMES, analysis: Path | None = None
) -> Report:
    """Report on a run: everything in it is optional, and what is not there is left out.

    Args:
        run: of `pimd.open_run`.
        skip: fs to leave out of averages at the beginning; None: found out.
        frames: in the viewer at most; 0: no viewer.
        analysis: folder with results of other commands; None: `analysis` in the run's.

    Raises:
        ValueError: `skip` leaves nothing.
    """
    directory = None if run.directory is None else Path(run.directory)
    summary = (RunDirectory(directory).read_summary() if directory else None) or {}
    equilibrium = beginning(run, skip)
    begin = equilibrium.begin
    found, sigma = measured(run, begin), spread(run)
    sections = [
        section for section in (
            average_section(run, found, equilibrium),
            course_section(run, found),
            conserved_section(run, begin),
            uncertainty_section(sigma, summary, begin),
            structure_section(run, begin),
        ) if section is not None
    ]  # fmt: skip
    if analysis is None and directory is not None:
        analysis = directory / "analysis"
    earlier, troubles = earlier_sections(analysis) if analysis else ([], [])
    budget = budget_section(summary)
    after = [*earlier, *([budget] if budget else []), setting_section(run, summary)]
    shown, words = _viewer(run, sigma, frames)
    lines = [
        *state_warnings(run, summary), *_warnings(sections), members_trouble(run), *troubles
    ]  # fmt: skip
    page = Page(
        _name(run), one_line(run), facts(run, summary, found, sections),
        [line for line in lines if line], sections, shown, words,
        after, _texts(directory, shown), _footer(directory),
    )  # fmt: skip
    return Report(page, _result(run, page, summary))


def _name(run: Run) -> str:
    """What the run is called: its input's name, since run directories end in .run."""
    if run.directory is None:
        return "A run"
    path = Path(run.directory).resolve()
    stem = path.name.removesuffix(".run")
    name = path.parent.name if stem in ("input", "run") else stem
    return f"{name}, system {run.system}" if run.system else name


def _viewer(run: Run, sigma: Spread | None, most: int) -> tuple[Viewer | None, list[str]]:
    """The viewer and what stands above it; without one, why."""
    if most < 1:
        return None, []
    chosen = shown_frames(run, sigma, most)
    if chosen is None:
        return None, ["No positions are stored: there are no frames to look at."]
    try:
        made = viewer(chosen, _name(run))
    except NoViewer as error:
        return None, [f"The viewer of frames is missing: {error}."]
    return made, _viewer_words(chosen, made)


def _viewer_words(chosen: Frames, made: Viewer) -> list[str]:
    n, frames = len(chosen.frames), chosen.frames
    words = [
        f"{n} frame{'s' * (n != 1)}" + (f" between step {frames[0].step} and {frames[-1].step}"
                                        if n > 1 else "")
    ]  # fmt: skip
    if all(one.sigma is not None for one in frames):
        words.append(", of each the bead of largest sigma; points are coloured by it")
    coloured = {
        FORCE_SIGMA: "atoms by the standard deviation of the force on them over the members",
        GYRATION: "atoms by the radius of gyration of their ring polymer",
    }.get(made.coloured_by)
    if coloured:
        words.append(f", {coloured}")
    return ["".join(words) + ". Choose a point to see its structure; the menus change what is "
            "drawn."]


def _warnings(sections: list[Section]) -> list[str]:
    """Those of the sections, and one line on averages without an error."""
    lines = [line for section in sections for line in section.warnings]
    poor = [
        quantity.name for section in sections for quantity in section.quantities
        if quantity.error != quantity.error
    ]
    if poor:
        lines.append(f"too few independent samples for an error of: {', '.join(poor)}")
    return lines


def _texts(directory: Path | None, shown: Viewer | None) -> list[tuple[str, str]]:
    texts = []
    for name in ("input.xml", "summary.json"):
        path = directory / name if directory else None
        if path is not None and path.is_file():
            texts.append((name, path.read_text(encoding="utf-8", errors="replace")))
    if shown is not None:
        texts.append((f"licences of chemiscope {shown.version}, which is in this page",
                      shown.licences))
    return texts


def _footer(directory: Path | None) -> str:
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    where = f" on {directory}" if directory else ""
    return f"Made by pimd {metadata.version('pimd')}{where}, {when}."


def _result(run: Run, page: Page, summary: dict[str, Any]) -> Result:
    figures = {
        one.name: one.draw for section in [*page.sections, *page.after] for one in section.figures
        if isinstance(one, Figure)
    }
    return Result(
        f"report_{run.system}" if run.system else "report", f"Report on {_name(run)}",
        [quantity for section in page.sections for quantity in section.quantities],
        [table for section in page.sections for table in section.tables],
        [], list(page.warnings), {"summary": summary, "subtitle": page.subtitle}, dict(figures),
    )  # fmt: skip
