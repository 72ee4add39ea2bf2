"""The reference integrator: what it has to conserve, and the ensemble it samples.

The numbers of a single harmonic oscillator (m = omega = kT = tau = 1, time step 0.05, order 3)
are those of W. G. Hoover, Phys. Rev. A 31, 1695 (1985): one link is not ergodic, though its mean
kinetic energy is right; three or four are.
"""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from physics import references as ref
from physics.sampling import estimate
from scipy import stats

from pimd.dynamics.force_fields import ForceField, harmonic, morse, of_potential, quartic
from pimd.dynamics.ring_polymer import in_modes, mode_frequencies, mode_times
from pimd.dynamics.thermostat import NoseHooverThermostat
from pimd.dynamics.verlet import Trajectory, VelocityVerlet
from pimd.evaluator import Evaluator
from pimd.potentials.base import Structure
from pimd.potentials.registry import make_potential
from pimd.units import AMU_ANGSTROM2_PER_FS2_EV, KB_EV_PER_KELVIN


def kurtosis(x: np.ndarray) -> float:
    return float((x**4).mean() / (x**2).mean() ** 2)


def oscillator(n_links: int, time_step: float = 0.05, order: int = 3) -> VelocityVerlet:
    """A harmonic oscillator that starts at x = p = v_j = 1."""
    thermostat = NoseHooverThermostat(1.0, (1,), 1.0, 1.0, n_links=n_links, order=order)
    thermostat.chains.velocities[...] = 1.0
    return VelocityVerlet(harmonic(), [1.0], [1.0], 1.0, time_step, thermostat=thermostat)


def assert_not_canonical(run: Trajectory) -> None:
    """One link: <p^2> is right, and all else is wrong in the way known."""
    x, p = run.positions[:, 0], run.momenta[:, 0]
    radius = np.hypot(x, p)
    assert abs((p**2).mean() - 1) < 0.01
    assert abs((x**2).mean() - 0.80) < 0.01
    assert abs(kurtosis(x) - 1.61) < 0.02
    assert abs(kurtosis(p) - 1.90) < 0.02
    assert 0.9 < radius.min() < 0.95
    assert 1.9 < radius.max() < 2.0
    assert abs((np.abs(p) < 0.1).mean() - 0.0601) < 0.004  # canonical: 0.0797


def test_one_link_fails_on_the_harmonic_oscillator() -> None:
    assert_not_canonical(oscillator(1).run(40_000))


@pytest.mark.parametrize("n_links", [3, 4])
def test_three_and_four_links_sample_the_harmonic_oscillator(n_links: int) -> None:
    """200 oscillators, all from x = p = 1, with chains drawn."""
    n = 200
    thermostat = NoseHooverThermostat(
        1.0, (n,), 1.0, 1.0, n_links=n_links, rng=np.random.default_rng(n_links)
    )
    verlet = VelocityVerlet(
        harmonic(), np.ones(n), np.ones(n), 1.0, 0.05, thermostat=thermostat
    )
    verlet.run(1000, every=1000)
    run = verlet.run(10_000, every=10)
    x, p = run.positions, run.momenta
    for what, values in (("x", x), ("p", p)):
        by_oscillator = (values**2).mean(axis=0)
        error = by_oscillator.std(ddof=1) / np.sqrt(n)
        print(what, by_oscillator.mean(), error, kurtosis(values))
        assert error < 0.01
        assert abs(by_oscillator.mean() - 1) < 0.04
        assert abs(kurtosis(values) - 3) < 0.25
    assert np.hypot(x, p).min() < 0.01  # no hole
    assert np.hypot(x, p).min(axis=0).max() < 0.9  # nor one in any of the runs
    assert abs((np.abs(p) < 0.1).mean() - 0.0797) < 0.003


@pytest.mark.physics
@pytest.mark.parametrize("n_links", [1, 3, 4])
def test_long_runs_of_one_oscillator(n_links: int) -> None:
    """One path each, which depends on the start: <x^2> of such runs scatters by 0.014.

    From v_1 = 1 and the other links at rest three links give 0.945, and rms(H') of four links is
    1.1e-3; the oscillators of the test above, with many starts, decide about ergodicity.
    """
    run = oscillator(n_links).run(200_000)
    x, p = run.positions[:, 0], run.momenta[:, 0]
    drift = np.polyfit(run.times, run.conserved, 1)[0]
    print(
        f"{n_links} links: <x2> {(x**2).mean():.4f}, <p2> {(p**2).mean():.4f}, kurtosis "
        f"{kurtosis(x):.3f} {kurtosis(p):.3f}, radius {np.hypot(x, p).min():.3f} to "
        f"{np.hypot(x, p).max():.3f}, rms(H') {run.conserved.std():.2e}, drift {drift:.1e}"
    )
    if n_links == 1:
        assert_not_canonical(run)
    else:
        assert abs((x**2).mean() - 1) < 0.04
        assert abs(kurtosis(x) - 3) < 0.25
        assert abs(kurtosis(p) - 3) < 0.25
    assert run.conserved.std() < 6e-4 * 1.5
    assert abs(drift) < 1e-6


