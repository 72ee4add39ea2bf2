"""Labelled structures: read, checked, and split into training, validation and test sets.

A frame of an extended xyz needs an energy (eV) and forces (eV/Å), as `pimd evaluate` or ASE
write them. `REF_energy` and `REF_forces` are taken where a frame has them, since ASE may take
the plain names away when it writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pimd.structure import PotentialError, Structure

__all__ = ["DataError", "Labelled", "Split", "composition", "elements_of", "read_labels", "split"]

ENERGY_KEYS = ("REF_energy", "energy")
FORCE_KEYS = ("REF_forces", "forces")
MAX_FORCE = 100.0
"""eV/Å; frames with larger force components are left out."""
MAX_LEFT_OUT = 0.1
"""Share of a file that may be left out before it is refused as a whole."""


class DataError(ValueError):
    """The data cannot be trained on; the message names the frame and says what to do."""


@dataclass(frozen=True)
class Labelled:
    """A structure with its energy (eV) and forces (n_atoms, 3), eV/Å; `frame` says which."""

    structure: Structure
    energy: float
    forces: np.ndarray
    frame: str


@dataclass(frozen=True)
class Split:
    """The three sets; none shares a frame with another."""

    train: list[Labelled]
    validation: list[Labelled]
    test: list[Labelled]


def read_labels(
    path: str | Path,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    max_force: float = MAX_FORCE,
) -> tuple[list[Labelled], list[str]]:
    """Structures with energies and forces.

    Args:
        path: extended xyz, or any file ASE reads that holds both; `file@index` picks frames.
        energy_key, forces_key: names in the file; None: REF_energy or energy, REF_forces or
            forces.
        max_force: eV/Å; frames with a larger force component are left out.

    Returns:
        The labelled structures, and of the frames left out which and why.

    Raises:
        DataError: no such file, no frames, labels that are missing or not finite, or more than
            a tenth of the frames beyond `max_force`.
    """
    energy_keys = (energy_key,) if energy_key else ENERGY_KEYS
    force_keys = (forces_key,) if forces_key else FORCE_KEYS
    found: list[Labelled] = []
    left_out: list[str] = []
    for index, frame in enumerate(_frames(path)):
        name = f"{path}, frame {index}"
        energy = _label(frame, energy_keys, "energy", name, per_atom=False)
        forces = _label(frame, force_keys, "forces", name, per_atom=True)
        try:
            structure = Structure.from_ase(frame)
        except PotentialError as error:
            raise DataError(f"{name}: {error}") from error
        if not np.isfinite(structure.positions).all():
            raise DataError(f"{name}: positions that are not finite (NaN or infinite)")
        largest = float(np.abs(forces).max())
        if largest > max_force:
            left_out.append(f"{name}: force of {largest:.1f} eV/Å (limit {max_force:g})")
            continue
        found.append(Labelled(structure, float(energy), forces, name))
    if len(left_out) > MAX_LEFT_OUT * (len(found) + len(left_out)):
        raise DataError(
            f"{path}: {len(left_out)} of {len(found) + len(left_out)} frames have forces above "
            f"{max_force:g} eV/Å, the first is {left_out[0]}. Are the units eV and Å? If so, give "
            "a larger --max-force"
        )
    if not found:
        raise DataError(f"{path}: no frames")
    return found, left_out


def _frames(path: str | Path) -> Any:
    from pimd.ipi.structure_files import iter_frames, split_index

    file, _ = split_index(path)
    if not Path(file).is_file():
        raise DataError(f"{file}: no such file")
    try:
        yield from iter_frames(path)
    except PotentialError as error:
        raise DataError(str(error)) from error


def _label(
    frame: Any, keys: Sequence[str], what: str, name: str, *, per_atom: bool
) -> np.ndarray:
    """An energy () or forces (n_atoms, 3) of a frame."""
    if len(frame) == 0:
        raise DataError(f"{name}: no atoms")
    results = {} if frame.calc is None else frame.calc.results
    own = frame.arrays if per_atom else frame.info
    value = next((d[key] for key in keys for d in (own, results) if key in d), None)
    if value is None:
        there = sorted({*frame.info, *frame.arrays, *results} - {"numbers", "positions"})
        raise DataError(
            f"{name}: no {what}; looked for {' or '.join(keys)}, the frame has "
            f"{', '.join(there) or 'nothing but positions'}. Label it with `pimd evaluate`, or "
            f"name its {what} with --{what}-key"
        )
    array = np.asarray(value, dtype=np.float64)
    shape = (len(frame), 3) if per_atom else ()
    if array.shape != shape:
        raise DataError(f"{name}: {what} of shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise DataError(f"{name}: {what} that are not finite (NaN or infinite): remove the frame")
    return array


def split(
    data: Sequence[Labelled],
    validation: float | Sequence[Labelled],
    test: float | Sequence[Labelled],
    seed: int,
) -> Split:
    """Training, validation and test set.

    Args:
        data: what is to be split.
        validation, test: shares of `data`, drawn at random; or sets of their own.
        seed: of the draw.

    Raises:
        DataError: shares that leave nothing to train on or to validate with, or elements that
            the training set lacks.
    """
    order = np.random.default_rng(seed).permutation(len(data))
    drawn: list[list[Labelled]] = []
    for name, wanted in (("validation", validation), ("test", test)):
        if not isinstance(wanted, (int, float)):
            drawn.append(list(wanted))
            continue
        if not 0.0 <= wanted < 1.0:
            raise DataError(f"--{name} is a share from 0 to below 1, or a file; got {wanted:g}")
        n = round(wanted * len(data)) or (1 if wanted > 0 else 0)
        drawn.append([data[k] for k in order[:n]])
        order = order[n:]
    found = Split([data[k] for k in sorted(order)], *drawn)
    if not found.train or not found.validation:
        raise DataError(
            f"{len(data)} frames leave {len(found.train)} to train on and "
            f"{len(found.validation)} to validate with; at least one of each is needed"
        )
    _check_elements(found)
    return found


def _check_elements(found: Split) -> None:
    from ase.data import chemical_symbols

    known = set(elements_of(found.train))
    for one in (*found.validation, *found.test):
        others = sorted(set(one.structure.numbers.tolist()) - known)
        if others:
            names = ", ".join(chemical_symbols[z] for z in others)
            raise DataError(f"{one.frame}: {names} is in no structure of the training set")


def elements_of(data: Sequence[Labelled]) -> tuple[int, ...]:
    """Atomic numbers that occur, ascending."""
    return tuple(sorted({int(z) for one in data for z in one.structure.numbers}))


def composition(data: Sequence[Labelled], elements: Sequence[int]) -> np.ndarray:
    """Atoms of each element in each structure, (n_structures, n_elements)."""
    return np.array([[(one.structure.numbers == z).sum() for z in elements] for one in data])
