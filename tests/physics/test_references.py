"""The references against tables computed elsewhere, and against a second way to each number."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from . import references as ref
from .sampling import assert_agrees, estimate
from .water_reference import (
    HarmonicMonomer,
    Monomer,
    harmonic_kinetic,
    sample_molecules,
    wavenumbers,
)

KT_300 = ref.KB_HARTREE * 300


@pytest.mark.parametrize(
    ("x", "n_beads", "energy", "heat", "gyration", "excess"),
    [
        (2, 4, 0.64052288, 0.775257, 0.14052288, 0.14809535),
        (2, 16, 0.65547415, 0.727577, 0.15547415, 0.16058587),
        (2, np.inf, 0.65651764, 0.724062, 0.15651764, 0.16143936),
        (5, 4, 0.43161837, 0.769184, 0.23161837, 0.74219201),
        (5, 8, 0.48424396, 0.383766, 0.28424396, 0.84425143),
        (5, 16, 0.50084554, 0.229789, 0.30084554, 0.87360106),
        (5, 32, 0.50527874, 0.185907, 0.30527874, 0.88123067),
        (5, np.inf, 0.50678365, 0.170742, 0.30678365, 0.88380134),
    ],
)
def test_oscillator_table(
    x: float, n_beads: float, energy: float, heat: float, gyration: float, excess: float
) -> None:
    got = ref.oscillator(x, n_beads)
    assert_allclose(
        [got.energy, got.gyration, got.free_energy_excess], [energy, gyration, excess], atol=6e-9
    )
    assert_allclose(got.heat_capacity, heat, atol=6e-7)


@pytest.mark.parametrize(("x", "n_beads"), [(0.3, 1), (2.0, 5), (5.0, 8), (17.7, 32)])
def test_oscillator_equals_its_mode_sum(x: float, n_beads: int) -> None:
    """beta F = sum_k ln sqrt(w_k^2 + W^2) + const; E, C and <q^2> are its derivatives."""

    def log_z(beta: float) -> float:  # W = hbar = m = 1
        w = ref.ring_frequencies(n_beads, beta)
        return -0.5 * np.log((w**2 + 1) * (beta / n_beads) ** 2).sum()

    got, h = ref.oscillator(x, n_beads), 1e-3 * x
    plus, middle, minus = (log_z(x + s * h) for s in (1, 0, -1))
    w = ref.ring_frequencies(n_beads, x)
    q2 = (1 / x / (w**2 + 1)).sum()
    assert_allclose(got.free_energy, -middle, rtol=1e-12)
    assert_allclose(got.energy, q2, rtol=1e-12)
    assert_allclose(got.energy, -(plus - minus) / (2 * h), rtol=1e-5)
    assert_allclose(got.heat_capacity, x**2 * (plus - 2 * middle + minus) / h**2, rtol=1e-4)
    assert_allclose(got.gyration, (1 / x / (w[1:] ** 2 + 1)).sum(), rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize(
    ("time_step", "scheme", "potential", "kinetic_cv", "kinetic_td"),
    [
        (0, "obabo", 0.242122, 0.242122, 0.242122),
        (0.1, "obabo", 0.242815, 0.242565, 0.240335),
        (0.1, "baoab", 0.242207, 0.242207, 0.241741),
        (0.3, "obabo", 0.248592, 0.246290, 0.225045),
        (0.3, "baoab", 0.242896, 0.242896, 0.238645),
    ],
)
def test_time_step_table(
    time_step: float, scheme: str, potential: float, kinetic_cv: float, kinetic_td: float
) -> None:
    got = ref.sampled_oscillator(8, 5.0, 1.0, time_step, scheme)
    assert_allclose(
        [got.potential, got.kinetic_cv, got.kinetic_td],
        [potential, kinetic_cv, kinetic_td],
        atol=6e-7,
    )


@pytest.mark.parametrize("scheme", ["obabo", "baoab"])
@pytest.mark.parametrize("time_step", [0.05, 0.3, 0.6])
def test_time_step_formulas_equal_the_integrators_own_covariance(
    scheme: str, time_step: float
) -> None:
    """One step is a linear map plus noise, S -> M S M' + N; its fixed point has the averages."""
    n_beads, beta, frequency, friction = 8, 5.0, 0.9, 1.3
    kt = n_beads / beta
    q2, p2 = np.empty(n_beads), np.empty(n_beads)
    w = ref.ring_frequencies(n_beads, beta)

    def kick(h: float) -> np.ndarray:
        return np.array([[1, 0], [-h * frequency**2, 1]])

    def drift(w: float, h: float) -> np.ndarray:
        if w == 0:
            return np.array([[1, h], [0, 1]])
        return np.array(
            [[np.cos(w * h), np.sin(w * h) / w], [-w * np.sin(w * h), np.cos(w * h)]]
        )

    half, none = time_step / 2, np.zeros((2, 2))
    for k in range(n_beads):
        def rub(h: float) -> tuple[np.ndarray, np.ndarray]:
            c = np.exp(-friction * h)
            return np.diag([1.0, c]), np.diag([0.0, kt * (1 - c**2)])

        steps = {
            "obabo": [rub(half), (kick(half), none), (drift(w[k], time_step), none),
                      (kick(half), none), rub(half)],
            "baoab": [(kick(half), none), (drift(w[k], half), none), rub(time_step),
                      (drift(w[k], half), none), (kick(half), none)],
        }[scheme]
        total, noise = np.eye(2), none
        for matrix, added in steps:
            total, noise = matrix @ total, matrix @ noise @ matrix.T + added
        # vec S = (1 - M x M)^-1 vec N
        fixed = np.linalg.solve(np.eye(4) - np.kron(total, total), noise.ravel())
        q2[k], p2[k] = fixed[0], fixed[3]
    got = ref.sampled_oscillator(n_beads, beta, frequency, time_step, scheme)
    spring = (w**2 * q2).sum() / (2 * n_beads)
    assert_allclose(got.potential, frequency**2 * q2.sum() / (2 * n_beads), rtol=1e-9)
    assert_allclose(
        got.kinetic_cv, 0.5 / beta + frequency**2 * q2[1:].sum() / (2 * n_beads), rtol=1e-9
    )
    assert_allclose(got.kinetic_td, n_beads / (2 * beta) - spring, rtol=1e-9)
    assert_allclose(got.temperature, p2.mean() / kt, rtol=1e-9)


