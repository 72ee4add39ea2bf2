"""A fused step is the stock step, to rounding, in every case it takes; others it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from stepping import MOTION, NPT, assert_same_end, assert_same_run, run_cases, said, write_cases

EXTENSIONS = (
    "normal_modes:NormalModeProducts", "vector_steps:VectorSteps", "fused_steps:FusedSteps",
    "random_ahead:RandomAhead",
)

NORMAL_MODES = "<normal_modes{}> {} </normal_modes>"
SECOND = "<ffdirect name='second'><pes>harmonic</pes><parameters>{k1: 0.01}</parameters></ffdirect>"

TWO_LEVELS = {
    "mts": "<mts_weights> [1, 0] </mts_weights>",
    "forcefields": SECOND,
    "forces": "<force forcefield='second' nbeads='3'><mts_weights> [0, 1] </mts_weights></force>",
}

FUSED = {
    "nve": {"mode": "nve", "thermostat": ""},
    "nve_com_moves": {"mode": "nve", "thermostat": "", "fixcom": "False"},
    "nve_one_bead": {"mode": "nve", "thermostat": "", "beads": "1"},
    "pile_l": {},
    "pile_l_odd": {"beads": "5"},
    "pile_l_two_beads": {"beads": "2"},
    "pile_l_baoab": {"splitting": "baoab"},
    "pile_g": {"thermostat": "pile_g"},
    "pile_g_baoab_com_moves": {
        "thermostat": "pile_g", "splitting": "baoab", "fixcom": "False",
    },
    "centroid_temperature": {"thermostat_more": "<pile_centroid_t> 0.002 </pile_centroid_t>"},
    "no_thermostat": {"thermostat": ""},
    "cayley": {"system": NORMAL_MODES.format(" propagator='cayley'", "")},
    "matrix": {"system": NORMAL_MODES.format(" transform='matrix'", "")},
    "partially_adiabatic": {
        "system": NORMAL_MODES.format("", "<frequencies style='pa-cmd'> [0.02] </frequencies>"),
    },
    "fixed_atoms": {"more": "<fixatoms> [0, 3] </fixatoms>", "fixcom": "False"},
    "fixed_atoms_baoab": {
        "more": "<fixatoms> [0, 3] </fixatoms>", "fixcom": "False", "splitting": "baoab",
        "thermostat": "pile_g",
    },
    "fixed_atoms_nve": {
        "mode": "nve", "thermostat": "", "more": "<fixatoms> [1] </fixatoms>", "fixcom": "False",
    },
    "langevin": {"thermostat": "langevin"},
    "langevin_one_bead": {"thermostat": "langevin", "beads": "1"},
    "svr": {"thermostat": "svr"},
    "svr_one_bead": {"thermostat": "svr", "beads": "1"},
    "gle": {"thermostat": "gle", "thermostat_more": "<A shape='(1,1)'> [ 0.001 ] </A>"},
    "weighted_force": {"force": "weight='0.7'"},
    "two_forces": {"forcefields": SECOND, "forces": "<force forcefield='second'/>"},
    "contracted_force": {
        "forcefields": SECOND, "forces": "<force forcefield='second' nbeads='2'/>",
    },
    "exchanged_temperatures": {
        "temperatures": "300 330 280",
        "smotion": "<smotion mode='remd'><remd><stride> 3 </stride></remd></smotion>",
    },
    "changed": {},
    "changed_pile_g_baoab": {"thermostat": "pile_g", "splitting": "baoab"},
    "changed_nve": {"mode": "nve", "thermostat": ""},
    "changed_mode_masses": {
        "system": NORMAL_MODES.format("", "<frequencies style='pa-cmd'> [0.02] </frequencies>"),
    },
    "two_motions": {
        "motion": "<motion mode='multi'>{}{}</motion>".format(
            MOTION, MOTION.replace("{mode}", "nve").replace("{thermostat}", "")
        ),
    },
    "two_time_steps": {"dynamics": "<nmts> [2] </nmts>"},
    "three_time_steps_baoab": {"dynamics": "<nmts> [3] </nmts>", "splitting": "baoab"},
    "two_levels": {**TWO_LEVELS, "dynamics": "<nmts> [1, 4] </nmts>"},
    "two_levels_nve": {
        **TWO_LEVELS, "dynamics": "<nmts> [2, 3] </nmts>", "mode": "nve", "thermostat": "",
    },
    "two_levels_baoab": {
        **TWO_LEVELS, "dynamics": "<nmts> [1, 3] </nmts>", "splitting": "baoab",
    },
}

LEFT_ALONE = {
    "bias": {
        "forcefields": SECOND, "ensemble": "<bias><force forcefield='second'/></bias>",
    },
    "open_path": {"system": NORMAL_MODES.format("", "<open_paths> [0] </open_paths>")},
    "cartesian_ring": {"system": NORMAL_MODES.format(" propagator='bab'", "<nmts> 4 </nmts>")},
    "npt": NPT,
    "suzuki_chin": {"mode": "sc"},
    "constrained_centroid": {"mode": "nvt-cc"},
}

THREADED = ("pile_l", "pile_g", "npt", "gle", "langevin_one_bead")

CHAINS = {
    "chains": {"thermostat": "nhc"},
    "chains_baoab_com_moves": {
        "thermostat": "nhc", "splitting": "baoab", "fixcom": "False",
        "thermostat_more": "<coupling> mode </coupling>",
    },
}
"""With a thermostat of another extension, which takes its own step within the fused one."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases, with i-PI as it is in `stock` and with the extensions in `fast`."""
    folder = tmp_path_factory.mktemp("fused_steps")
    cases = {**FUSED, **LEFT_ALONE}
    write_cases(folder, {**cases, **CHAINS})
    run_cases(folder, "stock", (), cases)
    run_cases(folder, "fast", EXTENSIONS, cases)
    exact = (*EXTENSIONS, "exact_checkpoints:ExactCheckpoints")
    run_cases(folder, "threaded", exact, THREADED, LEAST="100")
    halfway = "../../threaded/CASE/simulation.chk_1"  # of step 20
    run_cases(folder, "resumed", exact, THREADED, RESUME=halfway)
    run_cases(folder, "chains", ["nose_hoover:NoseHoover"], CHAINS)
    run_cases(folder, "fused_chains", ["nose_hoover:NoseHoover", *EXTENSIONS], CHAINS)
    return folder


