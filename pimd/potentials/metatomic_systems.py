"""From a flat batch to metatomic's Systems, one for each structure, with the lists they ask for.

All arithmetic is done on the flat batch, in the model's unit of length; what is left for each
structure is to wrap slices, in TorchScript: a quarter of the time that it takes from Python.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pimd.potentials.base import Batch
from pimd.potentials.models import require
from pimd.potentials.pair_vectors import (
    forces_of_gradients,
    squared_lengths,
    virials_of_gradients,
)

__all__ = ["Geometry", "ListOptions", "SystemBuilder", "probes", "select_pairs"]

MAX_SHIFT = 2.0**20
"""Cells; no image is further away."""

LOOPS = """
def make_systems(
    types: List[Tensor], positions: List[Tensor], cells: List[Tensor], pbc: List[Tensor]
) -> List[torch.classes.metatomic.System]:
    systems: List[torch.classes.metatomic.System] = []
    for k in range(len(types)):
        systems.append(
            torch.classes.metatomic.System(types[k], positions[k], cells[k], pbc[k])
        )
    return systems

def add_list(
    systems: List[torch.classes.metatomic.System],
    options: torch.classes.metatomic.NeighborListOptions,
    samples: List[Tensor],
    vectors: List[Tensor],
    xyz: torch.classes.metatensor.Labels,
    distance: torch.classes.metatensor.Labels,
) -> None:
    names = ["first_atom", "second_atom", "cell_shift_a", "cell_shift_b", "cell_shift_c"]
    for k in range(len(systems)):
        unique = torch.classes.metatensor.Labels(names, samples[k], True)
        block = torch.classes.metatensor.TensorBlock(
            vectors[k], unique, [xyz], distance
        )
        systems[k].add_neighbor_list(options, block)
