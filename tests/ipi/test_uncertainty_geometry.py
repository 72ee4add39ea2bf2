"""The structures that uncertainty is told of are copies: i-PI's positions stay as they are."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from ipi.engine.atoms import Atoms
from ipi.engine.beads import Beads
from ipi.engine.cell import Cell

from pimd.ipi.uncertainty import Source
from pimd.units import BOHR_ANGSTROM

BOX = 10.0  # bohr


def test_folded_positions_are_a_copy() -> None:
    beads = Beads(natoms=2, nbeads=3)
    assert isinstance(beads[0], Atoms)
    beads.q[:] = np.linspace(-12.0, 21.0, 18).reshape(3, 6)
    before = np.array(beads.q._value, copy=True)
    component = SimpleNamespace(
        beads=beads, nbeads=3, ffield="ff", ff=SimpleNamespace(active=np.array([-1]), dopbc=True)
    )
    structure = SimpleNamespace(numbers=np.array([1, 8]), pbc=np.ones(3, bool))
    info = SimpleNamespace(index=0, structure=structure)
    system = SimpleNamespace(cell=Cell(BOX * np.eye(3)))
    found = Source(info, system, component, "ff").geometry()  # type: ignore[arg-type]
    np.testing.assert_array_equal(beads.q._value, before)
    inside = found.positions / BOHR_ANGSTROM
    assert np.abs(inside).max() <= BOX
    shifts = (inside.reshape(3, 6) - before) / BOX
    np.testing.assert_allclose(shifts, np.round(shifts), atol=1e-12)
    assert np.abs(np.round(shifts)).max() >= 1  # something was folded
