"""What is said of Nosé–Hoover chains before a run."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from types import SimpleNamespace
from typing import Any

import pytest

from pimd.ipi.thermostats import (
    Setting,
    nose_hoover_lines,
    nose_hoover_warnings,
    uses_nose_hoover,
)
from pimd.units import ATOMIC_TIME_FS


class ThermoNHC:
    """As the extension's, told apart by its name."""

    def __init__(self, tau_fs: float = 100.0, **changes: Any) -> None:
        self.tau = tau_fs / ATOMIC_TIME_FS
        self.coupling, self.chain, self.order, self.substeps = "massive", 4, 3, 1
        vars(self).update(changes)


def motion(thermostat: Any, step_fs: float = 0.25, cell: Any = None, **changes: Any) -> Any:
    return SimpleNamespace(
        thermostat=thermostat, barostat=SimpleNamespace(thermostat=cell),
        dt=step_fs / ATOMIC_TIME_FS, splitting="obabo", **changes,
    )  # fmt: skip


WATER = Setting(n_beads=32, n_atoms=192, temperature=300.0)
CLASSICAL = Setting(n_beads=1, n_atoms=192, temperature=300.0)
QUIET = [
    (ThermoNHC(), WATER),
    (ThermoNHC(chain=3), WATER),
    (ThermoNHC(), CLASSICAL),
    (ThermoNHC(coupling="global"), CLASSICAL),
    (ThermoNHC(coupling="massive"), Setting(1, 8, 300.0, harmonic=True)),
    (SimpleNamespace(tau=0.1), WATER),
]
LOUD = [
    (ThermoNHC(coupling="global"), WATER, "whole ring polymer is not ergodic", "massive"),
    (ThermoNHC(coupling="mode"), WATER, "oscillators of one frequency together", "massive"),
    (ThermoNHC(chain=1), WATER, "one link is not ergodic", "<chain> 4"),
    (ThermoNHC(chain=1), CLASSICAL, "one link is not ergodic", "<chain> 4"),
    (ThermoNHC(coupling="global"), Setting(1, 500, 300.0, harmonic=True), "harmonic crystal",
     "massive"),
    (ThermoNHC(coupling="global"), Setting(1, 9, 300.0), "27 degrees of freedom", "massive"),
    (ThermoNHC(tau_fs=1.0), WATER, "is 1 fs, 4 time steps", "take 2.5 fs or more"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(QUIET)))
def test_nothing_is_said_of_what_is_sound(case: int) -> None:
    thermostat, setting = QUIET[case]
    assert nose_hoover_warnings(motion(thermostat), setting) == []


@pytest.mark.parametrize("case", range(len(LOUD)))
def test_what_is_known_to_fail_is_said_and_what_to_use(case: int) -> None:
    thermostat, setting, what, instead = LOUD[case]
    (text,) = nose_hoover_warnings(motion(thermostat), setting)
    assert what in text
    assert instead in text


def test_chains_are_found_wherever_they_are() -> None:
    several = SimpleNamespace(tlist=[SimpleNamespace(), ThermoNHC(chain=1)])
    within = SimpleNamespace(mlist=[motion(several), motion(None, cell=ThermoNHC(chain=1))])
    found = nose_hoover_warnings(within, WATER)
    assert len(found) == 2
    assert found[1].startswith("<barostat>: a Nosé–Hoover chain of one link")


def test_the_thermostat_in_words() -> None:
    """w_max = 2 P kT/hbar = 2.51 fs^-1 at 300 K; stages of 1.70 x 0.125 fs x w_max."""
    (words,) = nose_hoover_lines(motion(ThermoNHC()), WATER)
    assert words.startswith("Nosé–Hoover chains, massive, 4 links, order 3, tau 100 fs, ")
    assert "modes down to 0.4 fs, 4 substeps for the fastest" in words
    (words,) = nose_hoover_lines(motion(ThermoNHC(coupling="global", chain=1)), CLASSICAL)
    assert words.endswith("global, 1 link, order 3, tau 100 fs, 1 substep")
    lines = nose_hoover_lines(motion(None, cell=ThermoNHC()), WATER)
    assert [line.partition(":")[0] for line in lines] == ["of the cell"]


@pytest.mark.parametrize(
    ("mode", "uses"), [("nhc", True), (" nhc ", True), ("pile_l", False), ("", False)]
)
def test_an_input_that_asks_for_chains_is_known(mode: str, uses: bool) -> None:
    text = f"<simulation><barostat><thermostat mode='{mode}'/></barostat></simulation>"
    assert uses_nose_hoover(ET.fromstring(text)) == uses
