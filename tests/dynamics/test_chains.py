"""Nosé-Hoover chains by themselves: what their part of the motion has to keep."""

from __future__ import annotations

import numpy as np
import pytest

from pimd.dynamics import chain_constants
from pimd.dynamics import chains as module
from pimd.dynamics.chains import ChainsRanAway, NoseHooverChains, chain_masses

RNG = np.random.default_rng


def some_chains(
    n: int, n_links: int, seed: int = 0, **options: float
) -> tuple[NoseHooverChains, np.ndarray]:
    """Chains of many sorts near equilibrium, and kinetic energies for them."""
    rng = RNG(seed)
    dof = rng.integers(1, 5, n)
    kT = rng.uniform(0.5, 2.0, n)
    tau = np.exp(0.5 * rng.standard_normal(n))
    target = kT * dof
    chains = NoseHooverChains(target, kT, chain_masses(target, kT, tau, n_links), **options)
    chains.draw(rng)
    return chains, kT * rng.chisquare(dof)


@pytest.mark.parametrize("n_links", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("order", [1, 3, 5, 7])
def test_many_chains_equal_one_by_one(n_links: int, order: int) -> None:
    """The arrays' code against the plain one, with n large enough for the former."""
    n = 3 * module.FEW
    chains, kinetic2 = some_chains(n, n_links, order=order, substeps=2)
    start, masses = chains.velocities.copy(), chains._constants.masses
    target, kT = chains._constants._of_chains[1:]
    scale = chains.step(kinetic2, 0.2)
    assert scale.shape == (n,)
    potential = 0.0
    for k in range(n):
        one = NoseHooverChains(
            target[k], kT[k], masses[:, k], order=order, substeps=2, velocities=start[:, k]
        )
        assert one.shape == ()
        factor = one.step(kinetic2[k], 0.2)
        assert isinstance(factor, float)
        assert abs(factor - scale[k]) < 1e-13
        np.testing.assert_allclose(one.velocities, chains.velocities[:, k], rtol=0, atol=1e-12)
        potential += one.potential
    assert abs(potential - chains.potential) < 1e-11
    assert np.abs(chains.velocities - start).max() > 0.05


@pytest.mark.parametrize("block", [7, 13])  # below and above FEW
def test_shape_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    flat, kinetic2 = some_chains(60, 4)
    constants, masses = flat._constants._of_chains, flat._constants.masses
    square = NoseHooverChains(
        constants[1].reshape(5, 12), constants[2].reshape(5, 12), masses.reshape(4, 5, 12),
        velocities=flat.velocities.reshape(4, 5, 12),
    )
    scale = flat.step(kinetic2, 0.1)
    monkeypatch.setattr(chain_constants, "BLOCK", block)
    out = np.empty((5, 12))
    assert square.step(kinetic2.reshape(5, 12), 0.1, out) is out
    assert square.shape == (5, 12)
    np.testing.assert_allclose(out.ravel(), scale, rtol=0, atol=1e-14)
    np.testing.assert_allclose(
        square.velocities.reshape(4, 60), flat.velocities, rtol=0, atol=1e-13
    )
    assert abs(square.potential - flat.potential) < 1e-12


@pytest.mark.parametrize("n", [2, 40])
@pytest.mark.parametrize("order", [1, 3, 5, 7])
def test_reversible(n: int, order: int) -> None:
    chains, kinetic2 = some_chains(n, 4, order=order)
    start = chains.velocities.copy()
    forth = chains.step(kinetic2, 0.25)
    back = chains.step(kinetic2 * forth**2, -0.25)
    assert np.abs(forth - 1).max() > 0.01
    np.testing.assert_allclose(forth * back, 1.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(chains.velocities, start, rtol=0, atol=1e-12)
    assert abs(chains.potential) < 1e-11


@pytest.mark.parametrize("n", [2, 40])
@pytest.mark.parametrize(("order", "power"), [(1, 2), (3, 4), (5, 4), (7, 6)])
def test_steps_converge_with_the_order(
    monkeypatch: pytest.MonkeyPatch, n: int, order: int, power: int
) -> None:
    """To a solution that keeps kinetic energy and that of the chains together."""
    monkeypatch.setattr(chain_constants, "LONGEST_STAGE", 10.0)  # no substeps but those asked for

    def end(order: int, substeps: int) -> np.ndarray:
        chains, kinetic2 = some_chains(n, 4, seed=3, order=order, substeps=substeps)
        before = 0.5 * kinetic2.sum() + chains.energy
        scale = chains.step(kinetic2, 0.4)
        after = 0.5 * (kinetic2 * scale**2).sum() + chains.energy
        return np.concatenate([scale, chains.velocities.ravel(), [chains.energy, after - before]])

    exact = end(7, 64)
    assert np.abs(exact[:-1] - 1).max() > 0.1
    assert abs(exact[-1]) < 2e-11 * n  # kept by the limit itself
    coarse = 16 if order < 7 else 4
    errors = [np.abs(end(order, substeps) - exact).max() for substeps in (coarse, 2 * coarse)]
    assert abs(np.log2(errors[0] / errors[1]) - power) < 0.5, errors


@pytest.mark.parametrize("n_links", [1, 2, 4])
def test_volume_of_phase_space(n_links: int) -> None:
    """dp dv exp(N_f xi_1 + sum xi_j) is invariant: the Jacobian is exp(-potential/kT).

    This holds exactly whatever the time step, and is what makes the ensemble canonical; it ties
    `potential` to the factors. Jacobian by central differences, three momenta on one chain.
    """
    kT, masses = 0.7, np.array([1.0, 2.0, 0.5])
    start = RNG(5).standard_normal(3 + n_links)

    def step(state: np.ndarray) -> tuple[np.ndarray, float]:
        momenta = state[:3].copy()
        chain = NoseHooverChains(
            3 * kT, kT, chain_masses(3 * kT, kT, 0.9, n_links), velocities=state[3:]
        )
        momenta *= chain.step((momenta**2 / masses).sum(), 0.4)
        return np.concatenate([momenta, chain.velocities]), chain.potential

    h = 1e-5
    jacobian = np.array([
        (step(start + h * unit)[0] - step(start - h * unit)[0]) / (2 * h)
        for unit in np.eye(len(start))
    ])
    potential = step(start)[1]
    assert abs(potential) > 0.1
    assert abs(np.linalg.det(jacobian) * np.exp(potential / kT) - 1) < 1e-8


def test_fast_chains_get_more_substeps() -> None:
    """By their own masses alone, so that a neighbour changes nothing."""
    tau = np.array([1.0, 0.05, 1.0, 2.0])
    target = np.ones(4)
    chains = NoseHooverChains(target, 1.0, chain_masses(target, 1.0, tau, 4))
    longest = 1.7024143839193153
    assert chains.repetitions(0.05).tolist() == [1, 16, 1, 1]
    assert longest / 16 <= chain_constants.LONGEST_STAGE < longest / 8
    chains.draw(RNG(1))
    alone = NoseHooverChains(
        1.0, 1.0, chain_masses(1.0, 1.0, 1.0, 4), velocities=chains.velocities[:, 0]
    )
    kinetic2 = np.array([0.5, 1.5, 2.0, 0.1])
    before = 0.5 * kinetic2.sum() + chains.energy
    scale = chains.step(kinetic2, 0.05)
    assert alone.step(0.5, 0.05) == scale[0]
    assert np.array_equal(alone.velocities, chains.velocities[:, 0])
    assert abs(0.5 * (kinetic2 * scale**2).sum() + chains.energy - before) < 0.05


@pytest.mark.parametrize("n", [5, 50])
def test_violent_steps_stay_finite_and_spare_the_others(n: int) -> None:
    """One chain at 10^6 times its temperature is cooled, H' kept to 5 %, the rest untouched."""

    def chains() -> NoseHooverChains:
        target = np.ones(n)
        made = NoseHooverChains(target, 1.0, chain_masses(target, 1.0, 1.0, 3))
        made.draw(RNG(2))
        return made

    calm, hot = chains(), chains()
    kinetic2 = RNG(3).chisquare(1, n)
    expected = calm.step(kinetic2, 0.1)
    kinetic2[3] = 1e6
    before = 0.5 * kinetic2.sum() + hot.energy
    scale = hot.step(kinetic2, 0.1)
    others = np.arange(n) != 3
    np.testing.assert_allclose(scale[others], expected[others], rtol=1e-14)
    np.testing.assert_allclose(
        hot.velocities[:, others], calm.velocities[:, others], rtol=0, atol=1e-13
    )
    assert 0 < scale[3] < 0.01
    assert abs(0.5 * (kinetic2 * scale**2).sum() + hot.energy - before) < 0.05 * before


@pytest.mark.parametrize("n", [1, 50])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_runaway_is_an_error(n: int, bad: float) -> None:
    target = np.ones(n)
    chains = NoseHooverChains(target, 1.0, chain_masses(target, 1.0, 1.0, 3))
    kinetic2 = np.ones(n)
    kinetic2[-1] = bad
    with pytest.raises(ChainsRanAway, match=r"sum p\^2/m is .* smaller time step, a larger tau"):
        chains.step(kinetic2, 0.1)


def test_wrong_units_of_time_are_an_error() -> None:
    chains = NoseHooverChains(1.0, 1.0, chain_masses(1.0, 1.0, 1e-3, 3))
    with pytest.raises(ValueError, match="units of the time step and of tau"):
        chains.step(1.0, 1e3)


@pytest.mark.parametrize("n", [3, 30])
def test_chains_without_degrees_of_freedom_rest(n: int) -> None:
    target = np.ones(n)
    target[1] = 0.0
    chains = NoseHooverChains(target, 1.0, chain_masses(target, 1.0, 0.5, 4))
    chains.draw(RNG(0))
    for kinetic2 in (0.0, 2.0):
        scale = chains.step(np.full(n, kinetic2), 0.3)
        assert scale[1] == 1.0
    assert (chains.velocities[:, 1] == 0).all()
    assert (chains.velocities[:, [0, 2]] != 0).all()
    assert np.isfinite(chains.energy)


def test_drawn_velocities_are_canonical() -> None:
    target = np.full((3, 4000), 2.0)
    target[1] *= 3
    chains = NoseHooverChains(target, 2.0, chain_masses(target, 2.0, 0.25, 4))
    chains.draw(RNG(7))
    energy = chains._constants.masses * chains.velocities**2 / 2.0  # [link, row, chain], of kT
    assert chains.velocities[0, 1].std() < 0.7 * chains.velocities[0, 0].std()
    np.testing.assert_allclose(energy.mean(axis=2), 1.0, atol=5 * np.sqrt(2 / 4000))
    np.testing.assert_allclose(
        chains.energy, 0.5 * 2.0 * energy.sum() + chains.potential, rtol=1e-12
    )


def test_another_temperature() -> None:
    """Velocities and potential stay, masses and targets change."""
    chains, _ = some_chains(20, 4)
    velocities = chains.velocities.copy()
    chains.step(np.ones(20), 0.1)
    chains.velocities = velocities
    potential = chains.potential
    target = np.full(20, 3.0)
    masses = chain_masses(target, 3.0, 0.8, 4)
    chains.retarget(target, 3.0, masses)
    fresh = NoseHooverChains(target, 3.0, masses, velocities=velocities, potential=potential)
    assert np.array_equal(chains.step(np.ones(20), 0.1), fresh.step(np.ones(20), 0.1))
    assert chains.energy == fresh.energy
    with pytest.raises(ValueError, match="have masses of shape"):
        chains.retarget(target[:5], 3.0, masses[:, :5])


def test_given_velocities_are_copied() -> None:
    velocities = np.zeros((3, 2))
    chains = NoseHooverChains([1.0, 1.0], 1.0, [1.0, 1.0, 1.0], velocities=velocities)
    chains.step([2.0, 2.0], 0.1)
    assert not velocities.any()
    assert chains.velocities.any()
    strided = np.arange(12.0).reshape(3, 4)[:, ::2]
    chains.velocities = strided
    chains.step([2.0, 2.0], 0.1)
    assert not np.array_equal(chains.velocities, strided)


@pytest.mark.parametrize(
    ("target", "kT", "masses", "options", "message"),
    [
        ([1.0], 1.0, 1.0, {}, "have shape"),
        ([1.0], 1.0, np.ones((3, 2, 1)), {}, "have shape"),
        ([-1.0], 1.0, [1.0], {}, "none negative"),
        ([1.0], 0.0, [1.0], {}, "kT > 0"),
        ([np.nan], 1.0, [1.0], {}, "targets"),
        ([1.0], 1.0, [1.0, 0.0], {}, "masses of chains are positive"),
        ([1.0], 1.0, [1.0], {"order": 2}, "order is one of"),
        ([1.0], 1.0, [1.0], {"substeps": 0}, "at least one substep"),
        ([1.0], 1.0, [1.0], {"velocities": [1.0, 2.0]}, "velocities of these chains"),
    ],
)
def test_wrong_input_is_refused(target, kT, masses, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NoseHooverChains(target, kT, masses, **options)


def test_wrong_shapes_in_a_step_are_refused() -> None:
    chains = NoseHooverChains([1.0, 1.0], 1.0, [1.0])
    with pytest.raises(ValueError, match="one entry a chain"):
        chains.step(1.0, 0.1)
    with pytest.raises(ValueError, match="contiguous float64"):
        chains.step([1.0, 1.0], 0.1, np.empty(2, dtype=np.float32))
    with pytest.raises(ValueError, match="at least one link"):
        chain_masses(1.0, 1.0, 1.0, 0)
