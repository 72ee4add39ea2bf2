"""Structures from files: whatever ASE reads, and i-PI's own xyz, which ASE misreads.

ASE takes i-PI's xyz for a plain one: no cell, and positions in bohr as if they were Å. Here the
comment line is heeded, with i-PI's own reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pimd.structure import PotentialError, Structure
from pimd.units import BOHR_ANGSTROM

__all__ = ["count_frames", "iter_frames", "template_structure"]

POSITION_KEYS = ("positions", "x_centroid")
_KEY = re.compile(r"(\w+)\{\w+\}")
_XYZ_SUFFIXES = (".xyz", ".extxyz")


def iter_frames(source: str | Path) -> Iterator[Any]:
    """The frames of a file one after another, as `ase.Atoms`.

    Args:
        source: a file, or `file@index` in ASE's way, such as `traj.xyz@::10`.

    Raises:
        PotentialError: if the file cannot be read, or holds no positions.
    """
    import ase.io

    name, index = split_index(source)
    if not Path(name).is_file():
        raise PotentialError(f"{name}: no such file")
    reader = _ipi_frames(name, index) if is_ipi_xyz(name) else ase.io.iread(name, index)
    count = 0
    try:
        for atoms in reader:
            yield atoms
            count += 1
    except PotentialError:
        raise
    except Exception as error:
        what = str(error).strip() or type(error).__name__
        raise PotentialError(f"{name}: cannot read frame {count}: {what}") from error
    if count == 0:
        raise PotentialError(f"{source}: no structures in it")


def template_structure(source: str | Path, pbc: Any = None) -> Structure:
    """The first structure of a file; `pbc` overrides whether it is periodic.

    Raises:
        PotentialError: if it cannot be read.
    """
    atoms = next(iter_frames(source))
    if pbc is not None:
        atoms.pbc = pbc
    return Structure.from_ase(atoms)


def split_index(source: str | Path) -> tuple[str, slice]:
    """File name and frames of `file@index`; without an index, all frames."""
    from ase.io.formats import string2index

    text = str(source)
    name, at, index_text = text.rpartition("@")
    if not at or Path(text).is_file():
        return text, slice(None)
    try:
        index = string2index(index_text)
    except ValueError:
        raise PotentialError(
            f"{text}: '{index_text}' is no choice of frames; write for example @-1, @10:20 or "
            "@::10"
        ) from None
    if isinstance(index, str):
        raise PotentialError(f"{text}: frames are chosen by number, such as @::10")
    return name, index if isinstance(index, slice) else slice(index, (index + 1) or None)


def is_ipi_xyz(name: str | Path) -> bool:
    """Whether a file is an xyz with i-PI's comment line."""
    if Path(name).suffix not in _XYZ_SUFFIXES:
        return False
    with open(name, errors="replace") as file:
        head = [line[:2000] for line in islice(file, 2)]
    return len(head) == 2 and "CELL" in head[1] and "Lattice" not in head[1]


def count_frames(source: str | Path) -> int | None:
    """Frames that `iter_frames` will give, where they can be counted without reading them."""
    name, index = split_index(source)
    if Path(name).suffix not in _XYZ_SUFFIXES:
        return None
    total = 0
    with open(name, errors="replace") as file:
        for line in file:
            try:
                n_lines = int(line) + 1
            except ValueError:
                break
            if sum(1 for _ in islice(file, n_lines)) < n_lines:
                break
            total += 1
    return len(range(*index.indices(total)))


def _ipi_frames(name: str, index: slice) -> Iterator[Any]:
    start, stop, step = index.start, index.stop, index.step
    if any(value is not None and value < 0 for value in (start, stop, step)):
        total = count_frames(name) or 0
        wanted = range(*index.indices(total))
        if wanted.step < 0:
            raise PotentialError(f"{name}: frames of i-PI's xyz are read forwards only")
        start, stop, step = wanted.start, wanted.stop, wanted.step
    with open(name) as file:
        yield from islice(_ipi_stream(file, name), start, stop, step)


def _ipi_stream(file: TextIO, name: str) -> Iterator[Any]:
    from ase import Atoms
    from ipi.utils.io import read_file

    from pimd.ipi.systems import numbers_of_labels

    while True:
        try:
            frame = read_file("xyz", file)
        except EOFError:
            return
        keys = _KEY.findall(frame["comment"])
        found = [key for key in keys if key != "cell"]
        if found and found[0] not in POSITION_KEYS:
            raise PotentialError(f"{name} holds {found[0]}, not positions")
        cell = np.array(frame["cell"].h, dtype=float).T * BOHR_ANGSTROM  # rows
        positions = np.array(frame["atoms"].q, dtype=float).reshape(-1, 3) * BOHR_ANGSTROM
        periodic = np.linalg.det(cell) > 1e-12  # i-PI's reader gives -1 where there is no cell
        yield Atoms(
            numbers=numbers_of_labels(list(frame["atoms"].names)),
            positions=positions,
            cell=cell if periodic else np.zeros((3, 3)),
            pbc=periodic,
        )