@pytest.mark.parametrize("case", [*FUSED, *LEFT_ALONE])
def test_a_run_is_the_stock_run(both: Path, case: str) -> None:
    assert_same_run(both, "stock", "fast", case)
    assert said(both, "fast", case)["fused"] == (case in FUSED)
    assert not said(both, "stock", case)["fused"]
    if case in FUSED:
        assert said(both, "fast", case)["left"] == []
    assert not said(both, "fast", case)["ahead"]  # such short vectors are drawn while waiting


def test_what_is_left_to_i_pi_is_said(both: Path) -> None:
    left = {case: said(both, "fast", case)["left"] for case in LEFT_ALONE}
    assert left["bias"] == ["system (no prefix), steps: a bias"]
    assert left["open_path"] == ["system (no prefix), steps: bosons or open paths"]
    assert left["cartesian_ring"] == ["system (no prefix), steps: the bab propagator"]
    assert left["npt"] == []  # not what this extension is for


@pytest.mark.parametrize("case", THREADED)
def test_random_numbers_of_a_second_thread(both: Path, case: str) -> None:
    assert_same_run(both, "stock", "threaded", case)
    assert said(both, "threaded", case)["ahead"] == (case != "langevin_one_bead")  # 24 numbers


@pytest.mark.parametrize("case", THREADED)
def test_a_resumed_run_goes_on_as_it_was(both: Path, case: str) -> None:
    """The checkpoint was written in mid-run, with random numbers drawn ahead."""
    assert_same_end(both, "threaded", "resumed", case)


@pytest.mark.parametrize("case", CHAINS)
def test_nose_hoover_chains(both: Path, case: str) -> None:
    assert_same_run(both, "chains", "fused_chains", case)
    assert said(both, "fused_chains", case)["fused"]
