"""Nosé–Hoover chains in i-PI sample what i-PI's stochastic thermostats do, and what is exact.

Harmonic ring polymers at finite P and time step: a thermostat that leaves the canonical
distribution of the momenta as it is gives the averages of OBABO and BAOAB whatever it is, because
kick, drift, kick conserves a quadratic form without products of positions and momenta; so the
references are those of the stochastic thermostats.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from . import references as ref
from .ipi_runs import Input, Run, run_pimd
from .sampling import assert_agrees, estimate
from .test_harmonic_beads import BETA, N_BEADS, SPRING, TIME_STEP

INPUTS = Path(__file__).parents[2] / "inputs"


@dataclass
class Chains(Input):
    """As `Input`, with Nosé–Hoover chains in place of every thermostat."""

    more: str = ""

    def xml(self, address: str = "forces") -> str:
        head, *rest = super().xml(address).split("<thermostat ")
        parts = [head]
        for text in rest:
            inside, _, after = text.partition("</thermostat>")
            tau = inside[inside.index("<tau") : inside.index("</tau>") + len("</tau>")]
            parts.append(f"<thermostat mode='nhc'>{tau}{self.more}</thermostat>{after}")
        return "".join(parts)


@pytest.mark.parametrize(
    ("splitting", "more"),
    [
        ("obabo", ""),
        pytest.param("baoab", "", marks=pytest.mark.physics),
        pytest.param("obabo", "<order> 5 </order> <chain> 3 </chain>", marks=pytest.mark.physics),
        pytest.param("baoab", "<order> 1 </order>", marks=pytest.mark.physics),
    ],
)
def test_harmonic_ring_polymers(tmp_path: Path, splitting: str, more: str) -> None:
    """Massive chains; w_max dt = 0.96."""
    n_atoms = 40
    given = Chains(
        symbols=["H"] * n_atoms,
        positions=np.zeros((n_atoms, 3)),
        masses=(1 / ref.DALTON_ELECTRON_MASS,) * n_atoms,
        spec=f"{{potential: harmonic, k: {SPRING:.14g}}}",
        n_beads=N_BEADS,
        temperature=1 / BETA / ref.KB_HARTREE,
        time_step=TIME_STEP * ref.ATOMIC_TIME_FS,
        n_steps=2500,
        splitting=splitting,
        thermostat_time=1.0 * ref.ATOMIC_TIME_FS,
        fixcom=False,
        properties=("temperature", "potential", "kinetic_cv", "conserved"),
        more=more,
    )
    run = run_pimd(tmp_path, given, time_limit=300)
    exact = ref.sampled_oscillator(N_BEADS, BETA, 1.0, TIME_STEP, splitting)
    for name, reference, tolerance, ceiling in (
        ("potential", exact.potential, 1e-2, 4e-3),
        ("kinetic_cv", exact.kinetic_cv, 1e-2, 4e-3),
        ("temperature", exact.temperature / BETA, 6e-3, 2.5e-3),
    ):
        per_dof = 1 if name == "temperature" else 3 * n_atoms
        series = run[name][300:] / per_dof / reference
        assert_agrees(f"{name} ({splitting})", series, 1.0, ceiling=ceiling, tolerance=tolerance)
    drift = np.polyfit(np.arange(2200) * TIME_STEP, run["conserved"][300:], 1)[0]
    assert abs(drift) < 1e-4 * 3 * n_atoms / BETA  # per unit of time, of the thermal energy


@pytest.mark.physics
@pytest.mark.parametrize("fixcom", [False, True])
def test_volume_of_an_ideal_gas(tmp_path: Path, fixcom: bool) -> None:
    """NPT, chains on the beads and on the cell: <V> and Var V with and without its momentum."""
    n_atoms, kt, volume = 8, ref.KB_HARTREE * 300, 1000.0**3
    pressure = n_atoms * kt / volume
    edge = volume ** (1 / 3) * ref.BOHR_ANGSTROM
    rng = np.random.default_rng(11)
    given = Chains(
        symbols=["H"] * n_atoms,
        positions=rng.uniform(0, edge, (n_atoms, 3)),
        cell=(edge, edge, edge),
        spec="{potential: free}",
        n_beads=2,
        temperature=300,
        time_step=15.0,
        n_steps=60000,
        mode="npt",
        splitting="obabo",
        fixcom=fixcom,
        thermostat_time=100.0,
        dynamics="        <barostat mode='isotropic'><tau units='femtosecond'> 200 </tau>"
        "<thermostat mode='langevin'><tau units='femtosecond'> 100 </tau></thermostat>"
        "</barostat>\n",
        ensemble=f"      <pressure units='atomic_unit'> {pressure:.15e} </pressure>\n",
        properties=("volume", "kinetic_md", "conserved"),
        seed=31 + fixcom,
    )
    run = run_pimd(tmp_path, given, time_limit=3600)
    sampled = run["volume"][2000:]
    mean, variance = ref.ideal_gas_volume(n_atoms, kt, pressure, fixcom)
    other, _ = ref.ideal_gas_volume(n_atoms, kt, pressure, not fixcom)
    got = assert_agrees("<V>", sampled / mean, 1.0, ceiling=8e-3, tolerance=2e-2)
    square = (sampled - sampled.mean()) ** 2 / variance
    assert_agrees("Var V", square, 1.0, ceiling=4e-2, tolerance=0.15)
    assert abs(got.mean * mean - other) > 5 * got.error * mean


def silicon(kind: type[Input], **changes: object) -> Input:
    """64 Stillinger–Weber atoms at 1000 K and 1 bar."""
    lines = (INPUTS / "silicon" / "init.xyz").read_text().splitlines()
    positions = np.array([line.split()[1:4] for line in lines[2:]], dtype=float)
    edge = 2 * 5.43095
    given: dict[str, object] = {
        "symbols": ["Si"] * len(positions), "positions": positions, "cell": (edge, edge, edge),
        "spec": "{potential: stillinger_weber}", "n_beads": 1, "temperature": 1000.0,
        "time_step": 2.0, "n_steps": 12000, "mode": "npt", "splitting": "obabo",
        "thermostat_time": 50.0,
        "dynamics": "        <barostat mode='isotropic'><tau units='femtosecond'> 150 </tau>"
        "<thermostat mode='langevin'><tau units='femtosecond'> 100 </tau></thermostat>"
        "</barostat>\n",
        "ensemble": "      <pressure units='bar'> 1 </pressure>\n",
        "properties": ("volume{angstrom3}", "potential{electronvolt}", "conserved{electronvolt}"),
    }  # fmt: skip
    return kind(**{**given, **changes})  # type: ignore[arg-type]


@pytest.mark.physics
def test_volume_of_silicon(tmp_path: Path) -> None:
    """NPT with chains against PILE and a Langevin barostat: volume and energy at 1000 K."""
    chains = run_pimd(tmp_path / "nhc", silicon(Chains), time_limit=1200)
    stock = run_pimd(tmp_path / "pile", silicon(Input, seed=5), time_limit=1200)
    for name, ceiling in (("volume", 4e-4), ("potential", 4e-4)):
        reference = estimate(stock[name][1500:])
        series = chains[name][1500:] / reference.mean
        assert_agrees(f"{name} of silicon", series, 1.0, ceiling=ceiling, sigmas=3.0,
                      reference_error=reference.error / abs(reference.mean))  # fmt: skip
    assert abs(chains["volume"][1500:].mean() / (2 * 5.43095) ** 3 - 1) > 3e-3  # it has expanded


WATER_TRAJECTORY = (
    "    <trajectory filename='pos' stride='50' cell_units='angstrom'> positions{angstrom} "
    "</trajectory>\n"
)


def water(kind: type[Input], **changes: object) -> Input:
    """64 q-TIP4P/F molecules, 4 beads, 400 K at the density of 300 K.

    At 300 K the hydrogen bonds rearrange over several picoseconds, and blocks of one are not
    independent: two runs with PILE, of 8 ps each, then differ by 2.7 of their standard errors.
    """
    lines = (INPUTS / "water" / "init.xyz").read_text().splitlines()
    given: dict[str, object] = {
        "symbols": [line.split()[0] for line in lines[2:]],
        "positions": np.array([line.split()[1:4] for line in lines[2:]], dtype=float),
        "cell": (12.42963, 12.42963, 12.42963), "spec": "{potential: qtip4pf}", "n_beads": 4,
        "temperature": 400.0, "time_step": 0.5, "n_steps": 40000, "splitting": "baoab",
        "thermostat_time": 50.0, "stride": 10, "trajectories": WATER_TRAJECTORY,
        "properties": ("potential{electronvolt}", "kinetic_cv{electronvolt}",
                       "conserved{electronvolt}", "temperature{kelvin}"),
    }  # fmt: skip
    return kind(**{**given, **changes})  # type: ignore[arg-type]


def pair_counts(run: Run, limits: tuple[float, ...], pair: str) -> np.ndarray:
    """Neighbours of an O atom within each distance, means over beads, [frame, limit]; Å."""
    frames = run.positions(n_skip=100)  # [frame, bead, atom, xyz]
    oxygen, hydrogen = frames[:, :, ::3], np.delete(frames, np.s_[::3], axis=2)
    others = oxygen if pair == "OO" else hydrogen
    counts = np.zeros((len(frames), len(limits)))
    for k in range(len(frames)):
        d = oxygen[k][:, :, None] - others[k][:, None]
        d -= 12.42963 * np.round(d / 12.42963)
        r = np.sqrt((d**2).sum(-1))
        counts[k] = [(r < limit).sum() / r.shape[0] / r.shape[1] for limit in limits]
    return counts


def blocked(series: np.ndarray, n_blocks: int = 12) -> tuple[float, float]:
    """Mean and standard error from blocks of 1.5 ps."""
    blocks = np.array([part.mean() for part in np.array_split(series, n_blocks)])
    return float(blocks.mean()), float(blocks.std(ddof=1) / np.sqrt(n_blocks))


def assert_same_liquid(chains: Run, stock: Run) -> None:
    """Energies, temperature and neighbours within 3 standard errors of the two runs."""
    pairs = {
        "potential": (chains["potential"][500:], stock["potential"][500:], 0.01),
        "kinetic_cv": (chains["kinetic_cv"][500:], stock["kinetic_cv"][500:], 2e-3),
        "temperature": (chains["temperature"][500:], stock["temperature"][500:], 2.5e-3),
    }
    for kind, limits in (("OO", (2.7, 2.9, 3.4, 4.5)), ("OH", (0.9, 1.0, 1.8, 2.4, 3.5))):
        counts = [pair_counts(run, limits, kind) for run in (chains, stock)]
        for k, limit in enumerate(limits):
            pairs[f"{kind} within {limit} Å"] = (counts[0][:, k], counts[1][:, k], 0.025)
    failed = []
    for what, (mine, theirs, ceiling) in pairs.items():
        (mean, error), (reference, other) = blocked(mine), blocked(theirs)
        both = np.hypot(error, other)
        said = f"{what}: {mean:.5g} +- {error:.2g}, PILE {reference:.5g} +- {other:.2g}"
        print(f"{said}, {(mean - reference) / both:+.2f} standard errors")
        if abs(mean - reference) > 3 * both or both > ceiling * abs(reference):
            failed.append(said)
    assert not failed, failed


@pytest.mark.physics
def test_liquid_water_is_that_of_pile(tmp_path: Path) -> None:
    chains = run_pimd(tmp_path / "nhc", water(Chains), time_limit=3600)
    stock = run_pimd(tmp_path / "pile", water(Input, seed=12), time_limit=3600)
    assert_same_liquid(chains, stock)
