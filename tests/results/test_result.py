"""Numbers with errors, and results on disk."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pimd.analysis.statistics import average
from pimd.results.quantity import Quantity, with_error
from pimd.results.result import Result, Table, plain
from pimd.results.style import band, new_axes


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (12.92613, 0.0131, "12.926(13)"),
        (12.92613, 0.0431, "12.93(4)"),
        (-20.2941, 0.07, "-20.29(7)"),
        (1234.5, 131.0, "1230(130)"),
        (1234.5, 3.1, "1234(3)"),
        (0.5, 0.0296, "0.50(3)"),
        (1.0, 0.0, "1"),
        (1.5, math.nan, "1.5 (no error)"),
        (math.nan, 1.0, "-"),
        (1.0, 0.096, "1.00(10)"),
        (3.2e-12, 1.1e-13, "3.200000e-12 ± 1.1e-13"),
    ],
)
def test_with_error(value: float, error: float, text: str) -> None:
    assert with_error(value, error) == text


def test_quantity_of_an_average() -> None:
    series = np.random.default_rng(1).normal(3.0, 1.0, 4000)
    found = average(series, start=0)
    quantity = Quantity.of("x", found, "meV", scale=-1000.0)
    assert quantity.value == -1000 * found.mean
    assert quantity.error == 1000 * found.error
    assert quantity.n_samples == 4000


def test_files(tmp_path: Path) -> None:
    def draw(figure: object) -> None:
        (axes,) = new_axes(figure)
        band(axes, [0, 1, 2], [1, 2, 1], [0.1, math.nan, 0.1], label="a")

    result = Result(
        "probe", "A probe of [everything]",
        quantities=[Quantity("a", 1.5, math.nan, "eV", 12.4, 50, ("few",)),
                    Quantity("b", 2.5, 0.1, "K", note="by hand")],
        tables=[Table("rows", ["name", "n"], [["x", 1], ["y", None]])],
        notes=["a note"], warnings=["careful"],
        data={"array": np.array([1.0, np.inf]), "path": tmp_path},
        figures={"": draw, "more": draw},
    )  # fmt: skip
    paths = result.write(tmp_path / "deep" / "er")
    assert [path.name for path in paths] == ["probe.json", "probe.png", "probe_more.png"]
    assert all(path.stat().st_size > 100 for path in paths)
    read = json.loads(paths[0].read_text())
    assert read["quantities"][0]["error"] is None
    assert read["quantities"][1]["value"] == 2.5
    assert read["data"]["array"] == [1.0, None]
    assert read["tables"][0]["rows"] == [["x", 1], ["y", None]]

    console = Console(width=100, record=True, file=open(tmp_path / "out", "w"))  # noqa: SIM115
    result.show(console)
    text = console.export_text()
    for part in ("A probe of [everything]", "1.5 (no error)", "2.50(10)", "by hand", "a note",
                 "warning: careful", "warning: a: few"):
        assert part in text
    console.file.close()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write results"):
        Result("a", "b").write(tmp_path / "file" / "folder")


def test_only_what_json_knows() -> None:
    with pytest.raises(TypeError, match="cannot hold a object"):
        plain(object())
