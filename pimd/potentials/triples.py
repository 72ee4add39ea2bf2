"""Triples of atoms and the symmetry functions that need them, G4.

    G4_i = 2^(1-zeta) sum_{j<k} (1 + lambda cos theta_jik)^zeta
           exp(-eta (r_ij² + r_ik² + r_jk²)) fc(r_ij) fc(r_ik) fc(r_jk)

over unordered pairs of neighbours j, k of i, each r_jk that of the images seen from i.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pimd.potentials.pair_moments import cosine_cutoff, lengths
from pimd.potentials.symmetry_settings import Angular

__all__ = ["g4_functions", "triples"]


def triples(centres: Tensor, n_atoms: int) -> tuple[Tensor, Tensor]:
    """Unordered pairs of entries of a list that have the same centre.

    Args:
        centres: atom i of each entry of the list, (n_pairs,) int64, in any order.
        n_atoms: atoms there are.

    Returns:
        places in the list of the first and the second entry, each (n_triples,) int64.
    """
    order = torch.argsort(centres, stable=True)
    counts = torch.bincount(centres, minlength=n_atoms)
    ends = counts.cumsum(0).index_select(0, centres.index_select(0, order))  # [sorted entry]
    place = torch.arange(len(centres), device=centres.device)
    n_later = ends - place - 1  # entries with this centre that come later
    first = place.repeat_interleave(n_later)
    before = (n_later.cumsum(0) - n_later).index_select(0, first)
    second = first + 1 + torch.arange(len(first), device=centres.device) - before
    return order.index_select(0, first), order.index_select(0, second)


def g4_functions(
    functions: Sequence[Angular],
    cutoff: float,
    types: Tensor,
    n_elements: int,
    pairs: Tensor,
    vectors: Tensor,
) -> Tensor:
    """G4 of every atom and unordered pair of elements, (n_atoms, n_element_pairs, n_functions).

    Args:
        functions: which; their kind is taken for G4.
        cutoff: Å, of all three distances.
        types: (n_atoms,) int64.
        n_elements: of neighbours.
        pairs, vectors: (2, n_pairs) int64 and (n_pairs, 3) Å, differentiable.
    """
    n_atoms, n_element_pairs = len(types), n_elements * (n_elements + 1) // 2
    r = lengths(vectors)
    near = (r.detach() < cutoff).nonzero().squeeze(1)
    first, second = triples(pairs[0].index_select(0, near), n_atoms)
    first, second = near.index_select(0, first), near.index_select(0, second)
    between = vectors.index_select(0, second) - vectors.index_select(0, first)
    inside = (lengths(between.detach()) < cutoff).nonzero().squeeze(1)
    first, second = first.index_select(0, inside), second.index_select(0, inside)
    r_jk = lengths(between.index_select(0, inside))
    r_ij, r_ik = r.index_select(0, first), r.index_select(0, second)
    unit = vectors / r[:, None]
    cosine = (unit.index_select(0, first) * unit.index_select(0, second)).sum(1)
    squares = r_ij * r_ij + r_ik * r_ik + r_jk * r_jk
    switch = cosine_cutoff(r, cutoff)
    switch = switch.index_select(0, first) * switch.index_select(0, second)
    switch = switch * cosine_cutoff(r_jk, cutoff)
    columns = [
        2.0 ** (1 - one.zeta)
        * (1.0 + one.lambda_ * cosine) ** one.zeta
        * torch.exp(-one.eta * squares)
        * switch
        for one in functions
    ]
    of_j = types.index_select(0, pairs[1].index_select(0, first))
    of_k = types.index_select(0, pairs[1].index_select(0, second))
    low, high = torch.minimum(of_j, of_k), torch.maximum(of_j, of_k)
    # (0, 0), (0, 1), ..., (1, 1), ...: rows of the upper triangle one after another
    kind = low * n_elements - torch.div(low * (low - 1), 2, rounding_mode="floor") + high - low
    rows = pairs[0].index_select(0, first) * n_element_pairs + kind
    out = r.new_zeros((n_atoms * n_element_pairs, len(functions)))
    values = torch.stack(columns, 1)
    return out.index_add(0, rows, values).view(n_atoms, n_element_pairs, len(functions))
