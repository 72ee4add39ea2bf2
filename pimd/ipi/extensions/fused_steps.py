"""Constant-energy and constant-temperature steps done whole, in normal modes.

i-PI takes a step as a chain of small propagators, each of which reads and writes momenta or
positions through the dependency graph: momenta go back and forth between beads and modes, and
each removal of the centre of mass and each kick passes over all beads. Here the state is the
positions q_k and scaled momenta p~_k = p_k / sqrt(m_k) of the modes, and a step is

    O  p~ <- thermostat(p~)                         see mode_thermostats
    B  p~ <- p~ + (dt/2) C f / sqrt(m)              one transform C for each force, kept for the
                                                    first kick of the next step
    A  (p~, q) <- free ring polymer                 the two half steps of i-PI in one 2 x 2 matrix
       beads   <- C^T q                             what the driver is sent

in the order of the splitting, OBABO or BAOAB, without O at constant energy; with several time
steps, B of each level in the order of i-PI's recursion. The centre of mass is stopped after each
O and B, in the mode of the centroid, and booked as i-PI does. It is the stock trajectory to
rounding: same operations, same random numbers.

Bosons, open paths, a bias, a Cartesian propagator of the ring, and constraints on both the centre
of mass and single atoms are left to i-PI. So is a thermostat of another kind: it is asked for its
own step within the fused one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from pimd.ipi.extensions import mode_kicks
from pimd.ipi.extensions import mode_thermostats as thermostats
from pimd.ipi.extensions import scaled_momenta as scaled
from pimd.ipi.extensions.mode_kicks import ModeKick
from pimd.ipi.extensions.normal_modes import to_beads
from pimd.ipi.extensions.patching import Extension, Layer
from pimd.ipi.extensions.step_order import step_order

__all__ = ["FusedStep", "FusedSteps", "why_not_fused"]


class FusedSteps(Extension):
    """See the module."""

    name = "fused_steps"
    purpose = "steps at constant energy or temperature are done whole, in normal modes"
    relies_on: ClassVar = {
        **scaled.RELIES_ON,
        **thermostats.RELIES_ON,
        **mode_kicks.RELIES_ON,
        "ipi.engine.motion.dynamics:DummyIntegrator.bind": "10fece2cfd44",
        "ipi.engine.motion.dynamics:DummyIntegrator.get_pdt": "ad2f3a44886e",
        "ipi.engine.motion.dynamics:DummyIntegrator.get_qdt": "9234960dd668",
        "ipi.engine.motion.dynamics:DummyIntegrator.get_tdt": "ce04a5371907",
        "ipi.engine.motion.dynamics:DummyIntegrator.pconstraints": "5dad2c93a0ff",
        "ipi.engine.motion.dynamics:NVEIntegrator.mtsprop": "0ebdfe6ca1e2",
        "ipi.engine.motion.dynamics:NVEIntegrator.mtsprop_ab": "fddada144d1e",
        "ipi.engine.motion.dynamics:NVEIntegrator.mtsprop_ba": "9057d8256002",
        "ipi.engine.motion.dynamics:NVEIntegrator.pstep": "d4acdc267395",
        "ipi.engine.motion.dynamics:NVEIntegrator.qcstep": "cab61844599e",
        "ipi.engine.motion.dynamics:NVEIntegrator.step": "4f05a8dec34e",
        "ipi.engine.motion.dynamics:NVTIntegrator.step": "ca7c51b20e5c",
        "ipi.engine.motion.dynamics:NVTIntegrator.tstep": "f1bc3459d12f",
        "ipi.engine.normalmodes:NormalModes.free_qstep": "0a84b3554e2d",
        "ipi.engine.normalmodes:NormalModes.get_prop_pq": "b9031d9d95bf",
        "ipi.engine.normalmodes:NormalModes.get_prop_pq_ms": "67fc0e4f3d27",
    }

    def layers(self) -> Mapping[str, Layer]:
        return {
            "ipi.engine.motion.dynamics:NVEIntegrator.step": _nve,
            "ipi.engine.motion.dynamics:NVTIntegrator.step": _nvt,
        }

    def left_to_ipi(self, simulation: Any) -> list[str]:
        """See `Extension.left_to_ipi`."""
        from ipi.engine.motion.dynamics import NVEIntegrator, NVTIntegrator

        found = []
        for system in simulation.syslist:
            for motion in getattr(system.motion, "mlist", [system.motion]):
                integrator = getattr(motion, "integrator", None)
                plain = type(integrator) in (NVEIntegrator, NVTIntegrator)
                if plain and (why := why_not_fused(integrator)):
                    found.append(f"system {system.prefix or '(no prefix)'}, steps: {why}")
        return found


def _nve(stock: Any) -> Any:
    from ipi.engine.motion.dynamics import NVEIntegrator

    return _step(stock, NVEIntegrator, thermostatted=False)


def _nvt(stock: Any) -> Any:
    from ipi.engine.motion.dynamics import NVTIntegrator

    return _step(stock, NVTIntegrator, thermostatted=True)


def _step(stock: Any, kind: Any, thermostatted: bool) -> Any:
    """`step` of an integrator class; subclasses, which inherit it, keep i-PI's."""

    def step(self: Any, step: int | None = None) -> None:
        if type(self) is not kind:
            stock(self, step)
            return
        nm, fused = self.__dict__.get("_pimd_fused", (None, None))
        if nm is not self.nm:  # the first step
            fused = None if why_not_fused(self) else FusedStep(self, thermostatted)
            self._pimd_fused = (self.nm, fused)
        if fused is None:
            stock(self, step)
        else:
            fused.step()

    return step


