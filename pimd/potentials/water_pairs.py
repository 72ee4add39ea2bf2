"""Pairs of water molecules: Lennard-Jones between oxygens, Coulomb between charge sites.

    E_LJ = sum_{i<j} 4 eps [(sigma/R)^12 - (sigma/R)^6],   R = |x_O,j - x_O,i|,
    E_C  = ke sum_{i<j} s(R) sum_{a in i, b in j} q_a q_b erfc(alpha r_ab) / r_ab.

Molecules, not sites, are in or out of the cutoff of the Coulomb sum: they hold no net charge,
so that less is cut off, and one list of oxygens, which move little, serves both sums. The
switch s(R) = 1 - 10 t³ + 15 t⁴ - 6 t⁵, t = (R - R_cut)/w + 1, takes the last pairs out
smoothly, so that energies do not jump. alpha = 0 is the bare Coulomb energy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pimd.potentials.water_pair_list import MoleculePairs, pair_vectors, square_lengths
from pimd.units import COULOMB_EV_ANGSTROM

__all__ = ["PairSums", "coulomb_pairs", "lennard_jones_pairs"]

COULOMB_CHUNK, LENNARD_JONES_CHUNK = 1 << 13, 1 << 14
"""Pairs of molecules treated at once, so that what belongs to them stays in the cache."""
VOIGT_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
VOIGT = ((0, 5, 4), (5, 1, 3), (4, 3, 2))
"""Components of xx, yy, zz, yz, xz, xy, and where each stands in a matrix."""


class PairSums:
    """Energies, forces and virials of molecules, summed up chunk by chunk.

    Args:
        oxygens: Å, (3, n_molecules).

    Attributes:
        energies: of pairs, booked to molecule i, eV, (n_molecules,).
        oxygen_forces: on the oxygens, eV/Å, (3, n_molecules).
        site_forces: on the charge sites M, H, H, eV/Å, (3, 3 n_molecules), [xyz, site molecule].
        virials: force on molecule j times R, booked to molecule i, eV, (6, n_molecules), as
            xx, yy, zz, yz, xz, xy. What the sites' distances from their oxygens add,
            sum_ab f_ab r_ab (r_ab - R), depends on the site forces alone.
    """

    def __init__(self, oxygens: Tensor) -> None:
        self.n_molecules = n_molecules = oxygens.shape[1]
        self.energies = oxygens.new_zeros(n_molecules)
        self.oxygen_forces = oxygens.new_zeros((3, n_molecules))
        self.site_forces = oxygens.new_zeros((3, 3 * n_molecules))
        self.virials = oxygens.new_zeros((6, n_molecules))

    def add_oxygens(self, pairs: MoleculePairs, forces: list[Tensor]) -> None:
        """x, y and z (n_pairs,) of forces on the oxygens of j, and the opposite on those of i."""
        for out, force in zip(self.oxygen_forces, forces, strict=True):
            out.index_add_(0, pairs.j, force).index_add_(0, pairs.i, force, alpha=-1.0)

    def add_sites(self, pairs: MoleculePairs, vectors: list[Tensor], f: Tensor) -> list[Tensor]:
        """Forces f r on site b of j and -f r on site a of i, with r `vectors`, [a, b, pair].

        Returns x, y and z of the whole force on j, (n_pairs,).
        """
        first = torch.arange(3, device=f.device)[:, None] * self.n_molecules  # [site, 1]
        to_i, to_j = ((first + k).view(-1) for k in (pairs.i, pairs.j))
        totals = []
        for out, x in zip(self.site_forces, vectors, strict=True):
            force = f * x
            on_j = force.sum(0)  # [b, pair]
            out.index_add_(0, to_j, on_j.view(-1))
            out.index_add_(0, to_i, force.sum(1).view(-1), alpha=-1.0)
            totals.append(on_j.sum(0))
        return totals

    def add_virials(
        self, pairs: MoleculePairs, forces: list[Tensor], between: list[Tensor]
    ) -> None:
        """Whole forces on molecule j times R, `between` the oxygens."""
        for out, (a, b) in zip(self.virials, VOIGT_PAIRS, strict=True):
            values = forces[a] * between[b]
            if a != b:
                values = values.addcmul_(forces[b], between[a]).mul_(0.5)
            out.index_add_(0, pairs.i, values)

    def total_virials(self, sites: Tensor) -> Tensor:
        """Virials of all pairs, eV, (n_structures, 3, 3).

        Args:
            sites: M, H, H relative to the O of their molecule, Å, (n_structures, n_molecules,
                3, 3), [.., .., site, xyz].
        """
        n_structures = len(sites)
        forces = self.site_forces.view(3, 3, n_structures, -1)  # [xyz, site, structure, molecule]
        inner = torch.einsum("xasm,smay->sxy", forces, sites)
        virials = self.virials.view(6, n_structures, -1).sum(2)[VOIGT, :].permute(2, 0, 1)
        return virials + 0.5 * (inner + inner.transpose(1, 2))


def lennard_jones_pairs(
    sums: PairSums,
    pairs: MoleculePairs,
    oxygens: Tensor,
    epsilon: float,
    sigma: float,
    shift: float = 0.0,
    *,
    derivatives: bool,
) -> None:
    """Add the Lennard-Jones energy of all pairs, each raised by `shift` (eV).

    Args:
        sums: what is added to.
        pairs: of molecules, those within the cutoff.
        oxygens: Å, (3, n_molecules).
        epsilon, sigma: eV, Å.
        shift: eV.
        derivatives: whether forces and virials are wanted.
    """
    for part in pairs.chunks(LENNARD_JONES_CHUNK):
        between = pair_vectors(oxygens, part)
        square = square_lengths(between)
        ratio = sigma * sigma / square
        sixth = ratio * ratio * ratio
        energies = 4.0 * epsilon * sixth * (sixth - 1.0) + shift
        sums.energies.index_add_(0, part.i, energies)
        if derivatives:
            f = 24.0 * epsilon * sixth * (2.0 * sixth - 1.0) / square
            forces = [f * x for x in between]
            sums.add_oxygens(part, forces)
            sums.add_virials(part, forces, between)


def coulomb_pairs(
    sums: PairSums,
    pairs: MoleculePairs,
    oxygens: Tensor,
    sites: Tensor,
    charges: Tensor,
    alpha: float,
    cutoff: float | None,
    width: float,
    *,
    derivatives: bool,
) -> None:
    """Add the real-space Coulomb energy of pairs of molecules.

    Args:
        sums: what is added to.
        pairs: of molecules, those within the cutoff.
        oxygens: Å, (3, n_molecules).
        sites: of the charges of whole molecules, not wrapped, Å, (3, 3, n_molecules),
            [xyz, site, molecule].
        charges: e, (3,), by site.
        alpha: 1/Å; 0 for bare charges.
        cutoff: Å, where the switch ends; None for no cutoff.
        width: Å, of the switch.
        derivatives: whether forces and virials are wanted.
    """
    products = (COULOMB_EV_ANGSTROM * charges[:, None] * charges).unsqueeze(2)  # [a, b, 1]
    for part in pairs.chunks(COULOMB_CHUNK):
        between = pair_vectors(oxygens, part)
        to_i, to_j = part.i.expand(3, -1), part.j.expand(3, -1)  # [site, pair]
        vectors = [
            x.gather(1, to_j).unsqueeze(0) - (x.gather(1, to_i) - t).unsqueeze(1)
            for x, t in zip(sites, part.translation, strict=True)
        ]  # x, y, z, each [a, b, pair]
        square = square_lengths(vectors)
        inverse = square.rsqrt()
        energies = products * inverse
        if alpha > 0.0:
            energies.mul_(torch.erfc((square * inverse).mul_(alpha)))
        total = energies.sum((0, 1))  # [pair]
        if cutoff is not None:
            switch, slope = _switch(square_lengths(between).sqrt_(), cutoff, width)
            sums.energies.index_add_(0, part.i, total * switch)
        else:
            sums.energies.index_add_(0, part.i, total)
        if not derivatives:
            continue
        if alpha > 0.0:
            gaussian = (square * -(alpha * alpha)).exp_()
            energies.addcmul_(gaussian, products, value=2.0 * alpha / torch.pi**0.5)
        f = energies.mul_(inverse).mul_(inverse)
        if cutoff is not None:
            f = f.mul_(switch)
        forces = sums.add_sites(part, vectors, f)
        if cutoff is not None:
            central = [-slope * total * x for x in between]
            sums.add_oxygens(part, central)
            forces = [a + b for a, b in zip(forces, central, strict=True)]
        sums.add_virials(part, forces, between)


def _switch(r: Tensor, cutoff: float, width: float) -> tuple[Tensor, Tensor]:
    """s(R) and s'(R)/R, of the module."""
    t = ((r - cutoff) / width + 1.0).clamp(0.0, 1.0)
    value = 1.0 - t**3 * (10.0 - t * (15.0 - 6.0 * t))
    slope = t * t * (t * (60.0 - 30.0 * t) - 30.0) / width
    return value, slope / r
