"""Averages of `pimd run` against those of i-PI as it is (`pimd run --stock`), all kinds of motion.

Oscillators, and for constant pressure a crystal, with other random numbers in the two runs: the
averages are independent. Liquid water, eight molecules, whose structure changes too slowly for
independent averages, with the same random numbers: the runs go apart only as rounding grows, which
in these thousand steps it does to 1e-11 of a standard error.
tests/ipi/extensions/test_fast_paths.py compares the trajectories themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .ipi_runs import Input, Run, read_xyz, run_pimd
from .sampling import estimate

pytestmark = pytest.mark.physics

SIGMAS = 3.0
LIMIT_S = 300.0
BOX = 6.21
"""Å; eight water molecules at the density of water."""
LATTICE = 5.4309
"""Å; silicon."""

BAROSTAT = """<barostat mode='isotropic'><tau units='femtosecond'> 60 </tau>
        <thermostat mode='langevin'><tau units='femtosecond'> 20 </tau></thermostat></barostat>
"""
DRIFT = "2.0e-3, 1.5e-3, 0.5e-3, -1.5e-3, 1.2e-3, 2.0e-3, -0.5e-3, -2.0e-3, 4.0e-3"
GLE = f"<thermostat mode='gle'><A shape='(3, 3)'> [ {DRIFT} ] </A></thermostat>"
HALF = "<force forcefield='forces' weight='0.5' {}> {} </force>"


def thermostat(mode: str) -> dict[str, str]:
    element = f"<thermostat mode='{mode}'><tau units='femtosecond'> 8 </tau></thermostat>"
    return {"thermostat": element}


MOTIONS: dict[str, dict[str, Any]] = {
    "nve": {"mode": "nve"},
    "pile_l": thermostat("pile_l"),
    "pile_g": thermostat("pile_g"),
    "langevin": thermostat("langevin"),
    "svr": thermostat("svr"),
    "gle": {"thermostat": GLE},
    "npt": {
        "mode": "npt", "dynamics": BAROSTAT, **thermostat("pile_l"),
        "ensemble": "<pressure units='megapascal'> 100 </pressure>",
        "properties": ("potential", "kinetic_cv", "volume"),
    },
    "sc": {
        "mode": "sc", **thermostat("pile_l"),
        "forces": "<force forcefield='forces' fd_epsilon='-1e-3'/>",
        "properties": ("potential_opsc", "kinetic_opsc"),
    },
    "mts": {
        **thermostat("pile_l"), "dynamics": "<nmts> [1, 2] </nmts>\n",
        "forces": HALF.format("", "<mts_weights> [1, 0] </mts_weights>")
        + HALF.format("", "<mts_weights> [0, 1] </mts_weights>"),
    },
    "rpc": {
        **thermostat("pile_l"), "forces": HALF.format("", "") + HALF.format("nbeads='2'", ""),
    },
}


def oscillators(**changes: Any) -> Input:
    """Atoms of hydrogen in traps of 2000 cm^-1 at 300 K."""
    given = Input(
        symbols=["H"] * 40, positions=np.zeros((40, 3)), fixcom=False,
        spec="{potential: harmonic, wavenumber: 2000, masses: 1.00794, pbc: False}",
        n_beads=8, temperature=300.0, time_step=0.5, n_steps=5600, splitting="obabo",
        properties=("potential", "kinetic_cv"),
    )
    return replace(given, **changes)


def silicon(**changes: Any) -> Input:
    """The cubic cell of eight atoms: a crystal that is nearly harmonic."""
    corners = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    given = Input(
        symbols=["Si"] * 8, positions=LATTICE * np.concatenate([corners, corners + 0.25]),
        spec="{potential: stillinger_weber}", cell=(LATTICE,) * 3,
        n_beads=4, temperature=600.0, time_step=2.0, n_steps=5600, splitting="obabo",
        properties=("potential", "kinetic_cv"),
    )
    return replace(given, **changes)


def water(positions: np.ndarray, **changes: Any) -> Input:
    given = Input(
        symbols=["O", "H", "H"] * 8, positions=positions, cell=(BOX,) * 3,
        spec="{potential: qtip4pf, cutoff: 6}", n_beads=4, temperature=300.0, time_step=0.5,
        n_steps=1000, splitting="obabo", properties=("potential", "kinetic_cv"),
    )
    return replace(given, **changes)


@pytest.fixture(scope="module")
def liquid(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Positions of water in equilibrium, (24, 3) Å."""
    half, bond = np.radians(107.4) / 2, 0.9419  # Å
    molecule = bond * np.array(
        [[0, 0, 0], [np.sin(half), 0, np.cos(half)], [-np.sin(half), 0, np.cos(half)]]
    )
    rng = np.random.default_rng(3)
    places = (np.array(list(np.ndindex(2, 2, 2))) + 0.5) * BOX / 2
    turns = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in places]
    start = [place + molecule @ turn.T for place, turn in zip(places, turns, strict=True)]
    given = water(
        np.concatenate(start), n_steps=1000, stride=100,
        trajectories="    <trajectory filename='centre' stride='1000' format='xyz' "
        "cell_units='angstrom'> x_centroid{angstrom} </trajectory>\n",
    )
    run = run_pimd(tmp_path_factory.mktemp("liquid"), given, time_limit=LIMIT_S)
    return read_xyz(run.folder / "simulation.centre.xyz")[-1]


