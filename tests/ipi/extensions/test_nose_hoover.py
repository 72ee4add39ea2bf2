"""`<thermostat mode='nhc'>`: what is conserved, sampled, kept in RESTART, and what takes part."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nose_hoover_runs as runs
import numpy as np
import pytest
from extensions_harness import environment
from nose_hoover_runs import input_xml, nhc

FINE = "<order> 5 </order> <substeps> 2 </substeps>"  # errors of the chains far below Verlet's


def barostat(thermostat: str, mode: str = "isotropic", more: str = "") -> str:
    return (
        f"<barostat mode='{mode}'> {more} <tau units='femtosecond'> 50 </tau> {thermostat}"
        "</barostat>"
    )


def several(*thermostats: str) -> str:
    return f"<thermostat mode='multi'> {''.join(thermostats)} </thermostat>"


PRESSURE = "<pressure units='megapascal'> 100 </pressure>"
FIXED = {"more": "<fixatoms> [0, 3] </fixatoms>", "fixcom": "False"}
NPT = {"mode": "npt", "ensemble": PRESSURE}

CONSERVED: dict[str, dict[str, Any]] = {
    "massive": {},
    "mode": {"thermostat": nhc(FINE + "<coupling> mode </coupling>")},
    "global": {"thermostat": nhc(FINE + "<coupling> global </coupling>")},
    "baoab": {"splitting": "baoab"},
    "one_bead": {"beads": 1, "fixcom": "False"},
    "fixed_atoms": FIXED,
    "mts": {"dynamics": "<nmts> [2] </nmts>"},
    "several": {
        "thermostat": several(nhc(FINE), nhc(FINE + "<coupling> global </coupling>", tau=50))
    },
    "npt": {**NPT, "dynamics": barostat(nhc(FINE))},
    "suzuki_chin": {"mode": "sc", "beads": 2},
}
N_STEPS = 30


@pytest.fixture(scope="module")
def conserving(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Every case over the same time, with a time step and with half of it."""
    folder = tmp_path_factory.mktemp("conserving")
    cases = {
        f"{name}-{halves}": input_xml(
            folder,
            **{"thermostat": nhc(FINE), **case}
            | {"dt": 0.5 / halves, "steps": N_STEPS * halves, "stride": halves},
        )
        for name, case in CONSERVED.items()
        for halves in (1, 2)
    }
    runs.prepare(folder, cases)
    return folder, runs.run(folder, list(cases))


@pytest.mark.parametrize("name", CONSERVED)
def test_conserved_quantity_is_of_second_order(
    conserving: tuple[Path, dict[str, Any]], name: str
) -> None:
    """Chains, barostat and heat of the centre of mass are booked: only Verlet's error is left."""
    folder, report = conserving
    whole, half = (runs.table(folder, f"{name}-{halves}") for halves in (1, 2))
    assert len(whole) == len(half) == N_STEPS + 1
    error, smaller = (rows[:, 1] - rows[0, 1] for rows in (whole, half))
    exchanged = np.ptp(whole[:, 3])  # potential energy that has come and gone
    assert np.abs(error).max() < 0.02 * exchanged
    assert error.std() / smaller.std() == pytest.approx(4.0, abs=0.25)
    (system,) = report[f"{name}-1"]
    for chains in system["beads"] + system["cell"]:
        assert chains["ethermo"] != 0.0
        assert abs(chains["ethermo"]) > 5 * np.abs(error).max()


