"""Make equilibrated boxes and clusters of q-TIP4P/F water, the initial structures of inputs/.

    python benchmarks/make_water.py --molecules 64 --out inputs/water/init.xyz
    python benchmarks/make_water.py --molecules 64 --seed 2 --out inputs/water_npt/init.xyz
    python benchmarks/make_water.py --cluster 3 --out inputs/water_gfn2/init.xyz

A box starts from molecules of random orientation on a lattice, is relaxed, and runs classical
Langevin dynamics (BAOAB) at 300 K. A cluster is annealed and relaxed. Seeds are fixed; another
number of threads or another processor gives another trajectory of the same liquid.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from pimd.potentials.base import Batch, Wanted
from pimd.potentials.qtip4pf import QTIP4PF
from pimd.potentials.water_intramolecular import ANGLE, BOND
from pimd.units import KB_EV_PER_KELVIN

MASSES = np.array([15.9994, 1.00794, 1.00794])  # u, O H H
DALTON = 103.6426965  # eV fs²/Å² in one u
ANGSTROM3_PER_G_CM3 = 1.66053907  # u/Å³ in one g/cm³


def molecules(centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Molecules at rest, O at the centres (n, 3), turned at random: (3 n, 3), O H H."""
    half = ANGLE / 2
    x, y = BOND * np.sin(half), BOND * np.cos(half)
    arms = np.array([[0, 0, 0], [x, y, 0], [-x, y, 0]])
    turns = np.linalg.qr(rng.normal(size=(len(centres), 3, 3)))[0]
    return (centres[:, None] + arms @ turns).reshape(-1, 3)


def lattice_box(n: int, density: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positions and cubic cell of n molecules on a lattice, at a density in g/cm³."""
    side = (n * MASSES.sum() * ANGSTROM3_PER_G_CM3 / density) ** (1 / 3)
    per_edge = int(np.ceil(n ** (1 / 3) - 1e-9))
    grid = np.stack(np.meshgrid(*[np.arange(per_edge)] * 3, indexing="ij"), -1).reshape(-1, 3)
    chosen = grid[np.sort(rng.permutation(len(grid))[:n])]
    return molecules(chosen * side / per_edge, rng), np.eye(3) * side


class Water:
    """One structure that moves."""

    def __init__(self, positions: np.ndarray, cell: np.ndarray, periodic: bool) -> None:
        n = len(positions) // 3
        self.positions, self.cell, self.periodic = positions, cell, periodic
        self.numbers = np.tile([8, 1, 1], n)
        self.masses = np.tile(MASSES, n)[:, None] * DALTON
        self.potential = QTIP4PF()

    def evaluate(self) -> tuple[float, np.ndarray]:
        """Energy, eV, and forces, eV/Å."""
        batch = Batch.from_arrays(
            self.positions,
            self.cell[None],
            np.full((1, 3), self.periodic),
            self.numbers,
            np.array([len(self.positions)]),
        )
        prediction = self.potential.compute(batch, Wanted(virials=False))
        assert prediction.forces is not None
        return float(prediction.energies), prediction.forces.numpy()

    def relax(self, steps: int, largest: float = 0.1) -> None:
        """Steepest descent, Å per step at most `largest`, shorter when the energy rises."""
        energy, forces = self.evaluate()
        for _ in range(steps):
            before = self.positions
            self.positions = before + forces * largest / np.abs(forces).max()
            new_energy, new_forces = self.evaluate()
            if new_energy < energy:
                energy, forces, largest = new_energy, new_forces, 1.2 * largest
            else:
                self.positions, largest = before, 0.4 * largest

    def run(
        self, steps: int, temperature: float, rng: np.random.Generator,
        step: float = 0.5, friction: float = 0.02,
    ) -> None:  # fmt: skip
        """Langevin dynamics, BAOAB, time step in fs, friction in 1/fs."""
        spread = np.sqrt(KB_EV_PER_KELVIN * temperature / self.masses)
        velocities = spread * rng.normal(size=self.positions.shape)
        keep = np.exp(-friction * step)
        _, forces = self.evaluate()
        for k in range(steps):
            velocities += 0.5 * step * forces / self.masses
            self.positions = self.positions + 0.5 * step * velocities
            noise = rng.normal(size=velocities.shape)
            velocities = keep * velocities + np.sqrt(1 - keep**2) * spread * noise
            self.positions = self.positions + 0.5 * step * velocities
            energy, forces = self.evaluate()
            velocities += 0.5 * step * forces / self.masses
            if k % 1000 == 0:
                kinetic = 0.5 * (self.masses * velocities**2).sum()
                kelvin = 2 * kinetic / (velocities.size * KB_EV_PER_KELVIN)
                print(f"step {k}: {energy:.3f} eV, {kelvin:.0f} K", file=sys.stderr)

    def write(self, path: Path, comment: str) -> None:
        """i-PI's xyz: cell as lengths and angles, in the comment."""
        lengths = np.linalg.norm(self.cell, axis=1)
        lines = [
            str(len(self.positions)),
            "# CELL(abcABC): "
            + " ".join(f"{x:.5f}" for x in lengths)
            + f" 90.00000 90.00000 90.00000 cell{{angstrom}} positions{{angstrom}} {comment}",
        ]
        for number, x in zip(self.numbers, self.positions, strict=True):
            symbol = "O" if number == 8 else "H"
            lines.append(f"{symbol:>2s} " + " ".join(f"{value:12.6f}" for value in x))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")


def make_box(n: int, density: float, temperature: float, steps: int, seed: int) -> Water:
    """An equilibrated periodic box; molecules are whole, their oxygens in the cell."""
    rng = np.random.default_rng(seed)
    water = Water(*lattice_box(n, density, rng), periodic=True)
    water.relax(100)
    water.run(steps, temperature, rng)
    by_molecule = water.positions.reshape(-1, 3, 3)
    side = water.cell[0, 0]
    water.positions = (by_molecule - side * np.floor(by_molecule[:, :1] / side)).reshape(-1, 3)
    return water


def make_cluster(n: int, steps: int, seed: int, box: float = 20.0) -> Water:
    """A relaxed cluster at the centre of a large box."""
    rng = np.random.default_rng(seed)
    positions, _ = lattice_box(n, 0.8, rng)
    water = Water(positions, np.eye(3) * box, periodic=False)
    water.relax(100)
    for temperature in (150.0, 100.0, 50.0, 20.0):
        water.run(steps // 4, temperature, rng)
    water.relax(500)
    water.positions += box / 2 - water.positions.mean(axis=0)
    return water


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--molecules", type=int, help="molecules of a periodic box")
    size.add_argument("--cluster", type=int, help="molecules of a cluster")
    parser.add_argument("--density", type=float, default=0.997, help="g/cm³")
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--steps", type=int, default=10000, help="of 0.5 fs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.cluster:
        water = make_cluster(args.cluster, args.steps, args.seed)
        water.write(args.out, f"cluster of {args.cluster} q-TIP4P/F water molecules")
    else:
        water = make_box(args.molecules, args.density, args.temperature, args.steps, args.seed)
        water.write(args.out, f"q-TIP4P/F water, {args.density} g/cm3, {args.temperature:g} K")


if __name__ == "__main__":
    main()
