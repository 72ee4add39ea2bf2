"""Kinetic energies of exact momenta pass; those of a thermostat that holds the mean do not."""

from __future__ import annotations

import numpy as np
import pytest

from pimd.analysis.momenta_check import check_momenta, kinetic_of_temperature
from pimd.units import KB_EV_PER_KELVIN

KT = KB_EV_PER_KELVIN * 300


def test_canonical_momenta_pass_about_as_often_as_they_should() -> None:
    rng = np.random.default_rng(0)
    probabilities = []
    for _ in range(100):
        p = rng.normal(size=(150, 60))
        found = check_momenta(0.5 * KT * np.square(p).sum(axis=1), 60, 300)
        assert found is not None
        assert found.mean == pytest.approx(1, abs=0.1)
        probabilities.append(found.probability)
    assert np.mean(np.array(probabilities) < 0.1) == pytest.approx(0.1, abs=0.1)
    assert min(probabilities) > 1e-5


def test_a_thermostat_that_holds_the_mean_fails() -> None:
    rng = np.random.default_rng(1)
    kinetic = KT * rng.gamma(30.0, size=2000)
    narrow = kinetic.mean() + 0.5 * (kinetic - kinetic.mean())
    found = check_momenta(narrow, 60, 300)
    assert found is not None
    assert not found.passed
    assert found.mean == pytest.approx(1, abs=0.02)
    assert found.variance == pytest.approx(0.25, abs=0.03)
    cold = check_momenta(kinetic, 60, 315)
    assert cold is not None
    assert not cold.passed


def test_the_centre_of_mass_that_is_held() -> None:
    """i-PI's temperature of 4 atoms, 2 beads: 21 of 24 degrees of freedom, and 3 by their mean."""
    rng = np.random.default_rng(2)
    kinetic = KT * rng.gamma(10.5, size=3000)
    kelvin = (kinetic + 1.5 * KT) / (0.5 * KB_EV_PER_KELVIN * 24)
    assert kelvin.mean() == pytest.approx(300, rel=0.02)
    found, freedoms = kinetic_of_temperature(kelvin, 4, 2, True, 300)
    np.testing.assert_allclose(found, kinetic)
    assert freedoms == 21
    good = check_momenta(found, freedoms, 300)
    wrong = check_momenta(found + 1.5 * KT, 24, 300)  # as if nothing were held
    assert good is not None
    assert wrong is not None
    assert good.passed
    assert wrong.variance < good.variance


def test_too_few_samples() -> None:
    assert check_momenta(np.linspace(1, 2, 15), 60, 300) is None
    with pytest.raises(ValueError, match="no momenta"):
        check_momenta(np.ones(50), 0, 300)
