"""Where a run can go on from: RESTART, or a newer checkpoint of the input."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from pimd.run.rundir import RunDirectory, RunDirectoryError

__all__ = ["checkpoint_step", "latest_checkpoint"]


def checkpoint_step(path: Path) -> int | None:
    """The step a checkpoint stands at, or None where the file is no whole checkpoint."""
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, OSError, UnicodeDecodeError):
        return None
    text = (root.findtext("step") or "0").strip() if root.tag == "simulation" else ""
    return int(float(text)) if re.fullmatch(r"[\d.eE+]+", text) else None


def latest_checkpoint(directory: RunDirectory) -> tuple[Path, int]:
    """The newest whole checkpoint of a run and its step.

    i-PI writes RESTART when it stops and pimd at intervals; `<checkpoint>` outputs of the input
    may be newer after a kill.

    Raises:
        RunDirectoryError: if there is none.
    """
    found = [
        (step, path == directory.restart, path)
        for path in _candidates(directory)
        if (step := checkpoint_step(path)) is not None
    ]
    if not found:
        raise RunDirectoryError(
            f"{directory.path} holds no whole checkpoint to resume from; start again with --fresh"
        )
    step, _, path = max(found)
    return path, step


def _candidates(directory: RunDirectory) -> list[Path]:
    paths = [directory.restart] if directory.restart.is_file() else []
    for prefix, name in _checkpoint_names(directory.input):
        stem = f"{prefix}.{name}" if prefix else name
        pattern = re.compile(re.escape(stem) + r"(_\d+)?$")
        paths += [p for p in directory.path.iterdir() if pattern.fullmatch(p.name) and p.is_file()]
    return paths


def _checkpoint_names(input_path: Path) -> list[tuple[str, str]]:
    """(output prefix, file name) of each `<checkpoint>` of an input."""
    try:
        root = ET.parse(input_path).getroot()
    except (ET.ParseError, OSError):
        return []
    return [
        (output.get("prefix", "i-pi").strip(), chk.get("filename", "restart").strip())
        for output in root.iter("output")
        for chk in output.iter("checkpoint")
    ]
