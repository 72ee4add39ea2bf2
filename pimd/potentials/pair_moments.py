"""Sums over the neighbours of an atom that the symmetry functions are made of.

For atom i, neighbour element e, distance r and unit vector u of each neighbour j of that element:

    R_i,e,n  = sum_j exp(-eta_n (r - s_n)²) fc(r; r_c)                 radial functions n
    S_i,e,w,lm = sum_j h_w(r) S_lm(u),  h_w(r) = exp(-eta_w r²) fc(r; r_a)   widths w
    T_i,e,w  = sum_j h_w(r)²                                           j = k in a sum over pairs

with the cutoff function fc(r; r_c) = (1 + cos(pi r / r_c)) / 2 below r_c and 0 beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pimd.potentials.pair_vectors import squared_lengths
from pimd.potentials.spherical_harmonics import gradient_matrices, harmonics
from pimd.potentials.symmetry_settings import Settings

__all__ = ["Moments", "PairFunctions", "cosine_cutoff", "lengths", "neighbour_rows", "sum_pairs"]

SMALLEST_SQUARE = 1e-12
"""Å²; a shorter vector (a place holder in a padded list) has no direction and pulls at nothing."""


@dataclass
class Moments:
    """The sums of the module.

    Attributes:
        radial: R, (n_elements, n_atoms, n_radial).
        angular: S, (n_elements, n_atoms, n_widths, n_lm).
        own: T, (n_elements, n_atoms, n_widths).
    """

    radial: Tensor
    angular: Tensor
    own: Tensor


@dataclass(frozen=True)
class PairFunctions:
    """What is summed: parameters as plain numbers, and the tensors of them.

    Attributes:
        n_elements: of neighbours.
        cutoff, angular_cutoff: r_c and r_a, Å.
        etas, shifts: of the radial functions, (n_radial,).
        widths: eta_w, (n_widths,).
        rank: largest l.
        derivatives: 1 and D of `spherical_harmonics` side by side, (n_lm, 4 n_lm).
    """

    n_elements: int
    cutoff: float
    angular_cutoff: float
    etas: Tensor
    shifts: Tensor
    widths: Tensor
    rank: int
    derivatives: Tensor

    @classmethod
    def of(
        cls, settings: Settings, dtype: torch.dtype, device: torch.device | str
    ) -> PairFunctions:
        """Those that `settings` need."""

        def tensor(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        moments = [one for one in settings.angular if one.kind == "G5"]
        rank = max((one.zeta for one in moments), default=0)
        matrices = gradient_matrices(rank)
        derivatives = torch.cat([torch.eye(matrices.shape[1], dtype=torch.float64), *matrices], 1)
        return cls(
            n_elements=len(settings.elements),
            cutoff=settings.cutoff,
            angular_cutoff=settings.angular_cutoff,
            etas=tensor([one.eta for one in settings.radial]),
            shifts=tensor([one.shift for one in settings.radial]),
            widths=tensor(sorted({one.eta for one in moments})),
            rank=rank,
            derivatives=derivatives.to(device, dtype),
        )


def cosine_cutoff(r: Tensor, cutoff: float) -> Tensor:
    """fc(r) = sin²[(1 - r / r_c) pi / 2]: 1 at r = 0, 0 with zero slope at the cutoff, 0 beyond.

    (The form with the cosine has lost its digits where it is small.)
    """
    return torch.sin((1.0 - r / cutoff).clamp(min=0.0) * (0.5 * torch.pi)).square()


def lengths(vectors: Tensor) -> Tensor:
    """|r| of vectors (n, 3), at least a millionth of an Å."""
    return squared_lengths(vectors).clamp(min=SMALLEST_SQUARE).sqrt()


def neighbour_rows(types: Tensor, pairs: Tensor) -> Tensor:
    """Row of each pair in sums laid out by neighbour element, then atom, (n_pairs,) int64."""
    return torch.add(pairs[0], types.index_select(0, pairs[1]), alpha=len(types))


def sum_pairs(
    functions: PairFunctions,
    types: Tensor,
    pairs: Tensor,
    vectors: Tensor,
    *,
    fixed_shapes: bool | None = None,
) -> Moments:
    """The moments, differentiable as often as wanted; the plain way.

    Args:
        functions: what to sum.
        types: (n_atoms,) int64.
        pairs: (2, n_pairs) int64, in any order.
        vectors: from i to j, Å, (n_pairs, 3).
        fixed_shapes: whether to take all pairs through the angular sums, rather than to ask how
            many are within their cutoff; None: off the CPU.
    """
    n_atoms, n_elements = len(types), functions.n_elements
    n_widths, n_lm = len(functions.widths), (functions.rank + 1) ** 2
    rows = neighbour_rows(types, pairs)
    r = lengths(vectors)

    def summed(values: Tensor, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
        out = values.new_zeros((n_elements * n_atoms, values.shape[1]))
        return out.index_add(0, rows, values).view(n_elements, n_atoms, *shape)

    apart = r[:, None] - functions.shifts
    gauss = torch.exp(-functions.etas * apart * apart)  # [pair, function]
    gauss = gauss * cosine_cutoff(r, functions.cutoff)[:, None]
    moments = summed(gauss, rows, (len(functions.etas),))
    if n_widths == 0:
        none = r.new_zeros((n_elements, n_atoms, 0))
        return Moments(moments, none[..., None].expand(-1, -1, -1, n_lm), none)
    if fixed_shapes is None:
        fixed_shapes = r.device.type != "cpu"
    if not fixed_shapes:
        near = (r.detach() < functions.angular_cutoff).nonzero().squeeze(1)
        r, vectors, rows = (t.index_select(0, near) for t in (r, vectors, rows))
    weights = torch.exp(-functions.widths * (r * r)[:, None])
    weights = weights * cosine_cutoff(r, functions.angular_cutoff)[:, None]
    unit = vectors / r[:, None]
    directions = torch.stack(harmonics(unit.T, functions.rank), 1)  # [pair, lm]
    products = (weights[:, :, None] * directions[:, None, :]).flatten(1)
    return Moments(
        moments,
        summed(products, rows, (n_widths, n_lm)),
        summed(weights * weights, rows, (n_widths,)),
    )
