"""Descriptors and their derivatives, worked out once for structures that do not move.

With G_id descriptor d of atom i, J_id(a) its derivative by the position of atom a, and e_mi the
energy of atom i in member m,

    E_m = sum_i e_mi,    F_m(a) = - sum_{i,d} de_mi/dG_id J_id(a).

J does not depend on the weights, so an epoch costs products with J instead of a second backward
pass through the descriptors. It takes n_descriptors x n_seen x 3 numbers for each atom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pimd.potentials.base import Batch
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.symmetry_functions import Settings, SymmetryFunctions
from pimd.structure import Structure
from pimd.training.data import DataError

__all__ = ["Features", "Statistics", "make_features", "standardise", "statistics"]

BATCH_ATOMS = 128
"""Atoms whose descriptors are differentiated at once."""
MEMORY_SHARE = 0.85
"""Of the memory available, what the derivatives may take."""
DEAD = 1e-6
"""A descriptor that varies by less than this, absolutely or relative to its mean, is dead."""


@dataclass
class Features:
    """One structure as the networks see it.

    Attributes:
        types: element of each atom, (n_atoms,) int64.
        descriptors: (n_atoms, n_descriptors).
        jacobian: their derivatives by the atoms seen, (n_atoms, n_descriptors, 3 * n_seen);
            n_seen is the most atoms that one atom sees, itself included; zeros where it sees
            fewer.
        seen: the atoms seen, (n_atoms, n_seen) int64; 0 where there are fewer.
    """

    types: Tensor
    descriptors: Tensor
    jacobian: Tensor
    seen: Tensor

    @property
    def n_bytes(self) -> int:
        """Memory taken by the derivatives."""
        return self.jacobian.numel() * self.jacobian.element_size()

    def forces(self, slopes: Tensor) -> Tensor:
        """F = -sum slopes J, (n_members, n_atoms, 3), of de/dG (n_members, n_atoms, n_desc)."""
        n_members, n_atoms, _ = slopes.shape
        parts = torch.bmm(slopes.transpose(0, 1), self.jacobian)  # [atom, member, 3 * seen]
        parts = parts.view(n_atoms, n_members, -1, 3).transpose(0, 1)
        parts = parts.reshape(n_members, -1, 3)  # [member, atom * seen, xyz]
        out = slopes.new_zeros((n_members, n_atoms, 3))
        return -out.index_add(1, self.seen.view(-1), parts)


def make_features(
    structures: Sequence[Structure],
    settings: Settings,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    told: Callable[[int, int], None] | None = None,
) -> list[Features]:
    """Features of structures; worked out in fp64, kept in `dtype`, not standardised.

    Args:
        structures: of the elements that `settings` names.
        settings: of the descriptors.
        dtype, device: of what is kept.
        told: called with the numbers of structures and atoms done.

    Raises:
        DataError: all of them would not fit into memory.
    """
    symmetry = SymmetryFunctions(settings, torch.float64, torch.device(device))
    lists = NeighbourLists(max(settings.cutoff, settings.angular_cutoff), skin=0.0)
    types = torch.zeros(119, dtype=torch.int64)
    types[list(settings.elements)] = torch.arange(len(settings.elements))
    found: list[Features] = []
    total, done = sum(map(len, structures)), 0
    available = _available_memory(torch.device(device))
    for part in _parts(structures):
        batch = Batch.from_structures(part, device=device)
        batch = lists.attach(batch)
        found += _of_batch(symmetry, batch, types.to(device)[batch.numbers], dtype)
        done += sum(map(len, part))
        _refuse_too_large(sum(one.n_bytes for one in found) * total / done, available)
        if told is not None:
            told(len(found), done)
    return found


def _available_memory(device: torch.device) -> float:
    """Bytes; infinite where it cannot be told."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            (line,) = (line for line in file if line.startswith("MemAvailable:"))
        return 1024.0 * int(line.split()[1])
    except (OSError, ValueError):
        return float("inf")


def _refuse_too_large(expected: float, available: float) -> None:
    """Raise DataError if this many bytes would not fit beside what else is needed."""
    if expected > MEMORY_SHARE * available:
        raise DataError(
            f"the derivatives of the descriptors would take {expected / 1e9:.1f} GB, of "
            f"{available / 1e9:.1f} GB available: train on fewer structures, or with a shorter "
            "--cutoff, fewer functions (--radial, --angular) or --dtype float32"
        )


def _parts(structures: Sequence[Structure]) -> Iterator[list[Structure]]:
    part: list[Structure] = []
    for structure in structures:
        if part and sum(map(len, part)) + len(structure) > BATCH_ATOMS:
            yield part
            part = []
        part.append(structure)
    if part:
        yield part


