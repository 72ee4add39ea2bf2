"""Thermodynamic integration of oscillators, exact at every number of beads."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pimd.free_energy.integration import (
    between_potentials,
    classical_to_quantum,
    ladder,
    mass_change,
    mass_change_factors,
    quadrature_error,
)


def kinetic(x: float, n_beads: int) -> float:
    """<K> of an oscillator, x = beta hbar omega, of P beads, in kT."""
    eta = 2.0 * math.asinh(x / (2.0 * n_beads))
    return 0.25 * x / math.tanh(0.5 * n_beads * eta) / math.cosh(0.5 * eta)


def excess(x: float, n_beads: int) -> float:
    """beta (A_q - A_cl)."""
    eta = 2.0 * math.asinh(x / (2.0 * n_beads))
    return 0.5 * n_beads * eta + math.log1p(-math.exp(-n_beads * eta)) - math.log(x)


@pytest.mark.parametrize(
    ("n", "expected"), [(3, 0.87364666), (4, 0.87360128), (6, 0.87360106)]
)
def test_mass_integration(n: int, expected: float) -> None:
    """x = 5, P = 16; omega goes as g."""
    rungs = ladder(n)
    values = [kinetic(5.0 * g, 16) for g in rungs.nodes]
    found = classical_to_quantum(rungs, values, np.zeros(n), 0.5)
    assert found.value == pytest.approx(expected, abs=1.1e-8)
    assert found.error == 0.0
    np.testing.assert_allclose(rungs.mass_factors, rungs.nodes**-2.0)


def test_a_stiff_mode_wants_six_nodes() -> None:
    """3700 cm^-1 at 300 K, P = 32: three nodes miss by 0.3 %, six by less than 1e-4."""
    exact = excess(17.744915, 32)
    missed = {}
    for n in (3, 6):
        rungs = ladder(n)
        values = [kinetic(17.744915 * g, 32) for g in rungs.nodes]
        missed[n] = classical_to_quantum(rungs, values, np.zeros(n), 0.5).value / exact - 1.0
    assert abs(missed[3]) == pytest.approx(3e-3, rel=0.5)
    assert abs(missed[6]) < 1e-4


@pytest.mark.parametrize("alpha", [2.0, 0.5, 1.125])
def test_change_of_mass(alpha: float) -> None:
    """omega goes as 1/sqrt(mass), and so does x; the classical part is left out."""
    rungs = ladder(6)
    xs = [5.0 / math.sqrt(factor) for factor in mass_change_factors(rungs, alpha)]
    assert min(xs) > min(5.0, 5.0 / math.sqrt(alpha))
    assert max(xs) < max(5.0, 5.0 / math.sqrt(alpha))
    values = [kinetic(x, 16) for x in xs]
    found = mass_change(rungs, alpha, values, np.full(6, 0.1), 0.5)
    exact = excess(5.0 / math.sqrt(alpha), 16) - excess(5.0, 16)
    assert found.value == pytest.approx(exact, abs=1e-8)
    assert found.error > 0
    with pytest.raises(ValueError, match="ratio of two masses"):
        mass_change(rungs, 0.0, values, np.zeros(6), 0.5)


@pytest.mark.parametrize(("x", "n_beads"), [(5.0, 16), (17.744915, 32), (2.0, 16)])
@pytest.mark.parametrize("n", [4, 5, 6, 8])
def test_what_the_nodes_miss_is_less_than_they_say(x: float, n_beads: int, n: int) -> None:
    rungs = ladder(n)
    values = [kinetic(x * g, n_beads) for g in rungs.nodes]
    found = classical_to_quantum(rungs, values, np.zeros(n), 0.5)
    said = quadrature_error(rungs, list(found.integrand))
    missed = abs(found.value - excess(x, n_beads))
    assert missed < said
    if n == 8:
        assert said < 1e-3 * found.value


def test_few_nodes_do_not_say_what_they_miss() -> None:
    assert math.isnan(quadrature_error(ladder(3), [1.0, 2.0, 3.0]))
    assert quadrature_error(ladder(5), [0.0] * 5) == 0.0


def test_between_two_oscillators() -> None:
    """k = 1 to 3 at beta = 1: <U_1 - U_0>_l = (k_1 - k_0)/(2 k_l), A = log(3)/2."""
    rungs = ladder(8)
    values = [2.0 / (2.0 * (1.0 + 2.0 * node)) for node in rungs.nodes]
    assert between_potentials(rungs, values, np.zeros(8)).value == pytest.approx(
        0.5 * math.log(3.0), abs=1e-8
    )


def test_errors_of_the_nodes_add_in_squares() -> None:
    rungs, rng = ladder(4), np.random.default_rng(0)
    errors = np.array([0.1, 0.2, 0.3, 0.4])
    found = classical_to_quantum(rungs, np.full(4, 0.5), errors, 0.5)
    drawn = [
        classical_to_quantum(rungs, 0.5 + errors * rng.standard_normal(4), errors, 0.5).value
        for _ in range(4000)
    ]
    assert found.error == pytest.approx(np.std(drawn), rel=0.05)
    np.testing.assert_allclose(found.integrand_errors, 2 * errors / rungs.nodes)


@pytest.mark.parametrize(
    ("values", "errors", "match"),
    [
        ([0.5, 0.5], [0.1, 0.1, 0.1], "each of the 3 nodes"),
        ([0.5, 0.5, math.nan], [0.1] * 3, "not finite"),
        ([0.5] * 3, [0.1, math.nan, 0.1], "unknown"),
        ([0.5] * 3, [0.1, -0.1, 0.1], "negative"),
    ],
)
def test_what_does_not_belong_to_the_nodes_is_refused(
    values: list[float], errors: list[float], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        between_potentials(ladder(3), values, errors)


def test_one_node_is_no_ladder() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        ladder(1)
