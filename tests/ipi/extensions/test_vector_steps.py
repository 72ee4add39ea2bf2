"""With the thermostat done for all beads at once a run is the stock run, to rounding."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from extensions_harness import LIMIT_S, environment

from pimd.ipi.extensions import disable_all
from pimd.ipi.extensions.patching import stock_function
from pimd.ipi.extensions.vector_steps import VectorSteps

CASES = {
    "pile_l": {},
    "pile_g": {"thermostat": "pile_g"},
    "centroid_temperature": {"thermostat_more": "<pile_centroid_t> 0.002 </pile_centroid_t>"},
    "baoab": {"splitting": "baoab", "fixcom": "False"},
    "one_bead": {"beads": "1"},
    "fixed_atoms": {"more": "<fixatoms> [0, 3] </fixatoms>", "fixcom": "False"},
    "fixed_atoms_and_com": {"more": "<fixatoms> [0, 3] </fixatoms>"},
    "open_path": {"system": "<normal_modes><open_paths> [0] </open_paths></normal_modes>"},
    "npt": {
        "mode": "npt",
        "dynamics": "<barostat mode='isotropic'><tau units='femtosecond'> 50 </tau>"
        "<thermostat mode='langevin'><tau units='femtosecond'> 50 </tau></thermostat></barostat>",
        "ensemble": "<pressure units='megapascal'> 10 </pressure>",
    },
    "classical_langevin": {"thermostat": "langevin"},
}

XML = """<simulation verbosity='quiet' floatformat='%.15e' threading='false'>
  <output prefix='simulation'><properties filename='out' stride='5'>
    [ step, conserved, temperature, potential, kinetic_cv, volume ] </properties></output>
  <total_steps> 40 </total_steps>
  <prng> <seed> 31415 </seed> </prng>
  <ffdirect name='driver'><pes>harmonic</pes><parameters>{{k1: 0.02}}</parameters></ffdirect>
  <system>
    <initialize nbeads='{beads}'>
      <file mode='xyz' units='angstrom'> {folder}/init.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    {system}
    <forces> <force forcefield='driver'/> </forces>
    <motion mode='dynamics'> <fixcom> {fixcom} </fixcom> {more}
      <dynamics mode='{mode}' splitting='{splitting}'> {dynamics}
        <timestep units='femtosecond'> 0.5 </timestep>
        <thermostat mode='{thermostat}'> <tau units='femtosecond'> 50 </tau> {thermostat_more}
        </thermostat>
      </dynamics>
    </motion>
    <ensemble> <temperature units='kelvin'> 300 </temperature> {ensemble} </ensemble>
  </system>
</simulation>
"""

DEFAULTS = {
    "beads": "6", "fixcom": "True", "more": "", "mode": "nvt", "splitting": "obabo",
    "dynamics": "", "thermostat": "pile_l", "thermostat_more": "", "ensemble": "", "system": "",
}

RUNNER = """
import json, os, sys
from ipi.engine.simulation import Simulation
if sys.argv[1] == "on":
    from pimd.ipi.extensions.vector_steps import VectorSteps
    extension = VectorSteps()
    assert extension.self_check() is None, extension.self_check()
    extension.enable()
heats = {}
for name in sys.argv[2:]:
    os.makedirs(name)
    os.chdir(name)
    simulation = Simulation.load_from_xml(open(f"../../{name}.xml").read())
    simulation.run()
    for output in simulation.outputs:
        output.close_stream()
    os.chdir("..")
    motion, ensemble = simulation.syslist[0].motion, simulation.syslist[0].ensemble
    vectorised = bool(getattr(motion.thermostat, "_pimd_modes", False))
    heats[name] = [float(motion.thermostat.ethermo), float(ensemble.eens), vectorised]
with open("heats.json", "w") as file:
    json.dump(heats, file)
os._exit(0)  # i-PI's threads wait for a while
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases, with i-PI as it is in `off` and with the extension in `on`."""
    folder = tmp_path_factory.mktemp("vector_steps")
    positions = np.random.default_rng(7).normal(0, 0.3, (8, 3))
    lines = ["8", "# CELL(abcABC): 20 20 20 90 90 90 cell{angstrom}"]
    lines += [f"{'OH'[i % 2]} {x:.6f} {y:.6f} {z:.6f}" for i, (x, y, z) in enumerate(positions)]
    (folder / "init.xyz").write_text("\n".join(lines) + "\n")
    for name, case in CASES.items():
        (folder / f"{name}.xml").write_text(
            XML.format(folder=folder, **{**DEFAULTS, **case})
        )
    (folder / "runner.py").write_text(RUNNER)
    for which in ("off", "on"):
        (folder / which).mkdir()
        done = subprocess.run(
            [sys.executable, str(folder / "runner.py"), which, *CASES], cwd=folder / which,
            env=environment(), capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_the_stock_run(both: Path, case: str) -> None:
    off, on = (
        np.loadtxt(both / which / case / "simulation.out") for which in ("off", "on")
    )
    assert off.shape == (9, 6)
    np.testing.assert_allclose(on, off, rtol=1e-11)
    assert np.ptp(off[:, 2]) > 0.01 * off[0, 2]  # the temperature moves: something was compared
    heat_off, heat_on = (
        json.loads((both / which / "heats.json").read_text())[case] for which in ("off", "on")
    )
    np.testing.assert_allclose(heat_on[:2], heat_off[:2], rtol=1e-9, atol=1e-15)
    assert not heat_off[2]
    assert heat_on[2] == (case not in ("one_bead", "classical_langevin"))


def test_it_comes_off_again() -> None:
    disable_all()
    extension = VectorSteps()
    before = {target: stock_function(target) for target in extension.layers()}
    extension.enable()
    extension.disable()
    from ipi.engine.motion.dynamics import DummyIntegrator
    from ipi.engine.thermostats import ThermoPILE_L

    assert list(before.values()) == [ThermoPILE_L.step, DummyIntegrator.pconstraints]
