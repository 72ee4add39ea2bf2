"""q-TIP4P/F, a flexible water model made for path integrals.

    E = sum_molecules E_bonds+angle + sum_{O pairs} 4 eps [(sigma/R)^12 - (sigma/R)^6]
        + ke sum_{pairs of molecules} sum_{a,b} q_a q_b / r_ab

Charges sit on both H and on M = gamma x_O + (1 - gamma)/2 (x_H1 + x_H2); those of one molecule
do not interact. Everything is in closed form and runs over all structures of a batch at once.

Source: S. Habershon, T. E. Markland, D. E. Manolopoulos, J. Chem. Phys. 131, 024501 (2009).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pimd.potentials.base import (
    Batch,
    Potential,
    PotentialError,
    Prediction,
    PropertySpec,
    Wanted,
    check_wanted,
)
from pimd.potentials.core_threads import CoreThreads, unsplit_operations
from pimd.potentials.ewald_splitting import Splitting, density_rungs, splitting
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.options import choice, length, number, torch_device
from pimd.potentials.water_coulomb import far_part, near_part
from pimd.potentials.water_intramolecular import intramolecular
from pimd.potentials.water_pair_list import all_pairs, periodic_pairs
from pimd.potentials.water_pairs import PairSums, lennard_jones_pairs
from pimd.potentials.water_topology import OXYGEN, MoleculeFinder, WaterGroup
from pimd.units import BOHR_ANGSTROM, HARTREE_EV

__all__ = ["QTIP4PF"]

EPSILON = 2.95147e-4 * HARTREE_EV
"""eV."""
SIGMA = 5.96946 * BOHR_ANGSTROM
"""Å."""
Q_M, Q_H = -1.1128, 0.5564
"""Charges, e."""
GAMMA = 0.73612
"""Share of the oxygen in M."""
SIDE = 0.5 * (1.0 - GAMMA)
"""Share of each hydrogen in M."""
Z_O, Z_H = GAMMA * Q_M, Q_H + SIDE * Q_M
"""Born effective charges, e."""

SKIN = 1.0
"""Å beyond the cutoff to which the list of oxygens reaches, so that it serves many calls."""

TAILS = ("truncate", "shift", "correction")
METHODS = ("auto", "ewald", "pme")
ATOMS_PER_THREAD = 4096
"""With fewer atoms, another thread does not pay."""
MAX_LISTS = 64
"""Neighbour lists kept, for each size of structure and part of a batch."""
MAX_CLUSTER_PAIRS = 1 << 22
"""Pairs of molecules of clusters held at once."""


@dataclass
class Contribution:
    """What is added to the structures of a group: energies (n_structures,), forces on O, H, H
    (n_structures, n_molecules, 3, 3) and virials (n_structures, 3, 3)."""

    group: WaterGroup
    energies: Tensor
    forces: Tensor
    virials: Tensor


class QTIP4PF(Potential):
    """q-TIP4P/F water, periodic structures and clusters mixed in one batch.

    The atoms may come in any order and be wrapped one by one; molecules are found from the
    structure. The dipole is the sum of those of the molecules, each taken whole, and is thus
    the same however atoms are wrapped; Born charges are -0.819154 and 0.409577 e.

    Periodic structures take the Ewald sum or a mesh; structures that are not periodic take all
    pairs, without any cutoff, also if they carry a cell. The neighbour lists it needs, of
    oxygens alone, are its own: `cutoff` of the contract is 0.

    Args:
        cutoff: Å, of the Lennard-Jones pairs of periodic structures; it may be larger than half
            the cell, all images within it count.
        lj_tail: what is done about the pairs beyond the cutoff rc, of v(R):
            `correction`: E = sum_{R<rc} [v(R) - v(rc)]
                              + (2 pi N^2 / V) [v(rc) rc^3/3 + int_rc^inf v(R) R^2 dR],
            the pairs that a uniform fluid of the same density has beyond rc, and, since the
            pairs within are shifted, also the shift. Energies have no jump, and the virial,
            their exact derivative, is the usual tail correction of the pressure (-328 bar at
            1 g/cm³ and 9 Å).
            `shift`: sum_{R<rc} [v(R) - v(rc)].
            `truncate`: sum_{R<rc} v(R); energies jump by 6e-5 eV where a pair passes 9 Å.
            Forces are the same for all three; i-PI's Fortran driver has the energy of
            `truncate`, of nearest images only, and part of the virial of `correction`.
        electrostatics: `ewald`, `pme` (torch-pme, for very large structures) or `auto`, which
            takes what is faster.
        accuracy: of the Coulomb forces, root mean square relative to that of the forces.
        device: cpu, cuda, ...

    Raises:
        PotentialError: for other options, and for structures that are not water.
    """

    name = "qtip4pf"
    properties = {  # noqa: RUF012
        "dipole": PropertySpec("e Å", (3,)),
        "born_charges": PropertySpec("e", (3, 3), per_atom=True),
    }

    def __init__(
        self,
        cutoff: float = 9.0,
        lj_tail: str = "correction",
        electrostatics: str = "auto",
        accuracy: float = 1e-5,
        device: str = "cpu",
    ) -> None:
        self.cutoff, self.dtype, self.device = 0.0, torch.float64, torch_device(device)
        self.lj_cutoff = length("cutoff", cutoff)
        self.lj_tail = choice("lj_tail", lj_tail, TAILS)
        self.electrostatics = choice("electrostatics", electrostatics, METHODS)
        self.accuracy = number("accuracy", accuracy)
        if not 1e-12 <= self.accuracy <= 1e-2:
            raise PotentialError(
                f"accuracy is a relative error of forces, 1e-12 to 1e-2; got {accuracy}"
            )
        self._charges = torch.tensor([Q_M, Q_H, Q_H], dtype=torch.float64, device=self.device)
        self._molecules = MoleculeFinder()
        self._lists: OrderedDict[tuple[int, float, int], NeighbourLists] = OrderedDict()
        self._threads = CoreThreads()

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        check_wanted(self, wanted)
        with unsplit_operations() as cores, torch.no_grad():
            number = 1
            if self.device.type == "cpu":
                number = max(1, min(cores, batch.n_atoms // ATOMS_PER_THREAD))
            return self._compute(batch, wanted, number)

    def _compute(self, batch: Batch, wanted: Wanted, number: int) -> Prediction:
        """`compute` on a number of threads."""
        derivatives = wanted.forces or wanted.virials
        dipoles = batch.cells.new_zeros((batch.n_structures, 3))
        work: list[Callable[[], Contribution]] = []
        for group in self._molecules.groups(batch):
            dipoles[group.structures] = Z_H * group.bonds.sum((1, 2))
            for place, part in enumerate(_parts(group, number)):
                split = self._splitting(part)
                lists = self._neighbours(part, split, place)
                work.append(partial(self._near, part, split, lists, derivatives))
                if split is not None:
                    work.append(partial(self._far, part, split, derivatives))
        energies = batch.cells.new_zeros(batch.n_structures)
        forces = torch.zeros_like(batch.positions)
        virials = torch.zeros_like(batch.cells)
        for result in self._threads.run(work, number):
            energies[result.group.structures] += result.energies
            forces[result.group.atoms.view(-1)] += result.forces.view(-1, 3)
            virials[result.group.structures] += result.virials
        given = {"dipole": lambda: dipoles, "born_charges": lambda: _born_charges(batch)}
        return Prediction(
            energies,
            forces if wanted.forces else None,
            virials if wanted.virials else None,
            properties={name: given[name]() for name in wanted.properties},
        )

    def close(self) -> None:
        self._threads.close()

    def _near(
        self,
        group: WaterGroup,
        split: Splitting | None,
        lists: NeighbourLists | None,
        derivatives: bool,
    ) -> Contribution:
        """Bonds and angles, Lennard-Jones and real-space Coulomb pairs of a part."""
        inner, gradients = intramolecular(group.bonds)  # gradients [structure, molecule, H, xyz]
        inside = _sites_in_molecules(group)
        oxygens = group.oxygens.reshape(-1, 3).T.contiguous()  # [xyz, molecule]
        sums, shift = PairSums(oxygens), 0.0
        if lists is None:
            lj_pairs = pairs = all_pairs(group.oxygens)
        else:
            pairs = periodic_pairs(lists, group.oxygens, group.cells)
            lj_pairs = pairs.within(oxygens, self.lj_cutoff)
            if self.lj_tail != "truncate":
                shift = -_lennard_jones(self.lj_cutoff)
        lennard_jones_pairs(sums, lj_pairs, oxygens, EPSILON, SIGMA, shift, derivatives=derivatives)
        sites = inside + group.oxygens[:, :, None]
        near_part(sums, pairs, oxygens, sites, self._charges, split, derivatives=derivatives)

        n_structures = len(group.structures)
        tail = self._tail(group)
        # on the sites M, H, H, from M on to the atoms [structure, molecule, site, xyz]
        forces = _on_atoms(sums.site_forces.view(3, 3, n_structures, -1).permute(2, 3, 1, 0))
        forces[:, :, 0] += sums.oxygen_forces.view(3, n_structures, -1).permute(1, 2, 0)
        forces[:, :, 0] += gradients.sum(2)
        forces[:, :, 1:] -= gradients
        return Contribution(
            group,
            inner.sum(1) + sums.energies.view(n_structures, -1).sum(1) + tail,
            forces,
            sums.total_virials(inside)
            - torch.einsum("smhx,smhy->sxy", gradients, group.bonds)
            + tail[:, None, None] * torch.eye(3).to(group.cells),
        )

    def _far(self, group: WaterGroup, split: Splitting, derivatives: bool) -> Contribution:
        """Reciprocal sum, self-energies and exclusions of a part."""
        sites = _sites_in_molecules(group) + group.oxygens[:, :, None]
        energies, on_sites, virials = far_part(
            sites, self._charges, group.cells, split, derivatives=derivatives
        )
        return Contribution(group, energies, _on_atoms(on_sites), virials)

    def _splitting(self, group: WaterGroup) -> Splitting | None:
        """How the Ewald sum of the group is split; None for clusters."""
        if not group.periodic:
            return None
        (rung,) = density_rungs(group.cells, group.n_molecules).unique().tolist()
        return splitting(group.n_molecules, rung, self.accuracy, self.electrostatics)

    def _neighbours(
        self, group: WaterGroup, split: Splitting | None, place: int
    ) -> NeighbourLists | None:
        """The lists of the part of a group at some place among its parts; None for clusters."""
        if split is None:
            return None
        key = (group.n_molecules, max(self.lj_cutoff, split.cutoff), place)
        lists = self._lists.pop(key, None) or NeighbourLists(key[1], skin=SKIN, threads=1)
        self._lists[key] = lists  # the last used is the last
        while len(self._lists) > MAX_LISTS:
            self._lists.popitem(last=False)
        return lists

    def _tail(self, group: WaterGroup) -> Tensor:
        """Energy of `lj_tail`, eV, (n_structures,); the virial of a tail is its energy times 1."""
        if self.lj_tail != "correction" or not group.periodic:
            return group.cells.new_zeros(len(group.cells))
        rc = self.lj_cutoff
        beyond = 4.0 * EPSILON * (SIGMA**12 / (9.0 * rc**9) - SIGMA**6 / (3.0 * rc**3))
        integral = beyond + _lennard_jones(rc) * rc**3 / 3.0
        volumes = torch.linalg.det(group.cells).abs()
        return 2.0 * math.pi * group.n_molecules**2 * integral / volumes


def _parts(group: WaterGroup, number: int) -> list[WaterGroup]:
    """A group in at least so many parts, if it has as many structures: periodic structures of
    like density, which the Ewald sum is split by; clusters, which take all pairs, in parts that
    fit into memory."""
    parts = [group]
    most = -(-len(group.structures) // number)
    if group.periodic:
        rungs = density_rungs(group.cells, group.n_molecules)
        if not bool((rungs == rungs[0]).all()):
            parts = [group.select((rungs == k).nonzero().squeeze(1)) for k in rungs.unique()]
    else:
        most = min(most, max(1, MAX_CLUSTER_PAIRS // max(1, group.n_molecules**2)))
    return [some for part in parts for some in part.split(most)]


def _sites_in_molecules(group: WaterGroup) -> Tensor:
    """M, H, H from the O of their molecule, Å, (n_structures, n_molecules, 3, 3)."""
    return torch.cat([SIDE * group.bonds.sum(2, keepdim=True), group.bonds], dim=2)


def _on_atoms(on_sites: Tensor) -> Tensor:
    """Forces on O, H, H from those on M, H, H; that on M goes to what M is made of."""
    on_m = on_sites[:, :, :1]
    return torch.cat([GAMMA * on_m, on_sites[:, :, 1:] + SIDE * on_m], dim=2)


def _lennard_jones(r: float) -> float:
    """v(r), eV."""
    sixth = (SIGMA / r) ** 6
    return 4.0 * EPSILON * sixth * (sixth - 1.0)


def _born_charges(batch: Batch) -> Tensor:
    """d(dipole)/dx of each atom, e, (n_atoms, 3, 3)."""
    is_oxygen = (batch.numbers == OXYGEN).to(batch.positions.dtype)
    charges = Z_H + (Z_O - Z_H) * is_oxygen  # (torch.where of two floats is fp32)
    return charges[:, None, None] * torch.eye(3).to(batch.positions)