@pytest.mark.parametrize("n_links", [1, 3, 4])
def test_conserved_quantity_fluctuates_with_the_square_of_the_time_step(n_links: int) -> None:
    """Of 64 oscillators, too short for paths to part, the chains of order 7."""
    rms = []
    for h in (0.1, 0.05):
        rng = np.random.default_rng(0)
        thermostat = NoseHooverThermostat(
            1.0, (64,), 1.0, 1.0, n_links=n_links, order=7, rng=rng
        )
        start = rng.standard_normal((2, 64))
        verlet = VelocityVerlet(harmonic(), *start, 1.0, h, thermostat=thermostat)
        rms.append(verlet.run(round(8 / h)).conserved.std())
    print(f"{n_links} links: rms(H') {rms[0]:.3g} -> {rms[1]:.3g}, ratio {rms[0] / rms[1]:.3f}")
    assert abs(rms[0] / rms[1] - 4) < 0.2


def test_conserved_quantity_of_one_oscillator() -> None:
    """Three links, order 3, time step 0.05, where it is rms 5e-4."""
    assert oscillator(3).run(10_000).conserved.std() < 6e-4 * 1.5


def test_chains_faster_than_the_time_step_keep_the_conserved_quantity() -> None:
    """A free ring of 32 beads, omega h up to 1.2: stiff modes, 500 replicas, no creep."""
    kT, n_beads, n = 1.0, 32, 100
    omega = mode_frequencies(n_beads, kT, 1.0)[:, None]
    h = 1.2 / omega.max()
    rng = np.random.default_rng(0)
    tau = mode_times(omega[:, 0], 1.0)[:, None]
    thermostat = NoseHooverThermostat(1.0, (n_beads, n), n_beads * kT, tau, rng=rng)
    assert thermostat.chains.repetitions(h / 2).max() >= 4
    momenta = np.sqrt(n_beads * kT) * rng.standard_normal((n_beads, n))
    positions = momenta[::-1] / np.where(omega > 0, omega, np.inf)

    def free(x: np.ndarray) -> tuple[float, np.ndarray]:
        return 0.0, np.zeros_like(x)

    verlet = VelocityVerlet(
        free, positions, momenta, 1.0, h, frequencies=omega, thermostat=thermostat
    )
    conserved = verlet.run(400).conserved / (n_beads * kT) / momenta.size
    creep = np.polyfit(np.arange(400), conserved, 1)[0]
    print(f"creep {creep:.2g} kT a chain and step")
    assert abs(creep) < 1e-5


@pytest.mark.parametrize("thermostatted", [False, True])
def test_runs_backwards(thermostatted: bool) -> None:
    """The whole integrator: minus the velocities of atoms and chains retraces the path."""
    rng = np.random.default_rng(1)
    omega = mode_frequencies(6, 1.0, 1.0)[:, None]
    thermostat = NoseHooverThermostat(
        2.0, (6, 2), 6.0, mode_times(omega[:, 0], 0.7)[:, None], rng=rng
    )
    verlet = VelocityVerlet(
        in_modes(quartic()), rng.standard_normal((6, 2)), rng.standard_normal((6, 2)), 2.0, 0.05,
        frequencies=omega, thermostat=thermostat if thermostatted else None,
    )
    start = verlet.positions.copy()
    verlet.run(20)
    assert np.abs(verlet.positions - start).max() > 0.1
    verlet.momenta *= -1
    thermostat.chains.velocities *= -1
    verlet.run(20)
    np.testing.assert_allclose(verlet.positions, start, rtol=0, atol=1e-9)


