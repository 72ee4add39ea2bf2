"""Nosé–Hoover chains: `<thermostat mode='nhc'>`, deterministic, for beads and barostats.

    <thermostat mode='nhc'>
      <tau units='femtosecond'> 100 </tau>
      <chain> 4 </chain>
      <order> 3 </order>
      <substeps> 1 </substeps>
      <coupling> massive </coupling>
    </thermostat>

Everything but tau may be left out. A checkpoint holds the velocities of the chains besides, as
`<chain_velocities>`, and their energy as `<ethermo>`. i-PI has no place to plug a thermostat in:
here its input class learns of the mode and its fields, and a motion tells the chains which
momenta it holds, of which i-PI passes only the number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from pimd.dynamics.suzuki_yoshida import ORDERS
from pimd.dynamics.thermostat import COUPLINGS
from pimd.ipi.extensions.patching import Extension, Layer
from pimd.ipi.thermostats import chains_in

__all__ = ["NoseHoover"]

MODE = "nhc"
_BASE = "ipi.inputs.thermostats:InputThermoBase"


class NoseHoover(Extension):
    """See the module."""

    name = "nose_hoover"
    purpose = "Nosé–Hoover chains as a thermostat, mode nhc"
    relies_on: ClassVar = {
        f"{_BASE}.store": "b65453635305",
        f"{_BASE}.fetch": "acb57eda8c48",
        f"{_BASE}.check": "c0252d180460",
        "ipi.utils.inputvalue:Input.__init__": "0187e7a580eb",
        "ipi.inputs.thermostats:InputThermo": "a097bb310cae",
        "ipi.engine.thermostats:Thermostat": "af36a4a82210",
        "ipi.engine.thermostats:MultiThermo": "a3c86b999d99",
        "ipi.engine.motion.dynamics:Dynamics.bind": "7b659ff90c6c",
        "ipi.engine.motion.dynamics:Dynamics.get_fixdof": "2dcd24de0181",
        "ipi.engine.motion.dynamics:DummyIntegrator.pconstraints": "5dad2c93a0ff",
        "ipi.engine.barostats:mask_from_fix": "8efb926da488",
        "ipi.engine.barostats:BaroRGB.pstep": "eb36bfa8c71c",
        "ipi.engine.barostats:BaroRGB.get_3x3to6": "6128dfde20d6",
        "ipi.engine.barostats:BaroMTK.pstep": "ed6f5600791a",
        "ipi.engine.barostats:BaroMTK.get_3x3to6": "6128dfde20d6",
        "ipi.utils.depend:depend_array.__setitem__": "d087e7545c09",
    }
    adds: ClassVar = (f"{_BASE}.__init__",)

    def layers(self) -> Mapping[str, Layer]:
        return {
            f"{_BASE}.__init__": _with_fields,
            f"{_BASE}.store": _store,
            f"{_BASE}.fetch": _fetch,
            f"{_BASE}.check": _check,
            "ipi.engine.motion.dynamics:Dynamics.bind": _bind,
        }


def _fields() -> dict[str, Any]:
    """What the mode adds to the fields of a thermostat."""
    from ipi.utils.inputvalue import InputArray, InputValue, input_default

    return {
        "chain": (
            InputValue, {"dtype": int, "default": 4, "help": "Links of each Nosé–Hoover chain."}
        ),
        "order": (InputValue, {
            "dtype": int, "default": 3, "options": list(ORDERS),
            "help": "Suzuki–Yoshida order of a thermostat step.",
        }),
        "substeps": (InputValue, {
            "dtype": int, "default": 1, "help": "Parts that a thermostat step is done in.",
        }),
        "coupling": (InputValue, {
            "dtype": str, "default": "massive", "options": list(COUPLINGS),
            "help": "'massive': a chain for every Cartesian normal mode; 'mode': one for each "
            "normal mode of the ring polymers; 'global': one for all.",
        }),
        "chain_velocities": (InputArray, {
            "dtype": float, "default": input_default(factory=np.zeros, args=(0,)),
            "dimension": "frequency",
            "help": "Velocities of all links, as in a checkpoint; drawn where there are none.",
        }),
    }  # fmt: skip


def _with_fields(stock: Any) -> Any:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        self.instancefields = _fields()
        super(_input_thermo_base(), self).__init__(*args, **kwargs)
        self.mode._valid = [*self.mode._valid, MODE]

    return __init__


def _input_thermo_base() -> Any:
    from ipi.inputs.thermostats import InputThermoBase

    return InputThermoBase


def _store(stock: Any) -> Any:
    def store(self: Any, thermo: Any) -> None:
        from pimd.ipi.extensions.nose_hoover_thermostat import ThermoNHC

        if type(thermo) is not ThermoNHC:
            stock(self, thermo)
            return
        super(_input_thermo_base(), self).store(thermo)
        self.mode.store(MODE)
        for name in ("tau", "chain", "order", "substeps", "coupling", "chain_velocities"):
            getattr(self, name).store(getattr(thermo, name))
        self.ethermo.store(float(thermo.ethermo))

    return store


def _fetch(stock: Any) -> Any:
    def fetch(self: Any) -> Any:
        from pimd.ipi.extensions.nose_hoover_thermostat import ThermoNHC

        if self.mode.fetch() != MODE:
            return stock(self)
        super(_input_thermo_base(), self).fetch()
        return ThermoNHC(
            tau=self.tau.fetch(), ethermo=self.ethermo.fetch(), chain=self.chain.fetch(),
            order=self.order.fetch(), substeps=self.substeps.fetch(),
            coupling=self.coupling.fetch(), velocities=self.chain_velocities.fetch(),
        )

    return fetch


def _check(stock: Any) -> Any:
    def check(self: Any) -> None:
        stock(self)
        if self.mode.fetch() != MODE:
            for name in ("chain", "order", "substeps", "coupling"):
                if getattr(self, name)._explicit:
                    raise ValueError(
                        f"<{name}> belongs to <thermostat mode='{MODE}'>, but the mode is "
                        f"'{self.mode.fetch()}'"
                    )
            return
        if not self.tau.fetch() > 0:
            raise ValueError(
                "Nosé–Hoover chains need a positive <tau>, the period over 2 pi of what they "
                "drive; for liquids some 50 to 200 fs"
            )
        for name in ("chain", "substeps"):
            if getattr(self, name).fetch() < 1:
                raise ValueError(
                    f"<{name}> of Nosé–Hoover chains is {getattr(self, name).fetch()}, expected "
                    "at least 1"
                )

    return check


def _bind(stock: Any) -> Any:
    def bind(self: Any, *args: Any, **kwargs: Any) -> None:
        from pimd.ipi.extensions.nose_hoover_thermostat import Held

        held = Held(
            fixcom=bool(self.fixcom), fixed=np.asarray(self.fixatoms_dof, int),
            centroid=self.enstype == "nvt-cc",
        )
        for thermo in chains_in(self.thermostat):
            thermo.held = held
        for thermo in chains_in(self.barostat.thermostat):
            thermo.held = Held(cell=_free_cell(self.barostat))
        stock(self, *args, **kwargs)

    return bind


def _free_cell(barostat: Any) -> np.ndarray | None:
    """How free the momenta of a flexible cell are, xx yy zz xy xz yz; None: all of them are.

    At constant volume the trace is taken off the momenta, which leaves 2/3 of each on the
    diagonal.
    """
    mask = getattr(barostat, "hmask", None)
    if mask is None:
        return None
    mask = np.asarray(mask, dtype=float)
    free = np.array([mask[0, 0], mask[1, 1], mask[2, 2], mask[0, 1], mask[0, 2], mask[1, 2]])
    if getattr(barostat, "vol_constraint", None):
        free[:3] *= 2.0 / 3.0
    return free
