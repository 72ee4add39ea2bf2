"""Reference integrator: velocity Verlet, alone or with Nosé-Hoover chains; one particle or many,
classical or a ring polymer in its normal modes.

    exp(iL h) = NHC(h/2) B(h/2) A(h) B(h/2) NHC(h/2)          + O(h^3)

    NHC  the thermostat acts on the momenta
    B    p <- p + h/2 F
    A    q <- q cos(omega h) + p sin(omega h)/(m omega)
         p <- p cos(omega h) - q sin(omega h) m omega         omega = 0:  q <- q + h p/m

with omega the frequencies of the springs of a ring polymer, whose motion is exact (M. Ceriotti
et al., J. Chem. Phys. 133, 124104 (2010)). Without thermostat this is velocity Verlet; with
chains it is the integrator of G. J. Martyna, M. E. Tuckerman, D. J. Tobias and M. L. Klein, Mol.
Phys. 87, 1117 (1996).

Written to be read: one force evaluation a step, no tricks. Units are those of the force field.

| symbol  | here |
|---------|------|
| q, p, F | `positions`, `momenta`, `forces` |
| m, h    | `masses`, `time_step` |
| omega   | `frequencies` |
| H'      | `conserved` |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pimd.dynamics.force_fields import ForceField
from pimd.dynamics.thermostat import NoseHooverThermostat

__all__ = ["Trajectory", "VelocityVerlet"]


@dataclass(frozen=True)
class Trajectory:
    """What `VelocityVerlet.run` saw, first axis the sample.

    Attributes:
        times: (n,).
        positions, momenta: (n, *S).
        kinetic, potential, conserved: energies, (n,); the potential without the springs.
    """

    times: np.ndarray
    positions: np.ndarray
    momenta: np.ndarray
    kinetic: np.ndarray
    potential: np.ndarray
    conserved: np.ndarray


class VelocityVerlet:
    """The state of a system, and its steps.

    Args:
        force_field: positions -> energy, forces.
        positions, momenta: of any shape S; of a ring polymer normal modes, first axis the mode.
        masses: broadcasts to S.
        time_step: h.
        frequencies: of the springs, rad per time, broadcasts to S.
        thermostat: acts on the momenta; None: constant energy.

    Attributes:
        positions, momenta, forces: (S).
        potential: energy of the force field.
        time: since the start.
    """

    def __init__(
        self,
        force_field: ForceField,
        positions: Any,
        momenta: Any,
        masses: Any,
        time_step: float,
        *,
        frequencies: Any = 0.0,
        thermostat: NoseHooverThermostat | None = None,
    ) -> None:
        self.force_field, self.thermostat = force_field, thermostat
        self.positions = np.array(positions, dtype=float)
        self.momenta = np.array(momenta, dtype=float)
        if self.momenta.shape != self.positions.shape:
            raise ValueError(
                f"momenta have the shape of positions, {self.positions.shape}; got "
                f"{self.momenta.shape}"
            )
        self.masses = np.asarray(masses, dtype=float)
        self.time_step, self.time = time_step, 0.0
        omega = np.asarray(frequencies, dtype=float)
        angle = omega * time_step
        self._springs = self.masses * omega * omega
        self._cosine = np.cos(angle)
        self._gain = time_step * np.sinc(angle / np.pi) / self.masses  # sin(angle)/(m omega)
        self._loss = self.masses * omega * np.sin(angle)
        self.potential, self.forces = force_field(self.positions)

    def step(self) -> None:
        """One time step."""
        h = self.time_step
        if self.thermostat is not None:
            self.thermostat.step(self.momenta, 0.5 * h)
        self.momenta += 0.5 * h * self.forces
        self._drift()
        self.potential, self.forces = self.force_field(self.positions)
        self.momenta += 0.5 * h * self.forces
        if self.thermostat is not None:
            self.thermostat.step(self.momenta, 0.5 * h)
        self.time += h

    def _drift(self) -> None:
        """Free flight, or the exact motion of free ring polymers."""
        q, p = self.positions, self.momenta
        self.positions = self._cosine * q + self._gain * p
        self.momenta = self._cosine * p - self._loss * q

    @property
    def kinetic(self) -> float:
        """sum p^2/2m."""
        return 0.5 * float((self.momenta**2 / self.masses).sum())

    @property
    def conserved(self) -> float:
        """H' = kinetic energy + potential + springs + chains."""
        springs = 0.5 * float((self._springs * self.positions**2).sum())
        chains = 0.0 if self.thermostat is None else self.thermostat.energy
        return self.kinetic + self.potential + springs + chains

    def run(self, n_steps: int, every: int = 1) -> Trajectory:
        """Step n_steps times, and note the state after every so many of them."""
        n_samples = n_steps // every
        positions, momenta = np.empty((2, n_samples, *self.positions.shape))
        numbers = np.empty((4, n_samples))  # [what, sample]
        for sample in range(n_samples):
            for _ in range(every):
                self.step()
            positions[sample], momenta[sample] = self.positions, self.momenta
            numbers[:, sample] = self.time, self.kinetic, self.potential, self.conserved
        for _ in range(n_steps - n_samples * every):
            self.step()
        times, kinetic, potential, conserved = numbers
        return Trajectory(times, positions, momenta, kinetic, potential, conserved)
