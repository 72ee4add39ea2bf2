"""With the forces of all beads as one object a run is the stock run, to the last bit."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extensions_harness import LIMIT_S, environment, socket_xml

HERE = Path(__file__).parent
STEPS = 8
WHICH = ("stock", "on")
PROPERTIES = (
    "step, conserved, potential, kinetic_cv, virial_cv, stress_cv, pressure_cv, volume"
)
XML = """<simulation verbosity='quiet' floatformat='%.16e' threading='{threading}' safe_stride='100'
    sockets_prefix='{prefix}/'>
  <output prefix='simulation'>
    <properties filename='out' stride='2'> [ {properties} ] </properties>
    {trajectories}
  </output>
  <total_steps> {steps} </total_steps>
  <prng> <seed> 31415 </seed> </prng>
  {forcefields} {smotion} {systems}
</simulation>
"""
TRAJECTORIES = """<trajectory filename='frc' stride='3' format='xyz'> forces </trajectory>
    <trajectory filename='extras' stride='3'> extras </trajectory>"""
SYSTEM = """<system prefix='{system}'>
    <initialize nbeads='{beads}'>
      <file mode='xyz' units='angstrom'> {structure} </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces> {forces} </forces>
    {motion}
    <ensemble> <temperature units='kelvin'> {temperature} </temperature>
      <pressure units='megapascal'> 10 </pressure> {ensemble} </ensemble>
  </system>"""
DYNAMICS = """<motion mode='dynamics'> <fixcom> False </fixcom> <dynamics mode='{mode}'> {more}
        <timestep units='femtosecond'> 0.5 </timestep>
        <thermostat mode='pile_g'> <tau units='femtosecond'> 50 </tau> </thermostat>
      </dynamics> </motion>"""
BAROSTAT = """<barostat mode='isotropic'> <tau units='femtosecond'> 50 </tau>
    <thermostat mode='langevin'> <tau units='femtosecond'> 50 </tau> </thermostat> </barostat>"""
MINIMISE = "<motion mode='minimize'> <optimizer mode='bfgs'/> </motion>"
SWAPS = """<motion mode='multi'> <motion mode='atomswap'> <atomswap>
    <names> [O, H] </names> <nxc> 2 </nxc> </atomswap> </motion> {dynamics} </motion>"""


@dataclass
class Case:
    """A simulation, and which forcefields' rounds go out directly.

    Attributes:
        sockets: forcefield name -> what differs from a unix socket with batch_size = 6.
        direct: of those, the ones whose rounds are direct but for the first few.
        systems: temperatures.
    """

    sockets: dict[str, dict[str, Any]] = field(default_factory=lambda: {"a": {}})
    direct: tuple[str, ...] = ("a",)
    forces: str = "<force forcefield='a'/>"
    beads: int = 6
    motion: str = DYNAMICS.format(mode="nvt", more="")
    properties: str = PROPERTIES
    systems: tuple[float, ...] = (300.0,)
    ensemble: str = ""
    smotion: str = ""
    threading: bool = False
    trajectories: str = TRAJECTORIES

    def write(self, path: Path, structure: Path, prefix: Path) -> None:
        sockets, xml = [], ""
        for name, changes in self.sockets.items():
            sent = {"mode": "unix", "port": free_port(), "batch": 6, **changes}
            local = sent["mode"] != "inet"
            address = f"{path.stem}-{name}" if local else "localhost"
            text = socket_xml(name, address=address, **{
                k: v for k, v in sent.items() if k not in ("drivers", "more", "pbc")
            })
            text = text.replace("pbc='false'", f"pbc='{sent.get('pbc', 'false')}'")
            xml += text.replace("</ffsocket>", f"{sent.get('more', '')} </ffsocket>")
            sockets.append({
                "mode": sent["mode"], "port": sent["port"], "drivers": sent.get("drivers", 1),
                "address": f"{prefix}/{address}" if local else address,
            })
        systems = "".join(
            SYSTEM.format(
                system=f"s{k}" if len(self.systems) > 1 else "", beads=self.beads,
                structure=structure, forces=self.forces, motion=self.motion, temperature=kelvin,
                ensemble=self.ensemble,
            )
            for k, kelvin in enumerate(self.systems)
        )
        text = XML.format(
            threading=self.threading, prefix=prefix, properties=self.properties, steps=STEPS,
            trajectories=self.trajectories, forcefields=xml, smotion=self.smotion, systems=systems,
        )
        path.write_text(json.dumps({"xml": text, "sockets": sockets}))


TWO = {"a": {}, "b": {}}
BOTH = "<force forcefield='a' weight='0.4'/> <force forcefield='b' weight='0.7'/>"
MTS = """<force forcefield='a'> <mts_weights> [1, 0] </mts_weights> </force>
    <force forcefield='b'> <mts_weights> [-1, 1] </mts_weights> </force>
    <force forcefield='c' nbeads='2'> <mts_weights> [0, 1] </mts_weights> </force>"""
ISOTOPES = PROPERTIES + (
    ", isotope_scfep(alpha=2.0; atom=H), isotope_tdfep(alpha=2.0; atom=H), scaledcoords"
)
CONTRACTED = "<force forcefield='a'/> <force forcefield='b' nbeads='2'/>"

CASES = {
    "plain": Case(),
    "shm": Case(sockets={"a": {"mode": "shm"}}),
    "inet": Case(sockets={"a": {"mode": "inet"}}),
    "one_bead": Case(sockets={"a": {"batch": 1}}, beads=1),
    "one_bead_shm": Case(sockets={"a": {"mode": "shm", "batch": 1}}, beads=1),
    "folded": Case(sockets={"a": {"pbc": "true"}}),
    "offset": Case(sockets={"a": {"more": "<offset> 0.25 </offset>"}}),
    "singly": Case(sockets={"a": {"batch": 1, "drivers": 2}}, direct=()),
    "padded": Case(sockets={"a": {"batch": 4}}, direct=()),
    "active": Case(sockets={"a": {"more": "<activelist> [0, 2, 5] </activelist>"}}, direct=()),
    "unconsolidated": Case(sockets={"a": {"batch": 1, "consolidate": "false"}}, direct=()),
    "components": Case(sockets=TWO, forces=BOTH, direct=("a", "b")),
    "one_socket": Case(forces="<force forcefield='a'/> <force forcefield='a' weight='0.3'/>",
                       direct=()),
    "contracted": Case(sockets={"a": {}, "b": {"batch": 2}}, forces=CONTRACTED, direct=("a", "b"),
                       trajectories=""),
    "mts": Case(sockets={"a": {}, "b": {}, "c": {"batch": 2, "mode": "shm"}}, forces=MTS,
                motion=DYNAMICS.format(mode="nvt", more="<nmts> [1, 3] </nmts>"),
                direct=("a", "b", "c"), trajectories=""),
    "npt": Case(motion=DYNAMICS.format(mode="npt", more=BAROSTAT)),
    "npt_shm": Case(sockets={"a": {"mode": "shm", "pbc": "true"}},
                    motion=DYNAMICS.format(mode="npt", more=BAROSTAT)),
    "suzuki_chin": Case(motion=DYNAMICS.format(mode="sc", more="")),
    "isotopes": Case(properties=ISOTOPES),
    "bias": Case(sockets=TWO, direct=("a", "b"),
                 ensemble="<bias> <force forcefield='b'/> </bias>"),
    "weights": Case(sockets=TWO, forces=BOTH, direct=("a", "b"),
                    ensemble="<hamiltonian_weights> [0.3, 0.5] </hamiltonian_weights>"),
    "minimise": Case(sockets={"a": {"batch": 1}}, beads=1, motion=MINIMISE,
                     properties="step, potential", trajectories=""),
    "swaps": Case(motion=SWAPS.format(dynamics=DYNAMICS.format(mode="nvt", more=""))),
    "systems": Case(systems=(300.0, 400.0)),
    "threads": Case(threading=True),
    # without random numbers, which the threads would draw in any order
    "threaded_systems": Case(sockets={"a": {"drivers": 2}}, systems=(300.0, 400.0, 500.0),
                             motion=DYNAMICS.format(mode="nve", more=""), threading=True),
    "threaded_systems_one_driver": Case(systems=(300.0, 400.0, 500.0), threading=True,
                                        motion=DYNAMICS.format(mode="nve", more="")),
    "remd": Case(systems=(300.0, 320.0), trajectories="",
                 smotion="<smotion mode='remd'> <remd> <stride> 1 </stride> </remd> </smotion>"),
}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All cases, with i-PI as it is in `stock` and with the extensions in `on`."""
    folder = tmp_path_factory.mktemp("rounds")
    positions = np.random.default_rng(7).normal(0, 0.6, (6, 3))
    lines = ["6", "# CELL(abcABC): 3 3.1 3.2 90 90 80 cell{angstrom}"]
    lines += [f"{'OH'[i % 2]} {x:.6f} {y:.6f} {z:.6f}" for i, (x, y, z) in enumerate(positions)]
    (folder / "init.xyz").write_text("\n".join(lines) + "\n")
    with tempfile.TemporaryDirectory(prefix="rounds-") as prefix:
        with ThreadPoolExecutor() as executor:  # most of it is waiting for drivers to connect
            list(executor.map(lambda which: run_all(folder, which, Path(prefix)), WHICH))
        yield folder


