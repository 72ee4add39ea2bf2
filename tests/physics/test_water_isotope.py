"""D to H in the q-TIP4P/F molecule: `inputs/isotope` against an integration over the mass.

The reference shares no code with the package: a PIMD of molecules (`water_reference`) at masses
between H and D gives the kinetic energy of both hydrogens, and so ln [Q(H2O)/Q(D2O)] at 32 beads.
The package substitutes one D of D2O. Two substitutions one after the other are not alike: in the
harmonic molecule the second ln zeta is larger by 0.033 (K = 3.87 instead of 4 for 2 HOD = H2O +
D2O), half of which is put in.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from run.runs import pimd

from pimd.free_energy.integration import ladder, mass_change
from pimd.free_energy.isotope_runs import zeta_of_run
from pimd.record import open_run

from . import references as ref
from . import water_reference
from .sampling import estimate
from .water_reference import Monomer, sample_molecules

KT = ref.KB_HARTREE * 300
N_BEADS, N_NODES = 32, 4
DEUTERIUM, HYDROGEN = 2.0141, 1.00794
SECOND_OVER_FIRST = 0.0328
"""ln zeta (HOD to H2O) - ln zeta (D2O to HOD) of the harmonic molecule, 32 beads, 300 K."""


def masses(hydrogen: float) -> np.ndarray:
    return np.array([15.9994, hydrogen, hydrogen]) * ref.DALTON_ELECTRON_MASS


def half_of_the_whole(monkeypatch: pytest.MonkeyPatch, n_steps: int) -> tuple[float, float]:
    """ln [Q(H2O)/Q(D2O)]/2 without its classical factor, and its error."""
    rungs, alpha = ladder(N_NODES), HYDROGEN / DEUTERIUM
    roots = 1.0 + (1.0 / math.sqrt(alpha) - 1.0) * rungs.nodes
    means, errors = [], []
    for k, root in enumerate(roots):
        monkeypatch.setattr(water_reference, "MASSES", masses(DEUTERIUM / root**2))
        found = estimate(sample_molecules(
            Monomer(), KT, n_beads=N_BEADS, n_molecules=64, time_step=0.5 / ref.ATOMIC_TIME_FS,
            n_steps=n_steps, n_equilibration=400, seed=k,
        )["kinetic_h"] / KT)
        means.append(found.mean)
        errors.append(found.error)
    per_atom = mass_change(rungs, alpha, means, errors, 1.5)
    return -per_atom.value, per_atom.error


@pytest.mark.physics
def test_one_hydrogen_in_heavy_water(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(__file__).parents[2] / "inputs" / "isotope" / "input.xml"
    folder = tmp_path / "run"
    done = pimd("run", source, "--run-dir", folder, "--threads", "1", limit=3000.0)
    assert done.returncode == 0, done.stdout
    zeta = zeta_of_run(open_run(folder), "D=H", source="beads").estimates[0]
    assert zeta.error < 0.015
    expected, error = half_of_the_whole(monkeypatch, 5000)
    found = zeta.log_zeta + 0.5 * SECOND_OVER_FIRST
    assert error < 0.01
    assert abs(found - expected) < 4 * math.hypot(error, zeta.error)
