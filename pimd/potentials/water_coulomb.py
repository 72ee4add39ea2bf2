"""Coulomb energy of water molecules: the parts of the Ewald sum put together.

    ke sum_{pairs of molecules, images} sum_{a,b} q_a q_b / r_ab
        = near: the same sum with s(R) erfc(alpha r)/r, pairs of molecules within a cutoff
        + reciprocal sum over all charges (ewald.py, or on a mesh, particle_mesh.py)
        - ke alpha/sqrt(pi) sum_a q_a^2                  a charge and its own Gaussian
        - ke sum_{a<b of one molecule} q_a q_b erf(alpha r_ab)/r_ab      exclusions.

Charges of one molecule do not interact; its periodic images do. Clusters are the near part
with alpha = 0, without cutoff.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pimd.potentials.ewald import reciprocal_sum
from pimd.potentials.ewald_splitting import Splitting
from pimd.potentials.particle_mesh import MeshSum
from pimd.potentials.water_pair_list import MoleculePairs
from pimd.potentials.water_pairs import PairSums, coulomb_pairs
from pimd.units import COULOMB_EV_ANGSTROM

__all__ = ["far_part", "near_part"]


def near_part(
    sums: PairSums,
    pairs: MoleculePairs,
    oxygens: Tensor,
    sites: Tensor,
    charges: Tensor,
    split: Splitting | None,
    *,
    derivatives: bool,
) -> None:
    """Add the real-space part; None: bare charges, all pairs. Arguments as `coulomb_pairs`."""
    columns = sites.reshape(-1, 3, 3).permute(2, 1, 0).contiguous()  # [xyz, site, molecule]
    if split is None:
        coulomb_pairs(
            sums, pairs, oxygens, columns, charges, 0.0, None, 0.0, derivatives=derivatives
        )
        return
    coulomb_pairs(
        sums, pairs.within(oxygens, split.cutoff), oxygens, columns, charges,
        split.alpha, split.cutoff, split.width, derivatives=derivatives,
    )  # fmt: skip


def far_part(
    sites: Tensor, charges: Tensor, cells: Tensor, split: Splitting, *, derivatives: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Reciprocal sum, self-energies and exclusions of periodic structures.

    Args:
        sites: of whole molecules, Å, (n_structures, n_molecules, 3, 3), [.., .., site, xyz].
        charges: e, (3,), by site.
        cells: Å, (n_structures, 3, 3).
        split: the splitting.
        derivatives: whether forces and virials are wanted.

    Returns:
        energies (n_structures,), forces shaped like sites, virials (n_structures, 3, 3).
    """
    n_structures, n_molecules = sites.shape[:2]
    points, all_charges = sites.reshape(n_structures, -1, 3), charges.repeat(n_molecules)
    if split.spacing > 0.0:
        mesh = MeshSum(split.alpha, split.spacing, sites.device)
        energies, forces, virials = mesh(points, all_charges, cells, derivatives=derivatives)
    else:
        energies, forces, virials = reciprocal_sum(
            points, all_charges, cells, split.alpha, split.k_max, derivatives=derivatives
        )
    self_energy = COULOMB_EV_ANGSTROM * split.alpha / math.pi**0.5 * all_charges.square().sum()
    inner, inner_forces, inner_virials = _exclusions(sites, charges, split.alpha)
    return (
        energies - self_energy - inner,
        forces.view_as(sites) - inner_forces,
        virials - inner_virials,
    )


def _exclusions(sites: Tensor, charges: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """ke sum_{a<b} q_a q_b erf(alpha r)/r within molecules, its forces and virials."""
    first = torch.tensor([0, 0, 1], device=sites.device)
    second = torch.tensor([1, 2, 2], device=sites.device)
    vectors = sites[:, :, second] - sites[:, :, first]  # [structure, molecule, pair, xyz]
    square = vectors.square().sum(-1)
    r = square.sqrt()
    products = COULOMB_EV_ANGSTROM * charges[first] * charges[second]
    energies = products * torch.erf(alpha * r) / r
    gaussian = (2.0 * alpha / math.pi**0.5) * torch.exp(square * -(alpha * alpha))
    f = ((energies - products * gaussian) / square).unsqueeze(-1) * vectors
    forces = torch.zeros_like(sites).index_add_(2, second, f).index_add_(2, first, f, alpha=-1.0)
    virials = torch.einsum("smpx,smpy->sxy", f, vectors)
    return energies.sum((1, 2)), forces, virials
