"""What went wrong in an evaluation: which simulation, which bead, and the structure in a file."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pimd.daemon.calls import EvaluationError
from pimd.daemon.rounds import BadPositions, Round
from pimd.evaluator import BadPrediction, OutOfMemory
from pimd.structure import PotentialError, Structure, StructureFailed

if TYPE_CHECKING:
    from pimd.daemon.models import AnyCaller

__all__ = ["Failure", "describe", "dump_structure"]

_SEARCH_SECONDS = 20.0


@dataclass(frozen=True)
class Failure:
    """A failed evaluation.

    Attributes:
        message: what happened, to which simulation and bead, where the structure is.
        simulation: its name, or several joined by commas where it is not known which.
        bead: as in `pimd.daemon.status`; None where it is not known.
        file: extxyz of the offending structure; None where it is not known.
        traceback: of errors that are no refusals, else "".
    """

    message: str
    simulation: str
    bead: int | None
    file: str | None
    traceback: str


def describe(
    failed: EvaluationError,
    owners: Sequence[tuple[str, int | None]],
    caller: AnyCaller,
    dump_dir: Path,
) -> Failure:
    """Name the structure that failed, and write it to a file.

    Args:
        failed: what `Caller.evaluate` raised.
        owners: (simulation, bead of a one-structure connection or None) of each request.
        caller: to find the structure by evaluating one by one, where the error does not tell.
        dump_dir: folder of the file.
    """
    round_, error = failed.round, failed.__cause__
    assert error is not None
    refusals = (BadPrediction, BadPositions, PotentialError, OutOfMemory)
    trace = "" if isinstance(error, refusals) else "".join(traceback.format_exception(error))
    what = error.what if isinstance(error, (BadPrediction, BadPositions)) else str(error)
    if trace:
        what = f"{type(error).__name__}: {error}"
    found: tuple[int, Structure] | None = None
    if isinstance(error, BadPositions):
        round_ = error.round
    if isinstance(error, (BadPrediction, BadPositions)):
        found = error.index, error.structure
    elif isinstance(error, StructureFailed) and round_ is not None:
        found = error.index, round_.structure(error.index)
    elif round_ is not None:
        found = _search(round_, caller)
    names = ", ".join(dict.fromkeys(name for name, _ in owners))
    if found is None or round_ is None:
        where = names
        file = None if found is None else dump_structure(found[1], dump_dir, names, None)
        return Failure(_message(where, what, file), names, None, file, trace)
    request, position = round_.find(found[0])
    name, own_bead = owners[request]
    bead = position if own_bead is None else own_bead
    file = dump_structure(found[1], dump_dir, name, bead)
    return Failure(_message(f"{name}, bead {bead}", what, file), name, bead, file, trace)


def _message(where: str, what: str, file: str | None) -> str:
    written = f"; the structure is in {file}" if file else ""
    return f"{where}: {what}{written}"


def _search(round_: Round, caller: AnyCaller) -> tuple[int, Structure] | None:
    """The first structure that fails on its own, if that is found in a bounded time."""
    started = time.monotonic()
    for k in range(round_.batch.n_structures):
        if time.monotonic() - started > _SEARCH_SECONDS:
            break
        try:
            caller.evaluator.evaluate(round_.batch.slice(k, k + 1), caller.wanted)
        except Exception:
            return k, round_.structure(k)
    return None


def dump_structure(
    structure: Structure, folder: Path, simulation: str, bead: int | None
) -> str | None:
    """Write a structure to an extxyz of its own; its path, or None where that fails."""
    from ase.io import write

    stem = "failed_" + re.sub(r"[^A-Za-z0-9.-]+", "_", simulation).strip("_")
    if bead is not None:
        stem += f"_bead{bead}"
    path = folder / f"{stem}.extxyz"
    count = 1
    while path.exists():
        count += 1
        path = folder / f"{stem}-{count}.extxyz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write(str(path), structure.to_ase(), format="extxyz")
    except OSError:
        return None
    return str(path)
