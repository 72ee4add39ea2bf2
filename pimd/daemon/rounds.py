"""Which structures make up one call, over all connected simulations.

A round takes every request that is pending, lays the structures flat in atomic units -> eV, Å,
and lists identical ones once: i-PI fills a short batch with copies of its last structure. What
does not change from round to round (species, periodicity, indices) is laid out once for each
composition of a round and kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch

from pimd.potentials.base import Batch, PotentialError, Structure
from pimd.transfer import Staging
from pimd.units import BOHR_ANGSTROM

__all__ = ["BadPositions", "Request", "Round", "RoundBuilder", "Share", "Template"]

_PROBES = 16
_MAX_LAYOUTS = 64


class BadPositions(ValueError):
    """A server sent positions or cells that are not finite.

    Attributes:
        index: the structure in the batch.
        structure: its atoms.
        round: that was to be evaluated.
        what: in words.
    """

    def __init__(self, index: int, round_: Round) -> None:
        self.what = "the server sent positions or a cell that are not finite"
        super().__init__(f"structure {index} of the batch: {self.what}")
        self.index, self.structure, self.round = index, round_.structure(index), round_


@dataclass(frozen=True, eq=False)
class Template:
    """What the protocol does not send: species and periodicity of a simulation.

    Attributes:
        numbers: (n_atoms,) atomic numbers.
        pbc: (3,) bool.
        probes: a few coordinates spread over the structure, to tell structures apart.
    """

    numbers: np.ndarray
    pbc: np.ndarray
    probes: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        n_coordinates = 3 * len(self.numbers)
        probes = np.linspace(0, n_coordinates - 1, min(_PROBES, n_coordinates))
        object.__setattr__(self, "probes", probes.astype(np.int64))

    @classmethod
    def of(cls, structure: Structure) -> Template:
        return cls(structure.numbers, structure.pbc)


@dataclass(frozen=True, eq=False)
class Request:
    """The structures of one message.

    Attributes:
        template: of all of them.
        cells_bohr: (n_structures, 3, 3), columns are lattice vectors.
        positions_bohr: (n_structures, n_atoms, 3).
    """

    template: Template
    cells_bohr: np.ndarray
    positions_bohr: np.ndarray

    def __len__(self) -> int:
        return len(self.positions_bohr)


@dataclass(frozen=True)
class Share:
    """Where the structures of one request are in the batch of its round.

    Attributes:
        request: whose share it is.
        slots: (len(request),) structure of the batch.
        n_new: how many of them no request before it in the round holds.
        rows: (len(request), n_atoms) atoms of the batch; None where the share is the run of
            structures first, first + 1, ... and of atoms from first_row on.
    """

    request: Request
    slots: np.ndarray
    n_new: int
    first: int
    first_row: int
    rows: np.ndarray | None

    def per_structure(self, values: np.ndarray) -> np.ndarray:
        """The request's values out of those of the batch, (n_structures, ...)."""
        if self.rows is None:
            return values[self.first : self.first + len(self.slots)]
        return values[self.slots]

    def per_atom(self, values: np.ndarray) -> np.ndarray:
        """The request's values, (len(request), n_atoms, ...), out of (n_atoms of batch, ...)."""
        if self.rows is None:
            shape = self.request.positions_bohr.shape[:2]
            end = self.first_row + shape[0] * shape[1]
            return values[self.first_row : end].reshape(*shape, *values.shape[1:])
        return values[self.rows]


@dataclass(frozen=True)
class Round:
    """One call of the potential.

    Attributes:
        batch: the distinct structures.
        starts: (n_structures + 1,) first atom of each structure of the batch, and the end.
        shares: one for each request, in their order.
        n_requested: structures in the requests, copies included.
    """

    batch: Batch
    starts: np.ndarray
    shares: list[Share]
    n_requested: int

    def structure(self, index: int) -> Structure:
        """Structure `index` of the batch; without its cell where that is no cell."""
        batch = self.batch
        own = slice(*self.starts[index : index + 2].tolist())
        numbers = batch.numbers[own].cpu().numpy()
        positions = batch.positions[own].double().cpu().numpy()
        try:
            cell = batch.cells[index].double().cpu().numpy()
            return Structure(numbers, positions, cell, batch.pbc[index].cpu().numpy())
        except (PotentialError, np.linalg.LinAlgError):
            return Structure(numbers, positions)

    def find(self, index: int) -> tuple[int, int]:
        """(request, structure in it) that structure `index` of the batch came from."""
        for k, share in enumerate(self.shares):
            found = np.flatnonzero(share.slots == index)
            if found.size:
                return k, int(found[0])
        raise IndexError(f"no request holds structure {index} of the batch")


@dataclass(frozen=True)
class _Layout:
    pbc: torch.Tensor
    numbers: torch.Tensor
    structure_index: torch.Tensor
    sizes: torch.Tensor
    starts: np.ndarray
    host_starts: torch.Tensor  # the same


