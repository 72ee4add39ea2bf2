"""Short runs of many kinds of dynamics in one i-PI process, stock or with some extensions."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from extensions_harness import LIMIT_S, environment

LANGEVIN = "<thermostat mode='langevin'><tau units='femtosecond'> 50 </tau></thermostat>"

NPT = {
    "mode": "npt",
    "dynamics": "<barostat mode='isotropic'><tau units='femtosecond'> 50 </tau>"
    f"{LANGEVIN}</barostat>",
    "ensemble": "<pressure units='megapascal'> 10 </pressure>",
}

XML = """<simulation verbosity='quiet' floatformat='%.15e' threading='false'>
  <output prefix='simulation'>
    <properties filename='out' stride='{stride}'>
      [ step, conserved, temperature, potential, kinetic_cv, volume ] </properties>
    <checkpoint filename='chk' stride='20' overwrite='false'/>
  </output>
  <total_steps> {steps} </total_steps>
  <prng> <seed> 31415 </seed> </prng>
  <ffdirect name='driver'><pes>harmonic</pes><parameters>{{k1: 0.02}}</parameters></ffdirect>
  {forcefields}
  {systems}
  {smotion}
</simulation>
"""

SYSTEM = """<system prefix='{prefix}'>
    <initialize nbeads='{beads}'>
      <file mode='xyz' units='angstrom'> {folder}/init.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    {system}
    <forces> <force forcefield='driver' {force}> {mts} </force> {forces} </forces>
    {motion}
    <ensemble> <temperature units='kelvin'> {temperature} </temperature> {ensemble} </ensemble>
  </system>"""

MOTION = """<motion mode='dynamics'> <fixcom> {fixcom} </fixcom> {more}
      <dynamics mode='{mode}' splitting='{splitting}'> {dynamics}
        <timestep units='femtosecond'> 0.5 </timestep>
        {thermostat}
      </dynamics>
    </motion>"""

DEFAULTS = {
    "steps": "40", "stride": "5", "beads": "6", "fixcom": "True", "more": "", "mode": "nvt",
    "splitting": "obabo", "dynamics": "", "thermostat": "pile_l", "thermostat_more": "",
    "ensemble": "", "system": "", "force": "", "mts": "", "forces": "", "forcefields": "",
    "motion": MOTION, "temperatures": "300", "smotion": "",
}

RUNNER = """
import json, os, sys
from importlib import import_module
from ipi.engine.simulation import Simulation
from ipi.utils.depend import dstrip
from pimd.ipi.extensions import ahead_generator
from pimd.ipi.extensions.fused_steps import FusedSteps
if os.environ.get("LEAST"):
    ahead_generator.LEAST_FOR_THREAD = ahead_generator.LEAST_OF_CYCLE = int(os.environ["LEAST"])
for name in sys.argv[1].split(",") if sys.argv[1] != "stock" else ():
    module, kind = name.split(":")
    extension = getattr(import_module("pimd.ipi.extensions." + module), kind)()
    assert extension.self_check() is None, extension.self_check()
    extension.enable()
said = {}
for name in sys.argv[2:]:
    os.makedirs(name)
    os.chdir(name)
    checkpoint = os.environ.get("RESUME", "").replace("CASE", name)
    with open(checkpoint or f"../../{name}.xml") as file:
        simulation = Simulation.load_from_xml(file.read())
    simulation.run()
    for output in simulation.outputs:
        getattr(output, "close_stream", int)()  # checkpoints have none
    os.chdir("..")
    system = simulation.syslist[-1]
    motion, ensemble, nm = system.motion, system.ensemble, system.nm
    motion = getattr(motion, "mlist", [motion])[-1]
    if name.startswith("changed"):  # masses, temperature, time step and momenta, in mid-run
        system.beads.m[:] = 1.5 * dstrip(system.beads.m)
        ensemble.temp *= 1.2
        motion.dt *= 0.8
        motion.integrator._qdt_on_m.taint()  # i-PI itself does not know that it depends on them
        motion.step(0)
        system.beads.p[1] = 0.5 * dstrip(system.beads.p)[1]
        motion.step(1)
        nm.pnm[0] = 0.9 * dstrip(nm.pnm)[0]
        system.beads.q[0] += 0.01
        for step in range(5):
            motion.step(step)
    integrator = motion.integrator
    random = simulation.prng.rng[0]
    said[name] = {
        "heat": float(motion.thermostat.ethermo), "eens": float(ensemble.eens),
        "econs": float(ensemble.econs),
        "p": dstrip(system.beads.p).tolist(), "q": dstrip(system.beads.q).tolist(),
        "pnm": dstrip(nm.pnm).tolist(), "kinetic": float(nm.kin),
        "state": [int(n) for n in random.bit_generator.state["state"]["key"]],
        "vectorised": motion.thermostat.__dict__.get("_pimd_modes", (0, None))[1] is not None,
        "fused": integrator.__dict__.get("_pimd_fused", (0, None))[1] is not None,
        "left": FusedSteps().left_to_ipi(simulation),
        "ahead": bool(getattr(random, "_started", False)),
    }
