"""A Behler–Parrinello committee as it is trained and stored.

With the descriptors G_i of atom i of type t, and member m,

    x_i = (G_i - mean_t) / std_t,   E_m = sum_i [ baseline_t + energy_scale * NN_m,t(x_i) ].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pimd.potentials.base import Batch, PotentialError
from pimd.potentials.element_networks import ElementNetworks
from pimd.potentials.models import CompositionBaseline, SpeciesTable
from pimd.potentials.symmetry_functions import Settings, SymmetryFunctions

__all__ = ["BPModel"]


class BPModel(torch.nn.Module):
    """Descriptors, their scaling, the members' networks and the baseline.

    The precision is that of the networks; `to` another device moves all, but another precision
    is had by `load_model`, so that the parameters of the descriptors stay exact.

    Args:
        settings: of the descriptors.
        networks: of all members, on the device where the model shall be.
        mean, std: of the descriptors of each element, (n_elements, n_descriptors); a descriptor
            with an infinite std is not used.
        baseline: energy of a lone atom, or of the composition, of each element, eV,
            (n_elements,) float64; added in fp64.
        energy_scale: eV per unit of the networks' output.
        alpha: calibration of the spread: V_mean + alpha (V_m - V_mean).
        low, high: smallest and largest descriptors of the training set, (n_elements,
            n_descriptors); None: unknown, so that nothing counts as outside.

    Raises:
        PotentialError: for shapes that do not belong together.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    baseline: Tensor
    energy_scale: Tensor
    alpha: Tensor

    def __init__(
        self,
        settings: Settings,
        networks: ElementNetworks,
        mean: Tensor,
        std: Tensor,
        baseline: Tensor,
        energy_scale: float = 1.0,
        alpha: float = 1.0,
        low: Tensor | None = None,
        high: Tensor | None = None,
    ) -> None:
        super().__init__()
        first = networks.weights[0]
        self.dtype, device = first.dtype, first.device
        self.settings, self.networks = settings, networks
        self.symmetry = SymmetryFunctions(settings, self.dtype, device)
        n_elements = len(settings.elements)
        shape = (n_elements, settings.n_descriptors)
        found = (networks.n_elements, networks.n_descriptors)
        if found != shape:
            raise PotentialError(
                f"expected networks for {shape[0]} elements and {shape[1]} descriptors, as the "
                f"settings have them; got {found[0]} and {found[1]}"
            )
        if low is None or high is None:
            low, high = torch.full(shape, -torch.inf), torch.full(shape, torch.inf)
        for name, values in (("mean", mean), ("std", std), ("low", low), ("high", high)):
            self._hold(name, values, shape, self.dtype, device)
        self._hold("baseline", torch.as_tensor(baseline), (n_elements,), torch.float64, device)
        for name, value in (("energy_scale", energy_scale), ("alpha", alpha)):
            self._hold(name, torch.tensor(value, dtype=torch.float64), (), torch.float64, device)
        if not bool((self.std > 0.0).all()):
            raise PotentialError("std of the descriptors is positive, or infinite if unused")

    def _hold(
        self, name: str, values: Tensor, shape: tuple[int, ...], dtype: torch.dtype,
        device: torch.device,
    ) -> None:  # fmt: skip
        if tuple(values.shape) != shape:
            raise PotentialError(f"{name}: expected shape {shape}, got {tuple(values.shape)}")
        self.register_buffer(name, values.detach().clone().to(device, dtype))

    @property
    def n_members(self) -> int:
        return self.networks.n_members

    @property
    def device(self) -> torch.device:
        return self.baseline.device

    def of_members(self, members: Sequence[int]) -> BPModel:
        """A model of some of the members, by number; without a calibration of its own."""
        networks = ElementNetworks(
            len(members), len(self.settings.elements), self.settings.n_descriptors,
            self.networks.hidden, self.dtype,
        ).to(self.device)  # fmt: skip
        whole = [*self.networks.weights, *self.networks.biases]
        with torch.no_grad():
            for own, values in zip([*networks.weights, *networks.biases], whole, strict=True):
                own.copy_(values[:, list(members)])
        return BPModel(
            self.settings, networks, self.mean, self.std, self.baseline,
            float(self.energy_scale), low=self.low, high=self.high,
        )  # fmt: skip

    def species(self, name: str) -> SpeciesTable:
        """From elements to types, for messages under this name."""
        return SpeciesTable(self.settings.elements, name, self.device)

    def standardised(self, descriptors: Tensor, types: Tensor) -> Tensor:
        """x of the module, of descriptors (..., n_atoms, n_descriptors)."""
        shifted = descriptors - self.mean.index_select(0, types)
        return shifted / self.std.index_select(0, types)

    def atomic_energies(self, types: Tensor, pairs: Tensor, vectors: Tensor) -> Tensor:
        """What the networks give for every atom, without baseline, eV, (n_members, n_atoms).

        Args:
            types: (n_atoms,) int64, place of each element in the settings.
            pairs: (2, n_pairs) int64, in any order.
            vectors: from i to j, Å, (n_pairs, 3), of any precision; differentiable.
        """
        descriptors = self.symmetry(types, pairs, vectors.to(self.dtype))
        return self.of_descriptors(descriptors, types)

    def with_gradients(
        self, types: Tensor, pairs: Tensor, vectors: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Atomic energies of every member, and how its energies change with the pair vectors.

        One backward pass through all networks, and one pass over the pairs, for all members.

        Returns:
            atomic energies as in `atomic_energies`, dE_m/dr (n_members, n_pairs, 3), eV/Å, and
            descriptors (n_atoms, n_descriptors); all without a graph.
        """
        descriptors, gradients = self.symmetry.with_gradients(types, pairs, vectors.to(self.dtype))
        # every member its own copy, so that one backward pass gives the slopes of each
        copies = descriptors.expand(self.n_members, -1, -1).clone().requires_grad_()
        with torch.enable_grad():
            atomic = self.of_descriptors(copies, types)
        (slopes,) = torch.autograd.grad(atomic, copies, torch.ones_like(atomic))
        return atomic.detach(), gradients(slopes), descriptors

    def of_descriptors(self, descriptors: Tensor, types: Tensor) -> Tensor:
        """The same of descriptors (n_atoms, n_descriptors), or of one set for each member,
        (n_members, n_atoms, n_descriptors)."""
        inputs = self.standardised(descriptors, types)
        return self.networks(inputs, types) * self.energy_scale.to(self.dtype)

    def member_energies(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Energies of the members, baseline included, not calibrated.

        Args:
            batch: with pairs, of elements that the model knows.
            vectors: from i to j, Å, (n_pairs, 3); differentiable.

        Returns:
            eV, (n_members, n_structures) float64.
        """
        assert batch.pairs is not None
        types = self.species("the model").types(batch)
        atomic = self.atomic_energies(types, batch.pairs, vectors)
        return self.summed(batch, types, atomic)

    def summed(self, batch: Batch, types: Tensor, atomic: Tensor) -> Tensor:
        """Atomic energies (n_members, n_atoms) and the baseline summed over each structure."""
        baseline = CompositionBaseline(self.baseline, self.device).sum(batch, types)
        return batch.sum_over_atoms(atomic.transpose(0, 1)).transpose(0, 1) + baseline

    def outside(self, descriptors: Tensor, types: Tensor) -> Tensor:
        """Share of each atom's descriptors outside those of the training set, (n_atoms,)."""
        low, high = self.low.index_select(0, types), self.high.index_select(0, types)
        return ((descriptors < low) | (descriptors > high)).to(torch.float64).mean(1)
