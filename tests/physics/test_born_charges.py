"""G15: Born charges and dipoles of q-TIP4P/F, exact, and whole after potential, daemon and record.

The dipole of q-TIP4P/F is linear in the positions: Z_O = gamma q_M = -0.819154336 e and
Z_H = q_H + (1 - gamma) q_M/2 = 0.409577168 e, isotropic, in every structure.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pimd
from pimd.evaluator import Evaluator
from pimd.potentials.base import Structure, Wanted
from pimd.potentials.registry import make_potential

from .ipi_runs import Input, run_pimd
from .water_reference import Monomer

GAMMA, Q_M, Q_H = 0.73612, -1.1128, 0.5564
Z_O, Z_H = GAMMA * Q_M, Q_H - 0.5 * (1 - GAMMA) * 1.1128
PROPERTIES = ("dipole", "born_charges")


def molecules(n: int, seed: int) -> tuple[list[str], np.ndarray]:
    """n molecules on a line, turned and bent at random, Å."""
    from scipy.spatial.transform import Rotation

    rng, one = np.random.default_rng(seed), Monomer().minimum() * 0.529177210903
    turns = Rotation.random(n, rng=rng).as_matrix()
    places = 4.0 * np.arange(n)[:, None, None] * np.array([1.0, 0.0, 0.0])
    atoms = one @ turns.swapaxes(1, 2) + places + 0.02 * rng.normal(size=(n, 3, 3))
    return ["O", "H", "H"] * n, atoms.reshape(-1, 3)


def charges(symbols: list[str]) -> np.ndarray:
    return np.where(np.array(symbols) == "O", Z_O, Z_H)


def evaluate(symbols: list[str], positions: np.ndarray) -> dict[str, np.ndarray]:
    numbers = np.where(np.array(symbols) == "O", 8, 1)
    evaluator = Evaluator(make_potential("qtip4pf"))
    structure = Structure(numbers, positions)
    return evaluator.evaluate_structures([structure], Wanted(properties=PROPERTIES)).properties


def test_exact_charges_slopes_sum_rule_and_rotation() -> None:
    from scipy.spatial.transform import Rotation

    assert pytest.approx([-0.819154336, 0.409577168], abs=1e-12) == [Z_O, Z_H]
    symbols, x = molecules(4, seed=1)
    found = evaluate(symbols, x)
    born = found["born_charges"]
    exact = charges(symbols)[:, None, None] * np.eye(3)
    np.testing.assert_allclose(born, exact, rtol=0, atol=1e-10)
    np.testing.assert_allclose(born.sum(axis=0), 0.0, atol=1e-10)
    np.testing.assert_allclose(found["dipole"][0], charges(symbols) @ x, atol=1e-10)
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    turned = evaluate(symbols, x @ turn.T)
    np.testing.assert_allclose(turned["dipole"][0], turn @ found["dipole"][0], atol=1e-10)
    np.testing.assert_allclose(turned["born_charges"], turn @ born @ turn.T, atol=1e-10)
    h, atom = 1e-3, 4
    for axis in range(3):
        shift = np.zeros_like(x)
        shift[atom, axis] = h
        slope = [evaluate(symbols, x + s * shift)["dipole"][0] for s in (1, -1)]
        np.testing.assert_allclose((slope[0] - slope[1]) / (2 * h), born[atom, axis], atol=1e-10)


def test_they_reach_the_record(tmp_path: Path) -> None:
    """From potential through daemon, i-PI and H5MD: mu = sum Z q of the stored beads, e Å."""
    symbols, x = molecules(2, seed=2)
    given = Input(
        symbols=symbols, positions=x, cell=(60.0, 60.0, 60.0),
        spec="{potential: qtip4pf, pbc: false, properties: [dipole, born_charges]}",
        n_beads=4, temperature=300, time_step=0.25, n_steps=6, stride=2,
        properties=("potential",),
        trajectories="<trajectory format='h5md' filename='trajectory' stride='2'>"
        "[ positions, dipole, BEC ]</trajectory>\n",
    )
    folder = run_pimd(tmp_path, given, time_limit=120).folder
    run = pimd.open_run(folder)
    assert {"positions", "dipole"} <= set(run.names)
    q, dipole = run.read("positions"), run.read("dipole")
    assert dipole.shape == (run.n_frames, 4, 3)
    assert run.n_frames == 4
    np.testing.assert_allclose(
        dipole, np.einsum("a,tpax->tpx", charges(symbols), q), rtol=0, atol=2e-9
    )
    assert np.ptp(dipole[:, :, 0]) > 1e-3  # beads differ
    born = run.read("BEC").reshape(run.n_frames, 4, len(symbols), 3, 3)
    exact = charges(symbols)[:, None, None] * np.eye(3)
    np.testing.assert_allclose(born, np.broadcast_to(exact, born.shape), rtol=0, atol=1e-9)
