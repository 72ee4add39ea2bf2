"""Which momenta a Nosé–Hoover chain of i-PI drives, and that it drives just those."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pimd.dynamics.chains import NoseHooverChains
from pimd.ipi.extensions.nose_hoover import _free_cell
from pimd.ipi.extensions.nose_hoover_layout import Layout, free_momenta

MASSES = np.repeat([16.0, 1.0, 1.0, 12.0], 3)  # [dof]
NONE = np.zeros(0, int)


def free(n_modes: int = 3, **held: object) -> np.ndarray:
    given = {"fixcom": False, "fixed": NONE, "centroid_held": False, **held}
    return free_momenta(np.tile(MASSES, (n_modes, 1)), **given)  # type: ignore[arg-type]


def test_degrees_of_freedom_are_counted() -> None:
    """What is left of 3 modes of 4 atoms."""
    fixed = np.array([0, 1, 2, 7])
    assert free().sum() == 36
    assert free(fixcom=True).sum() == pytest.approx(33, abs=1e-12)
    assert free(fixcom=True)[0].sum() == pytest.approx(9, abs=1e-12)
    np.testing.assert_allclose(free(fixcom=True)[0], 1 - MASSES / 30)
    assert free(fixed=fixed).sum() == 24
    assert free(centroid_held=True).sum() == 24
    assert free(centroid_held=True, fixcom=True).sum() == pytest.approx(24)


@pytest.mark.parametrize(
    ("coupling", "shape"), [("massive", (2, 11)), ("mode", (2,)), ("global", ())]
)
def test_every_chain_is_as_if_alone(coupling: str, shape: tuple[int, ...]) -> None:
    """Against one chain after the other on the momenta it is said to drive."""
    rng = np.random.default_rng(3)
    freedom = free(centroid_held=True, fixed=np.array([4]))
    layout = Layout(coupling, freedom)
    assert layout.shape == shape
    kt, tau = 0.7, np.array([9.0, 1.3, 0.8])
    times = np.broadcast_to(layout.per_chain(tau, 2.0), shape)
    chain_masses = np.broadcast_to(kt * times**2, (3, *shape)).copy()
    chain_masses[0] *= layout.counts
    velocities = rng.standard_normal((3, *shape))
    momenta = rng.standard_normal((3, 12)) * np.sqrt(kt * MASSES)
    before, expected = momenta.copy(), momenta.copy()
    chains = NoseHooverChains(layout.freedoms * kt, kt, chain_masses, velocities=velocities)
    for _ in range(3):
        layout.step(chains, momenta, layout.take(np.tile(1 / MASSES, (3, 1))), 0.21)
    columns = [k for k in range(12) if k != 4]
    groups = {  # chain -> its momenta
        "massive": {(i, j): (1 + i, [c]) for i in range(2) for j, c in enumerate(columns)},
        "mode": {(i,): (1 + i, columns) for i in range(2)},
        "global": {(): (slice(1, 3), columns)},
    }[coupling]
    for chain, (rows, dofs) in groups.items():
        number = len(dofs) * (2 if coupling == "global" else 1)
        alone = NoseHooverChains(
            number * kt, kt, chain_masses[(slice(None), *chain)],
            velocities=velocities[(slice(None), *chain)],
        )
        for _ in range(3):
            p = expected[rows][..., dofs]
            expected[rows, dofs] = p * alone.step((p**2 / MASSES[dofs]).sum(), 0.21)
    np.testing.assert_allclose(momenta, expected, rtol=1e-12)
    np.testing.assert_array_equal(momenta[0], before[0])
    np.testing.assert_array_equal(momenta[:, 4], before[:, 4])
    assert (momenta[1:][:, columns] != before[1:][:, columns]).all()


def test_momenta_divided_by_root_mass() -> None:
    """p/sqrt(m) needs no masses, and is scaled as p is."""
    rng, layout = np.random.default_rng(4), Layout("mode", free(fixcom=True))
    p = rng.standard_normal((3, 12))
    scaled = p / np.sqrt(MASSES)
    for momenta, inverse in ((p, 1 / MASSES[None]), (scaled, None)):
        chains = NoseHooverChains(layout.freedoms, 1.0, [2.0, 2.0, 2.0])
        layout.step(chains, momenta, inverse, 0.3)
    np.testing.assert_allclose(scaled, p / np.sqrt(MASSES), rtol=1e-13)


def test_nothing_to_act_on_is_refused() -> None:
    with pytest.raises(ValueError, match="every momentum is held"):
        Layout("massive", free(n_modes=1, centroid_held=True))
    with pytest.raises(ValueError, match="expected one of massive, mode, global"):
        Layout("local", free())


def test_free_momenta_of_a_cell() -> None:
    """Masked components have no part; at constant volume the trace has none."""
    assert _free_cell(SimpleNamespace()) is None  # isotropic: one momentum
    mask = np.array([[0.0, 1, 0], [1, 1, 1], [1, 1, 1]])
    np.testing.assert_array_equal(_free_cell(SimpleNamespace(hmask=mask)), [0, 1, 1, 1, 0, 1])
    flexible = SimpleNamespace(hmask=np.ones((3, 3)), vol_constraint=True)
    found = _free_cell(flexible)
    assert found is not None
    np.testing.assert_allclose(found, [2 / 3] * 3 + [1.0] * 3)
    assert found.sum() == pytest.approx(5)