def test_what_takes_part(conserving: tuple[Path, dict[str, Any]]) -> None:
    """Shapes and degrees of freedom: 5 atoms, 4 beads, the centre of mass at rest."""
    report = conserving[1]

    def shapes(name: str, which: str = "beads") -> list[tuple[list[int], float]]:
        return [
            (chains["shape"], pytest.approx(chains["freedoms"], abs=1e-12))
            for chains in report[f"{name}-1"][0][which]
        ]

    assert shapes("massive") == [([4, 15], 57.0)]
    assert shapes("mode") == [([4], 57.0)]
    assert shapes("global") == [([], 57.0)]
    assert shapes("one_bead") == [([1, 15], 15.0)]
    assert shapes("fixed_atoms") == [([4, 9], 36.0)]
    assert shapes("several") == [([4, 15], 57.0), ([], 57.0)]
    assert shapes("npt", "cell") == [([1, 1], 1.0)]
    momenta = np.array(report["fixed_atoms-1"][0]["pnm"]).reshape(4, 5, 3)
    assert (momenta[:, [0, 3]] == 0).all()
    assert (momenta[:, [1, 2, 4]] != 0).all()
    centroid = np.array(report["massive-1"][0]["pnm"])[0].reshape(5, 3)
    assert np.abs(centroid.sum(axis=0)).max() < 1e-12 * np.abs(centroid).max()


RESTARTED = {
    "massive": {},
    "global": {"thermostat": nhc("<coupling> global </coupling> <chain> 3 </chain>")},
    "several": {"thermostat": several(nhc(), nhc("<coupling> mode </coupling>", tau=50))},
    "npt": {**NPT, "dynamics": barostat(nhc("<substeps> 2 </substeps>"))},
    "fixed_atoms": FIXED,
}


def test_restart_goes_on_to_rounding(tmp_path: Path) -> None:
    cases = {
        f"{name}-{which}": input_xml(tmp_path, **{"steps": steps, **case})
        for name, case in RESTARTED.items()
        for which, steps in (("whole", 20), ("parts", 10))
    }
    runs.prepare(tmp_path, cases)
    whole = runs.run(tmp_path, list(cases))
    parts = [name for name in cases if name.endswith("parts")]
    for name in parts:
        path = tmp_path / name / "RESTART"
        text = path.read_text()
        assert text.count("<chain_velocities") == (2 if name[:3] in ("sev", "npt") else 1)
        path.write_text(re.sub(r"(<total_steps>)\s*10\s*<", r"\1 20 <", text))
    again = runs.run(tmp_path, parts)
    for name in RESTARTED:
        rows = runs.table(tmp_path, f"{name}-whole")
        np.testing.assert_allclose(runs.table(tmp_path, f"{name}-parts")[-10:], rows[-10:],
                                   rtol=1e-10)
        one, other = whole[f"{name}-whole"][0], again[f"{name}-parts"][0]
        np.testing.assert_allclose(other["pnm"], one["pnm"], rtol=1e-9, atol=1e-12)
        for chains, same in zip(one["beads"] + one["cell"], other["beads"] + other["cell"],
                                strict=True):
            assert same["ethermo"] == pytest.approx(chains["ethermo"], rel=1e-10)


def test_within_multi_it_is_the_same_thermostat(tmp_path: Path) -> None:
    """i-PI does not tell the parts of a thermostat that the centre of mass is at rest."""
    cases = {
        "alone": input_xml(tmp_path),
        "within": input_xml(tmp_path, thermostat=several(nhc())),
    }
    runs.prepare(tmp_path, cases)
    runs.run(tmp_path, list(cases))
    alone, within = (runs.table(tmp_path, name) for name in cases)
    np.testing.assert_array_equal(within, alone)


CELL = "<h0 shape='(3,3)'> [15.1, 0, 0, 0, 15.1, 0, 0, 0, 15.1] </h0>"
STRESS = "<stress units='megapascal'> [100, 0, 0, 0, 100, 0, 0, 0, 100] </stress>"
HELD: dict[str, tuple[dict[str, Any], list[list[Any]], list[list[Any]]]] = {
    "centroid": ({"mode": "nvt-cc"}, [[[3, 15], 45.0]], []),
    "masked": (
        {"mode": "nst", "ensemble": STRESS,
         "dynamics": barostat(nhc(), "anisotropic", CELL + "<hfix> [xx, xy] </hfix>")},
        [[[4, 15], 57.0]], [[[1, 4], 4.0]],
    ),
    "constant_volume": (
        {**NPT, "dynamics": barostat(
            nhc("<coupling> global </coupling>"), "flexible",
            "<vol_constraint> True </vol_constraint>")},
        [[[4, 15], 57.0]], [[[], 5.0]],
    ),
}  # fmt: skip