def test_free_ring_polymers_move_exactly() -> None:
    """Whatever the time step: 7 large steps equal the closed form."""
    omega = mode_frequencies(8, 1.0, 1.0)[:, None]
    rng = np.random.default_rng(2)
    q, p = rng.standard_normal((2, 8, 3))

    def free(x: np.ndarray) -> tuple[float, np.ndarray]:
        return 0.0, np.zeros_like(x)

    verlet = VelocityVerlet(free, q, p, 1.5, 2.0, frequencies=omega)
    before = verlet.conserved
    run = verlet.run(7)
    t = 14.0
    slope = np.divide(np.sin(omega * t), omega, out=np.full_like(omega, t), where=omega > 0)
    np.testing.assert_allclose(run.positions[-1], q * np.cos(omega * t) + p / 1.5 * slope,
                               atol=1e-10)
    np.testing.assert_allclose(run.conserved, before, rtol=1e-12)
    assert abs(run.times[-1] - t) < 1e-12


def test_momenta_have_the_shape_of_positions() -> None:
    with pytest.raises(ValueError, match="shape of positions"):
        VelocityVerlet(harmonic(), [1.0], [1.0, 2.0], 1.0, 0.1)


@pytest.mark.parametrize(
    ("coupling", "options", "shape"),
    [("massive", {}, (4, 3)), ("mode", {"removed": 1}, (4, 1)), ("global", {}, (1, 1))],
)
def test_couplings(coupling: str, options: dict, shape: tuple[int, ...]) -> None:
    thermostat = NoseHooverThermostat(1.0, (4, 3), 0.5, 1.0, coupling=coupling, **options)
    assert thermostat.chains.shape == shape
    target = thermostat.chains._constants._of_chains[1]
    assert target.sum() == 0.5 * (12 - options.get("removed", 0))
    momenta = np.ones((4, 3))
    before = (momenta**2).sum() / 2 + thermostat.energy
    thermostat.step(momenta, 0.1)
    assert abs((momenta**2).sum() / 2 + thermostat.energy - before) < 1e-4
    assert not np.array_equal(momenta, np.ones((4, 3)))


def test_wrong_couplings_are_refused() -> None:
    with pytest.raises(ValueError, match="massive, mode, global; got 'local'"):
        NoseHooverThermostat(1.0, (2,), 1.0, 1.0, coupling="local")
    with pytest.raises(ValueError, match="removed must be 0"):
        NoseHooverThermostat(1.0, (2,), 1.0, 1.0, removed=3)


@pytest.mark.parametrize(("name", "force_field"), [("quartic", quartic()), ("morse", morse(8.0))])
def test_kinetic_energy_is_distributed_canonically(name: str, force_field: ForceField) -> None:
    """K of six degrees of freedom under massive chains is Gamma(3, kT)."""
    n_systems, kT, dof = 40, 0.8, 6
    shape = (n_systems, dof)
    rng = np.random.default_rng(8)
    mass = np.linspace(0.5, 2.0, dof)
    thermostat = NoseHooverThermostat(mass, shape, kT, 0.6, rng=rng)
    verlet = VelocityVerlet(
        force_field, np.full(shape, 0.3), np.zeros(shape), mass, 0.1, thermostat=thermostat
    )
    verlet.run(300, every=300)
    run = verlet.run(2400, every=60)
    kinetic = (run.momenta**2 / (2 * mass)).sum(axis=2)  # [sample, system]
    # samples for each independent one, from the scatter of the systems' means
    correlation = len(kinetic) * kinetic.mean(axis=0).var(ddof=1) / kinetic.var()
    thinned = kinetic[:: max(1, int(np.ceil(2 * correlation)))].ravel()
    result = stats.kstest(thinned, stats.gamma(dof / 2, scale=kT).cdf)
    print(name, f"inefficiency {correlation:.2f}, {thinned.size} samples, p {result.pvalue:.3f}")
    assert thinned.size > 300
    assert result.pvalue > 1e-3
    assert stats.kstest(thinned, stats.gamma(dof / 2, scale=1.1 * kT).cdf).pvalue < 1e-3


def test_harmonic_ring_polymer_under_massive_chains() -> None:
    """8 beads, beta hbar omega = 5, time step 0.3: averages with all errors of P and the step.

    NHC(h/2) leaves the positions, so that they are distributed as under OBABO.
    """
    ring_averages(n=400, n_steps=800, ceiling=0.01, tolerance=0.03, temperature_tolerance=0.02)


@pytest.mark.physics
def test_harmonic_ring_polymer_under_massive_chains_in_long_runs() -> None:
    ring_averages(
        n=2000, n_steps=5000, ceiling=0.0025, tolerance=0.005, temperature_tolerance=0.003
    )


