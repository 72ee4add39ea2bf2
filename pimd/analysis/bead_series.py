"""From stored beads to series of estimators, one value a frame, in one pass over the record.

Names are i-PI's, with the element in brackets where a sum goes over its atoms only, and units those
of a record (eV, Å, fs, K, eV/Å^3):

    potential                       mean over the beads, from energies
    kinetic_td, spring              from positions
    squared_gyration(H)             mean over the atoms of R^2, from positions
    kinetic_cv, kinetic_tens        and of each element, from positions and forces
    volume                          of periodic cells
    pressure_cv, stress_cv          from virials, by a potential
    eps, eps_prime                  of scaled coordinates, by a potential on scaled beads
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from pimd.analysis.estimators import (
    kinetic_tensors,
    pressure_tensors,
    spring_energies,
    squared_gyration,
)
from pimd.analysis.heat_capacity import STEP, breathing, scaled_energy, slopes_from_forces
from pimd.record.series import Series
from pimd.units import KB_EV_PER_KELVIN

if TYPE_CHECKING:
    from pimd.analysis.bead_potential import BeadPotential
    from pimd.record.run import Run

__all__ = ["bead_series", "elements"]

UNITS = {
    "potential": "eV", "kinetic_td": "eV", "spring": "eV", "kinetic_cv": "eV",
    "kinetic_tens": "eV", "squared_gyration": "Å^2", "volume": "Å^3", "pressure_cv": "eV/Å^3",
    "stress_cv": "eV/Å^3", "eps": "eV", "eps_prime": "eV^2",
}  # fmt: skip
VECTOR = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Components of a symmetric tensor in i-PI's order."""


def bead_series(
    run: Run,
    temperature: float,
    potential: BeadPotential | None = None,
    *,
    stride: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Series]:
    """Series of everything that the stored beads of a run allow.

    Args:
        run: with positions; forces are taken from it where it has them.
        temperature: K, of the quantum system.
        potential: evaluates all beads for energies, forces and virials, and, for P > 1, scaled
            beads twice for the heat capacity. None: what is stored must do.
        stride: take every so many of the frames.
        progress: told how many beads, and atoms, are done.

    Raises:
        NotInRecord: there are no positions.
    """
    names = ["positions"]
    if potential is None and _at_frames(run, "positions", "forces"):
        names.append("forces")
    for name in ("energies", "cells"):
        if _at_frames(run, *names, name):
            names.append(name)
    run = run.common(*names)
    pieces: dict[str, list[np.ndarray]] = {}
    steps, times, done = [], [], 0
    for block in _blocks(run, names, stride, potential):
        for name, values in _of_block(run, block, temperature, potential).items():
            pieces.setdefault(name, []).append(values)
        steps.append(block["step"])
        times.append(block["time"])
        done += len(block["step"])
        if progress is not None:
            progress(done * run.n_beads, done * run.n_beads * run.n_atoms)
    step, time = np.concatenate(steps), np.concatenate(times)
    return {
        name: Series(name, step, time, np.concatenate(values), UNITS[name.partition("(")[0]])
        for name, values in pieces.items()
    }


def elements(run: Run) -> dict[str, np.ndarray]:
    """Indices of the atoms of each element, in the order of their first atoms."""
    symbols = np.array(run.setup.symbols)
    return {str(s): np.flatnonzero(symbols == s) for s in dict.fromkeys(symbols)}


def _blocks(
    run: Run, names: list[str], stride: int, potential: BeadPotential | None
) -> Iterator[dict[str, np.ndarray]]:
    size = None if potential is None else potential.frames_at_once(run.n_beads)
    return run.blocks(names, size=size, stride=stride)


def _of_block(
    run: Run, block: dict[str, np.ndarray], temperature: float, potential: BeadPotential | None
) -> dict[str, np.ndarray]:
    q, groups = block["positions"], elements(run)
    found: dict[str, np.ndarray] = {}
    energies, forces = block.get("energies"), block.get("forces")
    periodic = "cells" in block and bool(run.setup.pbc.all())
    if potential is not None:
        cells = block.get("cells")
        given = potential.evaluate(q, cells)
        energies, forces = given.energies, given.forces
        if periodic and given.virials is not None:
            stress = pressure_tensors(q, forces, given.virials, block["cells"], temperature)
            found["stress_cv"] = _vector(stress)
            found["pressure_cv"] = np.trace(stress, axis1=-2, axis2=-1) / 3
        if run.n_beads > 1:
            found.update(_scaled(run, q, energies, forces, cells, temperature, potential))
    if energies is not None:
        found["potential"] = energies.mean(axis=1)
    if forces is not None:
        found.update(_kinetic(q, forces, temperature, groups))
    if run.n_beads > 1:
        found.update(_springs(q, run.setup.masses, temperature, groups))
    if periodic:
        found["volume"] = np.abs(np.linalg.det(block["cells"]))
    return found


def _kinetic(
    q: np.ndarray, forces: np.ndarray, temperature: float, groups: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    tensors = kinetic_tensors(q, forces, temperature)
    found = {}
    for bracket, atoms in _brackets(groups, q.shape[2]):
        total = tensors[:, atoms].sum(axis=1)
        found[f"kinetic_tens{bracket}"] = _vector(total)
        found[f"kinetic_cv{bracket}"] = np.trace(total, axis1=-2, axis2=-1)
    return found


def _springs(
    q: np.ndarray, masses: np.ndarray, temperature: float, groups: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    springs, squares = spring_energies(q, masses, temperature), squared_gyration(q)
    kinetic = 1.5 * q.shape[1] * KB_EV_PER_KELVIN * temperature  # of each atom, less its springs
    found = {"spring": springs.sum(axis=1)}
    for bracket, atoms in _brackets(groups, q.shape[2]):
        found[f"kinetic_td{bracket}"] = (kinetic - springs[:, atoms]).sum(axis=1)
        if bracket:
            found[f"squared_gyration{bracket}"] = squares[:, atoms].mean(axis=1)
    return found


def _scaled(
    run: Run,
    q: np.ndarray,
    energies: np.ndarray,
    forces: np.ndarray,
    cells: np.ndarray | None,
    temperature: float,
    potential: BeadPotential,
) -> dict[str, np.ndarray]:
    plus, minus = (
        potential.evaluate(breathing(q, 1 + sign * STEP), cells, virials=False).forces
        for sign in (1, -1)
    )
    slope, curvature = slopes_from_forces(q, forces, plus, minus)
    eps, derivative = scaled_energy(
        energies.mean(axis=1), slope, curvature, 3 * run.n_atoms, temperature
    )
    return {"eps": eps, "eps_prime": derivative}


def _brackets(groups: dict[str, np.ndarray], n_atoms: int) -> Iterator[tuple[str, np.ndarray]]:
    yield "", np.arange(n_atoms)
    for symbol, atoms in groups.items():
        yield f"({symbol})", atoms


def _vector(tensors: np.ndarray) -> np.ndarray:
    return np.stack([tensors[:, x, y] for x, y in VECTOR], axis=1)


def _at_frames(run: Run, *names: str) -> bool:
    """Whether these are stored together at half of the positions' frames or more."""
    from pimd.record.missing import NotInRecord

    try:
        return 2 * run.common(*names).n_frames >= run.common("positions").n_frames
    except NotInRecord:
        return False
