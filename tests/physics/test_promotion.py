"""The closure of promotion: networks, reweighted to their reference, against the reference itself.

One molecule of water, 8 beads, 300 K, through i-PI: once on the committee of networks that comes
with pimd, once on q-TIP4P/F, which the networks were trained on.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pimd import open_run, relabel
from pimd.analysis.reweighting import block_length, directly, standard_errors
from pimd.analysis.statistics import average, inefficiency
from pimd.analysis.work import reduced_work
from pimd.free_energy.promotion import free_energies
from pimd.record.run import Run

from .ipi_runs import Input, run_pimd

pytestmark = pytest.mark.physics

COMMITTEE = "{potential: behler_parrinello, pbc: False}"
REFERENCE = "{potential: qtip4pf, pbc: False}"
TEMPERATURE = 300.0
SKIP_PS = 0.3
RECORD = (
    "    <trajectory format='h5md' filename='trajectory' stride='10'> [positions, energies]"
    " </trajectory>\n"
)


def simulated(folder: Path, spec: str, seed: int) -> Run:
    """8 ps of one molecule."""
    angle = math.radians(107.4) / 2
    hydrogens = 0.9419 * np.array([[math.sin(angle), math.cos(angle), 0.0]])
    positions = np.concatenate([np.zeros((1, 3)), hydrogens, hydrogens * [-1, 1, 1]])
    given = Input(
        symbols=("O", "H", "H"), positions=positions, spec=spec, n_beads=8,
        temperature=TEMPERATURE, time_step=0.5, n_steps=16_000, properties=("potential",),
        trajectories=RECORD, stride=100, seed=seed,
    )  # fmt: skip
    return open_run(run_pimd(folder, given, time_limit=1800.0).folder)


def shapes(run: Run, start: int) -> dict[str, np.ndarray]:
    """Means over beads of bond length and its square, Å, and the cosine of the angle."""
    q = run.read("positions")[start:]
    bonds = q[:, :, 1:] - q[:, :, :1]
    lengths = np.linalg.norm(bonds, axis=-1)  # [frame, bead, bond]
    cosine = (bonds[:, :, 0] * bonds[:, :, 1]).sum(axis=-1) / lengths.prod(axis=-1)
    return {
        "bond": lengths.mean(axis=(1, 2)),
        "bond²": np.square(lengths).mean(axis=(1, 2)),
        "cosine": cosine.mean(axis=1),
    }


def test_networks_promoted_are_the_reference(tmp_path: Path) -> None:
    networks = simulated(tmp_path / "networks", COMMITTEE, 71)
    reference = simulated(tmp_path / "reference", REFERENCE, 72)
    start = int(np.searchsorted(networks.time, 1000 * SKIP_PS))

    # free energies: from the networks alone, and from both sides
    (alone,) = free_energies([networks], [REFERENCE], skip=SKIP_PS)
    (both,) = free_energies([networks, reference], skip=SKIP_PS)
    one, pair = alone.differences[0], both.differences[0]
    assert (one.method, pair.method) == ("EXP", "BAR")
    assert pair.error < 0.03
    assert abs(one.value - pair.value) < 4 * math.hypot(one.error, pair.error)
    ways = pair.both_ways
    assert ways is not None
    assert abs(ways.hysteresis) < 4 * math.hypot(ways.forward.error, ways.reverse.error)
    assert ways.overlap > 0.3

    # averages: the networks' samples with the weights of the reference, and the reference's own
    promoted = relabel(networks, REFERENCE).energies[start:]
    work = reduced_work(networks.read("energies")[start:], promoted, TEMPERATURE)
    sampled = {"potential": promoted.mean(axis=1), **shapes(networks, start)}
    direct = {
        "potential": reference.read("energies").mean(axis=1), **shapes(reference, 0)
    }
    a, h = np.stack(list(sampled.values())), work[None]
    means = directly(a, h)[:, 0]
    block = block_length(np.array([inefficiency(row) for row in (*a, work)]))
    errors = standard_errors(directly, a, h, block)[:, 0]
    ceilings = {"potential": 0.006, "bond": 1e-3, "bond²": 2e-3, "cosine": 6e-3}
    for k, name in enumerate(sampled):
        expected = average(direct[name], start=start)
        scale = math.hypot(errors[k], expected.error)
        print(
            f"{name}: networks {a[k].mean():.5f}, promoted {means[k]:.5f}({errors[k]:.5f}), "
            f"reference {expected.mean:.5f}({expected.error:.5f})"
        )
        assert scale < ceilings[name]
        assert abs(means[k] - expected.mean) < 4 * scale
