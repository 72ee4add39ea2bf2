"""An ASE calculator for `pimd run`: every coordinate of every atom is an O-H bond of its own."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from physics.references import BOHR_ANGSTROM, HARTREE_MEV
from physics.water_reference import Monomer

HARTREE_EV = HARTREE_MEV / 1000


class OHBonds(Calculator):
    """V = sum over atoms and x, y, z of the q-TIP4P/F stretch at that bond length."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def calculate(
        self,
        atoms: Any = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        monomer, lengths = Monomer(), self.atoms.positions / BOHR_ANGSTROM
        slopes = monomer.stretch_slope(lengths)
        self.results = {
            "energy": float(np.sum(monomer.stretch(lengths))) * HARTREE_EV,
            "forces": -slopes * HARTREE_EV / BOHR_ANGSTROM,
        }
