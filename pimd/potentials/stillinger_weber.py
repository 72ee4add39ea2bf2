"""Stillinger-Weber silicon: pairs and triplets."""

from __future__ import annotations

import torch
from torch import Tensor

from pimd.potentials.base import Batch, PotentialError
from pimd.potentials.options import torch_device, torch_dtype
from pimd.potentials.pair_vectors import PairVectorPotential, squared_lengths

__all__ = ["StillingerWeber"]

A, B, P, Q = 7.049556277, 0.6022245584, 4, 0
REDUCED_CUTOFF, LAMBDA, GAMMA = 1.80, 21.0, 1.20  # a, lambda, gamma of the paper
SIGMA, EPSILON = 2.0951, 2.1683  # Å, eV
SILICON = 14


class StillingerWeber(PairVectorPotential):
    """E = eps [ sum_{i<j} v2(r_ij) + sum_i sum_{j<k} v3(r_ij, r_ik, theta_jik) ].

    With r in units of sigma, both zero from r = a on:
        v2 = A (B r^-p - r^-q) exp[1/(r - a)]
        v3 = lambda exp[gamma/(r_ij - a) + gamma/(r_ik - a)] (cos theta_jik + 1/3)²

    The original parameters for silicon, with eps = 2.1683 eV and sigma = 2.0951 Å: diamond has
    its minimum at 5.43095 Å with -2 eps per atom. All functions are smooth at the cutoff.

    Args:
        dtype: float64 or float32.
        device: cpu, cuda, ...

    Raises:
        PotentialError: for structures with other elements than silicon.

    Source: F. H. Stillinger, T. A. Weber, Phys. Rev. B 31, 5262 (1985), eqs. 2.3-2.6 and
    table I.
    """

    name = "stillinger_weber"
    cutoff = REDUCED_CUTOFF * SIGMA

    def __init__(self, dtype: str = "float64", device: str = "cpu") -> None:
        self.dtype, self.device = torch_dtype(dtype), torch_device(device)

    def check(self, batch: Batch) -> None:
        if bool((batch.numbers != SILICON).any()):
            others = torch.unique(batch.numbers[batch.numbers != SILICON]).tolist()
            raise PotentialError(
                f"stillinger_weber is for silicon (14), got atomic numbers {others}"
            )

    def energies_of_vectors(self, batch: Batch, vectors: Tensor) -> Tensor:
        assert batch.pairs is not None
        reduced = vectors / SIGMA
        r = squared_lengths(reduced).sqrt()
        # (rounding may bring r to a; there everything is zero, but 1/(r - a) has no value)
        inside = r < REDUCED_CUTOFF - 1e-3
        gap = torch.where(inside, r - REDUCED_CUTOFF, -1e-3)
        two_body = A * (B * r**-P - r**-Q) * torch.where(inside, torch.exp(1.0 / gap), 0.0)
        screening = torch.where(inside, torch.exp(GAMMA / gap), 0.0)
        first, second = triplets(batch.pairs[0], batch.n_atoms)
        unit = reduced / r[:, None]
        cosine = (unit.index_select(0, first) * unit.index_select(0, second)).sum(1)
        three_body = (
            LAMBDA
            * screening.index_select(0, first)
            * screening.index_select(0, second)
            * (cosine + 1.0 / 3.0) ** 2
        )
        structure = batch.structure_index.index_select(0, batch.pairs[0])  # [pair]
        energies = batch.sum_over_pairs(0.5 * two_body)
        return EPSILON * energies.index_add(
            0, structure.index_select(0, first), three_body.to(torch.float64)
        )


def triplets(centre: Tensor, n_atoms: int) -> tuple[Tensor, Tensor]:
    """All pairs of pairs with the same centre, each once: two (n_triplets,) of pair indices.

    Args:
        centre: atom i of each pair, (n_pairs,), in any order.
        n_atoms: atoms in the batch.
    """
    by_centre = torch.argsort(centre, stable=True)  # [rank] -> pair
    counts = torch.bincount(centre, minlength=n_atoms)  # [atom]
    starts = (counts.cumsum(0) - counts).index_select(0, centre.index_select(0, by_centre))
    ranks = torch.arange(len(centre), device=centre.device)
    earlier = ranks - starts  # pairs of the same centre before this one
    first = ranks.repeat_interleave(earlier)
    begin = (earlier.cumsum(0) - earlier).index_select(0, first)  # [triplet]
    second = starts.index_select(0, first) + torch.arange(len(first), device=centre.device) - begin
    return by_centre.index_select(0, first), by_centre.index_select(0, second)