"""
"""TorchScript: the classes are known only once metatomic is loaded."""


@dataclass(frozen=True)
class ListOptions:
    """A neighbour list that a model asks for.

    Attributes:
        cutoff: Å.
        full: both (i, j) and (j, i) are listed, else one of them.
        raw: metatomic's NeighborListOptions.
    """

    cutoff: float
    full: bool
    raw: Any


@dataclass
class Geometry:
    """What energies are differentiated by: leaves of the graph, Å, float64.

    Attributes:
        batch: that it is of.
        positions: (n_atoms, 3).
        cells: (n_structures, 3, 3), zero rows where not periodic.
        lists: for each list asked for, the batch with its pairs, sorted by structure, and
            their vectors (n_pairs, 3).
    """

    batch: Batch
    positions: Tensor
    cells: Tensor
    lists: list[tuple[Batch, Tensor]]

    @classmethod
    def of(cls, batch: Batch, options: Sequence[ListOptions], *, grad: bool) -> Geometry:
        """The geometry of a batch; leaves require gradients where `grad`."""
        with torch.no_grad():
            positions = batch.positions.detach().clone()
            cells = batch.cells.detach() * batch.pbc[:, :, None]
            vectors = batch.pair_vectors() if options else None
            lists = []
            for one in options:
                assert vectors is not None
                chosen = select_pairs(batch, vectors, one)
                assert batch.pairs is not None
                assert batch.shifts is not None
                pairs = batch.pairs.index_select(1, chosen)
                own = batch.with_pairs(pairs, batch.shifts.index_select(0, chosen))
                lists.append((own, vectors.index_select(0, chosen)))
        found = cls(batch, positions, cells, lists)
        for leaf in found.leaves:
            leaf.requires_grad_(grad)
        return found

    @property
    def leaves(self) -> list[Tensor]:
        return [self.positions, self.cells, *(vectors for _, vectors in self.lists)]

    def forces(self, gradients: Sequence[Tensor | None]) -> Tensor:
        """Forces, (n_atoms, 3), eV/Å, of the gradients of energies by the leaves.

        None stands for a gradient of zero.
        """
        forces = torch.zeros_like(self.positions, requires_grad=False)
        if gradients[0] is not None:
            forces -= gradients[0]
        for (own, _), gradient in zip(self.lists, gradients[2:], strict=True):
            if gradient is not None:
                forces += forces_of_gradients(own, gradient)
        return forces

    def virials(self, gradients: Sequence[Tensor | None]) -> Tensor:
        """Virials, (n_structures, 3, 3), eV, symmetric; see `forces`."""
        virials = torch.zeros_like(self.cells, requires_grad=False)
        if gradients[0] is not None:
            outer = self.positions.detach()[:, :, None] * gradients[0][:, None, :]
            virials.index_add_(0, self.batch.structure_index, outer, alpha=-1)
        if gradients[1] is not None:
            virials -= self.cells.detach().transpose(1, 2) @ gradients[1]
        virials = 0.5 * (virials + virials.transpose(1, 2))
        for (own, vectors), gradient in zip(self.lists, gradients[2:], strict=True):
            if gradient is not None:
                virials += virials_of_gradients(own, vectors.detach(), gradient)
        return virials


def select_pairs(batch: Batch, vectors: Tensor, options: ListOptions) -> Tensor:
    """Which pairs of the batch a list holds, structure after structure; indices, (n,).

    All lists are cut at their cutoff, non-strict ones too: fewer pairs, the same energy. Of a
    pair and its reverse a half list holds the one with i < j, or of an atom and its own image
    the one whose first shift that is not zero is positive.
    """
    assert batch.pairs is not None
    assert batch.shifts is not None
    i, j = batch.pairs
    keep = squared_lengths(vectors) < options.cutoff**2
    if not options.full:
        a, b, c = batch.shifts.unbind(1)
        positive = (a * MAX_SHIFT + b) * MAX_SHIFT + c > 0
        keep &= (i < j) | ((i == j) & positive)
    kept = keep.nonzero().squeeze(1)
    structure = batch.structure_index.index_select(0, i.index_select(0, kept))
    if batch.n_structures < 2**15:
        structure = structure.to(torch.int16)  # sorts five times as fast
    return kept.index_select(0, torch.argsort(structure, stable=True))


def probes(number: int, cutoff: float, device: torch.device) -> Iterator[Batch]:
    """Two atoms of an element within the cutoff, alone and in a periodic box without images."""
    distance = 0.5 * cutoff if cutoff > 0.0 else 1.0
    positions = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, distance]], dtype=torch.float64)
    pairs = torch.tensor([[0, 1], [1, 0]]) if cutoff > 0.0 else torch.zeros((2, 0)).long()
    for periodic in (False, True):
        yield Batch(
            positions=positions.to(device),
            cells=(torch.eye(3, dtype=torch.float64)[None] * 3.0 * max(cutoff, 5.0)).to(device),
            pbc=torch.full((1, 3), periodic, device=device),
            numbers=torch.full((2,), number, device=device),
            structure_index=torch.zeros(2, dtype=torch.int64, device=device),
            n_atoms_per_structure=torch.tensor([2], device=device),
            pairs=pairs.to(device),
            shifts=torch.zeros((pairs.shape[1], 3), dtype=torch.float64, device=device),
        )


class SystemBuilder:
    """Builds the Systems of a batch.

    Args:
        options: the lists the model asks for.
        length_factor: from Å to the model's unit of length.
        dtype, device: of the model.
        inputs: name -> TensorMap of one system, added to all.
    """

    def __init__(
        self,
        options: Sequence[ListOptions],
        length_factor: float,
        dtype: torch.dtype,
        device: torch.device,
        inputs: dict[str, Any],
    ) -> None:
        self.options, self.length_factor, self.dtype = options, length_factor, dtype
        self.inputs = inputs
        labels = require("metatensor.torch", "metatomic").Labels
        self._xyz = labels.range("xyz", 3).to(device)
        self._distance = labels.range("distance", 1).to(device)
        self._make_systems, self._add_list = _script()

    def build(self, geometry: Geometry) -> list[Any]:
        """Systems of the geometry's batch, in its order."""
        batch = geometry.batch
        index = batch.structure_index
        counts = [index.new_zeros((0, batch.n_structures))]
        for own, _ in geometry.lists:
            assert own.pairs is not None
            first = index.index_select(0, own.pairs[0])
            counts.append(torch.bincount(first, minlength=batch.n_structures)[None])
        n_atoms, n_pairs = batch.starts().diff().tolist(), torch.cat(counts).tolist()
        systems = self._make_systems(
            batch.numbers.to(torch.int32).split(n_atoms),
            self._in_units_of_model(geometry.positions).split(n_atoms),
            self._in_units_of_model(geometry.cells).unbind(),
            batch.pbc.unbind(),
        )
        for one, (own, vectors), sizes in zip(self.options, geometry.lists, n_pairs, strict=True):
            values = self._in_units_of_model(vectors)[:, :, None]
            self._add_list(
                systems, one.raw, _samples(own).split(sizes), values.split(sizes), self._xyz,
                self._distance,
            )  # fmt: skip
        for name, value in self.inputs.items():
            for system in systems:
                system.add_data(name, value)
        return systems

    def _in_units_of_model(self, lengths: Tensor) -> Tensor:
        if self.length_factor != 1.0:
            lengths = lengths * self.length_factor
        return lengths.to(self.dtype)


def _samples(batch: Batch) -> Tensor:
    """First and second atom, counted within the structure, and shifts; (n_pairs, 5) int32."""
    assert batch.pairs is not None
    assert batch.shifts is not None
    i, j = batch.pairs
    start = batch.offsets.index_select(0, batch.structure_index.index_select(0, i))
    samples = torch.empty((len(i), 5), dtype=torch.int32, device=i.device)
    samples[:, 0] = i - start
    samples[:, 1] = j - start
    samples[:, 2:] = batch.shifts
    return samples


@functools.cache
def _script() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The loops over structures, in TorchScript."""
    require("metatomic.torch", "metatomic")  # brings the classes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        unit = torch.jit.CompilationUnit(LOOPS)
    return unit.make_systems, unit.add_list
