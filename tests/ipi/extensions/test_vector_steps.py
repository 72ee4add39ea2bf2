"""With the thermostat done for all beads at once a run is the stock run, to rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
from stepping import NPT, assert_same_run, run_cases, said, write_cases

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
    "npt": NPT,
    "npt_baoab": {**NPT, "splitting": "baoab", "thermostat": "pile_g", "fixcom": "False"},
    "npt_two_time_steps": {**NPT, "dynamics": "<nmts> [2] </nmts>" + NPT["dynamics"]},
    "npt_flexible": {
        **NPT, "dynamics": NPT["dynamics"].replace("isotropic", "flexible"),
    },
    "npt_fixed_atoms": {**NPT, "more": "<fixatoms> [0, 3] </fixatoms>", "fixcom": "False"},
    "npt_one_bead": {**NPT, "beads": "1"},
    "changed_npt": NPT,
    "suzuki_chin": {"mode": "sc"},
    "classical_langevin": {"thermostat": "langevin"},
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases, with i-PI as it is in `stock` and with the extension in `vector`."""
    folder = tmp_path_factory.mktemp("vector_steps")
    write_cases(folder, CASES)
    run_cases(folder, "stock", (), CASES)
    run_cases(folder, "vector", ["vector_steps:VectorSteps"], CASES)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_the_stock_run(both: Path, case: str) -> None:
    assert_same_run(both, "stock", "vector", case)
    assert not said(both, "stock", case)["vectorised"]
    assert said(both, "vector", case)["vectorised"] == (case != "classical_langevin")


def test_it_comes_off_again() -> None:
    disable_all()
    extension = VectorSteps()
    before = {target: stock_function(target) for target in extension.layers()}
    extension.enable()
    extension.disable()
    from ipi.engine.motion.dynamics import DummyIntegrator
    from ipi.engine.thermostats import ThermoPILE_L

    assert before["ipi.engine.thermostats:ThermoPILE_L.step"] is ThermoPILE_L.step
    target = "ipi.engine.motion.dynamics:DummyIntegrator.pconstraints"
    assert before[target] is DummyIntegrator.pconstraints
