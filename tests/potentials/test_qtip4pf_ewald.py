"""The Coulomb sum of q-TIP4P/F: against torch-pme, against itself, against theorems."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from water_samples import box, liquid, reference, triclinic

from pimd.potentials import qtip4pf
from pimd.potentials.base import Batch, Prediction, Structure, Wanted
from pimd.potentials.ewald import reciprocal_sum
from pimd.potentials.ewald_splitting import Splitting, density_rungs, splitting
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.qtip4pf import QTIP4PF, SIDE
from pimd.potentials.water_coulomb import far_part, near_part
from pimd.potentials.water_pair_list import periodic_pairs
from pimd.potentials.water_pairs import PairSums
from pimd.units import COULOMB_EV_ANGSTROM

LJ_CUTOFF = 5.5


def evaluate(potential: QTIP4PF, *structures: Structure) -> Prediction:
    return potential.compute(Batch.from_structures(structures), Wanted())


@pytest.mark.parametrize("structure", [triclinic(), box((2, 2, 2), 6.2 * np.eye(3), 1)])
def test_agrees_with_torch_pme(structure: Structure) -> None:
    got = evaluate(QTIP4PF(cutoff=LJ_CUTOFF, lj_tail="truncate", accuracy=1e-12), structure)
    assert got.forces is not None
    assert got.virials is not None
    for alpha in (0.45, 0.6):  # the reference has to agree with itself
        energy, forces, virial = reference(structure, LJ_CUTOFF, alpha)
        assert got.energies.item() == pytest.approx(energy, abs=1e-9)
        np.testing.assert_allclose(got.forces, forces, atol=1e-9)
        np.testing.assert_allclose(got.virials[0], virial, atol=1e-8)


def test_the_splitting_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for alpha in (0.4, 0.7):
        split = Splitting(alpha, 2.5 + 6.0 / alpha, 1.0, 2 * alpha * 6.0)
        monkeypatch.setattr(qtip4pf, "splitting", lambda *_, split=split: split)
        results.append(evaluate(QTIP4PF(), triclinic()))
    one, two = results
    torch.testing.assert_close(one.energies, two.energies, rtol=0, atol=1e-10)
    torch.testing.assert_close(one.forces, two.forces, rtol=0, atol=1e-10)
    torch.testing.assert_close(one.virials, two.virials, rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", ["ewald", "pme"])
@pytest.mark.parametrize("accuracy", [1e-3, 1e-5, 1e-6])
def test_forces_are_as_accurate_as_asked(method: str, accuracy: float) -> None:
    exact = evaluate(QTIP4PF(accuracy=1e-12), liquid())
    got = evaluate(QTIP4PF(electrostatics=method, accuracy=accuracy), liquid())
    assert exact.forces is not None
    assert got.forces is not None
    error = (got.forces - exact.forces).square().mean().sqrt()
    relative = float(error / exact.forces.square().mean().sqrt())
    print(f"{method} {accuracy:g}: {relative:.2g}")
    assert 1e-3 * accuracy < relative < accuracy


def test_mesh_in_a_skewed_cell() -> None:
    """Where torch-pme's P3M is wrong by 1e-3."""
    structure = triclinic(3)
    exact = evaluate(QTIP4PF(accuracy=1e-12), structure)
    mesh = evaluate(QTIP4PF(electrostatics="pme", accuracy=1e-6), structure)
    scale = float(exact.forces.abs().max())
    torch.testing.assert_close(mesh.forces, exact.forces, rtol=0, atol=1e-6 * scale)
    torch.testing.assert_close(mesh.energies, exact.energies, rtol=0, atol=1e-5)
    torch.testing.assert_close(mesh.virials, exact.virials, rtol=0, atol=1e-4)


def coulomb(structure: Structure, split: Splitting) -> tuple[float, np.ndarray]:
    """Coulomb energy and virial of a periodic structure, O H H O H H ..., eV."""
    x = torch.tensor(structure.positions).view(1, -1, 3, 3)
    cells = torch.tensor(structure.cell)[None]
    oxygens, arms = x[:, :, 0], x[:, :, 1:] - x[:, :, :1]
    inside = torch.cat([SIDE * arms.sum(2, keepdim=True), arms], dim=2)
    sites = inside + oxygens[:, :, None]
    charges = torch.tensor([-1.1128, 0.5564, 0.5564], dtype=torch.float64)
    columns = oxygens[0].T.contiguous()
    sums = PairSums(columns)
    pairs = periodic_pairs(NeighbourLists(split.cutoff), oxygens, cells)
    near_part(sums, pairs, columns, sites, charges, split, derivatives=True)
    energies, _, virials = far_part(sites, charges, cells, split, derivatives=True)
    energy = sums.energies.sum() + energies[0]
    return float(energy), (sums.total_virials(inside) + virials)[0].numpy()


