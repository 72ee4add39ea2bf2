"""Inputs of all kinds of motion, for comparing i-PI as it is with i-PI and all extensions.

Eight water molecules in a small periodic box; every case differs from `DEFAULTS` as it says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SPEC = "{potential: qtip4pf, cutoff: 6}"
BOX = 6.21
"""Å; eight molecules at the density of water."""

XML = """<simulation verbosity='quiet' floatformat='%.15e' threading='{threading}'
    sockets_prefix='{sockets}/'>
  <output prefix='simulation'><properties filename='out' stride='5'>
    [ step, conserved, temperature, potential, {kinetic}, volume, pressure_md ] </properties>
  </output>
  <total_steps> {steps} </total_steps>
  <prng> <seed> {seed} </seed> </prng>
  {forcefields}
  {systems}
  {smotion}
</simulation>
"""

SOCKET = """<ffsocket name='{name}' mode='{mode}' pbc='{pbc}'>
    <address> {address} </address> <batch_size> {batch} </batch_size>
  </ffsocket>"""

SYSTEM = """<system prefix='{prefix}'>
    <initialize nbeads='{beads}'>
      <file mode='xyz'> {structure} </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    {system}
    <forces> {forces} </forces>
    <motion mode='dynamics'> <fixcom> {fixcom} </fixcom> {motion}
      <dynamics mode='{mode}' splitting='{splitting}'> {dynamics}
        <timestep units='femtosecond'> {timestep} </timestep>
        {thermostat}
      </dynamics>
    </motion>
    <ensemble> <temperature units='kelvin'> {temperature} </temperature>
      {ensemble} {bias} </ensemble>
  </system>"""

BAROSTAT = """<barostat mode='isotropic'><tau units='femtosecond'> 50 </tau>
    <thermostat mode='langevin'><tau units='femtosecond'> 50 </tau></thermostat></barostat>"""
ANISOTROPIC = f"""<barostat mode='anisotropic'><tau units='femtosecond'> 50 </tau>
    <thermostat mode='langevin'><tau units='femtosecond'> 50 </tau></thermostat>
    <h0 shape='(3, 3)' units='angstrom'> [{BOX}, 0, 0, 0, {BOX}, 0, 0, 0, {BOX}] </h0>
    </barostat>"""
PRESSURE = "<pressure units='megapascal'> 10 </pressure>"
STRESS = "<stress units='megapascal'> [10, 0, 0, 0, 10, 0, 0, 0, 10] </stress>"
GLE = """<thermostat mode='{mode}'>{more}<A shape='{shape}'> [ {drift} ] </A></thermostat>"""
DRIFT = "2.0e-3, 1.5e-3, 0.5e-3, -1.5e-3, 1.2e-3, 2.0e-3, -0.5e-3, -2.0e-3, 4.0e-3"
"""A drift matrix of a coloured noise with two auxiliary momenta, in atomic units of 1/time."""


def thermostat(mode: str, more: str = "") -> str:
    return (
        f"<thermostat mode='{mode}'> <tau units='femtosecond'> 50 </tau> {more} </thermostat>"
    )


def gle(mode: str, modes: int = 0) -> str:
    """White noise on the centroid and the same coloured noise on every normal mode, or on all
    beads."""
    shape = f"({modes}, 3, 3)" if modes else "(3, 3)"
    more = "<tau units='femtosecond'> 50 </tau>" if mode == "nm_gle_g" else ""
    drift = ", ".join([DRIFT] * max(modes, 1))
    return GLE.format(mode=mode, more=more, shape=shape, drift=drift)


DEFAULTS: dict[str, Any] = {
    "beads": 4, "fixcom": "True", "motion": "", "mode": "nvt", "splitting": "obabo",
    "dynamics": "", "thermostat": thermostat("pile_l"), "ensemble": "", "system": "",
    "timestep": 0.5, "temperature": 300, "steps": 20, "seed": 31415, "socket_mode": "unix",
    "pbc": "false", "n_systems": 1, "smotion": "", "threading": "true", "forces": (("", ""),),
    "kinetic": "kinetic_cv", "n_bias": 0,
}
"""`forces`: attributes and content of each `<force>`, each with a socket of its own; the last
`n_bias` of them are a bias."""

HALF = "weight='0.5'"
SLOW, FAST = (f"<mts_weights> {weights} </mts_weights>" for weights in ("[1, 0]", "[0, 1]"))
MTS = ((HALF, SLOW), (HALF, FAST))
CONTRACTED = f"{HALF} nbeads='2'"
FINE = "<nmts> [1, 3] </nmts>"

CASES: dict[str, dict[str, Any]] = {
    "nve": {"mode": "nve", "thermostat": ""},
    "nve_cayley": {
        "mode": "nve", "thermostat": "",
        "system": "<normal_modes propagator='cayley'></normal_modes>",
    },
    "pile_l": {},
    "pile_l_baoab": {"splitting": "baoab"},
    "pile_l_cayley": {"system": "<normal_modes propagator='cayley'></normal_modes>"},
    "pile_l_free_com": {"fixcom": "False"},
    "pile_l_odd": {"beads": 5},
    "pile_l_many": {"beads": 16, "steps": 15},
    "pile_g_many": {"beads": 16, "steps": 15, "thermostat": thermostat("pile_g")},
    "pile_g": {"thermostat": thermostat("pile_g")},
    "pile_g_baoab": {"thermostat": thermostat("pile_g"), "splitting": "baoab"},
    "two_temperatures": {
        "thermostat": thermostat("pile_l", "<pile_centroid_t units='kelvin'>600</pile_centroid_t>")
    },
    "langevin": {"thermostat": thermostat("langevin")},
    "svr": {"thermostat": thermostat("svr")},
    "gle": {"thermostat": gle("gle")},
    "nm_gle": {"thermostat": gle("nm_gle", 4)},
    "nm_gle_g": {"thermostat": gle("nm_gle_g", 4)},
    "ffl": {"thermostat": thermostat("ffl")},
    "several_thermostats": {
        "thermostat": "<thermostat mode='multi'>" + thermostat("svr") + thermostat("pile_l")
        + "</thermostat>"
    },
    "classical": {"beads": 1, "thermostat": thermostat("langevin")},
    "classical_svr": {"beads": 1, "thermostat": thermostat("svr")},
    "classical_nve": {"beads": 1, "mode": "nve", "thermostat": ""},
    "fixed_atoms": {"motion": "<fixatoms> [0, 1, 5] </fixatoms>"},
    "open_path": {"system": "<normal_modes><open_paths> [1] </open_paths></normal_modes>"},
    "npt": {"mode": "npt", "dynamics": BAROSTAT, "ensemble": PRESSURE},
    "npt_baoab": {
        "mode": "npt", "dynamics": BAROSTAT, "ensemble": PRESSURE, "splitting": "baoab"
    },
    "classical_npt": {
        "mode": "npt", "dynamics": BAROSTAT, "ensemble": PRESSURE, "beads": 1,
        "thermostat": thermostat("svr"),
    },
    "nst": {"mode": "nst", "dynamics": ANISOTROPIC, "ensemble": STRESS},
    "sc": {
        "mode": "sc", "steps": 10, "kinetic": "kinetic_tdsc",
        "forces": (("fd_epsilon='-1e-3'", ""),),
    },
    "mts": {"forces": MTS, "dynamics": FINE},
    "mts_nve_baoab": {
        "forces": MTS, "dynamics": FINE, "mode": "nve", "thermostat": "", "splitting": "baoab"
    },
    "rpc": {"forces": ((HALF, ""), (CONTRACTED, ""))},
    "rpc_mts": {"forces": ((HALF, FAST), (CONTRACTED, SLOW)), "dynamics": FINE},
    "weighted": {"forces": ((HALF, ""),)},
    "bias": {"forces": (("", ""), ("weight='0.2'", "")), "n_bias": 1},
    "wrapped": {"pbc": "true"},
    "shared_memory": {"socket_mode": "shm"},
    "two_systems": {"n_systems": 2, "threading": "false"},
    "replica_exchange": {
        "n_systems": 2, "threading": "false", "temperature": (300, 320),
        "smotion": "<smotion mode='remd'><remd><stride> 4 </stride></remd></smotion>",
    },
}


def input_xml(name: str, case: dict[str, Any], sockets: Path, structure: Path) -> str:
    """The input of a case; its sockets are `addresses(name, case)` in the folder `sockets`."""
    fields = {**DEFAULTS, **case}
    names = addresses(name, fields)
    forces = list(zip(names, fields["forces"], strict=True))
    elements = [
        f"<force forcefield='{one}' {attributes}> {content} </force>"
        for one, (attributes, content) in forces
    ]
    n_forces = len(elements) - fields["n_bias"]
    n_systems, temperature = fields["n_systems"], fields["temperature"]
    systems = [
        SYSTEM.format(**{
            **fields,
            "prefix": f"s{k}" if n_systems > 1 else "",
            "structure": structure,
            "temperature": temperature[k] if isinstance(temperature, tuple) else temperature,
            "forces": "".join(elements[:n_forces]),
            "bias": f"<bias> {''.join(elements[n_forces:])} </bias>" if fields["n_bias"] else "",
        })
        for k in range(n_systems)
    ]
    forcefields = [
        SOCKET.format(
            name=one, mode=fields["socket_mode"], pbc=fields["pbc"], address=one,
            batch=2 if "nbeads='2'" in attributes else fields["beads"],
        )
        for one, (attributes, _) in forces
    ]
    return XML.format(**{
        **fields, "sockets": sockets, "forcefields": "\n".join(forcefields),
        "systems": "\n".join(systems),
    })


def addresses(name: str, case: dict[str, Any]) -> list[str]:
    """Names of the sockets of a case, one for each force."""
    forces = case.get("forces", DEFAULTS["forces"])
    return [f"{name}-{k}" for k in range(len(forces))]


def water_xyz() -> str:
    """Eight water molecules on a grid, turned at random, in i-PI's xyz."""
    rng = np.random.default_rng(3)
    half, bond = np.radians(107.4) / 2, 0.9419  # Å
    molecule = bond * np.array(
        [[0, 0, 0], [np.sin(half), 0, np.cos(half)], [-np.sin(half), 0, np.cos(half)]]
    )
    lines = ["24", f"# CELL(abcABC): {BOX} {BOX} {BOX} 90 90 90 positions{{angstrom}} "
             "cell{angstrom}"]
    for place in np.ndindex(2, 2, 2):
        turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        atoms = (np.array(place) + 0.5) * BOX / 2 + molecule @ turned.T
        for symbol, (x, y, z) in zip("OHH", atoms, strict=True):
            lines.append(f"{symbol} {x:.8f} {y:.8f} {z:.8f}")
    return "\n".join(lines) + "\n"
