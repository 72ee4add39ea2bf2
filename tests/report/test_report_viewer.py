"""The viewer in the page: its data set, its code, and a real browser that opens it offline."""

from __future__ import annotations

import base64
import gzip
import json
import re
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
import report_runs

from pimd.report import report_run
from pimd.report.chemiscope_data import dataset
from pimd.report.frames import shown_frames
from pimd.report.spread import spread
from pimd.report.viewer import SCRIPT, NoViewer, viewer


def unpacked(page: str, name: str) -> str:
    packed = re.search(rf'<script type="application/gzip" id="{name}">([^<]*)</script>', page)
    assert packed is not None
    return gzip.decompress(base64.b64decode(packed[1])).decode()


def frames(**options: Any) -> Any:
    run = report_runs.run(**options)
    found = shown_frames(run, spread(run), 10)
    assert found is not None
    return run, found


def test_page_carries_the_viewer() -> None:
    pytest.importorskip("chemiscope")
    report = report_run(report_runs.run(), frames=12)
    report.page.sections, report.page.after = [], []
    page = report.html()
    code = (resources.files("chemiscope") / SCRIPT).read_text(encoding="utf-8")
    assert unpacked(page, "viewer-code") == code
    data = json.loads(unpacked(page, "viewer-data"))
    assert len(data["structures"]) <= 12
    assert " frames between step 0 and 390, of each the bead of largest sigma" in page
    for name in ("BSD", "Redistribution and use in source and binary forms", "jQuery"):
        assert name in page
    assert page.count("</script>") == 3
    assert len(page) < 3_000_000


def test_data_set() -> None:
    pytest.importorskip("chemiscope")
    run, found = frames()
    data = dataset(found, "water")
    first, frame = data["structures"][0], found.frames[0]
    assert first["names"] == ["O", "H", "H", "O", "H", "H"]
    np.testing.assert_allclose(
        np.stack([first[axis] for axis in "xyz"], axis=1), frame.positions, atol=5.1e-4
    )
    np.testing.assert_allclose(np.reshape(first["cell"], (3, 3)), report_runs.CELL * np.eye(3))
    sigma = data["properties"]["sigma"]
    assert sigma["units"] == "meV/atom"
    np.testing.assert_allclose(sigma["values"], [1000 * one.sigma for one in found.frames],
                               rtol=1e-5)
    gyration = data["properties"]["radius of gyration"]
    assert gyration["target"] == "atom"
    assert len(gyration["values"]) == len(found.frames) * run.n_atoms
    settings = data["settings"]
    assert settings["map"]["y"] == {"property": "sigma"}
    assert settings["structure"][0]["color"]["property"] == "radius of gyration"
    worst = int(np.argmax(sigma["values"]))
    assert settings["pinned"] == [worst]


def test_without_a_committee() -> None:
    pytest.importorskip("chemiscope")
    _, found = frames(members=False)
    data = dataset(found, "water")
    assert "sigma" not in data["properties"]
    assert data["settings"]["map"]["y"] == {"property": "energy"}


def test_without_chemiscope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "chemiscope", None)
    _, found = frames()
    with pytest.raises(NoViewer, match=r"pip install 'pimd\[report\]'"):
        viewer(found, "water")
    page = report_run(report_runs.run()).page
    assert page.viewer is None
    assert "missing" in page.viewer_words[0]


@pytest.mark.physics
def test_browser_opens_it_without_a_network(tmp_path: Path) -> None:
    """The viewer starts under the policy of the page, and nothing is asked for elsewhere; behind
    the marker because a browser without a GPU takes its time."""
    pytest.importorskip("chemiscope")
    found = browser.program()
    if found is None:
        pytest.skip("no Chromium")
    path = report_run(report_runs.run(), frames=5).write(tmp_path / "report.html")
    page = browser.Browser(found, tmp_path / "profile")
    try:
        page.ask("Page.navigate", url=path.as_uri())
        page.wait_for("document.readyState === 'complete' && !!document.getElementById('viewer')")
        page.value("document.getElementById('viewer').scrollIntoView()")
        state = page.wait_for("document.getElementById('viewer').dataset.state")
        assert state == "ready", page.value("document.getElementById('viewer-state').textContent")
        assert page.value("document.getElementById('viewer-state').textContent") == ""
        canvas = (  # somewhere inside shadow roots
            "(function has(node) { return node.nodeName === 'CANVAS' || [...node.children, "
            "...(node.shadowRoot ? node.shadowRoot.children : [])].some(has); })"
        )
        assert page.value(f"{canvas}(document.getElementById('viewer-structure'))") is True
        assert page.value("document.documentElement.scrollWidth <= window.innerWidth") is True
        assert page.said == []
    finally:
        page.close()
