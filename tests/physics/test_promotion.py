"""The closure of promotion: networks, reweighted to their reference, against the reference itself.

Through i-PI, once on the committee of networks that comes with pimd, once on q-TIP4P/F, which the
networks were trained on: one molecule of water at 300 K, where the two are alike, and a periodic
box of 16 at 400 K, where the work is spread over 1.5 kT and one sample in nine counts. (At 300 K
hydrogen bonds rearrange over several picoseconds, which asks for far longer runs.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pimd import open_run, relabel
from pimd.analysis.reweighting import block_length, directly, standard_errors
from pimd.analysis.statistics import average, inefficiency
from pimd.analysis.weights import kish
from pimd.analysis.work import reduced_work
from pimd.free_energy.promotion import free_energies
from pimd.record.run import Run

from .ipi_runs import Input, run_pimd

pytestmark = pytest.mark.physics

INPUTS = Path(__file__).parents[2] / "inputs"
RECORD = (
    "    <trajectory format='h5md' filename='trajectory' stride='{stride}'> [positions, energies]"
    " </trajectory>\n"
)
BOX = 7.83018
"""Å, of the 16 molecules."""


def molecule(potential: str, seed: int) -> Input:
    """8 ps of one molecule at 300 K."""
    angle = math.radians(107.4) / 2
    hydrogens = 0.9419 * np.array([[math.sin(angle), math.cos(angle), 0.0]])
    positions = np.concatenate([np.zeros((1, 3)), hydrogens, hydrogens * [-1, 1, 1]])
    return Input(
        symbols=["O", "H", "H"], positions=positions,
        spec=f"{{potential: {potential}, pbc: False}}", n_beads=8, temperature=300.0,
        time_step=0.5, n_steps=16_000, properties=("potential",),
        trajectories=RECORD.format(stride=10), stride=100, seed=seed,
    )  # fmt: skip


def liquid(potential: str, seed: int) -> Input:
    """14 ps of 16 molecules at 400 K, at the density of 300 K."""
    lines = (INPUTS / "promotion" / "init.xyz").read_text().splitlines()
    rows = [line.split() for line in lines[2:]]
    return Input(
        symbols=[row[0] for row in rows],
        positions=np.array([row[1:4] for row in rows], dtype=float),
        spec=f"{{potential: {potential}}}", n_beads=8, temperature=400.0, cell=(BOX,) * 3,
        time_step=0.5, n_steps=28_000, thermostat_time=50.0, properties=("potential",),
        trajectories=RECORD.format(stride=40), stride=100, seed=seed,
    )  # fmt: skip


def sampled(folder: Path, given: Input) -> Run:
    return open_run(run_pimd(folder, given, time_limit=3600.0).folder)


def shapes(run: Run) -> dict[str, np.ndarray]:
    """Bond length and its square, Å, cosine of the angle: means over beads and molecules."""
    q = run.read("positions")
    q = q.reshape(*q.shape[:2], -1, 3, 3)  # [frame, bead, molecule, atom, xyz]
    bonds = q[..., 1:, :] - q[..., :1, :]
    lengths = np.linalg.norm(bonds, axis=-1)  # [frame, bead, molecule, bond]
    cosine = (bonds[..., 0, :] * bonds[..., 1, :]).sum(axis=-1) / lengths.prod(axis=-1)
    return {
        "bond": lengths.mean(axis=(1, 2, 3)),
        "bond²": np.square(lengths).mean(axis=(1, 2, 3)),
        "cosine": cosine.mean(axis=(1, 2)),
    }


def neighbours(run: Run) -> dict[str, np.ndarray]:
    """Other O within 3.4 Å of an O, H of other molecules within 2.3 Å, means over beads."""
    counts: dict[str, list[float]] = {"O within 3.4 Å": [], "H within 2.3 Å": []}
    for k in range(run.n_frames):
        q = run.read("positions", k)
        oxygen = q[:, ::3]
        for (name, found), limit, others in zip(
            counts.items(), (3.4, 2.3), (oxygen, np.delete(q, np.s_[::3], axis=1)), strict=True
        ):
            pairs = oxygen[:, :, None] - others[:, None]
            pairs -= BOX * np.round(pairs / BOX)
            near = np.square(pairs).sum(axis=-1) < limit**2
            own = 1 if name[0] == "O" else 2
            found.append(near.sum() / (near.shape[0] * near.shape[1]) - own)
    return {name: np.array(values) for name, values in counts.items()}


def assert_one_free_energy(
    networks: Run, reference: Run, spec: str, skip: float, *, error: float, overlap: float
) -> None:
    """From the networks alone, and from both sides; `skip` in fs."""
    (alone,) = free_energies([networks], [spec], skip=skip)
    (both,) = free_energies([networks, reference], skip=skip)
    one, pair = alone.differences[0], both.differences[0]
    print(f"kT: EXP {one.value:.4f}({one.error:.4f}), BAR {pair.value:.4f}({pair.error:.4f})")
    assert (one.method, pair.method) == ("EXP", "BAR")
    assert pair.error < error
    assert abs(one.value - pair.value) < 4 * math.hypot(one.error, pair.error)
    ways = pair.both_ways
    assert ways is not None
    assert abs(ways.hysteresis) < 4 * math.hypot(ways.forward.error, ways.reverse.error)
    assert ways.overlap > overlap


def assert_same_averages(
    networks: Run, reference: Run, spec: str, skip: float,
    observables: Callable[[Run], dict[str, np.ndarray]], ceilings: dict[str, float],
) -> float:
    """The networks' samples with the weights of the reference, and the reference's own.

    Returns the part of the samples that carries the weights (Kish).
    """
    temperature = networks.setup.temperature
    assert temperature is not None
    start = int(np.searchsorted(networks.time, skip))
    promoted = relabel(networks, spec).energies
    work = reduced_work(networks.read("energies"), promoted, temperature)[start:]
    mine = {"potential": promoted.mean(axis=1), **observables(networks)}
    direct = {"potential": reference.read("energies").mean(axis=1), **observables(reference)}
    a, h = np.stack([series[start:] for series in mine.values()]), work[None]
    means = directly(a, h)[:, 0]
    block = block_length(np.array([inefficiency(row) for row in (*a, work)]))
    errors = standard_errors(directly, a, h, block)[:, 0]
    for k, name in enumerate(mine):
        expected = average(direct[name], start=start)
        scale = math.hypot(errors[k], expected.error)
        print(
            f"{name}: networks {a[k].mean():.5f}, promoted {means[k]:.5f}({errors[k]:.5f}), "
            f"reference {expected.mean:.5f}({expected.error:.5f})"
        )
        assert scale < ceilings[name]
        assert abs(means[k] - expected.mean) < 4 * scale
    return float(kish(-work)) / len(work)


def test_networks_promoted_are_the_reference(tmp_path: Path) -> None:
    networks = sampled(tmp_path / "networks", molecule("behler_parrinello", 71))
    given = molecule("qtip4pf", 72)
    reference = sampled(tmp_path / "reference", given)
    assert_one_free_energy(networks, reference, given.spec, 300.0, error=0.03, overlap=0.3)
    ceilings = {"potential": 0.006, "bond": 1e-3, "bond²": 2e-3, "cosine": 6e-3}
    assert_same_averages(networks, reference, given.spec, 300.0, shapes, ceilings)


def test_a_liquid_of_networks_promoted_is_that_of_the_reference(tmp_path: Path) -> None:
    networks = sampled(tmp_path / "networks", liquid("behler_parrinello", 73))
    given = liquid("qtip4pf", 74)
    reference = sampled(tmp_path / "reference", given)
    assert_one_free_energy(networks, reference, given.spec, 2000.0, error=0.3, overlap=0.1)
    ceilings = {"potential": 0.15, "bond": 1e-3, "bond²": 2e-3, "cosine": 6e-3,
                "O within 3.4 Å": 0.2, "H within 2.3 Å": 0.1}
    counted = assert_same_averages(
        networks, reference, given.spec, 2000.0, lambda run: shapes(run) | neighbours(run), ceilings
    )
    assert counted < 0.6  # the weights do matter here