def run_all(folder: Path, which: str, prefix: Path) -> None:
    (prefix / which).mkdir()
    (folder / which).mkdir()
    for name, case in CASES.items():
        case.write(folder / which / f"{name}.json", folder / "init.xyz", prefix / which)
    done = subprocess.run(
        [sys.executable, str(HERE / "rounds_runner.py"), which, *CASES],
        cwd=folder / which, env=environment(), capture_output=True, text=True,
        timeout=2 * LIMIT_S, check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.parametrize("name", CASES)
def test_a_run_is_the_stock_run(both: Path, name: str) -> None:
    files = sorted(p.name for p in (both / "stock" / name).iterdir() if "RESTART" not in p.name)
    assert len(files) >= (1 if not CASES[name].trajectories else 9 if CASES[name].beads > 1 else 3)
    for file in files:
        stock, on = ((both / which / name / file).read_text() for which in ("stock", "on"))
        assert on == stock, file
    table = np.loadtxt(both / "on" / name / next(f for f in files if f.endswith(".out")))
    assert np.ptp(table[:, 1]) > 0  # something moves


@pytest.mark.parametrize("name", CASES)
def test_rounds_are_direct_where_they_can_be(both: Path, name: str) -> None:
    case = CASES[name]
    counts = json.loads((both / "on" / "counts.json").read_text())[name]
    for socket_name in case.sockets:
        found = counts[socket_name]
        assert found["exchanges"] >= STEPS
        ordinary = found["exchanges"] - found["direct"]
        if socket_name in case.direct:  # the first rounds greet and initialise the driver
            assert ordinary <= 0.25 * found["exchanges"] + 1
        else:
            assert found["direct"] == 0
    assert bool(counts["left"].get("direct_rounds")) == (not case.direct)
