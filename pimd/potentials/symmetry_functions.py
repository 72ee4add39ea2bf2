"""Atom-centred symmetry functions with the cosine cutoff: descriptors of an atom's surroundings.

For atom i, neighbours j, k (images included) within the cutoffs:

    fc(r; r_c) = (1 + cos(pi r / r_c)) / 2 for r < r_c, else 0
    G2 = sum_{j in e} exp(-eta (r_ij - s)²) fc(r_ij; r_c)
    G4 = 2^(1-zeta) sum_{j<k} (1 + lambda cos theta_jik)^zeta
         exp(-eta (r_ij² + r_ik² + r_jk²)) fc(r_ij; r_a) fc(r_ik; r_a) fc(r_jk; r_a)
    G5 = 2^(1-zeta) sum_{j<k} (1 + lambda cos theta_jik)^zeta
         exp(-eta (r_ij² + r_ik²)) fc(r_ij; r_a) fc(r_ik; r_a)

G2 for each element e of j, G4 and G5 for each unordered pair of elements of j and k, each
unordered pair of neighbours counted once. In G5 the neighbours meet in the angle alone, so that
no triples are needed for whole zeta: with the moments S and T of `pair_moments` and the
coefficients b of `spherical_harmonics`, for elements e != f

    G5_ef = sum_l b_l sum_m S_e,w,lm S_f,w,lm,

and G5_ee half of that with f = e, less the terms j = k, T_e,w where lambda = 1 and 0 otherwise.

Source: J. Behler, J. Chem. Phys. 134, 074106 (2011), https://doi.org/10.1063/1.3553717.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pimd.potentials.pair_moments import Moments, PairFunctions, sum_pairs
from pimd.potentials.pair_sums import PairSums, fast_moments
from pimd.potentials.spherical_harmonics import cosine_powers
from pimd.potentials.symmetry_settings import Angular, Radial, Settings, default_settings
from pimd.potentials.triples import g4_functions

__all__ = ["Angular", "Radial", "Settings", "SymmetryFunctions", "default_settings"]


class SymmetryFunctions(torch.nn.Module):
    """Descriptors of atoms.

    Args:
        settings: which.
        dtype, device: what is computed in, and where.

    Attributes:
        twice_differentiable: whether descriptors can be differentiated more than once (always so
            off the CPU); their gradients then take several times as long.
        graph_safe: whether no shape depends on the positions, so that a CUDA graph can hold it;
            those of the triples of G4 do.
    """

    _table: Tensor
    _places: Tensor
    _forward: Tensor
    _first: Tensor
    _second: Tensor
    _same: Tensor
    _order: Tensor

    def __init__(
        self, settings: Settings, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__()
        self.settings, self.twice_differentiable = settings, False
        self.functions = PairFunctions.of(settings, dtype, device)
        self._g4 = [one for one in settings.angular if one.kind == "G4"]
        self.graph_safe = not self._g4

        def held(name: str, values: Tensor) -> None:
            self.register_buffer(name, values.to(device), persistent=False)

        table, places, forward = _g5_tables([one for one in settings.angular if one.kind == "G5"])
        held("_table", table.to(dtype))  # [lm, angle]
        held("_places", places)  # [function]
        held("_forward", forward.to(dtype))  # [angle]
        first, second = zip(*settings.element_pairs, strict=True)
        held("_first", torch.tensor(first))  # [element pair]
        held("_second", torch.tensor(second))
        held("_same", torch.tensor(first).eq(torch.tensor(second)).to(dtype))
        # G4 and G5 are made one after the other, and stand where the settings have them
        kinds = [one.kind for one in settings.angular]
        order = sorted(range(len(kinds)), key=kinds.__getitem__)
        held("_order", torch.argsort(torch.tensor(order, dtype=torch.int64)))
        self._mixed = order != sorted(order)

    def forward(self, types: Tensor, pairs: Tensor, vectors: Tensor) -> Tensor:
        """Descriptors (n_atoms, n_descriptors), in the order of `Settings`, differentiable.

        Args:
            types: place of each atom's element in the settings, (n_atoms,) int64.
            pairs: full list of global indices i, j, (2, n_pairs), in any order; pairs beyond the
                cutoffs add nothing.
            vectors: from i to j, Å, (n_pairs, 3), in the dtype of the module.
        """
        fast = vectors.device.type == "cpu" and not self.twice_differentiable
        moments = (fast_moments if fast else sum_pairs)(self.functions, types, pairs, vectors)
        g4 = None
        if self._g4:
            n_elements, cutoff = len(self.settings.elements), self.settings.angular_cutoff
            g4 = g4_functions(self._g4, cutoff, types, n_elements, pairs, vectors)
        return self._descriptors(moments, g4)

    def with_gradients(
        self, types: Tensor, pairs: Tensor, vectors: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Descriptors, and the way from gradients by them to gradients by the vectors.

        Args:
            types, pairs, vectors: as in `forward`.

        Returns:
            descriptors (n_atoms, n_descriptors) without a graph, and a function from dE/dG of
            several energies, (n_energies, n_atoms, n_descriptors), to dE/dr, (n_energies,
            n_pairs, 3), for which what belongs to pairs is worked out once for all energies.
        """
        if self._g4 or vectors.device.type != "cpu":
            vectors = vectors.detach().requires_grad_()
            with torch.enable_grad():
                descriptors = self.forward(types, pairs, vectors)
            return descriptors.detach(), lambda slopes: torch.stack(
                [_pulled_back(descriptors, [vectors], one)[0] for one in slopes]
            )
        sums = PairSums(self.functions, types, pairs, vectors.detach())
        found = sums.moments()
        leaves = [one.requires_grad_() for one in (found.radial, found.angular, found.own)]
        with torch.enable_grad():
            descriptors = self._descriptors(found, None)

        def gradients(slopes: Tensor) -> Tensor:
            by_energy = [_pulled_back(descriptors, leaves, one) for one in slopes]
            return sums.gradients(Moments(*map(torch.stack, zip(*by_energy, strict=True))))

        return descriptors.detach(), gradients

    def _descriptors(self, moments: Moments, g4: Tensor | None) -> Tensor:
        """All in their order, of the moments and G4 (n_atoms, n_element_pairs, n_g4)."""
        parts = list(moments.radial.unbind(0))  # by element, [atom, function]
        angular = [] if g4 is None else [g4]
        if len(self._places):
            angular.append(self._g5(moments))
        if angular:
            values = torch.cat(angular, 2)  # [atom, element pair, function]
            if self._mixed:
                values = values.index_select(2, self._order)
            parts.append(values.flatten(1))
        return torch.cat(parts, 1)

    def _g5(self, moments: Moments) -> Tensor:
        """G5 of every atom and unordered pair of elements, (n_atoms, n_element_pairs, n_g5)."""
        angular = moments.angular
        products = angular.index_select(0, self._first) * angular.index_select(0, self._second)
        found = products @ self._table  # [element pair, atom, width, angle]
        own = moments.own.index_select(0, self._first)[..., None]  # [.., .., width, 1]
        same = self._same[:, None, None, None]
        # at cos = 1 and lambda = 1 the angular factor is 2
        found = found * (1.0 - 0.5 * same) - own * (same * self._forward)
        return found.flatten(2).index_select(2, self._places).transpose(0, 1)