def _of_batch(
    symmetry: SymmetryFunctions, batch: Batch, types: Tensor, dtype: torch.dtype
) -> list[Features]:
    """Features of every structure of a batch with its pairs."""
    assert batch.pairs is not None
    # descriptors of atom i depend on the vectors of its own pairs alone, so that the gradient of
    # the sum of one descriptor over atoms holds its derivatives for all of them
    descriptors, pulled_back = symmetry.with_gradients(types, batch.pairs, batch.pair_vectors())
    n_atoms, n_desc = descriptors.shape
    each = torch.eye(n_desc, dtype=descriptors.dtype, device=types.device)
    slopes = pulled_back(each[:, None, :].expand(-1, n_atoms, -1))
    slopes = slopes.transpose(0, 1)  # [pair, descriptor, xyz]
    first, bounds = batch.pairs[0], batch.offsets.tolist()
    order = torch.argsort(first, stable=True)
    ends = torch.searchsorted(first[order], batch.offsets).tolist()
    found = []
    for k in range(batch.n_structures):
        atoms, own = slice(bounds[k], bounds[k + 1]), order[ends[k] : ends[k + 1]]
        pairs = batch.pairs[:, own] - bounds[k]
        jacobian, seen = _dense(pairs, slopes[own], bounds[k + 1] - bounds[k])
        found.append(
            Features(
                types[atoms], descriptors[atoms].to(dtype), jacobian.to(dtype), seen
            )
        )
    return found


def _dense(pairs: Tensor, slopes: Tensor, n_atoms: int) -> tuple[Tensor, Tensor]:
    """Derivatives by positions of what depends on pair vectors.

    Args:
        pairs: atoms (2, n_pairs) of one structure.
        slopes: dG_i/dr_ij, (n_pairs, n_descriptors, 3).

    Returns:
        `jacobian` and `seen` of `Features`.
    """
    me = torch.arange(n_atoms, device=pairs.device)
    codes = torch.cat([me * n_atoms + me, pairs[0] * n_atoms + pairs[1]])  # i sees a
    unique, place = torch.unique(codes, return_inverse=True)
    viewer = torch.div(unique, n_atoms, rounding_mode="floor")
    counts = torch.bincount(viewer, minlength=n_atoms)
    slot = torch.arange(len(unique), device=pairs.device) - (counts.cumsum(0) - counts)[viewer]
    n_seen, n_desc = int(counts.max()), slopes.shape[1]
    seen = torch.zeros((n_atoms, n_seen), dtype=torch.int64, device=pairs.device)
    seen[viewer, slot] = unique % n_atoms
    # x_j moves r_ij forth and x_i back: flat places [atom * n_seen + slot]
    flat = (viewer * n_seen + slot)[place]
    out = slopes.new_zeros((n_atoms * n_seen, n_desc, 3))
    out.index_add_(0, flat[n_atoms:], slopes)
    out.index_add_(0, flat[pairs[0]], -slopes)
    out = out.view(n_atoms, n_seen, n_desc, 3).transpose(1, 2)
    return out.reshape(n_atoms, n_desc, 3 * n_seen), seen


@dataclass(frozen=True)
class Statistics:
    """Of the descriptors of each element over a training set, each (n_elements, n_descriptors).

    `deviation` is infinite for a descriptor that never varies: the network always gets 0 of it,
    also where a simulation meets it later, since it has not learnt what it means.
    """

    mean: Tensor
    deviation: Tensor
    low: Tensor
    high: Tensor


def statistics(data: Sequence[Features], n_elements: int) -> Statistics:
    """Statistics of features that are not standardised, in fp64."""
    types = torch.cat([one.types for one in data])
    values = torch.cat([one.descriptors for one in data]).double()
    rows = []
    for element in range(n_elements):
        own = values[types == element]
        mean, deviation = own.mean(0), own.std(0, correction=0)
        deviation[deviation <= DEAD * mean.abs().clamp(min=1.0)] = torch.inf
        rows.append((mean, deviation, own.amin(0), own.amax(0)))
    return Statistics(*(torch.stack(column) for column in zip(*rows, strict=True)))


def standardise(data: Sequence[Features], found: Statistics) -> None:
    """Make descriptors (G - mean) / deviation, and derivatives theirs, in place."""
    for one in data:
        dtype = one.descriptors.dtype
        width = found.deviation.index_select(0, one.types)
        shifted = one.descriptors.double() - found.mean.index_select(0, one.types)
        one.descriptors = (shifted / width).to(dtype)
        one.jacobian /= width.to(dtype)[:, :, None]
