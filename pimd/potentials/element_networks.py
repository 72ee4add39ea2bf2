"""The networks of a committee: one small network for each element and member."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pimd.structure import PotentialError

__all__ = ["ElementNetworks"]


class ElementNetworks(torch.nn.Module):
    """M members of one small network for each element, weights stacked: one product for all.

        h_0 = G,  h_k = tanh(h_{k-1} W_k + b_k),  e = h_last W + b

    Tanh, since forces must be as smooth as the descriptors, and since members that leave their
    data stay finite. It is evaluated as tanh(x) = 2 s(2 x) - 1 with the logistic function s,
    which on a CPU takes a sixth of the time, the factors and the 1 going into weights and
    biases. Weights start as N(0, 1/n_in), biases at 0.

    Args:
        n_members, n_elements, n_descriptors: what there is.
        hidden: nodes of each hidden layer, at least one.
        dtype: of the weights.
        generator: of the weights, on the CPU; None: torch's own.

    Attributes:
        weights: of each layer, (n_elements, n_members, n_in, n_out).
        biases: (n_elements, n_members, 1, n_out).
    """

    def __init__(
        self,
        n_members: int,
        n_elements: int,
        n_descriptors: int,
        hidden: Sequence[int],
        dtype: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_members, self.n_elements, self.n_descriptors = n_members, n_elements, n_descriptors
        self.hidden = tuple(int(n) for n in hidden)
        sizes = [n_members, n_elements, n_descriptors, *self.hidden]
        if min(sizes) < 1 or not self.hidden:
            raise PotentialError(
                "networks need at least one member, element, descriptor and hidden node; got "
                f"{n_members}, {n_elements}, {n_descriptors} and hidden layers {self.hidden}"
            )
        layers = [n_descriptors, *self.hidden, 1]
        self.weights = torch.nn.ParameterList()
        self.biases = torch.nn.ParameterList()
        for n_in, n_out in itertools.pairwise(layers):
            shape = (n_elements, n_members, n_in, n_out)
            start = torch.randn(shape, generator=generator, dtype=torch.float64) / math.sqrt(n_in)
            self.weights.append(torch.nn.Parameter(start.to(dtype)))
            zero = torch.zeros((n_elements, n_members, 1, n_out), dtype=dtype)
            self.biases.append(torch.nn.Parameter(zero))

    def forward(self, descriptors: Tensor, types: Tensor) -> Tensor:
        """Output of every member for every atom, (n_members, n_atoms).

        Args:
            descriptors: (n_atoms, n_descriptors), the same for all members, or
                (n_members, n_atoms, n_descriptors).
            types: (n_atoms,) int64.
        """
        if descriptors.device.type == "cpu":
            return self.by_element(descriptors, types)
        return self.by_atom(descriptors, types)

    def by_atom(self, descriptors: Tensor, types: Tensor) -> Tensor:
        """All networks for every atom, of which one counts: what a GPU need not be asked for is
        how many atoms of an element there are, and the start of a kernel costs as much."""
        found = self.of_element(0, descriptors)
        for element in range(1, self.n_elements):
            found = torch.where(types == element, self.of_element(element, descriptors), found)
        return found

    def by_element(self, descriptors: Tensor, types: Tensor) -> Tensor:
        """Each network for the atoms of its element alone."""
        outputs, places = [], []
        for element in range(self.n_elements):
            own = (types == element).nonzero().squeeze(1)
            places.append(own)
            outputs.append(self.of_element(element, descriptors.index_select(-2, own)))
        back = torch.argsort(torch.cat(places))
        return torch.cat(outputs, 1).index_select(1, back)

    def of_element(self, element: int, descriptors: Tensor) -> Tensor:
        """Output of the networks of one element, (n_members, n_own), for its atoms."""
        weights = [w[element] for w in self.weights]
        biases = [b[element] for b in self.biases]
        for k in range(1, len(weights)):  # tanh(x) W + b = s(2 x) 2 W + b - sum of W
            biases[k] = biases[k] - weights[k].sum(1, keepdim=True)
            weights[k] = 2.0 * weights[k]
        weights[:-1] = [2.0 * w for w in weights[:-1]]
        biases[:-1] = [2.0 * b for b in biases[:-1]]
        if descriptors.ndim == 2:
            # members side by side: one product of (n, n_in) with (n_in, n_members * n_out)
            side = weights[0].transpose(0, 1).flatten(1)
            hidden = (descriptors @ side).unflatten(1, (self.n_members, self.hidden[0]))
            hidden = hidden.transpose(0, 1) + biases[0]  # [member, atom, node]
        else:
            hidden = torch.baddbmm(biases[0], descriptors, weights[0])
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            hidden = torch.baddbmm(bias, torch.sigmoid(hidden), weight)
        return hidden.squeeze(2)