def test_what_is_held_has_no_part(tmp_path: Path) -> None:
    """A centroid that does not move, masked components of a cell, its trace at constant volume."""
    cases = {name: input_xml(tmp_path, steps=4, **case) for name, (case, _, _) in HELD.items()}
    runs.prepare(tmp_path, cases)
    report = runs.run(tmp_path, list(cases))
    for name, (_, beads, cell) in HELD.items():
        for which, expected in (("beads", beads), ("cell", cell)):
            found = [[c["shape"], c["freedoms"]] for c in report[name][0][which]]
            assert found == [[shape, pytest.approx(n, abs=1e-12)] for shape, n in expected], name
        assert np.isfinite(report[name][0]["econs"])


def test_constraints_that_nobody_explained_are_refused() -> None:
    """i-PI gives a number; with it alone a chain could drive what does not move."""
    from ipi.engine.beads import Beads
    from ipi.engine.ensembles import Ensemble
    from ipi.engine.motion import Motion
    from ipi.engine.normalmodes import NormalModes
    from ipi.utils.prng import Random

    from pimd.ipi.extensions.nose_hoover_thermostat import ThermoNHC

    beads, modes = Beads(3, 4), NormalModes()
    beads.m[:] = 1800.0
    modes.bind(Ensemble(temp=0.001), Motion(), beads)
    with pytest.raises(ValueError, match="holds 5 degrees of freedom, but Nosé–Hoover chains know"):
        ThermoNHC(temp=0.004).bind(beads=beads, nm=modes, prng=Random(), fixdof=5, fixcom=True)
    thermostat = ThermoNHC(temp=0.004)
    thermostat.bind(beads=beads, nm=modes, prng=Random(), fixdof=3, fixcom=True)
    assert thermostat.chains.shape == (4, 9)
    with pytest.raises(TypeError, match="got neither"):
        ThermoNHC().bind(prng=Random())
    with pytest.raises(ValueError, match="need a temperature"):
        ThermoNHC(temp=-1.0).bind(beads=beads, nm=modes, prng=Random())


OTHERS = (
    "vector_steps", "fused_steps", "normal_modes", "random_ahead", "round_forces", "direct_rounds"
)  # fmt: skip


def test_with_and_without_the_other_extensions(tmp_path: Path) -> None:
    """i-PI's own steps around the chains, and those that replace them: one trajectory."""
    pile = "<thermostat mode='pile_l'> <tau units='femtosecond'> 50 </tau> </thermostat>"
    cases = {"massive": {}, "baoab": {"splitting": "baoab"}, "fixed_atoms": FIXED,
             "npt": {**NPT, "dynamics": barostat(nhc())}, "pile": {"thermostat": pile}}  # fmt: skip
    for folder in (tmp_path / "on", tmp_path / "off"):
        folder.mkdir()
        runs.prepare(folder, {n: input_xml(folder, steps=20, **c) for n, c in cases.items()})
    on = runs.run(tmp_path / "on", list(cases))
    off = runs.run(tmp_path / "off", list(cases), off=OTHERS)
    for name in cases:
        rows = [runs.table(tmp_path / which, name) for which in ("on", "off")]
        np.testing.assert_allclose(rows[0], rows[1], rtol=1e-9)
        for one, other in zip(on[name][0]["beads"], off[name][0]["beads"], strict=True):
            assert one["ethermo"] == pytest.approx(other["ethermo"], rel=1e-8)
            assert one["scaled"] == pytest.approx(other["scaled"], rel=1e-8)
    words = ("chain", "order", "substeps", "coupling")
    restart = (tmp_path / "on" / "pile" / "RESTART").read_text()
    assert not any(f"<{word}" in restart for word in words)  # which stock i-PI could not read


