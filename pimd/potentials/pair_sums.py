"""The moments of `pair_moments` and their first derivatives, fast on a CPU.

What belongs to a pair is worked out again for the derivatives rather than kept, a chunk of pairs
at a time, so that it never leaves the processor's cache. The sums S over the neighbours of each
atom are small matrix products,

    S_ei[w, lm] = sum_{j in e} h_w(r_ij) S_lm(u_ij),

and so are their derivatives: with E the energy, u = r / |r| and D of `spherical_harmonics`,

    dE/dh_w(r_ij) = sum_lm dE/dS_ei[w, lm] S_lm(u),
    dE/du_a = sum_w h_w(r_ij) sum_l'm' ( sum_lm dE/dS_ei[w, lm] D[a, lm, l'm'] ) S_l'm'(u),
    dE/dr = u dE/d|r| + (dE/du - u (u . dE/du)) / |r|.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pimd.potentials.near_rows import NearRows, RowChunk
from pimd.potentials.pair_moments import Moments, PairFunctions, lengths, neighbour_rows
from pimd.potentials.spherical_harmonics import harmonics

__all__ = ["PairSums", "fast_moments"]

RADIAL_CHUNK = 1 << 14
"""Pairs treated at once in the radial sums."""


class _Near(NamedTuple):
    """What belongs to the places of a chunk, the last axis always being the place.

    Attributes:
        unit: (3, n); inverse: 1 / r, (n,).
        weights, slopes: h_w and its derivative, (n_widths, n); 0 at empty places.
        directions: S_lm, (n_lm, n).
    """

    unit: Tensor
    inverse: Tensor
    weights: Tensor
    slopes: Tensor
    directions: Tensor


class PairSums:
    """The sums over one list of pairs.

    Args:
        functions: what to sum.
        types: (n_atoms,) int64.
        pairs: (2, n_pairs) int64, in any order.
        vectors: from i to j, Å, (n_pairs, 3), without a graph.
    """

    def __init__(
        self, functions: PairFunctions, types: Tensor, pairs: Tensor, vectors: Tensor
    ) -> None:
        self.functions, self.n_atoms, self._vectors = functions, len(types), vectors
        self._r = lengths(vectors)
        self._rows = neighbour_rows(types, pairs)
        self._near: NearRows | None = None
        if len(functions.widths):
            near = (self._r < functions.angular_cutoff).nonzero().squeeze(1)
            self._near = NearRows(self._rows, near, functions.n_elements * self.n_atoms)

    def moments(self) -> Moments:
        """The sums."""
        f = self.functions
        n_widths, n_lm = len(f.widths), (f.rank + 1) ** 2
        n_rows = f.n_elements * self.n_atoms
        angular = self._r.new_zeros((n_rows, n_widths, n_lm))
        own = self._r.new_zeros((n_widths, n_rows))
        for chunk in self._near.chunks() if self._near else ():
            near = self._at(chunk)
            weights = near.weights.view(n_widths, chunk.n_rows, chunk.length)
            directions = near.directions.view(n_lm, chunk.n_rows, chunk.length)
            torch.bmm(
                weights.transpose(0, 1), directions.permute(1, 2, 0), out=angular[chunk.rows]
            )
            torch.sum(weights.square_(), 2, out=own[:, chunk.rows])
        shape = (f.n_elements, self.n_atoms)
        return Moments(
            self._radial(), angular.unflatten(0, shape), own.t().contiguous().unflatten(0, shape)
        )

    def _radial(self) -> Tensor:
        f = self.functions
        out = self._r.new_zeros((len(f.etas), f.n_elements * self.n_atoms))
        for r, rows in zip(
            self._r.split(RADIAL_CHUNK), self._rows.split(RADIAL_CHUNK), strict=True
        ):
            apart = r - f.shifts[:, None]  # [function, pair]
            values = apart.square_().mul_(-f.etas[:, None]).exp_()
            values *= _switch(r, f.cutoff)[0]
            for row, value in zip(out, values, strict=True):
                row.index_add_(0, rows, value)
        return out.t().contiguous().unflatten(0, (f.n_elements, self.n_atoms))

    def gradients(self, slopes: Moments) -> Tensor:
        """dE/dr of every pair, (n_energies, n_pairs, 3), of energies E given by dE/dmoments.

        Args:
            slopes: dE/dR, dE/dS and dE/dT, each with a leading axis of energies.
        """
        along = self._radial_slopes(slopes.radial.flatten(1, 2))  # dE/d|r|, [energy, pair]
        along /= self._r
        out = along.new_empty((len(along), 3, len(self._r)))
        for component in range(3):
            torch.mul(along, self._vectors[:, component], out=out[:, component])
        if self._near is not None:
            self._add_angular(slopes.angular.flatten(1, 2), slopes.own.flatten(1, 2), out)
        return out.transpose(1, 2)

    def _radial_slopes(self, slopes: Tensor) -> Tensor:
        """sum_n dE/dR_n dR_n/dr of every pair, (n_energies, n_pairs), of [energy, row, n]."""
        f = self.functions
        out = self._r.new_empty((len(slopes), len(self._r)))
        by_row = slopes.transpose(1, 2).contiguous()  # [energy, function, row]
        starts = range(0, max(1, len(self._r)), RADIAL_CHUNK)
        for start, r, rows in zip(
            starts, self._r.split(RADIAL_CHUNK), self._rows.split(RADIAL_CHUNK), strict=True
        ):
            switch, slope = _switch(r, f.cutoff)
            apart = r - f.shifts[:, None]
            gauss = apart.square().mul_(-f.etas[:, None]).exp_()
            values = apart.mul_(-2.0 * f.etas[:, None]).mul_(switch).add_(slope).mul_(gauss)
            for total, factors in zip(out[:, start : start + len(r)], by_row, strict=True):
                torch.sum(factors.index_select(1, rows).mul_(values), 0, out=total)
        return out

    def _add_angular(self, angular: Tensor, own: Tensor, out: Tensor) -> None:
        """Add dE/dr through S and T, near pairs only, to `out`, (n_energies, 3, n_pairs).

        `angular` and `own` are dE/dS and dE/dT, [energy, row, w, lm] and [energy, row, w].
        """
        assert self._near is not None
        f = self.functions
        n_widths, n_lm = len(f.widths), (f.rank + 1) ** 2
        for chunk in self._near.chunks():
            near = self._at(chunk)
            directions = near.directions.view(n_lm, chunk.n_rows, chunk.length).transpose(0, 1)
            for total, of_s, of_t in zip(out, angular[:, chunk.rows], own[:, chunk.rows],
                                         strict=True):  # fmt: skip
                left = (of_s @ f.derivatives).view(chunk.n_rows, n_widths * 4, n_lm)
                products = torch.bmm(left, directions).transpose(0, 1)  # [w 4, row, slot]
                products = products.reshape(n_widths, 4, -1)
                squares = of_t.t()[..., None].expand(-1, -1, chunk.length).reshape(n_widths, -1)
                gradient = _gradient(near, products, squares)  # [xyz, place]
                total.index_add_(1, chunk.near, gradient.index_select(1, chunk.place))

    def _at(self, chunk: RowChunk) -> _Near:
        """What belongs to the places of a chunk."""
        f = self.functions
        r = chunk.spread(self._r, 2.0 * f.angular_cutoff)
        inverse = r.reciprocal()
        unit = torch.stack([chunk.spread(x, 0.0) for x in self._vectors.unbind(1)])
        unit *= inverse
        switch, slope = _switch(r, f.angular_cutoff)
        etas = f.widths[:, None]
        gauss = torch.exp((r * r) * -etas)  # [width, place]
        weights = gauss * switch
        slopes = (r * (-2.0 * etas)).mul_(switch).add_(slope).mul_(gauss)
        return _Near(unit, inverse, weights, slopes, torch.stack(harmonics(unit, f.rank)))


def _switch(r: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    """fc and dfc/dr."""
    phase = (1.0 - r / cutoff).clamp_(min=0.0).mul_(0.5 * torch.pi)
    sine = torch.sin(phase)
    slope = phase.cos_().mul_(sine).mul_(-torch.pi / cutoff)
    return sine.square_(), slope


def _gradient(near: _Near, products: Tensor, squares: Tensor) -> Tensor:
    """dE/dr, (3, n).

    Args:
        near: of the places.
        products: dE/dS_w times S_lm, as they are and by D to x, y and z, (n_widths, 4, n).
        squares: dE/dT_w, (n_widths, n).
    """
    by_weight = products[:, 0].addcmul_(squares, near.weights, value=2.0)  # dE/dh_w
    along = (by_weight * near.slopes).sum(0)
    by_unit = (products[:, 1:] * near.weights[:, None]).sum(0)  # [xyz, place]
    along -= (by_unit * near.unit).sum(0).mul_(near.inverse)
    return by_unit.mul_(near.inverse).addcmul_(near.unit, along)


class _FastMoments(torch.autograd.Function):
    """Moments of pair vectors; can be differentiated once."""

    @staticmethod
    def forward(
        ctx: Any, functions: PairFunctions, types: Tensor, pairs: Tensor, vectors: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.sums = PairSums(functions, types, pairs, vectors.detach())
        found = ctx.sums.moments()
        return found.radial, found.angular, found.own

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, radial: Tensor, angular: Tensor, own: Tensor
    ) -> tuple[None, None, None, Tensor]:
        slopes = Moments(radial[None], angular[None], own[None])
        return None, None, None, ctx.sums.gradients(slopes)[0]


def fast_moments(
    functions: PairFunctions, types: Tensor, pairs: Tensor, vectors: Tensor
) -> Moments:
    """`pair_moments.sum_pairs`, differentiable once, on a CPU."""
    return Moments(*_FastMoments.apply(functions, types, pairs, vectors))
