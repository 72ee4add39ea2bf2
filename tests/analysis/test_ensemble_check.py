"""G14: the slope of two ensembles is 1, of particles, of ring polymers and of an ideal gas."""

from __future__ import annotations

import numpy as np
import pytest
from oscillator_rings import oscillators

from pimd.analysis.ensemble_check import Sampled, check_pair, log_ratio
from pimd.analysis.estimators import spring_energies
from pimd.units import KB_EV_PER_KELVIN


def ring(temperature: float, n_beads: int, n: int, seed: int, x: float = 4.0) -> Sampled:
    q, k = oscillators(x, n_beads, n, 2.0, seed, temperature)
    potential = 0.5 * k * np.square(q).sum(axis=(2, 3)).mean(axis=1)
    springs = spring_energies(q, np.array([2.0]), temperature)[:, 0]
    return Sampled(temperature, potential, None if n_beads == 1 else springs)


@pytest.mark.parametrize("n_beads", [1, 8])
def test_temperatures(n_beads: int) -> None:
    found = check_pair(ring(300, n_beads, 20_000, 1), ring(330, n_beads, 20_000, 2))
    assert found.passed
    assert abs(found.deviation) < 3
    assert found.error < 0.15
    # f_2 - f_1 in kT of 3 P springs that depend on T: exact, by modes
    exact = 0.0
    for temperature, sign in ((330, 1), (300, -1)):
        kt = KB_EV_PER_KELVIN * temperature
        k = np.arange(n_beads)
        ring2 = 4 * n_beads**2 * (kt / (KB_EV_PER_KELVIN * 300)) ** 2 * np.sin(
            np.pi * k / n_beads
        ) ** 2  # (beta_0 hbar omega_k)^2
        exact += sign * 1.5 * np.log((ring2 + 16.0) / kt).sum()
    assert found.difference == pytest.approx(exact, abs=0.02)


def test_springs_belong_to_it() -> None:
    """Of a ring polymer the potential alone does not have the slope 1."""
    first, second = ring(300, 8, 40_000, 3), ring(330, 8, 40_000, 4)
    naive = check_pair(
        Sampled(300, first.potential), Sampled(330, second.potential)
    )
    assert not naive.passed
    assert naive.deviation < -5
    assert any("standard errors" in text for text in naive.warnings)


def test_pressures_of_an_ideal_gas() -> None:
    """p(V) ~ V^N exp(-pV/kT): a pair of pressures, and one where the second is not what it says."""
    kt, n = KB_EV_PER_KELVIN * 300, 30
    rng = np.random.default_rng(5)
    pressures = (2e-4, 2.2e-4)  # eV/Å^3
    runs = [
        Sampled(300, np.zeros(20_000), volume=rng.gamma(n + 1, kt / p, 20_000), pressure=p)
        for p in pressures
    ]
    found = check_pair(*runs)
    assert found.passed
    assert found.error < 0.05
    wrong = check_pair(
        runs[0], Sampled(300, np.zeros(20_000), volume=runs[1].volume, pressure=2.4e-4)
    )
    assert not wrong.passed
    centres, ratio, errors = log_ratio(found)
    line = np.polyfit(centres, ratio, 1, w=1 / errors)
    assert line[0] == pytest.approx(-1, abs=0.1)


def test_a_thermostat_that_is_not_canonical() -> None:
    """Energies with the right mean and too narrow a distribution."""
    rng = np.random.default_rng(6)
    runs = []
    for temperature in (300, 315):
        kt = KB_EV_PER_KELVIN * temperature
        energies = rng.gamma(150, kt, 10_000)
        runs.append(Sampled(temperature, energies.mean() + 0.8 * (energies - energies.mean())))
    found = check_pair(*runs)
    assert not found.passed
    assert found.slope == pytest.approx(1 / 0.8**2, abs=0.1)  # difference of means/variance


def test_coverage_with_correlated_samples() -> None:
    """The slope is within one error of 1 in 60 to 76 % of 200 pairs of AR(1) energies."""
    rng, phi, within = np.random.default_rng(7), 0.8, 0
    for _ in range(200):
        pair = []
        for temperature in (300, 306):
            kt = KB_EV_PER_KELVIN * temperature
            noise = rng.normal(size=800)
            x = np.empty(800)
            x[0] = noise[0]
            for t in range(1, 800):
                x[t] = phi * x[t - 1] + np.sqrt(1 - phi**2) * noise[t]
            # constant heat capacity of 900/2 k: E = (900/2) kT, Var = (900/2) (kT)^2, nearly normal
            # with exponent exactly 1 for p ~ exp(-(E - bE0)^2/2s^2) of equal widths
            width = np.sqrt(450) * KB_EV_PER_KELVIN * 303
            beta = 1 / kt
            pair.append(Sampled(temperature, width * x - width**2 * beta))
        found = check_pair(*pair)
        within += abs(found.deviation) < 1
    assert 120 <= within <= 152


def test_what_cannot_be_checked() -> None:
    some = np.random.default_rng(0).normal(size=100)
    with pytest.raises(ValueError, match="two temperatures"):
        check_pair(Sampled(300, some), Sampled(300, some))
    with pytest.raises(ValueError, match="overlap"):
        check_pair(Sampled(300, some), Sampled(310, some + 100))
    with pytest.raises(ValueError, match="barostat"):
        check_pair(Sampled(300, some), Sampled(310, some, pressure=0.0))
    with pytest.raises(ValueError, match="1 and 8 beads"):
        check_pair(Sampled(300, some), Sampled(310, some, n_beads=8))
    with pytest.raises(ValueError, match="too few"):
        check_pair(Sampled(300, some[:5]), Sampled(310, some[:5]))
    vague = check_pair(Sampled(300, 1e-4 * some), Sampled(301, 1e-4 * some[::-1]))
    assert not vague.passed
    assert "says nothing" in vague.warnings[0]
