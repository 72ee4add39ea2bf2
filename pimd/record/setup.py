"""What was simulated: atoms, beads, ensemble, dynamics, forcefields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Setup"]


@dataclass(frozen=True)
class Setup:
    """One system of a run, as its input describes it.

    Attributes:
        numbers: atomic numbers, (n_atoms,) int64.
        masses: amu, (n_atoms,), those that the dynamics used.
        n_beads: beads of the ring polymer; 1: classical nuclei.
        temperature: K, of the quantum system (a ring polymer of P beads moves at P times that);
            None: there is no thermostat and no ensemble temperature.
        timestep: fs; NaN where there is no dynamics.
        pbc: (3,) bool, periodic along each cell vector, as the potential took it.
        mode: of the dynamics: `nve`, `nvt`, `npt`, ...; empty where there is none.
        splitting: of the integrator, such as `obabo` or `baoab`.
        thermostats: modes of all thermostats of the system (not of the barostat), such as
            `("pile_l",)` or `("gle", "svr")`.
        fixcom: whether the centre of mass was held.
        pressure: eV/Å³ of the barostat; None: there is none.
        forcefields: name -> SPEC of the potential that served it, empty where none is known.
        total_steps: the step the run was to end at; None: not known.
        dynamics: i-PI's motion mode, such as `dynamics` or `minimize`.
    """

    numbers: np.ndarray = field(repr=False)
    masses: np.ndarray = field(repr=False)
    n_beads: int = 1
    temperature: float | None = None
    timestep: float = math.nan
    pbc: np.ndarray = field(default_factory=lambda: np.zeros(3, dtype=bool))
    mode: str = ""
    splitting: str = ""
    thermostats: tuple[str, ...] = ()
    fixcom: bool = True
    pressure: float | None = None
    forcefields: Mapping[str, str] = field(default_factory=dict)
    total_steps: int | None = None
    dynamics: str = "dynamics"

    def __post_init__(self) -> None:
        numbers = np.array(self.numbers, dtype=np.int64)
        masses = np.array(self.masses, dtype=np.float64)
        if numbers.ndim != 1 or masses.shape != numbers.shape:
            raise ValueError(
                f"a setup needs numbers (n_atoms,) and masses of the same shape, got "
                f"{numbers.shape} and {masses.shape}"
            )
        if self.n_beads < 1:
            raise ValueError(f"n_beads: expected 1 or more, got {self.n_beads}")
        pbc = np.array(np.broadcast_to(np.asarray(self.pbc, dtype=bool), (3,)))
        for name, value in (
            ("numbers", numbers), ("masses", masses), ("pbc", pbc),
            ("thermostats", tuple(self.thermostats)),
        ):
            object.__setattr__(self, name, value)

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Chemical symbol of each atom."""
        from ase.data import chemical_symbols

        return tuple(chemical_symbols[number] for number in self.numbers)
