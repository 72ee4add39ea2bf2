"""Which atoms form which water molecule, found from the structure alone.

Each H belongs to the nearest O, counting periodic images; every O must end with two. The atoms
may come in any order and each may be wrapped into the cell on its own. What was found for one
structure serves every later one with the same atoms in the same order while all its bonds stay
shorter than `LONGEST_BOND`: the model's bonds never break, and a hydrogen of a quantum water
that comes near the next oxygen for a moment stays with its own.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor

from pimd.potentials.base import Batch, PotentialError
from pimd.potentials.minimum_image import minimum_image

__all__ = ["LONGEST_BOND", "MoleculeFinder", "WaterGroup", "find_molecules"]

LONGEST_BOND = 1.6
"""Å; beyond it the assignment of an H is looked at again."""

TORN = 2.5
"""Å; an H further than this from every O is an error."""

MAX_LAYOUTS = 64
"""Assignments remembered."""

OXYGEN, HYDROGEN = 8, 1


@dataclass
class WaterGroup:
    """Structures of equally many molecules, all periodic or all not, as rectangular arrays.

    Attributes:
        structures: their indices in the batch, (n_structures,) int64.
        atoms: indices in the batch of O, H, H of each molecule, (n_structures, n_molecules, 3).
        oxygens: positions of the O, Å, (n_structures, n_molecules, 3).
        bonds: vectors from O to its two H, shortest images, Å,
            (n_structures, n_molecules, 2, 3).
        cells: Å, (n_structures, 3, 3).
        periodic: of all its structures.
    """

    structures: Tensor
    atoms: Tensor
    oxygens: Tensor
    bonds: Tensor
    cells: Tensor
    periodic: bool

    def select(self, which: Tensor) -> WaterGroup:
        """The structures of the group whose indices are given."""
        return WaterGroup(
            self.structures[which],
            self.atoms[which],
            self.oxygens[which],
            self.bonds[which],
            self.cells[which],
            self.periodic,
        )

    def split(self, n_structures: int) -> list[WaterGroup]:
        """The group in parts of at most so many structures."""
        index = torch.arange(len(self.structures), device=self.structures.device)
        return [self.select(part) for part in index.split(n_structures)]

    @property
    def n_molecules(self) -> int:
        return self.atoms.shape[1]


class MoleculeFinder:
    """Splits batches into `WaterGroup`s, remembering the molecules of what it saw."""

    def __init__(self) -> None:
        self._molecules: OrderedDict[bytes, Tensor] = OrderedDict()

    def groups(self, batch: Batch) -> list[WaterGroup]:
        """All structures of the batch, by number of molecules and periodicity.

        Raises:
            PotentialError: for atoms that are not water, naming the first of them, and for
                structures periodic along some directions only.
        """
        sizes = batch.n_atoms_per_structure
        periodic = batch.pbc.all(1)
        slab = (periodic != batch.pbc.any(1)).nonzero()
        if len(slab):
            raise PotentialError(
                f"structure {int(slab[0])}: q-TIP4P/F takes structures periodic along all three "
                f"cell vectors or along none, got pbc {batch.pbc[int(slab[0])].tolist()}"
            )
        groups = []
        kinds = torch.stack([sizes, periodic.long()], 1)
        for size, is_periodic in kinds.unique(dim=0).tolist():
            members = (kinds == kinds.new_tensor([size, is_periodic])).all(1).nonzero().squeeze(1)
            groups.append(self._group(batch, members, size, bool(is_periodic)))
        return groups

    def _group(self, batch: Batch, members: Tensor, size: int, periodic: bool) -> WaterGroup:
        first = batch.offsets.index_select(0, members)  # [structure]
        flat = first[:, None] + torch.arange(size, device=first.device)  # [structure, atom]
        numbers = batch.numbers[flat]
        positions = batch.positions[flat]
        cells, pbc = batch.cells[members], batch.pbc[members]
        molecules = torch.empty(
            (len(members), size // 3, 3), dtype=torch.int64, device=first.device
        )
        # structures with the same species in the same order share the first one's molecules
        if bool((numbers == numbers[0]).all()):
            distinct, kind = numbers[:1], torch.zeros_like(members)
        else:
            distinct, kind = numbers.unique(dim=0, return_inverse=True)
        for k, species in enumerate(distinct):
            own = (kind == k).nonzero().squeeze(1)
            key = species.cpu().numpy().tobytes()
            if key not in self._molecules:
                self._remember(key, self._find(batch, members, int(own[0])))
            molecules[own] = self._molecules[key]
        bonds = _bonds(positions, molecules, cells, pbc)
        long = (bonds.square().sum(3) > LONGEST_BOND**2).flatten(1).any(1)
        for k in long.nonzero().squeeze(1).tolist():
            found = self._find(batch, members, k)
            molecules[k] = found
            self._remember(numbers[k].cpu().numpy().tobytes(), found)
        if bool(long.any()):
            bonds = _bonds(positions, molecules, cells, pbc)
        return WaterGroup(
            structures=members,
            atoms=first[:, None, None] + molecules,
            oxygens=_take(positions, molecules[:, :, 0]),
            bonds=bonds,
            cells=cells,
            periodic=periodic,
        )

    def _find(self, batch: Batch, members: Tensor, k: int) -> Tensor:
        """Molecules of member k of a group, with the structure named in the error."""
        index = int(members[k])
        start, end = batch.offsets[index : index + 2].tolist()
        try:
            return find_molecules(
                batch.numbers[start:end],
                batch.positions[start:end],
                batch.cells[index],
                batch.pbc[index],
            )
        except PotentialError as error:
            raise PotentialError(f"structure {index} of the batch: {error}") from error

    def _remember(self, key: bytes, molecules: Tensor) -> None:
        self._molecules[key] = molecules
        self._molecules.move_to_end(key)
        while len(self._molecules) > MAX_LAYOUTS:
            self._molecules.popitem(last=False)


def find_molecules(numbers: Tensor, positions: Tensor, cell: Tensor, pbc: Tensor) -> Tensor:
    """Indices of O, H, H of each molecule, in the order of the oxygens, (n_molecules, 3).

    Args:
        numbers: atomic numbers, (n_atoms,).
        positions: Å, (n_atoms, 3).
        cell: Å, (3, 3), rows are lattice vectors.
        pbc: (3,) bool.

    Raises:
        PotentialError: naming an atom that is neither O nor H, or an O whose nearest hydrogens
            are not two, or an H further than `TORN` from every O.
    """
    foreign = ((numbers != OXYGEN) & (numbers != HYDROGEN)).nonzero()
    if len(foreign):
        atom = int(foreign[0])
        raise PotentialError(
            f"q-TIP4P/F is for water, but atom {atom} has atomic number {int(numbers[atom])}; "
            "it knows O (8) and H (1)"
        )
    oxygens = (numbers == OXYGEN).nonzero().squeeze(1)
    hydrogens = (numbers == HYDROGEN).nonzero().squeeze(1)
    if len(hydrogens) != 2 * len(oxygens):
        raise PotentialError(
            f"water has two H for each O, but there are {len(oxygens)} O and {len(hydrogens)} H"
        )
    if len(oxygens) == 0:
        return oxygens.new_zeros((0, 3))
    # nearest oxygen of each hydrogen, in blocks of hydrogens of bounded memory
    nearest, distance = [], []
    for block in hydrogens.split(max(1, 1_000_000 // len(oxygens))):
        vectors = positions[oxygens] - positions[block][:, None, :]  # [H, O, xyz]
        vectors = minimum_image(vectors.reshape(1, -1, 3), cell[None], pbc[None], reach=TORN)
        least = vectors.view(len(block), -1, 3).norm(dim=2).min(dim=1)
        nearest.append(least.indices)
        distance.append(least.values)
    owner, length = torch.cat(nearest), torch.cat(distance)  # [H]
    if not bool((length <= TORN).all()):  # also true for NaN
        worst = int(torch.nan_to_num(length, nan=torch.inf).argmax())
        raise PotentialError(
            f"atom {int(hydrogens[worst])} (H) is {float(length[worst]):.3f} Å from the nearest "
            f"O, atom {int(oxygens[owner[worst]])}; a bond of water is about 0.95 Å long: has "
            "the molecule been torn, or is a periodic structure without its cell?"
        )
    count = torch.bincount(owner, minlength=len(oxygens))
    if bool((count != 2).any()):
        which = int((count != 2).nonzero()[0])
        raise PotentialError(
            f"atom {int(oxygens[which])} (O) is the nearest oxygen of {int(count[which])} "
            "hydrogens, expected 2: the structure is not made of water molecules"
        )
    pairs = hydrogens[torch.argsort(owner, stable=True)].view(-1, 2)
    return torch.cat([oxygens[:, None], pairs], dim=1)


def _take(positions: Tensor, index: Tensor) -> Tensor:
    """positions[s, index[s, m]] for every structure s: (n_structures, n_molecules, 3)."""
    return positions.gather(1, index[:, :, None].expand(-1, -1, 3))


def _bonds(positions: Tensor, molecules: Tensor, cells: Tensor, pbc: Tensor) -> Tensor:
    """Vectors from O to both H, shortest images, (n_structures, n_molecules, 2, 3)."""
    oxygens = _take(positions, molecules[:, :, 0])
    bonds = torch.stack([_take(positions, molecules[:, :, h]) - oxygens for h in (1, 2)], dim=2)
    shape = bonds.shape
    return minimum_image(bonds.view(shape[0], -1, 3), cells, pbc, reach=TORN).view(shape)
