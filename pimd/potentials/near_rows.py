"""Neighbours laid out in rows, as batched matrix products need them.

There is a row for each element of neighbours and each atom, element by element, so that rows
that lie together are about equally long: that of element e and atom i is e * n_atoms + i.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["NearRows", "RowChunk"]

CHUNK = 1 << 14
"""Places (rows times their length) treated at once, so that what belongs to them stays in the
processor's cache."""


class RowChunk:
    """Some rows one after another, all as long as the longest.

    Args:
        rows: the first and the one after the last.
        near: which pairs, row by row, (n_own,) int64.
        place: of each of them, (n_own,) int64.
        length: of a row.
    """

    def __init__(self, rows: slice, near: Tensor, place: Tensor, length: int) -> None:
        self.rows, self.near, self.place, self.length = rows, near, place, length
        self.n_rows = rows.stop - rows.start

    def spread(self, values: Tensor, fill: float) -> Tensor:
        """Values (n_pairs,) of the pairs at their places, (n_rows * length,), else `fill`."""
        out = values.new_full((self.n_rows * self.length,), fill)
        return out.index_copy_(0, self.place, values.index_select(0, self.near))


class NearRows:
    """Pairs in rows.

    Args:
        rows: row of every pair, (n_pairs,) int64.
        near: which pairs, (n_near,) int64.
        n_rows: rows there are.
    """

    def __init__(self, rows: Tensor, near: Tensor, n_rows: int) -> None:
        own = rows.index_select(0, near).to(torch.int32)  # (sorts faster than int64)
        own, order = torch.sort(own, stable=True)
        self._near, self._rows = near.index_select(0, order), own.to(torch.int64)
        counts = torch.bincount(self._rows, minlength=n_rows)
        ends = counts.cumsum(0)
        place = torch.arange(len(near), device=near.device)
        self._slots = place - (ends - counts).index_select(0, self._rows)
        self._bounds = self._chunk_bounds(counts, ends)

    def _chunk_bounds(self, counts: Tensor, ends: Tensor) -> list[tuple[int, int, int, int, int]]:
        """First and last row, first and last pair, and longest row of each chunk."""
        n_rows, n_near = len(counts), len(self._near)
        if n_near == 0:
            return []
        step = max(1, CHUNK * n_rows // n_near)
        lasts = [*range(step, n_rows, step), n_rows]
        ends_of_pairs = ends[torch.tensor(lasts) - 1].tolist()
        longest = [int(one.max()) for one in counts.split(step)]
        return [
            (*rows, *pairs, length)
            for rows, pairs, length in zip(
                itertools.pairwise([0, *lasts]), itertools.pairwise([0, *ends_of_pairs]), longest,
                strict=True,
            )
            if length > 0
        ]  # fmt: skip

    def chunks(self) -> Iterator[RowChunk]:
        """All rows that hold anything, some at a time."""
        for first, last, start, end, length in self._bounds:
            own = slice(start, end)
            place = torch.add(self._slots[own], self._rows[own] - first, alpha=length)
            yield RowChunk(slice(first, last), self._near[own], place, length)
