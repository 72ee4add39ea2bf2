"""Reading the options that several potentials share."""

from __future__ import annotations

import math

import torch

from pimd.potentials.base import PotentialError

__all__ = ["PRECISIONS", "choice", "length", "number", "torch_device", "torch_dtype"]

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


def torch_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """torch.float64 or torch.float32 of its name. Raises PotentialError for others."""
    for name, value in PRECISIONS.items():
        if dtype in (value, name):
            return value
    raise PotentialError(f"dtype is float64 or float32, got {dtype!r}")


def torch_device(device: str | torch.device) -> torch.device:
    """The device of a name such as cpu, cuda or cuda:1. Raises PotentialError without it."""
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise PotentialError(f"device {device!r} is no device: {error}") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise PotentialError(
            f"device {device} was asked for, but this torch sees no CUDA device; use device: cpu"
        )
    return found


def number(name: str, value: object) -> float:
    """A finite number. Raises PotentialError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise PotentialError(f"{name} is a finite number, got {value!r}")
    return float(value)


def length(name: str, value: object) -> float:
    """A positive length in Å. Raises PotentialError for anything else."""
    found = number(name, value)
    if found <= 0.0:
        raise PotentialError(f"{name} is a length in Å, > 0, got {value!r}")
    return found


def choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """One of some words. Raises PotentialError for another."""
    if value not in choices:
        raise PotentialError(f"{name} is one of {', '.join(choices)}; got {value!r}")
    return str(value)
