"""Neighbour lists of a whole batch, reused from call to call while atoms stay near.

A pair (i, j, S) is in the list if |x_j - x_i + S C| < cutoff, strictly, with C the lattice
vectors as rows; (j, i, -S) is listed beside it. Lists are built out to cutoff + skin for
reference structures and filtered to the cutoff at every call.

When a list still holds. Between its reference (x0, C0) and now (x, C), write for each atom

    x = x0 F + d + n C,    C0 F = C,    n whole numbers along periodic vectors, 0 elsewhere.

F is the homogeneous strain of the cell, n undoes the wrapping of atoms back into the cell, and
S' = S + n_i - n_j is the shift of the same pair now. A pair that is not in the list was at least
cutoff + skin apart, so it is now at least

    s_min(F) (cutoff + skin) - 2 max_i |d_i - mean d|

apart, with s_min the smallest singular value. The list holds while that is no less than the
cutoff, whatever the cell did. With C+ the pseudo-inverse of the periodic rows of C (zero rows
for the others), F = 1 + C0+ (C - C0) and n = round((x - x0 F) C+), so that structures of any
periodicity are treated by the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pimd.potentials.base import Batch, PotentialError
from pimd.potentials.flat_lists import FlatLists, ReferenceList, times
from pimd.potentials.half_list import HalfLists

__all__ = ["NeighbourLists"]

ROUNDING = 1e-8
"""Å; a list is trusted only if it holds by more than this."""

WORTHWHILE = 0.25
"""A list of another slot is taken over only if it holds by this share of the skin."""

MAX_STORED_LISTS, MAX_STORED_BATCHES, MAX_STORED_PAIRS = 128, 3, 1e7
"""Bounds of what is kept beside the lists of the present batch. 1e7 pairs, each counted once,
take 0.2 GB as lists of structures, 0.5 GB laid flat as batches."""


class NeighbourLists:
    """Attaches neighbour lists to batches.

    A batch with the structures of one of the last, in the same order, goes through without any
    loop over structures. Otherwise a structure takes over the list of its slot, or any stored
    list of the same species that still holds, and only the rest is built anew.

    Args:
        cutoff: Å, >= 0; pairs at this distance or beyond are not listed. 0: no pairs.
        skin: Å, >= 0; lists reach this much further, and are reused until an atom moved about
            half of it. 0: built anew at every call.
        threads: structures built at once on the CPU; None for as many threads as torch uses.

    Attributes:
        structures: structures attached so far.
        rebuilds: of these, structures whose list was built anew.
        reuses: of these, structures whose list was reused.

    Raises:
        PotentialError: for a negative or infinite cutoff or skin.
    """

    def __init__(self, cutoff: float, skin: float = 1.0, threads: int | None = None) -> None:
        if not (0.0 <= cutoff < np.inf and 0.0 <= skin < np.inf):
            raise PotentialError(
                f"cutoff and skin are lengths in Å, >= 0 and finite; got {cutoff} and {skin}"
            )
        self.cutoff, self.skin = float(cutoff), float(skin)
        self.structures = self.rebuilds = self.reuses = 0
        self._half_lists = HalfLists(self.cutoff + self.skin, threads)
        self._stored: dict[bytes, list[ReferenceList]] = {}
        self._flats: list[FlatLists] = []  # latest first
        self._calls = 0

    def attach(self, batch: Batch) -> Batch:
        """`batch` with all its pairs within the cutoff; the batch given is not changed.

        Raises:
            PotentialError: for positions that are not finite, or a collapsed cell.
        """
        dtype = batch.positions.dtype
        if self.cutoff == 0.0:
            none = torch.empty((2, 0), dtype=torch.int64, device=batch.positions.device)
            return batch.with_pairs(none, torch.empty((0, 3), dtype=dtype, device=none.device))
        positions = batch.positions.detach().to(torch.float64)
        cells = batch.cells.detach().to(torch.float64) * batch.pbc[:, :, None]
        flat, wraps = self._lists_that_hold(batch, positions, cells)
        return batch.with_pairs(*flat.within(self.cutoff, positions, cells, wraps, dtype))

    def _lists_that_hold(
        self, batch: Batch, positions: Tensor, cells: Tensor
    ) -> tuple[FlatLists, Tensor]:
        """Lists of the batch that hold, and n of every atom since their references."""
        nearest: FlatLists | None = None
        holding = [False] * batch.n_structures
        for flat in (one for one in self._flats if one.fits(batch)):
            margins, wraps = self._margins(positions, cells, flat.index, flat.positions, flat.cells)
            holds = margins > ROUNDING
            if bool(holds.all()):
                self.structures += batch.n_structures
                self.reuses += batch.n_structures
                self._keep(flat)
                return flat, wraps
            if nearest is None or int(holds.sum()) > sum(holding):
                nearest, holding = flat, holds.tolist()
        like = nearest or next(iter(self._flats), None)
        lists = self._choose(batch, positions, cells, like.lists if like else [], holding)
        if nearest is not None and 2 * sum(holding) >= batch.n_structures:
            nearest.replace(lists)
        else:  # another simulation, or all moved on: leave the lists that were
            nearest = FlatLists(batch, lists)
        self._keep(nearest)
        _, wraps = self._margins(positions, cells, nearest.index, nearest.positions, nearest.cells)
        return nearest, wraps

    def _keep(self, latest: FlatLists) -> None:
        """Put a batch's lists first, and drop those of batches long ago."""
        self._flats = [latest, *(one for one in self._flats if one is not latest)]
        n_pairs = np.cumsum([one.n_pairs for one in self._flats])
        within = int((n_pairs[1:] <= MAX_STORED_PAIRS).sum())
        del self._flats[1 + min(within, MAX_STORED_BATCHES) :]

    def _margins(
        self, positions: Tensor, cells: Tensor, index: Tensor, positions0: Tensor, cells0: Tensor
    ) -> tuple[Tensor, Tensor]:
        """By how many Å the lists hold, (n_structures,), and n of every atom, (n_atoms, 3)."""
        smallest = torch.ones(len(cells), dtype=cells.dtype, device=cells.device)
        strained = positions0
        if not torch.equal(cells, cells0):
            one = torch.eye(3, dtype=cells.dtype, device=cells.device)
            strain = one + torch.linalg.pinv(cells0) @ (cells - cells0)  # F
            smallest = torch.linalg.svdvals(strain).amin(1)
            strained = times(positions0, strain, index)
        moved = positions - strained
        wraps = times(moved, torch.linalg.pinv(cells), index).round_()
        moved -= times(wraps, cells, index)  # d
        n_atoms = torch.bincount(index, minlength=len(cells)).clamp_(min=1)
        mean = torch.zeros_like(cells[:, 0]).index_add_(0, index, moved) / n_atoms[:, None]
        squared = (moved - mean.index_select(0, index)).square_().sum(1)
        largest = torch.zeros_like(smallest).scatter_reduce_(0, index, squared, "amax").sqrt_()
        return smallest * (self.cutoff + self.skin) - 2.0 * largest - self.cutoff, wraps

    def _choose(
        self,
        batch: Batch,
        positions: Tensor,
        cells: Tensor,
        slots: Sequence[ReferenceList],
        holds: Sequence[bool],
    ) -> list[ReferenceList]:
        """A list that holds for every structure: of its slot, another stored one, or new.

        `slots` are the lists of an earlier batch; `holds` says which are known to hold.
        """
        ends = np.cumsum(batch.n_atoms_per_structure.cpu().numpy()).tolist()
        atoms = [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        numbers, pbc = batch.numbers.cpu().numpy(), batch.pbc.cpu().numpy()
        keys = [p.tobytes() + numbers[own].tobytes() for p, own in zip(pbc, atoms, strict=True)]
        chosen: list[ReferenceList | None] = []
        for k, (key, own) in enumerate(zip(keys, atoms, strict=True)):
            slot = slots[k] if k < len(slots) and slots[k].key == key else None
            if slot is None or not holds[k]:
                slot = self._best(positions[own], cells[k], slot, self._stored.get(key, []))
            chosen.append(slot)
        missing = [k for k, one in enumerate(chosen) if one is None]
        x, c = positions.cpu().numpy(), cells.cpu().numpy()
        built = self._half_lists.build([(x[atoms[k]], c[k], pbc[k]) for k in missing])
        for k, arrays in zip(missing, built, strict=True):
            i, j, shifts = (torch.from_numpy(a).to(positions.device) for a in arrays)
            new = ReferenceList(
                keys[k], positions[atoms[k]].clone(), cells[k].clone(), i, j, shifts
            )
            self._stored.setdefault(keys[k], []).append(new)
            chosen[k] = new
        self.structures += len(chosen)
        self.rebuilds += len(missing)
        self.reuses += len(chosen) - len(missing)
        lists = [one for one in chosen if one is not None]
        self._forget_all_but(lists)
        return lists

    def _best(
        self,
        positions: Tensor,
        cell: Tensor,
        slot: ReferenceList | None,
        stored: Sequence[ReferenceList],
    ) -> ReferenceList | None:
        """The list of the slot if it holds, else the stored one that holds longest, if any."""
        candidates = [one for one in stored if one.positions.device == positions.device]
        if not candidates or self.skin == 0.0:
            return None
        n, n_atoms = len(candidates), len(positions)
        margins, _ = self._margins(
            positions.repeat(n, 1),
            cell.expand(n, 3, 3),
            torch.arange(n, device=positions.device).repeat_interleave(n_atoms),
            torch.cat([one.positions for one in candidates]),
            torch.stack([one.cell for one in candidates]),
        )
        margins = margins.nan_to_num(nan=-1.0)  # not finite: building the list says so
        if slot in candidates and margins[candidates.index(slot)] > ROUNDING:
            return slot
        best = int(margins.argmax())
        return candidates[best] if margins[best] > WORTHWHILE * self.skin else None

    def _forget_all_but(self, lists: Sequence[ReferenceList]) -> None:
        """Bound what is stored: drop the lists that were not used for longest."""
        self._calls += 1
        for one in lists:
            one.used = self._calls
        stored = [one for some in self._stored.values() for one in some]
        others = [one for one in stored if one.used != self._calls]
        others.sort(key=lambda one: one.used, reverse=True)
        n_pairs = 0
        for rank, one in enumerate(others):
            n_pairs += len(one.i)
            if rank >= MAX_STORED_LISTS or n_pairs > MAX_STORED_PAIRS:
                self._stored[one.key].remove(one)
                if not self._stored[one.key]:
                    del self._stored[one.key]