@dataclass
class Pair:
    """The same motion by `pimd run` and by stock i-PI."""

    fast: Run
    stock: Run


def both(folder: Path, fast: Input, stock: Input) -> Pair:
    """Run both at the same time."""
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(run_pimd, folder / "fast", fast, time_limit=LIMIT_S),
            pool.submit(
                run_pimd, folder / "stock", stock, time_limit=LIMIT_S, options=("--stock",)
            ),
        ]
        pair = Pair(*(run.result() for run in runs))
    assert "on" in pair.fast.summary["extensions"].values()
    assert "on" not in pair.stock.summary["extensions"].values()
    return pair


Mean = Callable[[np.ndarray], tuple[float, float]]
"""(n_samples,) -> mean and its standard error."""


def independent_mean(series: np.ndarray) -> tuple[float, float]:
    """With an error that knows of all correlation."""
    found = estimate(series)
    return found.mean, found.error


def mean_of_blocks(series: np.ndarray) -> tuple[float, float]:
    """With the error of ten blocks, which leaves slower motions out."""
    blocks = series[: len(series) // 10 * 10].reshape(10, -1).mean(axis=1)
    return float(blocks.mean()), float(blocks.std(ddof=1) / np.sqrt(10))


def assert_same(pair: Pair, given: Input, n_skip: int, mean: Mean, ceiling: float) -> None:
    """Means within 3 standard errors, which are at most `ceiling` of the mean of the kinetic
    energy, or of the volume."""
    for name in given.properties:
        (fast, fast_error), (stock, stock_error) = (
            mean(run[name][n_skip:]) for run in (pair.fast, pair.stock)
        )
        error = float(np.hypot(fast_error, stock_error))
        scale = stock if name == "volume" else pair.stock[given.properties[1]].mean()
        message = (
            f"{name}: {fast:.8g} +- {fast_error:.2g}, stock {stock:.8g} +- {stock_error:.2g}: "
            f"{(fast - stock) / error:+.2g} standard errors of {error / scale:.2%}"
        )
        print(message)
        assert abs(fast - stock) <= SIGMAS * error, message
        assert error <= ceiling * scale, message


@pytest.mark.parametrize("motion", MOTIONS)
def test_harmonic(tmp_path: Path, motion: str) -> None:
    make: Callable[..., Input] = silicon if motion == "npt" else oscillators
    fast = make(**MOTIONS[motion], seed=11)
    stock = replace(fast, seed=11 if motion == "nve" else 12)
    ceiling = 0.05 if make is silicon else 0.01
    assert_same(both(tmp_path, fast, stock), fast, 400, independent_mean, ceiling)


@pytest.mark.parametrize("motion", MOTIONS)
def test_water(tmp_path: Path, liquid: np.ndarray, motion: str) -> None:
    given = water(liquid, **MOTIONS[motion], seed=13)
    assert_same(both(tmp_path, given, given), given, 200, mean_of_blocks, 0.1)
