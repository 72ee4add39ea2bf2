"""The page of a report: everything in one file, numbers as they were computed."""

from __future__ import annotations

import dataclasses
import json
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_runs

from pimd.analysis.beginning import settled
from pimd.analysis.statistics import average
from pimd.record.run import Run
from pimd.record.series import Series
from pimd.record.setup import Setup
from pimd.report import report_run
from pimd.report.page import Page, html
from pimd.report.section import Section
from pimd.results.quantity import Quantity, with_error
from pimd.results.result import Table

VOID = {"meta", "img", "br", "hr", "input", "link"}


class Reader(HTMLParser):
    """Elements, text and balance of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, name: str) -> list[str]:
        """Values of an attribute."""
        return [attrs[name] for _, attrs in self.elements if name in attrs]


@pytest.fixture(scope="module")
def page() -> Reader:
    return Reader(report_run(report_runs.run(), frames=0).html())


def test_nothing_comes_from_elsewhere(page: Reader) -> None:
    assert all(source.startswith("data:") for source in page.all("src"))
    assert all(link.startswith("#") for link in page.all("href"))
    assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in page.elements}
    policy = page.all("content")[0]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "*" not in policy


def test_links_lead_to_sections(page: Reader) -> None:
    places = page.all("id")
    assert len(places) == len(set(places))
    assert {link[1:] for link in page.all("href")} <= set(places)
    assert {"averages", "conserved-quantity", "structure", "simulation"} <= set(places)


def test_numbers_of_the_run(page: Reader) -> None:
    run = report_runs.run()
    begin = settled(run.properties["potential"].values)
    for name, scale in (("temperature", 1.0), ("potential", 1.0), ("pressure_cv", 160217.66340)):
        expected = average(run.properties[name].values, begin)
        assert with_error(scale * expected.mean, scale * expected.error) in page.text
    q = run.read("positions")[:, :, [0, 3]]
    squares = np.square(q - q.mean(axis=1, keepdims=True)).sum(-1).mean(axis=(1, 2))
    expected = average(squares[run.time >= 0.5 * begin], start=0)
    root = np.sqrt(expected.mean)
    assert with_error(root, expected.error / (2 * root)) in page.text
    sigma = 1000 * run.read("member_energies").std(axis=1, ddof=1) / report_runs.N_ATOMS
    expected = average(sigma.mean(axis=1), int((run.time < 0.5 * begin).sum()))
    assert with_error(expected.mean, expected.error) in page.text
    frame, bead = np.unravel_index(sigma.argmax(), sigma.shape)
    assert f"is {sigma.max():.3g} meV/atom, at step {10 * frame}, bead {bead}" in page.text


def test_figures_are_drawn_and_described(page: Reader) -> None:
    images = [attrs for tag, attrs in page.elements if tag == "img"]
    assert len(images) >= 5
    assert all(len(image["alt"]) > 10 and len(image["src"]) > 4000 for image in images)


def test_same_run_same_page() -> None:
    first, second = (
        Page("", "", sections=report_run(report_runs.run(), frames=0).page.sections[-2:-1])
        for _ in range(2)
    )
    assert "image/svg" in html(first)
    assert html(first) == html(second)


def test_words_of_others_are_no_markup() -> None:
    evil = "<script>alert(1)</script> & \"quoted\""
    section = Section(
        evil, [evil], [Quantity(evil, 1.0, 0.1, evil, warnings=(evil,), note=evil)],
        [Table(evil, [evil, "n"], [[evil, 1.5], [None, float("nan")]])], [], [evil], [evil],
    )  # fmt: skip
    page = Page(evil, evil, [(evil, evil, evil)], [evil], [section], None, [evil], [section],
                [(evil, evil)], evil)  # fmt: skip
    found = html(page)
    assert "<script>alert" not in found
    assert Reader(found.replace(f'id="{"script-alert-1-script-quoted"}"', "")).text.count(
        "<script>alert(1)</script> &"
    ) >= 12


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperature": 310.0}, "above the 300 K asked for"),
        ({"drift": 5e-5}, "the conserved quantity drifts by 8.33 meV per atom and picosecond"),
    ],
)
def test_what_is_wrong_stands_at_the_top(changes: dict[str, float], words: str) -> None:
    good = report_run(report_runs.run(), frames=0).page
    bad = report_run(report_runs.run(**changes), frames=0).page
    assert not any(words.lower() in line.lower() for line in good.warnings)
    assert any(words.lower() in line.lower() for line in bad.warnings)
    bare = html(dataclasses.replace(bad, sections=[], after=[]))
    assert bare.index("To be careful about") < bare.index(escape(words[1:])) < bare.index("<main>")


def test_too_short_a_run_has_no_errors() -> None:
    page = report_run(report_runs.run(n_samples=4), frames=0).page
    assert any("too few independent samples" in line for line in page.warnings)
    bare = html(dataclasses.replace(page, sections=page.sections[:1], after=[]))
    assert bare.count("(no error)") == 3
    assert "K, no error" in bare


def test_skip(tmp_path: Path) -> None:
    run = report_runs.run(tmp_path)
    report = report_run(run, skip=100.0, frames=0)
    expected = average(run.properties["potential"].values, 200)
    assert str(expected.mean) in str(report.result.as_json())
    assert any("Of 20 frames from step 200 on" in note for section in report.page.sections
               for note in section.notes)
    with pytest.raises(ValueError, match="leaves nothing: the run is"):
        report_run(run, skip=2000.0, frames=0)


def test_little_is_known() -> None:
    """Runs that stored nothing, one number, classical atoms without a cell, a single atom."""
    none = np.zeros(0)
    run = Run.from_arrays(report_runs.setup(), none, none, {})
    page = report_run(run).page
    assert [section.title for section in [*page.sections, *page.after]] == ["Simulation"]
    assert "no frames to look at" in page.viewer_words[0]
    Reader(html(page))

    run = Run.from_arrays(report_runs.setup(), none, none, {},
                          {"potential": Series("potential", [0], [0.0], [-2.0], "eV")})
    page = report_run(run).page
    assert page.sections[0].quantities[0].value == -2.0
    assert np.isnan(page.sections[0].quantities[0].error)

    q = report_runs.positions(30)[:, :1]
    classical = report_runs.setup(n_beads=1, pbc=False, temperature=None, mode="nve",
                                  thermostats=(), total_steps=None, timestep=np.nan)
    run = Run.from_arrays(classical, np.arange(30), 0.5 * np.arange(30), {"positions": q})
    page = report_run(run).page
    assert page.subtitle == "6 atoms (H4 O2), 1 bead, NVE OBABO"
    Reader(html(page))

    one = Setup([1], [1.008], n_beads=4)
    run = Run.from_arrays(one, [0, 1], [0.0, 0.5], {"positions": np.zeros((2, 4, 1, 3))})
    page = report_run(run).page
    assert "Structure" not in [section.title for section in page.sections]


def test_files(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({
        "exit_reason": "failed", "message": "bead 3 fell apart", "last_step": 390,
        "total_steps": 500, "steps": 90, "wall_seconds": 9.0, "ms_per_step": 100.0,
        "time_fractions": {"model": 0.75, "ipi": 0.25}, "daemon_restarts": 2,
        "evaluated_per_needed": 1.0, "exchanges_per_step": 1.0, "device": "cpu",
    }))  # fmt: skip
    (tmp_path / "input.xml").write_text("<simulation> a & b </simulation>")
    report = report_run(report_runs.run(tmp_path), frames=0)
    report.page.sections = []
    report.result.figures = {"budget": report.result.figures["budget"]}
    path = report.write(tmp_path / "deep" / "report.html")
    read = Reader(path.read_text())
    for words in ("the run failed at step 390 of 500: bead 3 fell apart", "replaced 2 times",
                  "Only the last part of the run", "<simulation> a & b </simulation>"):
        assert words.lower() in read.text.lower()
    files = report.result.write(tmp_path / "analysis")
    numbers = json.loads(files[0].read_text())
    assert {one["name"] for one in numbers["quantities"]} >= {"temperature", "potential energy"}
    assert [path.name for path in files] == ["report.json", "report_budget.png"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write the report"):
        report.write(tmp_path / "file" / "report.html")