class RoundBuilder:
    """Makes rounds for a potential's dtype and device.

    Positions and cells go to the device by one copy; all else of a batch stays there while
    rounds are made up of the same structures.

    Args:
        dtype, device: of the potential.
        packed: as in `pimd.transfer.Staging`.
    """

    def __init__(
        self,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        *,
        packed: bool | None = None,
    ) -> None:
        self.dtype, self.device, self.packed = dtype, torch.device(device), packed
        self._layouts: OrderedDict[tuple[tuple[Template, int], ...], _Layout] = OrderedDict()

    def build(self, requests: Sequence[Request]) -> Round:
        """One round of all the requests.

        Raises:
            BadPositions: positions or cells that are not finite.
        """
        slots, fresh = _distinct(requests)
        counts = [len(r) if f is None else len(f) for r, f in zip(requests, fresh, strict=True)]
        layout = self._layout(
            tuple((r.template, n) for r, n in zip(requests, counts, strict=True))
        )
        n_structures, n_atoms = len(layout.starts) - 1, int(layout.starts[-1])
        staging = Staging(
            [(n_atoms, 3), (n_structures, 3, 3)], self.dtype, self.device, packed=self.packed
        )
        positions, cells = staging.arrays
        shares = []
        first = 0
        for request, own, new, n in zip(requests, slots, fresh, counts, strict=True):
            first_row, end_row = int(layout.starts[first]), int(layout.starts[first + n])
            source = request.positions_bohr if new is None else request.positions_bohr[new]
            columns = request.cells_bohr if new is None else request.cells_bohr[new]
            out = positions[first_row:end_row].reshape(source.shape)
            np.multiply(source, BOHR_ANGSTROM, out=out)
            np.multiply(columns.transpose(0, 2, 1), BOHR_ANGSTROM, out=cells[first : first + n])
            rows = None
            if new is not None:
                rows = layout.starts[own][:, None] + np.arange(source.shape[1])
            shares.append(Share(request, own, n, first, first_row, rows))
            first += n
        sent_positions, sent_cells = staging.send()
        batch = Batch(
            positions=sent_positions,
            cells=sent_cells,
            pbc=layout.pbc,
            numbers=layout.numbers,
            structure_index=layout.structure_index,
            n_atoms_per_structure=layout.sizes,
            host_starts=layout.host_starts,
        )
        built = Round(batch, layout.starts, shares, sum(len(r) for r in requests))
        # a sum is finite only if all its terms are
        if not (np.isfinite(positions.sum()) and np.isfinite(cells.sum())):
            _raise_bad(built, positions, cells)
        return built

    def _layout(self, key: tuple[tuple[Template, int], ...]) -> _Layout:
        layout = self._layouts.get(key)
        if layout is None:
            layout = self._make_layout(key)
            self._layouts[key] = layout
            if len(self._layouts) > _MAX_LAYOUTS:
                self._layouts.popitem(last=False)
        self._layouts.move_to_end(key)
        return layout

    def _make_layout(self, key: tuple[tuple[Template, int], ...]) -> _Layout:
        numbers = np.concatenate([np.tile(t.numbers, n) for t, n in key])
        pbc = np.concatenate([np.tile(t.pbc, (n, 1)) for t, n in key])
        sizes = np.concatenate([np.full(n, len(t.numbers), np.int64) for t, n in key])
        index = np.repeat(np.arange(len(sizes)), sizes)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        device = self.device
        return _Layout(
            pbc=torch.tensor(pbc, dtype=torch.bool, device=device),
            numbers=torch.tensor(numbers, dtype=torch.int64, device=device),
            structure_index=torch.tensor(index, dtype=torch.int64, device=device),
            sizes=torch.tensor(sizes, dtype=torch.int64, device=device),
            starts=starts,
            host_starts=torch.from_numpy(starts),
        )


def _distinct(
    requests: Sequence[Request],
) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Number the distinct structures of a round, simulation by simulation.

    Returns, for each request, the number of each of its structures, and the indices of those
    that appear for the first time there, None standing for all.
    """
    slots: list[np.ndarray] = []
    fresh: list[np.ndarray | None] = []
    if not _may_repeat(requests):
        first = 0
        for request in requests:
            slots.append(np.arange(first, first + len(request)))
            fresh.append(None)
            first += len(request)
        return slots, fresh
    seen: dict[tuple[int, bytes, bytes], int] = {}
    for request in requests:
        own = np.empty(len(request), np.int64)
        new = []
        for k in range(len(request)):
            key = (
                id(request.template),
                request.positions_bohr[k].tobytes(),
                request.cells_bohr[k].tobytes(),
            )
            before = len(seen)
            own[k] = seen.setdefault(key, before)
            if len(seen) > before:
                new.append(k)
        slots.append(own)
        fresh.append(np.array(new, np.int64))
    return slots, fresh


def _may_repeat(requests: Sequence[Request]) -> bool:
    """Whether two structures of a simulation agree in the probed coordinates."""
    seen: dict[int, set[bytes]] = {}
    firsts: dict[int, list[float]] = {}
    for request in requests:
        column = request.positions_bohr.reshape(len(request), -1)[:, request.template.probes[0]]
        firsts.setdefault(id(request.template), []).extend(column.tolist())
    if all(len(set(values)) == len(values) for values in firsts.values()):
        return False  # one coordinate is enough, as a rule
    for request in requests:
        probes = request.template.probes
        flat = request.positions_bohr.reshape(len(request), -1)
        sample = flat[:, probes]  # [structure, probe]
        keys = [row.tobytes() for row in sample]
        own = seen.setdefault(id(request.template), set())
        before = len(own)
        own.update(keys)
        if len(own) < before + len(keys):
            return True
    return False


def _raise_bad(round_: Round, positions: np.ndarray, cells: np.ndarray) -> None:
    for k, (start, end) in enumerate(pairwise(round_.starts.tolist())):
        if not (np.isfinite(positions[start:end]).all() and np.isfinite(cells[k]).all()):
            raise BadPositions(k, round_)
