"""The distribution: every package is listed, and the sdist carries drivers, inputs, benchmarks."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed_and_nothing_else() -> None:
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "pimd").rglob("__init__.py")
    }
    assert listed == found


def test_every_folder_of_code_is_a_package() -> None:
    for path in (ROOT / "pimd").rglob("*.py"):
        assert (path.parent / "__init__.py").exists(), path


def test_drivers_inputs_and_benchmarks_travel_with_the_source() -> None:
    manifest = (ROOT / "MANIFEST.in").read_text()
    for folder in ("drivers", "inputs", "benchmarks"):
        assert f"graft {folder}" in manifest
        assert any((ROOT / folder).iterdir())


def test_drivers_are_named_so_that_they_never_shadow_a_library() -> None:
    for path in (ROOT / "drivers").glob("*.py"):
        assert path.stem.endswith("_driver"), path


def test_constraints_pin_every_core_dependency() -> None:
    pinned = {
        line.partition("==")[0]
        for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    for requirement in PROJECT["project"]["dependencies"]:
        name = requirement.split(">")[0].split("=")[0].split("<")[0].strip()
        assert name in pinned, requirement
