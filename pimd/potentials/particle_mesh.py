"""Reciprocal part of the Ewald sum on a mesh, by torch-pme.

The same energies, forces and virials as `ewald.reciprocal_sum`, at a cost of N log N instead
of N times the number of vectors, for large structures; one structure at a time.

Charges are spread on the mesh by Lagrange interpolation, the scheme of T. Darden, D. York and
L. Pedersen, J. Chem. Phys. 98, 10089 (1993), and forces come from a backward pass. The other
scheme of torch-pme (0.5), P3M, has smoother forces, but is for orthorhombic cells: sheared ones
get forces wrong by 1e-3. Source: P. Loche et al., J. Chem. Phys. 162, 142501 (2025), torch-pme.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchpme import CoulombPotential, PMECalculator

from pimd.units import COULOMB_EV_ANGSTROM

__all__ = ["MeshSum"]

NODES = 7
"""Mesh points per direction that one charge is spread over; the most torch-pme has."""


class MeshSum:
    """The reciprocal sum on a mesh.

    Args:
        alpha: 1/Å, of the splitting erfc(alpha r)/r + erf(alpha r)/r.
        spacing: Å, the most between neighbouring points of the mesh, which has a power of two of
            them in each direction.
        device: where it computes.
    """

    def __init__(self, alpha: float, spacing: float, device: torch.device) -> None:
        self.alpha = alpha
        self._calculator = PMECalculator(
            CoulombPotential(smearing=0.5**0.5 / alpha),
            mesh_spacing=2.0 * spacing,  # torch-pme sets points at half of it or nearer
            interpolation_nodes=NODES,
        ).to(dtype=torch.float64, device=device)
        self._no_pairs = torch.zeros((0, 2), dtype=torch.int64, device=device)

    def __call__(
        self, positions: Tensor, charges: Tensor, cells: Tensor, *, derivatives: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Energies, forces and virials, self-energies not taken away.

        Arguments and results as in `ewald.reciprocal_sum`.
        """
        energies = positions.new_zeros(len(cells))
        forces = torch.zeros_like(positions)
        virials = torch.zeros_like(cells)
        self_energy = COULOMB_EV_ANGSTROM * self.alpha / torch.pi**0.5 * charges.square().sum()
        for k in range(len(cells)):
            x = positions[k].detach().clone().requires_grad_(derivatives)
            strain = torch.zeros_like(cells[k]).requires_grad_(derivatives)
            with torch.set_grad_enabled(derivatives):
                deformation = torch.eye(3, dtype=x.dtype, device=x.device) + strain
                energy = self._energy(x @ deformation, charges, cells[k] @ deformation)
            if derivatives:
                gradient, slope = torch.autograd.grad(energy, [x, strain])
                forces[k] = -gradient
                virials[k] = -0.5 * (slope + slope.T)
            energies[k] = energy.detach() + self_energy
        return energies, forces, virials

    def _energy(self, positions: Tensor, charges: Tensor, cell: Tensor) -> Tensor:
        """Energy less the self-energies, eV, a scalar."""
        potential = self._calculator(
            charges=charges[:, None],
            cell=cell,
            positions=positions,
            neighbor_indices=self._no_pairs,
            neighbor_distances=positions.new_zeros(0),
        )
        return COULOMB_EV_ANGSTROM * (charges[:, None] * potential).sum()
