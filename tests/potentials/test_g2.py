"""G2: a batch equals its structures, whatever else is in it.

Beads of one system one by one, as one batch, shuffled, padded with repeated structures, and beside
structures of other sizes and cells: energies to 1e-10 Ha in fp64 and 2e-7 eV per atom in fp32. The
differences, which are the noise floor, are printed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from pimd.potentials.base import Batch, Potential, Structure, Wanted
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.registry import make_potential
from pimd.units import HARTREE_EV

BEADS = 6


@dataclass
class System:
    """Beads of a crystal with disorder, and a second, sheared and smaller system."""

    spec: str
    number: int
    spacing: float  # Å, of a simple cubic grid, or half the lattice constant of diamond
    width: float  # Å, of a bead's displacements

    def beads(self, n: int, cells: tuple[int, int, int], shear: float, seed: int) -> list:
        rng = np.random.default_rng(seed)
        sites = np.stack(np.meshgrid(*map(np.arange, cells), indexing="ij"), -1).reshape(-1, 3)
        box = np.diag(np.array(cells, float)) @ (np.eye(3) + shear * np.tri(3, k=-1))
        if self.number == 14:  # diamond: 8 atoms a cell of twice the spacing
            face = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
            basis = np.concatenate([face, face + 0.25])
        else:
            basis = np.full((1, 3), 0.5)
        fractional = (sites[:, None] + basis).reshape(-1, 3) / np.array(cells)
        scale = 2 * self.spacing if self.number == 14 else self.spacing
        centroid = fractional @ box * scale + rng.normal(0, self.width, (len(fractional), 3))
        return [
            Structure(
                np.full(len(centroid), self.number),
                centroid + rng.normal(0, self.width, centroid.shape),
                box * scale,
                np.ones(3, bool),
            )
            for _ in range(n)
        ]


SYSTEMS = {
    "harmonic": System("harmonic, wavenumber: 3700.0", 1, 2.0, 0.2),
    "lennard_jones": System("lennard_jones", 18, 3.7, 0.1),
    "stillinger_weber": System("stillinger_weber", 14, 2.715, 0.08),
    "silvera_goldman": System("silvera_goldman", 1, 3.7, 0.3),
}


def evaluate(
    potential: Potential, lists: NeighbourLists, structures: list[Structure]
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Energies, forces per structure, virials."""
    batch = lists.attach(Batch.from_structures(structures, dtype=potential.dtype))
    prediction = potential.compute(batch, Wanted())
    assert prediction.forces is not None
    assert prediction.virials is not None
    forces = prediction.forces.split(batch.n_atoms_per_structure.tolist())
    return (
        prediction.energies.numpy(),
        [f.double().numpy() for f in forces],
        prediction.virials.double().numpy(),
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_batches_equal_their_structures(name: str, dtype: str) -> None:
    system = SYSTEMS[name]
    potential = make_potential(f"{system.spec}, dtype: {dtype}")
    beads = system.beads(BEADS, (3, 3, 3), 0.0, seed=1)
    others = [
        *system.beads(2, (2, 3, 2), 0.1, seed=2),
        Structure(beads[0].numbers[:5], beads[0].positions[:5], beads[0].cell),
        Structure(beads[0].numbers[:1], beads[0].positions[:1]),
    ]
    structures = beads + others
    n = len(structures)
    rng = np.random.default_rng(0)
    orders = {
        "all beads": list(range(BEADS)),
        "shuffled": rng.permutation(BEADS).tolist(),
        "padded": [0, 1, 2, 3, 3, 3, 3, 3],
        "other cells and sizes": rng.permutation(n).tolist(),
        "others first": list(range(n))[::-1],
    }
    fresh = {k: evaluate(potential, NeighbourLists(potential.cutoff), [structures[k]])
             for k in range(n)}  # fmt: skip
    kept = NeighbourLists(potential.cutoff)  # lists reused from batch to batch must not matter
    floor = np.zeros(3)
    for label, order in orders.items():
        energies, forces, virials = evaluate(potential, kept, [structures[k] for k in order])
        for place, k in enumerate(order):
            energy, (force,), virial = fresh[k]
            largest = max(float(np.abs(force).max()), 1e-2)
            difference = np.array([
                abs(energies[place] - energy[0]),
                np.abs(forces[place] - force).max(),
                np.abs(virials[place] - virial[0]).max(),
            ])  # fmt: skip
            floor = np.maximum(floor, difference)
            n_atoms = len(structures[k])
            allowed = 1e-10 * HARTREE_EV if dtype == "float64" else 2e-7 * n_atoms
            assert difference[0] <= allowed, (label, place)
            relative = 1e-12 if dtype == "float64" else 1e-5
            assert difference[1] <= relative * largest, (label, place)
            scale = max(float(np.abs(virial).max()), largest)
            assert difference[2] <= relative * scale * n_atoms**0.5, (label, place)
    print(
        f"{name} {dtype}, {len(beads[0])} atoms: noise floor E {floor[0]:.1e} eV, "
        f"F {floor[1]:.1e} eV/Å, W {floor[2]:.1e} eV"
    )


def test_skin_and_wrapping_change_nothing() -> None:
    """Beads that move and are wrapped into the cell, with kept and with new lists."""
    system = SYSTEMS["lennard_jones"]
    potential = make_potential("lennard_jones, mode: smooth")
    rng = np.random.default_rng(4)
    beads = system.beads(4, (3, 3, 3), 0.1, seed=3)
    kept = NeighbourLists(potential.cutoff, skin=1.5)
    for _ in range(12):
        moved = [
            Structure(s.numbers, s.positions + rng.normal(0, 0.08, s.positions.shape), s.cell,
                      s.pbc) for s in beads
        ]  # fmt: skip
        wrapped = []
        for s in moved:
            fractional = s.positions @ np.linalg.inv(s.cell)
            x = (fractional - np.floor(fractional)) @ s.cell
            wrapped.append(Structure(s.numbers, x, s.cell, s.pbc))
        new = NeighbourLists(potential.cutoff, skin=0.0)
        energies, forces, virials = evaluate(potential, kept, wrapped)
        expected = evaluate(potential, new, moved)
        np.testing.assert_allclose(energies, expected[0], atol=1e-10 * HARTREE_EV, rtol=0)
        np.testing.assert_allclose(forces, expected[1], atol=1e-11)
        np.testing.assert_allclose(virials, expected[2], atol=1e-10)
        beads = moved
    assert 4 <= kept.rebuilds < kept.structures / 2


def test_threads_change_nothing() -> None:
    """Sums over structures are the same however many threads torch has."""
    system = SYSTEMS["stillinger_weber"]
    potential = make_potential(system.spec)
    beads = system.beads(3, (3, 3, 3), 0.0, seed=5)
    before = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            lists = NeighbourLists(potential.cutoff, threads=n)
            results.append(evaluate(potential, lists, beads))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=0, atol=1e-10 * HARTREE_EV)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=0, atol=1e-12)