REMD = "<smotion mode='remd'><remd> <stride> 2 </stride> </remd></smotion>"


def test_replica_exchange(tmp_path: Path) -> None:
    """Temperatures are swapped under way; every system goes on at its own, and conserves."""
    systems = [
        {"prefix": "cold", "temperature": 300, "thermostat": nhc(FINE)},
        {"prefix": "warm", "temperature": 340, "thermostat": nhc(FINE)},
    ]
    runs.prepare(tmp_path, {"remd": input_xml(tmp_path, systems, smotion=REMD, steps=60)})
    report = runs.run(tmp_path, ["remd"])["remd"]
    swaps = np.loadtxt(tmp_path / "remd" / "simulation.remd_idx", ndmin=2)
    assert 5 <= len(swaps) <= 55
    for system in ("cold", "warm"):
        rows = runs.table(tmp_path, "remd", system)
        assert np.ptp(rows[:, 1]) < 0.02 * np.ptp(rows[:, 3])
    temperatures = sorted(system["temp"] for system in report)
    assert temperatures[1] / temperatures[0] == pytest.approx(340 / 300)


CHANGED = """
import json, os, sys
from pathlib import Path
import numpy as np
from ipi.engine.simulation import Simulation
from pimd.ipi import extensions

extensions.enable_all(extensions.Settings(restart_interval=0))
simulation = Simulation.load_from_xml(Path("input.xml").read_text())
system = simulation.syslist[0]
thermostat = system.motion.thermostat


def state():
    return {
        "velocities": np.array(thermostat.chains.velocities).tolist(),
        "thermal": np.array(thermostat.chains.thermal).tolist(),
        "ethermo": float(thermostat.ethermo), "econs": float(system.ensemble.econs),
    }


simulation.run()
report = [state()]
temperature = system.ensemble.temp
for factor in (1.5, 1.0):
    system.ensemble.temp = factor * temperature
    report.append(state())
system.ensemble.temp = 1.5 * temperature  # swapped
system.ensemble.temp = temperature  # and rejected, nobody looked
report.append(state())
Path("report.json").write_text(json.dumps(report))
os._exit(0)
"""


def test_a_change_of_temperature(tmp_path: Path) -> None:
    """The chains stay canonical, their heat stays what it was, and all of it can be undone."""
    runs.prepare(tmp_path, {"case": input_xml(tmp_path, steps=3)})
    folder = tmp_path / "case"
    (folder / "changed.py").write_text(CHANGED)
    done = subprocess.run([sys.executable, "changed.py"], cwd=folder, env=environment(),
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    before, warm, back, rejected = json.loads((folder / "report.json").read_text())
    ratio = np.array(warm["velocities"]) / np.array(before["velocities"])  # [link, mode, dof]
    np.testing.assert_allclose(ratio[:, 0], 1.0, rtol=1e-12)  # tau is given
    np.testing.assert_allclose(ratio[:, 1:], 1.5, rtol=1e-12)  # 1/omega_k, omega_k ~ T
    for state in (warm, back, rejected):
        scaled = np.array(state["velocities"]) / np.array(state["thermal"])
        expected = np.array(before["velocities"]) / np.array(before["thermal"])
        np.testing.assert_allclose(scaled, expected, rtol=1e-12)
        assert state["ethermo"] == pytest.approx(before["ethermo"], rel=1e-12)
    assert back["econs"] == pytest.approx(before["econs"], rel=1e-12)
    assert warm["econs"] != pytest.approx(before["econs"], rel=1e-3)  # springs are stiffer


def test_temperature_with_the_centre_of_mass_at_rest(tmp_path: Path) -> None:
    """3 O and 2 H: <p_i²/m_i> = 3 kT (1 - m_i/M); with kT for each, T would be 375 K."""
    properties = "temperature{kelvin}, kinetic_md(O){kelvin}, kinetic_md(H){kelvin}"
    case = {"beads": 1, "steps": 6000, "dt": 1.5, "stride": 5, "properties": properties}
    thermostat = nhc(tau=10)
    runs.prepare(tmp_path, {"rest": input_xml(tmp_path, **case, thermostat=thermostat)})
    runs.run(tmp_path, ["rest"])
    rows = runs.table(tmp_path, "rest")[100:, 2:]
    oxygen, hydrogen = 15.9994, 1.00794
    total = 3 * oxygen + 2 * hydrogen
    exact = [300.0, 1.5 * 300 * 3 * (1 - oxygen / total), 1.5 * 300 * 2 * (1 - hydrogen / total)]
    blocks = np.array([part.mean(axis=0) for part in np.array_split(rows, 20)])
    errors = blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks))
    assert (errors < 0.03 * np.array(exact)).all(), errors
    assert (np.abs(rows.mean(axis=0) - exact) < 4 * errors).all(), (rows.mean(axis=0), errors)