with open("said.json", "w") as file:
    json.dump(said, file)
os._exit(0)  # i-PI's threads wait for a while
"""


def thermostat_xml(mode: str, more: str = "") -> str:
    """A thermostat with a relaxation time, or none."""
    tau = "" if "gle" in mode else "<tau units='femtosecond'> 50 </tau>"
    return f"<thermostat mode='{mode}'> {tau} {more} </thermostat>" if mode else ""


def write_cases(folder: Path, cases: Mapping[str, Mapping[str, str]], n_atoms: int = 8) -> None:
    """NAME.xml of each case, and init.xyz."""
    positions = np.random.default_rng(7).normal(0, 0.3, (n_atoms, 3))
    lines = [str(n_atoms), "# CELL(abcABC): 20 20 20 90 90 90 cell{angstrom}"]
    lines += [f"{'OH'[i % 2]} {x:.6f} {y:.6f} {z:.6f}" for i, (x, y, z) in enumerate(positions)]
    (folder / "init.xyz").write_text("\n".join(lines) + "\n")
    (folder / "runner.py").write_text(RUNNER)
    for name, case in cases.items():
        fields = {**DEFAULTS, **case, "folder": str(folder)}
        fields["thermostat"] = thermostat_xml(fields["thermostat"], fields.pop("thermostat_more"))
        fields["motion"] = fields["motion"].format(**fields)
        temperatures = fields["temperatures"].split()
        fields["systems"] = "\n".join(
            SYSTEM.format(
                **fields, temperature=temperature, prefix=f"s{k}" if len(temperatures) > 1 else ""
            )
            for k, temperature in enumerate(temperatures)
        )
        (folder / f"{name}.xml").write_text(XML.format(**fields))


def run_cases(
    folder: Path, which: str, extensions: Iterable[str], cases: Iterable[str], **variables: str
) -> None:
    """Run cases in folder/which, with extensions given as `module:Class`.

    Args:
        variables: of the environment; `RESUME` a checkpoint to go on from, with CASE for the
            name of the case; `LEAST` the shortest random vectors of the second thread.
    """
    (folder / which).mkdir()
    chosen = ",".join(extensions) or "stock"
    done = subprocess.run(
        [sys.executable, str(folder / "runner.py"), chosen, *cases], cwd=folder / which,
        env={**environment(), **variables}, capture_output=True, text=True, timeout=5 * LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def said(folder: Path, which: str, case: str) -> dict[str, Any]:
    """The end of a run: energies, momenta, positions, and what the extensions did."""
    found: dict[str, Any] = json.loads((folder / which / "said.json").read_text())[case]
    return found


def assert_same_run(folder: Path, stock: str, other: str, case: str) -> None:
    """Outputs and final states agree to rounding; something moved."""
    expected, found = (
        np.loadtxt(sorted((folder / which / case).glob("*simulation.out"))[-1])
        for which in (stock, other)
    )
    assert len(expected) >= 9
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    assert np.ptp(expected[:, 2]) > 0.01 * expected[0, 2]  # the temperature
    assert_same_end(folder, stock, other, case)


def assert_same_end(folder: Path, stock: str, other: str, case: str) -> None:
    """Final states agree to rounding, and the random numbers to the last bit."""
    ended, end = said(folder, stock, case), said(folder, other, case)
    for name in ("heat", "eens", "econs", "kinetic"):
        np.testing.assert_allclose(end[name], ended[name], rtol=1e-9, atol=1e-15, err_msg=name)
    for name in ("p", "q", "pnm"):
        scale = np.abs(ended[name]).max()
        np.testing.assert_allclose(end[name], ended[name], atol=1e-11 * scale, err_msg=name)
    assert end["state"] == ended["state"]  # of the random numbers