def why_not_fused(integrator: Any) -> str | None:
    """What keeps an integrator's steps with i-PI's own code, or None."""
    nm = integrator.nm
    if len(nm.bosons) > 0 or len(nm.open_paths) > 0:
        return "bosons or open paths"
    if nm.nbeads > 1 and nm.propagator not in ("exact", "cayley"):
        return f"the {nm.propagator} propagator"
    if len(integrator.ensemble.bcomp) > 0:
        return "a bias"
    if integrator.splitting not in ("obabo", "baoab"):
        return f"the splitting {integrator.splitting}"
    if integrator.fixcom and len(integrator.fixatoms_dof) > 0:
        return "constraints on the centre of mass and on atoms at once"
    return None


class FusedStep:
    """The steps of one integrator, which `why_not_fused` has nothing against.

    Attributes:
        kicks: of each level, outermost first.
    """

    def __init__(self, integrator: Any, thermostatted: bool) -> None:
        from ipi.utils.depend import depend_value

        self._integrator = integrator
        self._nm, self._ensemble = integrator.nm, integrator.ensemble
        self._beads = integrator.beads
        self._momenta = scaled.scaled_momenta(self._nm)
        self._p = self._momenta.values
        self._fixcom, self._fixed = bool(integrator.fixcom), integrator.fixatoms_dof
        self._bath = thermostats.mode_thermostats(integrator.thermostat, self._nm.nbeads)
        self._booked = 0.0  # energy taken out by constraints, in this step
        nmts = [int(n) for n in integrator.nmts]
        self.kicks = [ModeKick(integrator, self._momenta, level) for level in range(len(nmts))]
        self._buffers = np.empty((2, *self._p.shape))
        self._constants = depend_value(
            name="ring_constants",
            func=self._collect,
            dependencies=[self._nm._prop_pq, integrator._qdt, self._momenta.mass_dependence],
        )
        splitting = integrator.splitting if thermostatted else "nve"
        operations: dict[str, Callable[[], None]] = {
            "O": self._do_thermostat, "A": self._drift, "AA": self._drift_twice, "q": self._send,
            **{f"B{kick.level}": partial(self._do_kick, kick) for kick in self.kicks},
        }
        self._operations = [operations[name] for name in step_order(nmts, splitting)]

    def step(self) -> None:
        """One time step."""
        momenta = self._momenta
        momenta.get()
        self._booked = 0.0
        for operation in self._operations:
            operation()
        momenta.changed(momenta.twice_kinetic)
        if self._booked:
            self._ensemble.eens += self._booked

    def _do_thermostat(self) -> None:
        momenta = self._momenta
        if self._bath is None:
            momenta.changed(momenta.twice_kinetic)
            self._integrator.thermostat.step()
            momenta.get()
        else:
            self._bath.step(momenta)
        self._constrain()

    def _do_kick(self, kick: ModeKick) -> None:
        self._p += kick.values()
        self._momenta.twice_kinetic = None
        self._constrain()

    def _drift_twice(self) -> None:
        self._propagate(self._constants.get()[1])

    def _drift(self) -> None:
        self._propagate(self._constants.get()[0])

    def _propagate(self, coefficients: tuple[np.ndarray, ...]) -> None:
        """The free ring polymer: positions and momenta of each mode turn into each other."""
        p, q = self._p, self._nm._qnm.get()._value
        first, second = self._buffers
        p_p, p_q, q_p, q_q = coefficients
        np.multiply(p, q_p, out=first)
        if len(p) > 1:
            np.multiply(q, p_q, out=second)
            p *= p_p
            p += second
            q *= q_q
            self._momenta.twice_kinetic = None
        q += first

    def _send(self) -> None:
        """The positions of the beads; what depends on positions is stale."""
        qnm, q = self._nm._qnm, self._beads._q
        qnm.update_man()
        qnm.taint(taintme=False)
        to_beads(self._nm.transform, qnm._value, q._value)
        q._tainted[0] = False

    def _constrain(self) -> None:
        """Stop the centre of mass, or the fixed atoms, and book the energy."""
        if self._fixcom:
            energy = self._constants.get()[2].stop(self._p[0])
        elif len(self._fixed) > 0:
            fixed = self._p[:, self._fixed]
            energy = 0.5 * float(np.vdot(fixed, fixed))
            self._p[:, self._fixed] = 0.0
        else:
            return
        self._booked += energy
        if self._momenta.twice_kinetic is not None:
            self._momenta.twice_kinetic -= 2.0 * energy

    def _collect(self) -> tuple[Any, ...]:
        """Coefficients p<-p, p<-q, q<-p, q<-q of one and of two half steps of the free ring, and
        what stops the centre of mass.

        i-PI's matrices are for p / sqrt(m) and q sqrt(m) with the physical masses.
        """
        from ipi.utils.depend import dstrip

        mass, root = dstrip(self._beads.m3)[0], self._momenta.root_mass
        once = dstrip(self._nm.prop_pq).copy()  # [mode, 2, 2]
        once[0, 1, 0] = self._integrator.qdt  # the centroid has its own time step in i-PI

        def coefficients(turn: np.ndarray) -> tuple[np.ndarray, ...]:
            p_p, p_q, q_p, q_q = (
                np.ascontiguousarray(turn[:, i, j, None]) for i in (0, 1) for j in (0, 1)
            )
            return p_p, p_q * (mass / root), q_p * (root / mass), q_q

        centre = scaled.CentreOfMass(mass[::3])
        return coefficients(once), coefficients(once @ once), centre
