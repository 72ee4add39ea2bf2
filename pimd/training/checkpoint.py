"""The state of a training on disk, so that a killed one goes on where it was.

One file beside the model, written whole or not at all, with tensors and plain values only: it
is read back without running any code from it. It knows the options and the data that it belongs
to, and refuses others.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pimd.training.data import DataError, Labelled, Split
from pimd.whole_file import whole_file

__all__ = ["digest_of", "fingerprint", "load_checkpoint", "save_checkpoint"]

FORMAT = 1


def fingerprint(split: Split) -> str:
    """A digest of all structures and labels."""
    digest = hashlib.sha256()
    for part in (split.train, split.validation, split.test):
        digest.update(digest_of(part))
    return digest.hexdigest()


def digest_of(data: Sequence[Labelled]) -> bytes:
    """SHA-256 of structures and labels."""
    digest = hashlib.sha256()
    for one in data:
        s = one.structure
        for array in (s.numbers, s.positions, s.cell, s.pbc, np.float64(one.energy), one.forces):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()


def save_checkpoint(
    path: Path, state: dict[str, Any], options: dict[str, Any], data: str
) -> None:
    """Write the state; an earlier file stays as it is until the new one is whole."""
    content = {"format": FORMAT, "options": options, "data": data, "state": state}
    with whole_file(path, sync=True) as temporary, open(temporary, "wb") as file:
        torch.save(content, file)


def load_checkpoint(
    path: Path, options: dict[str, Any], data: str, device: torch.device | str
) -> dict[str, Any]:
    """The state. Raises DataError if there is none, or if it is of another training."""
    if not path.is_file():
        raise DataError(f"{path}: there is nothing to resume; start without --resume")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(f"{path}: not a checkpoint of pimd train ({error})") from error
    if content.get("format") != FORMAT:
        raise DataError(f"{path}: written by another version of pimd; start without --resume")
    if content["data"] != data:
        raise DataError(f"{path}: of other data than those given; start without --resume")
    theirs = content["options"]
    changed = sorted(k for k in {*options, *theirs} if options.get(k) != theirs.get(k))
    if changed:
        said = "; ".join(f"{k}: {theirs.get(k)}, now {options.get(k)}" for k in changed)
        raise DataError(f"{path}: was started with other options ({said}); give the same ones")
    return content["state"]
