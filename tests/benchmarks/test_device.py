"""The benchmark of a device runs, here on the CPU, and its ways agree."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "device.py"


def test_it_runs_anywhere(tmp_path: Path) -> None:
    command = [
        sys.executable, str(SCRIPT), "--quick", "--device", "cpu", "--modes", "none,graphs",
        "--lists", "kept,anew",
        "--results", str(tmp_path),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CUDA graphs need a GPU" in done.stdout
    with (tmp_path / "device_cpu.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    ways = {(row["what"], row["way"]): row for row in rows}
    for key in (("lists", "kept"), ("lists", "anew"), ("copies in", "packed"),
                ("copies out", "plain"), ("model", "eager"), ("round", "daemon")):  # fmt: skip
        assert float(ways[key]["ms"]) > 0.0
        assert int(ways[key]["pairs"]) > 0
    assert all(row["difference"] == "0" for row in rows if row["what"] == "lists")