WRONG = {
    "tau": (nhc(tau=0), "need a positive <tau>"),
    "order": (nhc("<order> 4 </order>"), "4 is not a valid option"),
    "coupling": (nhc("<coupling> local </coupling>"), "local is not a valid option"),
    "chain": (nhc("<chain> 0 </chain>"), "<chain> of Nosé–Hoover chains is 0"),
    "velocities": (
        nhc("<chain_velocities> [1, 2, 3] </chain_velocities>"), "has 3 numbers, expected 240"
    ),
    "other": (
        "<thermostat mode='pile_l'> <tau> 100 </tau> <chain> 4 </chain> </thermostat>",
        "<chain> belongs to <thermostat mode='nhc'>",
    ),
}  # fmt: skip


REFUSALS = """
import json, os, sys
from pathlib import Path
from ipi.engine.simulation import Simulation
from pimd.ipi import extensions

extensions.enable_all(extensions.Settings(restart_interval=0))
said = {}
for name in sys.argv[1:]:
    try:
        Simulation.load_from_xml((Path(name) / "input.xml").read_text())
    except ValueError as error:
        said[name] = str(error)
Path("said.json").write_text(json.dumps(said))
os._exit(0)
"""


def test_wrong_inputs_are_refused_in_words(tmp_path: Path) -> None:
    runs.prepare(tmp_path, {
        name: input_xml(tmp_path, thermostat=thermostat) for name, (thermostat, _) in WRONG.items()
    })  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", REFUSALS, *WRONG], cwd=tmp_path, env=environment(),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads((tmp_path / "said.json").read_text())
    for name, (_, words) in WRONG.items():
        assert words in said.get(name, "nothing"), name


@pytest.mark.parametrize(("extension", "name"), [(False, "stock"), (True, "off_again")])
def test_stock_ipi_does_not_know_the_mode(tmp_path: Path, extension: bool, name: str) -> None:
    runs.prepare(tmp_path, {name: input_xml(tmp_path)})
    switch = "from pimd.ipi.extensions.nose_hoover import NoseHoover as N; n = N();"
    switch += "assert n.self_check() is None; n.enable(); n.disable();"
    code = "from ipi.engine.simulation import Simulation; from pathlib import Path;"
    code += "Simulation.load_from_xml(Path('input.xml').read_text())"
    done = subprocess.run([sys.executable, "-c", switch * extension + code], cwd=tmp_path / name,
                          env=environment(), capture_output=True, text=True, check=False,
                          timeout=60)  # fmt: skip
    assert done.returncode != 0
    assert "nhc is not a valid option" in done.stderr
