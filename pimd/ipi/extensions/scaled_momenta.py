"""A third representation of a ring's momenta, in which thermostats and springs are numbers.

i-PI keeps the momenta twice, per bead and per normal mode, and its dependency graph renews the
one from the other when it is read. Here a third is added to the two,

    p~_k = p_k / sqrt(m_k)            [mode, 3 atom + xyz],  m_k the dynamical masses

in which a mode's thermostat is one number for the friction and one for the noise, and twice the
kinetic energy is |p~|^2. Whoever writes to one makes the other two stale; they are renewed only
when somebody reads them, an output every hundredth step for example.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["RELIES_ON", "CentreOfMass", "ScaledMomenta", "scaled_momenta"]

NAME = "scaled_pnm"

RELIES_ON: Mapping[str, str] = {
    "ipi.utils.depend:depend_base.add_synchro": "f73c6f900d4d",
    "ipi.utils.depend:depend_base.update_auto": "9b3ca92b9c40",
    "ipi.utils.depend:depend_base._taint_synchro": "66e0716e6010",
    "ipi.utils.depend:depend_base.taint": "5cf10cf45af5",
    "ipi.engine.normalmodes:NormalModes.bind": "fc1a465ebcce",
}
"""What of i-PI this was written for: target -> digest."""


class ScaledMomenta:
    """The scaled momenta of one `NormalModes`, part of i-PI's dependency graph.

    Attributes:
        values: [mode, 3 atom + xyz]; current after `get`, and until somebody else writes.
        twice_kinetic: |p~|^2 of what was last handed to `changed`.
    """

    def __init__(self, nm: Any) -> None:
        from ipi.utils.depend import depend_array, depend_value, dstrip

        self.nm = nm
        self.mass_dependence = depend_value(
            name="root_dynamical_mass", func=self._rooted, dependencies=[nm._dynm3]
        )
        self._root = self.root_mass  # that `values` were made with
        pnm = dstrip(nm.pnm)
        synchro = nm._pnm._synchro
        manual = synchro.manual  # joining makes the newcomer the one that was set
        self._p = depend_array(
            name=NAME,
            value=np.zeros_like(pnm),
            func=dict.fromkeys(("p", "pnm"), lambda: dstrip(nm.pnm) / self._root),
            synchro=synchro,
        )
        synchro.manual = manual
        nm._pnm._func[NAME] = lambda: self.values * self._root
        nm.beads._p._func[NAME] = lambda: nm.transform.nm2b(dstrip(nm.pnm))
        self._synchro = synchro
        self.values: np.ndarray = self._p._value
        self.twice_kinetic: float | None = None

    def _rooted(self) -> np.ndarray:
        """sqrt of the dynamical masses: [3 atom + xyz] where all modes' are alike, else
        [mode, 3 atom + xyz]."""
        from ipi.utils.depend import dstrip

        root: np.ndarray = np.sqrt(dstrip(self.nm.dynm3))
        return root[0].copy() if (root == root[0]).all() else root

    @property
    def root_mass(self) -> np.ndarray:
        """See `_rooted`."""
        root: np.ndarray = self.mass_dependence.get()
        return root

    def get(self) -> np.ndarray:
        """`values`, renewed if somebody else has written to the momenta or to the masses."""
        root = self.mass_dependence.get()
        if root is not self._root:
            self.nm.pnm = self.nm._pnm.get()._value.copy()  # the momenta stay, p~ changes
            self._root = root
        if self._p._tainted[0]:
            self._p.get()
            self.twice_kinetic = None
        return self.values

    def kinetic(self) -> float:
        """|p~|^2, in energy units, of current `values`."""
        if self.twice_kinetic is None:
            self.twice_kinetic = float(np.vdot(self.values, self.values))
        return self.twice_kinetic

    def changed(self, twice_kinetic: float | None = None) -> None:
        """`values` have been written to in place: the other representations are stale."""
        self.twice_kinetic = twice_kinetic
        self._p.update_man()
        self._p.taint(taintme=False)


def scaled_momenta(nm: Any) -> ScaledMomenta:
    """The scaled momenta of a `NormalModes`, made when first asked for."""
    found: ScaledMomenta | None = nm.__dict__.get("_pimd_scaled")
    if found is None:
        found = nm._pimd_scaled = ScaledMomenta(nm)
    return found


class CentreOfMass:
    """What stops the centre of mass of a ring: its momentum is in the mode of the centroid.

    Args:
        masses: [atom].
    """

    def __init__(self, masses: np.ndarray) -> None:
        self._mass = float(masses.sum())
        self._root = np.kron(np.sqrt(masses), np.eye(3))  # [xyz, 3 atom + xyz]

    def stop(self, centroid: np.ndarray) -> float:
        """Take the total momentum P0 = sum_i sqrt(m_i) p~_i from the atoms, m_i P0 / M from each.

        Args:
            centroid: [3 atom + xyz] scaled momenta of the centroid, changed in place.

        Returns:
            the energy that took, P0^2 / (2 M).
        """
        momentum = self._root @ centroid
        velocity = momentum / self._mass
        centroid -= velocity @ self._root
        return 0.5 * float(momentum @ velocity)
