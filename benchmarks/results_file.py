"""Where benchmarks put what they measured: one CSV file each, the device in its name."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

__all__ = ["RESULTS", "device_name", "results_file", "write_rows"]

RESULTS = Path(__file__).resolve().parent / "results"


def device_name(device: str | torch.device) -> str:
    """What a device is called: `cpu`, or the name of the GPU."""
    found = torch.device(device)
    return torch.cuda.get_device_name(found) if found.type == "cuda" else found.type


def results_file(benchmark: str, device: str | torch.device, folder: Path = RESULTS) -> Path:
    """folder/BENCHMARK_DEVICE.csv."""
    place = re.sub(r"[^A-Za-z0-9]+", "_", device_name(device)).strip("_").lower()
    return folder / f"{benchmark}_{place}.csv"


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows that have the same columns; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
