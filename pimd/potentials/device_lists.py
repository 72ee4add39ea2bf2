"""Neighbour lists made on the device that holds the batch, anew at every call.

For GPUs, where a search over all structures at once is cheaper than keeping lists up to date.
The search is that of NVIDIA's ALCHEMI toolkit, over a batch of structures with cells of their
own. It fills a row of fixed length for each atom; a row that proves too short is noticed by its
count, and the search is done again with longer ones.

Structures whose positions or cells no list can be made of (not finite, collapsed) are given to
the lists of `pimd.potentials.neighbours`, which say what is wrong.

Source of the search: NVIDIA ALCHEMI Toolkit-Ops, https://github.com/NVIDIA/nvalchemi-toolkit-ops.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from pimd.notices import notice
from pimd.potentials.base import Batch, PotentialError
from pimd.potentials.half_list import MAX_PAIRS
from pimd.potentials.models import require
from pimd.potentials.neighbours import NeighbourLists

__all__ = ["DeviceLists", "closed_cells", "neighbour_lists"]

FIRST_DENSITY = 0.2
"""Atoms per Å³, what the first rows are made for; water has 0.1, dense solids have up to 0.18."""
HEADROOM = 1.25
"""Length of rows made longer, over the most neighbours an atom had."""
ROW_STEP = 16
MAX_LAYOUTS = 16


@dataclass
class _Layout:
    """What does not change while batches hold the same structures."""

    structure_index: Tensor  # int32
    offsets: Tensor  # int32
    method: str
    all_periodic: bool
    made_of: tuple[Tensor, Tensor]  # kept, so that their ids are not given to others


class DeviceLists:
    """Attaches lists of all pairs below the cutoff, made where the batch is.

    Pairs come in the order of i. Takes batches as `NeighbourLists` does and gives the same
    pairs, without a skin: nothing is reused.

    Args:
        cutoff: Å, > 0; pairs at this distance or beyond are not listed.
        skin: Å, of the lists on the CPU that take over where the toolkit does not work.
        method: of the toolkit's; None: what it suggests for the structures.

    Attributes:
        searches: batches searched here.
        redone: searches done again since the rows were too short.

    Raises:
        PotentialError: the toolkit is not installed.
    """

    def __init__(self, cutoff: float, skin: float = 1.0, method: str | None = None) -> None:
        self._toolkit: ModuleType = require("nvalchemiops.torch.neighbors", "cuda")
        self.cutoff, self.method = float(cutoff), method
        self.searches = self.redone = 0
        self._row = _rounded(FIRST_DENSITY * 4.19 * self.cutoff**3)
        self._layouts: OrderedDict[tuple[int, int, int], _Layout] = OrderedDict()
        self._on_host = NeighbourLists(self.cutoff, skin)
        self._usable = True

    def attach(self, batch: Batch) -> Batch:
        """`batch` with all its pairs within the cutoff; the batch given is not changed.

        Raises:
            PotentialError: for positions that are not finite, or a collapsed cell.
        """
        if batch.n_atoms == 0 or not self._usable:
            return self._on_host.attach(batch)
        positions = batch.positions.detach().to(torch.float64)
        cells = batch.cells.detach().to(torch.float64)
        try:
            layout = self._layout(batch, cells)
            closed = cells if layout.all_periodic else closed_cells(cells, batch.pbc)
            if not self._can_be_listed(batch, positions, closed):
                return self._on_host.attach(batch)
            found = self._rows(batch, positions, closed, layout)
        except (PotentialError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if self.searches:
                raise
            self._usable = False
            notice(
                "the neighbour lists of nvalchemi-toolkit-ops do not work here "
                f"({type(error).__name__}: {error}); lists are made on the CPU"
            )
            return self._on_host.attach(batch)
        self.searches += 1
        return _with_rows(batch, layout, *found)

    def _rows(
        self, batch: Batch, positions: Tensor, cells: Tensor, layout: _Layout
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """Neighbours (n_atoms, row) int32, their counts (n_atoms,) int64 and shifts
        (n_atoms, row, 3) int32, and the number of pairs."""
        while True:
            neighbours, counts, shifts = self._toolkit.neighbor_list(
                positions,
                self.cutoff,
                cell=cells,
                pbc=batch.pbc,
                batch_idx=layout.structure_index,
                batch_ptr=layout.offsets,
                method=layout.method,
                max_neighbors=self._row,
            )
            counts = counts.to(torch.int64)
            most, n_pairs = torch.stack([counts.max(), counts.sum()]).tolist()
            if most < self._row:
                return neighbours, counts, shifts, n_pairs
            # (a row that is just full counts as too short: a count may stop at the length)
            self.redone += 1
            self._row = _rounded(HEADROOM * max(most, self._row))

    def _layout(self, batch: Batch, cells: Tensor) -> _Layout:
        """What the search needs to know of the structures; kept for batches that share their
        tensors, as those of one simulation do."""
        made_of = batch.structure_index, batch.pbc
        key = (id(made_of[0]), id(made_of[1]), batch.pbc._version)
        layout = self._layouts.pop(key, None)
        if layout is None:
            index, offsets = batch.structure_index.to(torch.int32), batch.offsets.to(torch.int32)
            all_periodic = bool(batch.pbc.all())
            method = self.method or self._toolkit.suggest_neighbor_list_method(
                offsets,
                cells if all_periodic else closed_cells(cells, batch.pbc),
                batch.pbc,
                self.cutoff,
                batch_idx=index,
            )
            layout = _Layout(index, offsets, str(method), all_periodic, made_of)
        self._layouts[key] = layout
        while len(self._layouts) > MAX_LAYOUTS:
            self._layouts.popitem(last=False)
        return layout

    def _can_be_listed(self, batch: Batch, positions: Tensor, cells: Tensor) -> bool:
        """Whether all is finite and no cell has collapsed."""
        normals = torch.linalg.cross(cells.roll(-1, 1), cells.roll(-2, 1), dim=2)
        volumes = (cells[:, 0] * normals[:, 0]).sum(1).abs()
        heights = volumes[:, None] / normals.norm(dim=2)  # [structure, vector]
        images = (2.0 * self.cutoff / heights).where(batch.pbc, 1.0).prod(1)
        squared = batch.n_atoms_per_structure**2
        # (an expectation that is no number is not small either)
        small = 0.5 * squared * images <= squared.clamp(min=int(MAX_PAIRS))
        # a sum is finite only if all its terms are
        return bool(small.all() & positions.sum().isfinite() & cells.sum().isfinite())


def _with_rows(
    batch: Batch, layout: _Layout, neighbours: Tensor, counts: Tensor, shifts: Tensor, n_pairs: int
) -> Batch:
    """The batch with the pairs of rows (n_atoms, row) that are filled up to `counts`."""
    device = neighbours.device
    ends = counts.cumsum(0)  # [atom]
    i = torch.arange(batch.n_atoms, device=device).repeat_interleave(counts, output_size=n_pairs)
    begins = i * neighbours.shape[1] - (ends - counts).index_select(0, i)
    places = begins + torch.arange(n_pairs, device=device)  # [pair], among those of all rows
    j = neighbours.view(-1).index_select(0, places)
    run = torch.cat([ends.new_zeros(1), ends]).index_select(0, layout.offsets)
    return batch.with_pairs(
        torch.stack([i, j.to(torch.int64)]),
        shifts.view(-1, 3).index_select(0, places).to(batch.positions.dtype),
        run[None],
    )


def closed_cells(cells: Tensor, pbc: Tensor) -> Tensor:
    """Cells with unit vectors across the periodic ones where they are not periodic.

    The search wants three independent vectors. Along those that are not periodic it takes
    atoms outside as lying in the outermost cells, so their length does not matter.

    Args:
        cells: Å, (n_structures, 3, 3).
        pbc: (n_structures, 3) bool.
    """
    periodic = cells * pbc[:, :, None]
    # right singular vectors come with falling singular values: the last ones are across
    across = torch.linalg.svd(periodic)[2]  # [structure, vector, xyz]
    open_ = ~pbc
    rank = open_.cumsum(1) - 1 + pbc.sum(1, keepdim=True)  # [structure, vector]
    chosen = across.gather(1, rank.clamp(0, 2)[:, :, None].expand(-1, -1, 3))
    return torch.where(pbc[:, :, None], cells, chosen)


def neighbour_lists(
    cutoff: float, skin: float, device: torch.device
) -> NeighbourLists | DeviceLists:
    """Lists for batches on a device: on a GPU made there at every call, where the toolkit for
    it is installed; otherwise on the CPU, kept while they hold."""
    if device.type == "cuda" and cutoff > 0.0:
        try:
            return DeviceLists(cutoff, skin)
        except PotentialError as error:
            notice(f"neighbour lists are made on the CPU: {error}")
    return NeighbourLists(cutoff, skin=skin)


def _rounded(length: float) -> int:
    """Length of rows for so many neighbours, one to spare."""
    return ROW_STEP * (int(length) // ROW_STEP + 1)