def test_free_ring_gyration_of_hydrogen() -> None:
    mass, beta = 1.00794 * ref.DALTON_ELECTRON_MASS, 1 / KT_300
    for n_beads, radius in ((16, 0.199872), (1e9, 0.200264)):
        squared = 3 * ref.free_gyration(n_beads, beta, mass)
        assert_allclose(np.sqrt(squared) * ref.BOHR_ANGSTROM, radius, atol=6e-7)
    w = ref.ring_frequencies(16, beta)[1:]
    assert_allclose(ref.free_gyration(16, beta, mass), (1 / (mass * beta * w**2)).sum(), rtol=1e-12)


@pytest.mark.parametrize(
    ("beta", "n_beads", "potential", "kinetic", "mean_square", "excess"),
    [
        (1.0, 16, 0.290539, 0.581078, 0.696665, 0.08240195),
        (8.0, 1, 0.03125, 0.0625, 0.23899440, 0.0),
    ],
)
def test_matrix_powers_quartic(
    beta: float,
    n_beads: int,
    potential: float,
    kinetic: float,
    mean_square: float,
    excess: float,
) -> None:
    got = ref.matrix_powers(lambda x: x**4 / 4, 1.0, beta, n_beads, np.linspace(-5, 5, 801))
    assert_allclose(
        [got.potential, got.kinetic, got.mean_square], [potential, kinetic, mean_square], atol=1e-6
    )
    assert_allclose(got.free_energy_excess, excess, atol=2e-8)


def test_matrix_powers_harmonic_and_mild() -> None:
    got = ref.matrix_powers(lambda x: x**2 / 2, 1.0, 5.0, 8, np.linspace(-7, 7, 601))
    exact = ref.oscillator(5.0, 8)
    assert_allclose([got.energy, got.mean_square], exact.energy, rtol=1e-6)
    assert_allclose(got.free_energy_excess * 5, exact.free_energy_excess, rtol=1e-8)
    got = ref.matrix_powers(
        lambda x: 0.5 * x**2 + 0.1 * x**3 + 0.01 * x**4, 1.0, 8.0, 16, np.linspace(-11, 8, 1201)
    )
    assert_allclose(
        [got.energy, got.potential, got.kinetic, got.mean, got.mean_square],
        [0.479786, 0.242543, 0.237243, -0.145917, 0.523583],
        atol=2e-6,
    )


@pytest.mark.parametrize(
    ("n_beads", "energy", "kinetic", "length", "excess"),
    [(32, 228.750, 113.403, 0.956666, 159.591), (64, 235.911, 117.012, None, 162.070)],
)
def test_matrix_powers_oh_stretch(
    n_beads: int, energy: float, kinetic: float, length: float | None, excess: float
) -> None:
    got = oh_stretch(n_beads)
    meV = ref.HARTREE_MEV
    assert_allclose([got.energy * meV, got.kinetic * meV], [energy, kinetic], atol=2e-3)
    assert_allclose(got.free_energy_excess * meV, excess, atol=2e-3)
    if length is not None:
        assert_allclose(got.mean * ref.BOHR_ANGSTROM, length, atol=2e-6)


