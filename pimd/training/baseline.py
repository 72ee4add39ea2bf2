"""The composition baseline: energies of elements, taken off before training.

    E(structure) = sum_elements n_z e_z + network,

with e_z by least squares over the training set, each structure weighted by 1 / n_atoms. Total
energies of electronic structure are thousands of eV; what is left is what the network learns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pimd.training.data import DataError, Labelled, composition

__all__ = ["fit_baseline", "given_baseline", "refuse_outliers"]

MAX_RESIDUAL = 5.0
"""eV per atom beyond the baseline at which an energy is taken for an error."""


def fit_baseline(data: Sequence[Labelled], elements: Sequence[int]) -> np.ndarray:
    """Energy of each element, eV, (n_elements,); the smallest ones where several fit."""
    counts = composition(data, elements)
    energies = np.array([one.energy for one in data])
    n_atoms = counts.sum(1)
    found, *_ = np.linalg.lstsq(counts / n_atoms[:, None], energies / n_atoms, rcond=1e-10)
    return found


def given_baseline(energies: Mapping[str, float], elements: Sequence[int]) -> np.ndarray:
    """Energy of each element, eV, (n_elements,), from symbols. Raises DataError if one lacks."""
    from ase.data import chemical_symbols

    symbols = [chemical_symbols[z] for z in elements]
    missing = [s for s in symbols if s not in energies]
    if missing:
        raise DataError(
            f"--baseline gives {', '.join(energies)}; it lacks {', '.join(missing)}: write it "
            f"like {','.join(f'{s}=-1.0' for s in symbols)}"
        )
    return np.array([float(energies[s]) for s in symbols])


def refuse_outliers(
    data: Sequence[Labelled], elements: Sequence[int], baseline: np.ndarray
) -> None:
    """Raise DataError for an energy that no structure of these elements can have.

    Energies beyond the baseline are compared with their median, eV per atom.
    """
    counts = composition(data, elements)
    energies = np.array([one.energy for one in data])
    residual = (energies - counts @ baseline) / counts.sum(1)
    far = np.abs(residual - np.median(residual))
    worst = int(np.argmax(far))
    number = int((far > MAX_RESIDUAL).sum())
    if number:
        raise DataError(
            f"{data[worst].frame}: its energy is {far[worst]:.2f} eV per atom off the other "
            f"frames of this composition (limit {MAX_RESIDUAL:g}); {number} such"
            " frames. Do all labels come from one method, in eV? Remove the frames that do not"
        )
