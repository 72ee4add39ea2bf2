"""Atomic units <-> eV, Å: one table (CODATA 2018), used at the boundary only.

Everything inside pimd is in eV, Å, fs, amu with cells as rows. i-PI speaks atomic units
with cells as columns; the two meet in `pimd.daemon` and `pimd.ipi`, which multiply by the
constants below and nowhere else.

Source: E. Tiesinga et al., Rev. Mod. Phys. 93, 025010 (2021), CODATA 2018.
"""

from __future__ import annotations

HARTREE_EV = 27.211386245988
"""One hartree in eV."""
BOHR_ANGSTROM = 0.529177210903
"""One bohr in Å."""
FORCE_AU_EV_PER_ANGSTROM = HARTREE_EV / BOHR_ANGSTROM
"""One hartree/bohr in eV/Å."""
AMU_ELECTRON_MASS = 1822.888486209
"""One unified atomic mass unit in electron masses."""
ATOMIC_TIME_FS = 0.024188843265857
"""One atomic unit of time in fs."""
KB_EV_PER_KELVIN = 8.617333262e-5
"""Boltzmann constant in eV/K."""
KB_HARTREE_PER_KELVIN = 3.1668115634556e-6
"""Boltzmann constant in hartree/K."""
AMU_ANGSTROM2_PER_FS2_EV = AMU_ELECTRON_MASS * (ATOMIC_TIME_FS / BOHR_ANGSTROM) ** 2 * HARTREE_EV
"""One amu Å²/fs² in eV (one hartree is m_e a0² per squared atomic unit of time)."""
HBAR_EV_FS = 0.6582119569509066
"""Reduced Planck constant in eV fs."""
COULOMB_EV_ANGSTROM = HARTREE_EV * BOHR_ANGSTROM
"""e²/(4 pi eps0) in eV Å."""
KCAL_PER_MOL_EV = HARTREE_EV / 627.5094740631
"""One kcal/mol in eV."""
EV_PER_CUBIC_ANGSTROM_GPA = 160.21766340
"""One eV/Å³ in GPa."""
DEBYE_E_ANGSTROM = 0.20819433442
"""One debye in e Å."""