def _g5_tables(functions: list[Angular]) -> tuple[Tensor, Tensor, Tensor]:
    """What makes G5 of the moments.

    Returns:
        for each angle, that is each zeta with a lambda: its `cosine_powers`, (n_lm, n_angles), of
        each function its place among widths times angles, (n_functions,), and of each angle 1
        where lambda = 1, else 0, (n_angles,).
    """
    widths = sorted({one.eta for one in functions})
    angles = sorted({(one.zeta, one.lambda_) for one in functions})
    places = [
        widths.index(one.eta) * len(angles) + angles.index((one.zeta, one.lambda_))
        for one in functions
    ]
    rank = max((zeta for zeta, _ in angles), default=0)
    table = torch.zeros(((rank + 1) ** 2, len(angles)), dtype=torch.float64)
    for k, (zeta, lambda_) in enumerate(angles):
        values = cosine_powers(zeta, lambda_)
        table[: len(values), k] = values
    forward = torch.tensor([float(lambda_ == 1) for _, lambda_ in angles])
    return table, torch.tensor(places, dtype=torch.int64), forward


def _pulled_back(values: Tensor, inputs: list[Tensor], slopes: Tensor) -> list[Tensor]:
    """dE/dinputs of dE/dvalues; zeros where the values do not depend on them."""
    if not values.requires_grad:
        return [torch.zeros_like(one) for one in inputs]
    found = torch.autograd.grad(
        values, inputs, slopes, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return list(found)
