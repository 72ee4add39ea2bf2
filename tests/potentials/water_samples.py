"""Water structures for tests, and a q-TIP4P/F of its own to compare with.

`reference` shares nothing with pimd but units: parameters in atomic units, sites and energies
written out, Coulomb by torch-pme's Ewald sum with tight settings, derivatives by autograd.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchpme import CoulombPotential, EwaldCalculator
from vesin import NeighborList

from pimd.structure import Structure
from pimd.units import BOHR_ANGSTROM, COULOMB_EV_ANGSTROM, HARTREE_EV

INPUTS = Path(__file__).resolve().parents[2] / "inputs"


def molecule(rng: np.random.Generator, spread: float = 0.05) -> np.ndarray:
    """A distorted molecule, O at the origin, O H H, (3, 3) Å."""
    half = np.deg2rad(107.4) / 2
    x, y = 0.9419 * np.sin(half), 0.9419 * np.cos(half)
    arms = np.array([[0, 0, 0], [x, y, 0], [-x, y, 0.0]])
    arms[1:] += rng.normal(size=(2, 3)) * spread
    return arms @ np.linalg.qr(rng.normal(size=(3, 3)))[0]


def box(repeats: tuple[int, int, int], cell: np.ndarray, seed: int = 0) -> Structure:
    """Periodic water, molecules turned at random near the points of a lattice."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), -1).reshape(-1, 3)
    fractional = (grid + rng.uniform(-0.05, 0.05, grid.shape)) / repeats
    positions = [centre + molecule(rng) for centre in fractional @ cell]
    return Structure(np.tile([8, 1, 1], len(grid)), np.concatenate(positions), cell, True)


def triclinic(seed: int = 0) -> Structure:
    """8 molecules in a skewed cell, at about 1 g/cm³."""
    return box((2, 2, 2), np.array([[6.3, 0, 0], [2.1, 6.2, 0], [-1.5, 1.9, 6.4]]), seed)


def cluster(n: int = 3, seed: int = 0) -> Structure:
    """Molecules about 3 Å apart, not periodic."""
    rng = np.random.default_rng(seed)
    centres = 3.0 * np.array([[0, 0, 0], [1, 0.1, 0], [0.2, 1, 0.1], [0, 0.2, 1], [1, 1, 0.3]])
    positions = np.concatenate([centre + molecule(rng) for centre in centres[:n]])
    return Structure(np.tile([8, 1, 1], n), positions)


def liquid() -> Structure:
    """The 64 molecules of inputs/water."""
    lines = (INPUTS / "water" / "init.xyz").read_text().splitlines()
    edges = np.array(lines[1].split()[2:5], dtype=float)
    positions = np.array([line.split()[1:4] for line in lines[2:]], dtype=float)
    return Structure(np.tile([8, 1, 1], len(positions) // 3), positions, np.diag(edges), True)


def reference(
    structure: Structure, cutoff: float, alpha: float = 0.45, reach: float = 6.0
) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy, forces and virial (eV, Å) of periodic water, O H H O H H ..., whole molecules.

    Lennard-Jones pairs are truncated at the cutoff. The Ewald sum is cut off at alpha r = reach
    and at k = 2 alpha reach or beyond.
    """
    x = torch.tensor(structure.positions, requires_grad=True)
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    deformation = torch.eye(3, dtype=torch.float64) + strain
    cell = torch.tensor(structure.cell) @ deformation
    oxygen, first, second = (x @ deformation).view(-1, 3, 3).unbind(1)
    energy = _inner(first - oxygen, second - oxygen).sum()
    energy = energy + _lennard_jones(oxygen, cell, cutoff)
    m = 0.73612 * oxygen + 0.13194 * (first + second)
    sites = torch.stack([m, first, second], 1).view(-1, 3)
    energy = energy + _coulomb(sites, cell, alpha, reach)
    gradient, slope = torch.autograd.grad(energy, [x, strain])
    return energy.item(), -gradient.numpy(), -slope.numpy()


def _inner(one: Tensor, two: Tensor) -> Tensor:
    energies = torch.zeros(len(one), dtype=torch.float64)
    for arm in (one, two):
        z = 1.21 * (arm.norm(dim=1) / BOHR_ANGSTROM - 1.78)
        energies = energies + 0.185 * (z**2 - z**3 + 7 / 12 * z**4)
    cosine = (one * two).sum(1) / (one.norm(dim=1) * two.norm(dim=1))
    return HARTREE_EV * (energies + 0.07 * (torch.acos(cosine) - np.deg2rad(107.4)) ** 2)


def _pairs(points: Tensor, cell: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    """Half list (n_pairs, 2) and distances (n_pairs,)."""
    i, j, shifts = NeighborList(cutoff=cutoff, full_list=False).compute(
        points.detach().numpy(), cell.detach().numpy(), True, "ijS"
    )
    i, j = torch.tensor(i.astype(int)), torch.tensor(j.astype(int))
    vectors = points[j] - points[i] + torch.tensor(shifts.astype(float)) @ cell
    return torch.stack([i, j], 1), vectors.norm(dim=1)


def _lennard_jones(oxygens: Tensor, cell: Tensor, cutoff: float) -> Tensor:
    _, r = _pairs(oxygens, cell, cutoff)
    sixth = (5.96946 * BOHR_ANGSTROM / r) ** 6
    return (4 * 2.95147e-4 * HARTREE_EV * (sixth**2 - sixth)).sum()


def _coulomb(sites: Tensor, cell: Tensor, alpha: float, reach: float) -> Tensor:
    charges = torch.tensor([-1.1128, 0.5564, 0.5564], dtype=torch.float64)
    charges = charges.repeat(len(sites) // 3)[:, None]
    ewald = EwaldCalculator(
        CoulombPotential(smearing=0.5**0.5 / alpha),
        # torch-pme sums |n| < n_max/2, hence half the wavelength
        lr_wavelength=0.5 * np.pi / (alpha * reach),
    ).to(torch.float64)
    pairs, r = _pairs(sites, cell, reach / alpha)
    potential = ewald(charges, cell, sites, pairs, r)
    energy = (charges * potential).sum()
    for a, b in ((0, 1), (0, 2), (1, 2)):  # charges of one molecule do not interact
        r = (sites[a::3] - sites[b::3]).norm(dim=1)
        energy = energy - (charges[a] * charges[b] / r).sum()
    return COULOMB_EV_ANGSTROM * energy
