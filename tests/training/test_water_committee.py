"""The water committee that comes with pimd, against the water it was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from labelled import WATER_COMMITTEE, ring_polymers

import pimd
from pimd.evaluator import Evaluated, Evaluator
from pimd.ipi.structure_files import template_structure
from pimd.potentials.behler_parrinello import EMBEDDED_MODEL, BehlerParrinello
from pimd.potentials.qtip4pf import QTIP4PF
from pimd.structure import Structure

MAX_BYTES = 2_000_000


@pytest.fixture(scope="module")
def beads() -> list[Structure]:
    """32 beads of 64 molecules at 300 K, of a trajectory that the committee never saw."""
    start = template_structure(WATER_COMMITTEE / "init.xyz")
    system = ring_polymers().RingPolymers(QTIP4PF(), [start], 300.0, 32, 0.5, seed=77)
    system.run(120)
    return system.snapshot(range(0, 32, 2))


@pytest.fixture(scope="module")
def committee() -> BehlerParrinello:
    return BehlerParrinello()


@pytest.fixture(scope="module")
def both(beads: list[Structure], committee: BehlerParrinello) -> tuple[Evaluated, Evaluated]:
    """Of the committee, and of q-TIP4P/F."""
    return tuple(  # type: ignore[return-value]
        Evaluator(potential, skin=0.0).evaluate_structures(beads)
        for potential in (committee, QTIP4PF())
    )


def test_it_is_small_and_has_a_card(committee: BehlerParrinello) -> None:
    assert EMBEDDED_MODEL.stat().st_size < MAX_BYTES
    assert committee.n_members == 8
    assert committee.card["elements"] == ["H", "O"]
    text = (Path(pimd.__file__).parent / "data" / "water_committee.md").read_text()
    errors = committee.card["errors"]["test"]
    assert f"{errors['force_rmse_mev_per_angstrom']:g}" in text
    assert f"{errors['energy_rmse_mev_per_atom']:g}" in text


def test_errors_are_those_of_the_card(
    committee: BehlerParrinello, both: tuple[Evaluated, Evaluated]
) -> None:
    """Forces at most a tenth above the card's figure, and not far below (the rings have had 60 fs
    to spread); energies, whose errors the beads of one configuration share, below twice."""
    found, truth = both
    stated = committee.card["errors"]["test"]
    forces = 1000 * np.sqrt(np.mean((found.forces - truth.forces) ** 2))
    assert 0.75 < forces / stated["force_rmse_mev_per_angstrom"] < 1.1
    energies = 1000 * np.sqrt(np.mean((found.energies - truth.energies) ** 2)) / 192
    assert energies < 2.0 * stated["energy_rmse_mev_per_atom"]


def test_spread_tells_the_error(both: tuple[Evaluated, Evaluated]) -> None:
    """The calibrated spread is of the size of the errors."""
    found, truth = both
    sigma = found.member_energies.std(0, ddof=1)
    z = (found.energies - truth.energies) / sigma
    assert 0.1 < np.sqrt(np.mean(z**2)) < 4.0


def test_spread_grows_outside_the_data(
    beads: list[Structure], committee: BehlerParrinello, both: tuple[Evaluated, Evaluated]
) -> None:
    """Pressed to 1.6 times the density, far outside of what members learnt."""
    pressed = []
    for s in beads[:4]:
        molecules = s.positions.reshape(-1, 3, 3)  # [molecule, atom, xyz]
        moved = molecules + (0.6 ** (1 / 3) - 1.0) * molecules[:, :1]
        pressed.append(
            Structure(s.numbers, moved.reshape(-1, 3), 0.6 ** (1 / 3) * s.cell, s.pbc)
        )
    far = Evaluator(committee, skin=0.0).evaluate_structures(pressed)
    usual = both[0].member_energies.std(0, ddof=1).mean()
    assert far.member_energies.std(0, ddof=1).min() > 5.0 * usual