def oh_stretch(n_beads: int) -> ref.Bead1D:
    """The O-H bond of q-TIP4P/F in one dimension at 300 K, hartree and bohr."""
    mass = ref.DALTON_ELECTRON_MASS * 1.00794 * 15.9994 / (1.00794 + 15.9994)
    monomer = Monomer()
    grid = monomer.bond + np.linspace(-0.9, 1.1, 701)
    return ref.matrix_powers(monomer.stretch, mass, 1 / KT_300, n_beads, grid)


def test_water_molecule_forces_are_the_gradient() -> None:
    monomer, rng = Monomer(), np.random.default_rng(3)
    q = monomer.minimum() + 0.2 * rng.standard_normal((5, 3, 3))
    forces, step = monomer.evaluate(q)[1], 1e-4
    for atom in range(3):
        for axis in range(3):
            shift = np.zeros((3, 3))
            shift[atom, axis] = step
            slope = (monomer.evaluate(q + shift)[0] - monomer.evaluate(q - shift)[0]) / (2 * step)
            assert_allclose(forces[:, atom, axis], -slope, atol=2e-8)


def test_water_molecule_harmonic() -> None:
    monomer = Monomer()
    assert_allclose(monomer.evaluate(monomer.minimum())[0], 0, atol=1e-15)
    assert_allclose(wavenumbers(monomer), [1580.12, 3852.10, 3919.71], atol=6e-3)
    for n_beads, of_h, of_o in (
        (1, 38.778, 38.778), (8, 115.024, 48.744), (16, 140.693, 52.042),
        (32, 152.018, 53.495), (64, 155.471, 53.938), (np.inf, 156.692, 54.095),
    ):
        got = harmonic_kinetic(monomer, KT_300, n_beads) * ref.HARTREE_MEV
        assert_allclose(got, [of_o, of_h, of_h], atol=1.1e-3)


def test_water_molecule_sampler_on_the_harmonic_molecule() -> None:
    """K_H, K_O and V of the harmonic molecule are known at this P and time step."""
    kt, n_beads, time_step = KT_300, 16, 0.5 / ref.ATOMIC_TIME_FS
    molecule = HarmonicMonomer(Monomer())
    modes = [
        ref.sampled_oscillator(n_beads, 1 / kt, w, time_step, "baoab")
        for w in molecule.frequencies[6:]
    ]
    weights = (molecule.modes**2).sum(axis=2)  # [mode, atom]
    per_mode = np.array([kt / 2] * 6 + [m.kinetic_cv for m in modes])
    kinetic = per_mode @ weights
    potential = sum(m.potential for m in modes)
    series = sample_molecules(
        molecule, kt, n_beads=n_beads, n_molecules=400, time_step=time_step,
        n_steps=1500, n_equilibration=150, seed=5,
    )
    for name, reference in (
        ("kinetic_o", kinetic[0]), ("kinetic_h", kinetic[1]), ("potential", potential)
    ):
        assert_agrees(name, series[name] / reference, 1.0, ceiling=3e-3)


def test_standard_error_of_a_correlated_series() -> None:
    """AR(1) with phi = 0.9: 19 samples per independent one; the error covers as it should."""
    rng, phi, n_samples = np.random.default_rng(11), 0.9, 20000
    inefficiencies, z = [], []
    for _ in range(40):
        noise = rng.standard_normal(n_samples)
        series = np.empty(n_samples)
        series[0] = noise[0] / np.sqrt(1 - phi**2)
        for t in range(1, n_samples):
            series[t] = phi * series[t - 1] + noise[t]
        got = estimate(series)
        inefficiencies.append(got.inefficiency)
        z.append(got.mean / got.error)
    assert 16 < np.mean(inefficiencies) < 21
    assert 0.75 < np.std(z) < 1.35


def test_assert_agrees_refuses_what_it_should() -> None:
    series = np.random.default_rng(1).standard_normal(10000)
    assert_agrees("fair", series, 0.0, ceiling=0.02)
    with pytest.raises(AssertionError, match=r"5.* standard errors"):
        assert_agrees("shifted", series - series.mean() + 0.055, 0.0, ceiling=0.02)
    with pytest.raises(AssertionError, match="ceiling"):
        assert_agrees("vague", series, 0.0, ceiling=0.005)
    with pytest.raises(AssertionError, match="tolerance"):
        assert_agrees("biased", series - series.mean() + 0.02, 0.0, ceiling=0.02, tolerance=0.01)
    with pytest.raises(ValueError, match="too few"):
        estimate(np.cumsum(series))