def ring_averages(
    n: int, n_steps: int, ceiling: float, tolerance: float, temperature_tolerance: float
) -> None:
    beta, n_beads, h = 5.0, 8, 0.3
    exact = ref.sampled_oscillator(n_beads, beta, 1.0, h, "obabo")
    omega = mode_frequencies(n_beads, 1 / beta, 1.0)[:, None]
    kT_ring = n_beads / beta
    rng = np.random.default_rng(3)
    thermostat = NoseHooverThermostat(
        1.0, (n_beads, n), kT_ring, mode_times(omega[:, 0], 1.0)[:, None], rng=rng
    )
    verlet = VelocityVerlet(
        harmonic(), np.zeros((n_beads, n)), np.ones((n_beads, n)), 1.0, h, frequencies=omega,
        thermostat=thermostat,
    )
    verlet.run(200, every=200)
    positions, momenta = np.zeros((2, n_beads, n))
    for _ in range(n_steps):
        verlet.step()
        positions += verlet.positions**2
        momenta += verlet.momenta**2
    q2, p2 = positions / n_steps, momenta / n_steps  # [mode, replica]
    potential = 0.5 * q2.sum(axis=0) / n_beads
    kinetic_cv = 0.5 / beta + 0.5 * q2[1:].sum(axis=0) / n_beads
    for what, values, reference, allowed in (
        ("V", potential, exact.potential, tolerance),
        ("K_cv", kinetic_cv, exact.kinetic_cv, tolerance),
        ("T", p2.mean(axis=0) / kT_ring, 1.0, temperature_tolerance),
    ):
        error = values.std(ddof=1) / np.sqrt(n)
        off = values.mean() - reference
        message = f"{what}: {values.mean():.6f} +- {error:.2g}, exact {reference:.6f}"
        print(message)
        assert error < ceiling * reference, message
        assert abs(off) < min(4 * error, allowed * reference), message


def silicon(time_step: float, coupling: str | None, temperature: float = 300.0) -> VelocityVerlet:
    """8 atoms of Stillinger-Weber silicon, the total momentum zero; eV, Å, fs."""
    atoms = bulk("Si", "diamond", a=5.431, cubic=True)
    atoms.rattle(0.02, seed=1)
    structure = Structure.from_ase(atoms)
    masses = atoms.get_masses()[:, None] * AMU_ANGSTROM2_PER_FS2_EV
    kT = KB_EV_PER_KELVIN * temperature
    rng = np.random.default_rng(0)
    momenta = np.sqrt(masses * kT) * rng.standard_normal((8, 3))
    momenta -= momenta.mean(axis=0)
    thermostat = None
    if coupling is not None:
        thermostat = NoseHooverThermostat(
            masses, (8, 3), kT, 20.0, coupling=coupling, removed=3 * (coupling == "global"),
            order=7, rng=rng,
        )
    force_field = of_potential(Evaluator(make_potential("stillinger_weber")), structure)
    return VelocityVerlet(
        force_field, structure.positions, momenta, masses, time_step, thermostat=thermostat
    )


@pytest.mark.parametrize("coupling", [None, "global", "massive"])
def test_silicon_conserves_to_second_order(coupling: str | None) -> None:
    long, short = (
        silicon(h, coupling).run(round(600 / h)).conserved for h in (4.0, 2.0)
    )
    ratio = long.std() / short.std()
    print(f"{coupling}: rms {long.std():.3g} -> {short.std():.3g} eV, ratio {ratio:.2f}")
    assert short.std() < 2e-3
    assert abs(ratio - 4) < 0.4


@pytest.mark.physics
def test_kinetic_energy_of_silicon_under_a_global_chain() -> None:
    """Gamma((3N - 3)/2, kT), the centre of mass at rest."""
    verlet = silicon(2.0, "global", temperature=600.0)
    kT, dof = KB_EV_PER_KELVIN * 600.0, 21
    verlet.run(1000, every=1000)
    run = verlet.run(12_000, every=5)
    thinned = run.kinetic[:: int(np.ceil(2 * estimate(run.kinetic).inefficiency))]
    result = stats.kstest(thinned, stats.gamma(dof / 2, scale=kT).cdf)
    print(f"{thinned.size} samples, p {result.pvalue:.3f}")
    assert thinned.size > 100
    assert result.pvalue > 1e-3
    np.testing.assert_allclose(verlet.momenta.sum(axis=0), 0.0, atol=1e-9)
    error = estimate(run.kinetic).error
    assert error < 0.03 * dof * kT / 2
    assert abs(run.kinetic.mean() - dof * kT / 2) < 4 * error