@pytest.mark.parametrize("structure", [triclinic(), liquid()])
def test_trace_of_the_virial_is_the_energy(structure: Structure) -> None:
    """E_C is homogeneous of degree -1: tr W = -dE/dln(scale) = E, all pairs of molecules."""
    energy, virial = coulomb(structure, splitting(len(structure) // 3, 0, 1e-12, "ewald"))
    assert np.trace(virial) == pytest.approx(energy, abs=1e-9)
    np.testing.assert_allclose(virial, virial.T, atol=1e-10)


def test_madelung_energy_of_rock_salt() -> None:
    """alpha so large that the reciprocal sum is all: E = -1.747564594633 ke per pair of ions at
    distance 1 (D. Borwein, J. M. Borwein, K. F. Taylor, J. Math. Phys. 26, 2999 (1985))."""
    sites = torch.cartesian_prod(*[torch.arange(2, dtype=torch.float64)] * 3)
    charges = 1.0 - 2.0 * (sites.sum(1) % 2)
    alpha = 6.0
    cells = 2.0 * torch.eye(3, dtype=torch.float64)[None]
    energy, forces, _ = reciprocal_sum(sites[None], charges, cells, alpha, 2 * alpha * 7)
    pairs = (energy - COULOMB_EV_ANGSTROM * alpha / np.pi**0.5 * 8) / COULOMB_EV_ANGSTROM / 4
    assert pairs.item() == pytest.approx(-1.747564594633, abs=1e-11)
    assert float(forces.abs().max()) < 1e-9


def test_all_boxes_of_vectors_and_parts_give_one_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Structures of different cells in one call, in parts of any size."""
    rng = np.random.default_rng(0)
    cells = torch.tensor(np.stack([triclinic().cell, np.diag([6.0, 9.0, 13.0]), 7 * np.eye(3)]))
    positions = torch.tensor(rng.uniform(size=(3, 9, 3))) @ cells
    charges = torch.tensor([-1.1128, 0.5564, 0.5564] * 3, dtype=torch.float64)
    whole = reciprocal_sum(positions, charges, cells, 0.6, 4.0)
    monkeypatch.setattr("pimd.potentials.ewald.CHUNK", 1)
    parts = reciprocal_sum(positions, charges, cells, 0.6, 4.0)
    single = [
        reciprocal_sum(x[None], charges, c[None], 0.6, 4.0)
        for x, c in zip(positions, cells, strict=True)
    ]
    for k in range(3):
        torch.testing.assert_close(parts[k], whole[k], rtol=1e-12, atol=1e-10)
        joined = torch.cat([result[k] for result in single])
        torch.testing.assert_close(joined, whole[k], rtol=1e-12, atol=1e-10)
    assert torch.equal(
        reciprocal_sum(positions, charges, cells, 0.6, 4.0, derivatives=False)[0], parts[0]
    )


def test_repeated_cells_have_the_energy_of_their_parts() -> None:
    """Among them a single molecule, in a cell much smaller than the cutoffs."""
    potential = QTIP4PF(accuracy=1e-11)
    for unit in (triclinic(), box((1, 1, 1), np.array([[3.1, 0, 0], [0.4, 3.2, 0], [0, 0.3, 3]]))):
        repeats = np.array(list(np.ndindex(1, 3, 2)))
        positions = (unit.positions + (repeats @ unit.cell)[:, None]).reshape(-1, 3)
        cell = unit.cell * np.array([[1], [3], [2]])
        large = Structure(np.tile(unit.numbers, 6), positions, cell, True)
        got = evaluate(potential, unit, large)
        assert got.virials is not None
        scale = 1e-10 * len(large)
        assert got.energies[1].item() == pytest.approx(6 * got.energies[0].item(), abs=scale)
        torch.testing.assert_close(got.virials[1], 6 * got.virials[0], rtol=0, atol=10 * scale)


def test_the_splitting_depends_on_size_and_density_alone() -> None:
    side = 12.4
    cells = (
        torch.eye(3, dtype=torch.float64)
        * torch.tensor([side, 1.2 * side, 1.7 * side, 60])[:, None, None]
    )
    assert density_rungs(cells, 64).tolist() == [0, 0, 1, 3]
    liquid_64, liquid_1000 = (splitting(n, 0, 1e-5, "auto") for n in (64, 1000))
    assert liquid_64.alpha > liquid_1000.alpha
    assert splitting(64, 2, 1e-5, "auto").alpha < liquid_64.alpha
    assert liquid_64.spacing == 0.0
    assert splitting(100_000, 0, 1e-5, "auto").spacing > 0.0
    assert splitting(100_000, 0, 1e-5, "ewald").spacing == 0.0


def test_a_dilute_structure_among_liquids() -> None:
    """Its own splitting, whatever else is in the batch; same energy as with tight settings."""
    dense = triclinic()
    cell = 4.0 * dense.cell
    oxygens = dense.positions[::3]
    arms = dense.positions.reshape(-1, 3, 3) - oxygens[:, None]
    far = Structure(dense.numbers, (arms + 4.0 * oxygens[:, None]).reshape(-1, 3), cell, True)
    batch = evaluate(QTIP4PF(), far, dense, far)
    single = evaluate(QTIP4PF(), far)
    exact = evaluate(QTIP4PF(accuracy=1e-12), far)
    assert batch.energies[0] == single.energies[0] == batch.energies[2]
    torch.testing.assert_close(single.forces, exact.forces, rtol=0, atol=1e-4)


def test_no_jump_where_molecules_pass_a_cutoff() -> None:
    """Two molecules in a large cell, moved apart through both cutoffs in steps of 1e-4 Å: the
    energy of the middle lies between its neighbours'."""
    rng = np.random.default_rng(2)
    pair = triclinic().positions[:6].reshape(2, 3, 3)
    arms = pair - pair[:, :1]
    cell = 40.0 * np.eye(3)
    potential = QTIP4PF(cutoff=9.0, accuracy=1e-3)
    split = splitting(2, int(density_rungs(torch.tensor(cell)[None], 2)), 1e-3, "auto")
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    for passed in (9.0, split.cutoff, split.cutoff - split.width):
        distances = passed + 1e-4 * np.arange(-3, 4)
        structures = [
            Structure([8, 1, 1] * 2, np.concatenate([arms[0], arms[1] + r * direction]), cell, True)
            for r in distances
        ]
        second_differences = np.diff(evaluate(potential, *structures).energies.numpy(), 2)
        assert np.abs(second_differences).max() < 1e-8
