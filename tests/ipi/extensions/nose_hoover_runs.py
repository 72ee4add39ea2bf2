"""i-PI runs with Nosé–Hoover chains, many in one process, on atoms bound to each other.

Every pair has V(r) = a r^2/2 + b r^4/4: smooth, invariant under translation, with a virial, so
that all conserved quantities conserve to the order of the integrator.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from extensions_harness import environment

DRIVER = """
import numpy as np
from ipi.pes.dummy import Dummy_driver

__DRIVER_NAME__ = "springs"
__DRIVER_CLASS__ = "Springs"

class Springs(Dummy_driver):
    def __init__(self, a=0.004, b=0.002, *args, **kwargs):
        self.a, self.b = a, b
        super().__init__(*args, **kwargs)

    def check_parameters(self):
        pass

    def compute_structure(self, cell, pos):
        r = pos[:, None] - pos[None]  # [i, j, xyz]
        square = (r**2).sum(-1)
        pair = self.a + self.b * square  # -force / r
        forces = -(pair[..., None] * r).sum(1)
        energy = 0.5 * (0.5 * self.a * square + 0.25 * self.b * square**2).sum()
        virial = -0.5 * np.einsum("ij,ijx,ijy->xy", pair, r, r)
        return energy, forces, virial, ""
"""

XML = """<simulation verbosity='quiet' floatformat='%.15e' threading='false' safe_stride='1000'>
  <output prefix='simulation'><properties filename='out' flush='1000000' stride='{stride}'>
    [ step, conserved, {properties} ] </properties></output>
  <total_steps> {steps} </total_steps>
  <prng> <seed> 31415 </seed> </prng>
  <ffdirect name='driver'><pes>custom</pes><pes_path> {folder}/springs.py </pes_path>
    <parameters>{{a: {a}, b: {b}}}</parameters></ffdirect>
  {systems}
</simulation>
"""

SYSTEM = """<system prefix='{prefix}'>
    <initialize nbeads='{beads}'>
      <file mode='xyz' units='angstrom'> {folder}/init.xyz </file>
      <velocities mode='thermal' units='kelvin'> {temperature} </velocities>
    </initialize>
    {normal_modes}
    <forces> {forces} </forces>
    <motion mode='dynamics'> <fixcom> {fixcom} </fixcom> {more}
      <dynamics mode='{mode}' splitting='{splitting}'> {dynamics}
        <timestep units='femtosecond'> {dt} </timestep>
        {thermostat}
      </dynamics>
    </motion>
    <ensemble> <temperature units='kelvin'> {temperature} </temperature> {ensemble} </ensemble>
  </system>"""

DEFAULTS: dict[str, Any] = {
    "beads": 4, "fixcom": "True", "more": "", "mode": "nvt", "splitting": "obabo", "dynamics": "",
    "ensemble": "", "dt": 0.5, "steps": 40, "stride": 1, "temperature": 300, "normal_modes": "",
    "forces": "<force forcefield='driver'/>", "prefix": "", "a": 0.004, "b": 0.002,
    "properties": "temperature, potential, kinetic_cv, volume",
}  # fmt: skip

RUNNER = """
import json, os, sys
from pathlib import Path
import numpy as np
from ipi.engine.simulation import Simulation
from pimd.ipi import extensions

off = frozenset({"spaced_states", *json.loads(sys.argv[1])})
statuses = extensions.enable_all(extensions.Settings(off=off, restart_interval=0))
assert "nose_hoover" in [s.name for s in statuses if s.enabled], statuses


def chains(thermostat):
    if hasattr(thermostat, "tlist"):
        return [entry for part in thermostat.tlist for entry in chains(part)]
    if not hasattr(thermostat, "chain_velocities"):
        return []
    run = thermostat.chains
    return [{
        "shape": list(run.shape), "energy": run.energy, "ethermo": float(thermostat.ethermo),
        "freedoms": float(np.sum(thermostat.layout.freedoms)),
        "scaled": float(np.mean((run.velocities / run.thermal) ** 2)),
    }]


report = {}
for name in sys.argv[2:]:
    os.makedirs(name, exist_ok=True)
    os.chdir(name)
    source = "RESTART" if os.path.exists("RESTART") else "input.xml"
    simulation = Simulation.load_from_xml(Path(source).read_text())
    simulation.run()
    for output in simulation.outputs:
        output.close_stream()
    simulation.step += 1
    simulation.chk.status.store(simulation)
    with open("RESTART", "w") as file:
        file.write(simulation.chk.status.write(name="simulation"))
    os.chdir("..")
    report[name] = [{
        "beads": chains(s.motion.thermostat), "cell": chains(s.motion.barostat.thermostat),
        "eens": float(s.ensemble.eens), "econs": float(s.ensemble.econs),
        "pnm": np.array(s.nm.pnm).tolist(), "temp": float(s.ensemble.temp),
    } for s in simulation.syslist]
with open("report.json", "w") as file:
    json.dump(report, file)
os._exit(0)  # i-PI's threads wait for a while
"""


def nhc(more: str = "", tau: float = 20.0) -> str:
    """A `<thermostat>` element."""
    return (
        f"<thermostat mode='nhc'><tau units='femtosecond'> {tau} </tau>{more}</thermostat>"
    )


def input_xml(folder: Path, systems: list[dict[str, Any]] | None = None, **case: Any) -> str:
    fields = {**DEFAULTS, "folder": folder, "thermostat": nhc(), **case}
    each = [fields] if systems is None else [{**fields, **system} for system in systems]
    text = "\n".join(SYSTEM.format(**system) for system in each)
    return XML.format(**{**fields, "systems": text + case.get("smotion", "")})


def prepare(folder: Path, cases: dict[str, str], n_atoms: int = 5) -> None:
    """Write the driver, the structure and every case's input."""
    (folder / "springs.py").write_text(DRIVER)
    (folder / "runner.py").write_text(RUNNER)
    positions = np.random.default_rng(7).normal(0, 0.4, (n_atoms, 3))
    lines = [str(n_atoms), "# CELL(abcABC): 8 8 8 90 90 90 cell{angstrom}"]
    lines += [f"{'OH'[i % 2]} {x:.6f} {y:.6f} {z:.6f}" for i, (x, y, z) in enumerate(positions)]
    (folder / "init.xyz").write_text("\n".join(lines) + "\n")
    for name, xml in cases.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "input.xml").write_text(xml)


def run(
    folder: Path, names: list[str], off: tuple[str, ...] = (), limit: float = 120.0
) -> dict[str, Any]:
    """Run cases, or go on from their RESTART; what they ended with."""
    done = subprocess.run(
        [sys.executable, str(folder / "runner.py"), json.dumps(off), *names], cwd=folder,
        env=environment(), capture_output=True, text=True, timeout=limit, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def table(folder: Path, name: str, prefix: str = "") -> np.ndarray:
    """Rows of step, conserved and the properties asked for."""
    stem = f"{prefix}_simulation.out" if prefix else "simulation.out"
    return np.loadtxt(folder / name / stem)
