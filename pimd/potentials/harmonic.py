"""Independent harmonic oscillators: each atom bound to a point."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pimd.potentials.base import (
    Batch,
    EnergyPotential,
    PotentialError,
    Prediction,
    Wanted,
    check_wanted,
)
from pimd.potentials.options import number, torch_device, torch_dtype
from pimd.units import AMU_ANGSTROM2_PER_FS2_EV

__all__ = ["Harmonic", "force_constant"]

LIGHT_CM_PER_FS = 2.99792458e-5
"""Speed of light in vacuum, exact."""


def force_constant(mass: float, wavenumber: float) -> float:
    """k = m (2 pi c nu)², eV/Å², of a mass in amu and a wavenumber in cm^-1."""
    omega = 2.0 * math.pi * LIGHT_CM_PER_FS * wavenumber  # rad/fs
    return mass * omega**2 * AMU_ANGSTROM2_PER_FS2_EV


class Harmonic(EnergyPotential):
    """V = sum_i k_i/2 |x_i - x0_i|².

    An external field: positions count as they come, without images, so give i-PI's `ffsocket`
    pbc='False', or it will wrap the atoms into the cell. The energy is not invariant, and the
    total momentum is not conserved: use fixcom='False'.

    Args:
        k: eV/Å², the same for all atoms; or
        wavenumber: cm^-1, one frequency for all atoms: k_i = m_i (2 pi c nu)².
        masses: amu, for `wavenumber`: one number for all atoms, or by element, {H: 2.014}, with
            ASE's standard masses for elements not named. They have to be those of the
            simulation for the frequency to be what is asked.
        template: file (any that ASE reads) with the points x0 to which the atoms are bound, in
            their order; every structure then has the atoms of this file. Without it all atoms
            are bound to the origin.
        dtype: float64 or float32.
        device: cpu, cuda, ...

    Raises:
        PotentialError: unless exactly one of `k` and `wavenumber` is given, and for a template
            that cannot be read.
    """

    name = "harmonic"
    cutoff = 0.0
    invariant = False

    def __init__(
        self,
        k: float | None = None,
        wavenumber: float | None = None,
        masses: float | Mapping[str, float] | None = None,
        template: str | Path | None = None,
        dtype: str = "float64",
        device: str = "cpu",
    ) -> None:
        self.dtype, self.device = torch_dtype(dtype), torch_device(device)
        if (k is None) == (wavenumber is None):
            raise PotentialError(
                "harmonic needs either k (eV/Å²) or wavenumber (cm^-1), for example "
                "{potential: harmonic, k: 1.2}"
            )
        if masses is not None and wavenumber is None:
            raise PotentialError("masses of harmonic only matter with wavenumber; k needs none")
        # [atomic number], eV/Å²
        constants = (
            np.full(119, number("k", k))
            if wavenumber is None
            else _constants(number("wavenumber", wavenumber), masses)
        )
        self._constants = torch.tensor(constants, dtype=self.dtype, device=self.device)
        self._template = None if template is None else self._read(template)

    def _read(self, template: str | Path) -> tuple[Tensor, Tensor]:
        """Numbers (n_atoms,) and points (n_atoms, 3) of a file."""
        from pimd.ipi.structure_files import template_structure

        structure = template_structure(template)
        return (
            torch.tensor(structure.numbers, dtype=torch.int64, device=self.device),
            torch.tensor(structure.positions, dtype=self.dtype, device=self.device),
        )

    def _displacements(self, batch: Batch) -> Tensor:
        if self._template is None:
            return batch.positions
        numbers, points = self._template
        n = len(numbers)
        sizes = batch.n_atoms_per_structure
        if bool((sizes != n).any()) or not torch.equal(
            batch.numbers, numbers.repeat(batch.n_structures)
        ):
            raise PotentialError(
                f"harmonic: every structure must have the {n} atoms of the template in their "
                f"order; got structures of {sorted(set(sizes.tolist()))} atoms, or other elements"
            )
        return batch.positions - points.repeat(batch.n_structures, 1)

    def energies(self, batch: Batch) -> Tensor:
        displacements = self._displacements(batch)
        constants = self._constants.index_select(0, batch.numbers)
        return batch.sum_over_atoms(0.5 * constants * displacements.square().sum(1))

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        """F_i = -k_i (x_i - x0_i), W = sum_i x_i (outer) F_i, symmetrised."""
        check_wanted(self, wanted)
        with torch.no_grad():
            displacements = self._displacements(batch)
            constants = self._constants.index_select(0, batch.numbers)
            forces = -constants[:, None] * displacements
            energies = batch.sum_over_atoms(-0.5 * (forces * displacements).sum(1))
            virials = None
            if wanted.virials:
                outer = batch.positions[:, :, None] * forces[:, None, :]  # [atom, xyz, xyz]
                total = batch.sum_over_atoms(outer)
                virials = (0.5 * (total + total.transpose(1, 2))).to(self.dtype)
        return Prediction(energies, forces if wanted.forces else None, virials)


def _constants(wavenumber: float, masses: float | Mapping[str, float] | None) -> np.ndarray:
    """k of every atomic number, eV/Å², (119,)."""
    from ase.data import atomic_masses, atomic_numbers

    own = np.array(atomic_masses[:119])
    own.resize(119)
    if isinstance(masses, Mapping):
        for symbol, mass in masses.items():
            if symbol not in atomic_numbers:
                raise PotentialError(f"masses names {symbol}, which is no element")
            own[atomic_numbers[symbol]] = number(f"the mass of {symbol}", mass)
    elif masses is not None:
        own[:] = number("masses", masses)
    return own * force_constant(1.0, wavenumber)
