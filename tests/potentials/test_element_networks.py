"""Networks of a committee against one written out by hand, and against one another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pimd.potentials.base import PotentialError
from pimd.potentials.element_networks import ElementNetworks


def networks(n_members: int = 3, dtype: torch.dtype = torch.float64) -> ElementNetworks:
    generator = torch.Generator().manual_seed(1)
    found = ElementNetworks(n_members, 2, 5, (4, 6), dtype, generator)
    with torch.no_grad():
        for bias in found.biases:
            bias += torch.randn(bias.shape, generator=generator).to(dtype)
    return found


def numbers(*shape: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(0).normal(size=shape))


@pytest.mark.parametrize("way", ["forward", "by_atom", "by_element"])
@pytest.mark.parametrize("shared", [True, False])
def test_formula(shared: bool, way: str) -> None:
    nets = networks()
    x = numbers(3, 7, 5)
    if shared:
        x = x[:1].expand(3, -1, -1)
    types = torch.tensor([1, 0, 0, 1, 1, 0, 1])
    found = getattr(nets, way)(x[0] if shared else x, types)
    assert found.shape == (3, 7)
    w = [p.detach().numpy() for p in nets.weights]
    b = [p.detach().numpy() for p in nets.biases]
    for member in range(3):
        for atom, kind in enumerate(types.tolist()):
            h = x[member, atom].numpy()
            for k in range(2):
                h = np.tanh(h @ w[k][kind, member] + b[k][kind, member, 0])
            (want,) = h @ w[2][kind, member] + b[2][kind, member, 0]
            assert float(found[member, atom].detach()) == pytest.approx(want, abs=1e-13)


def test_members_are_networks_of_their_own() -> None:
    """A committee of three equals three single ones with its weights; derivatives too."""
    nets = networks()
    x = numbers(6, 5).requires_grad_()
    types = torch.tensor([0, 1, 0, 1, 1, 0])
    together = nets(x, types)
    for member in range(3):
        single = ElementNetworks(1, 2, 5, (4, 6), torch.float64)
        with torch.no_grad():
            pairs = [*zip(single.weights, nets.weights, strict=True),
                     *zip(single.biases, nets.biases, strict=True)]  # fmt: skip
            for own, whole in pairs:
                own.copy_(whole[:, member : member + 1])
        alone = single(x, types)
        torch.testing.assert_close(alone[0], together[member], rtol=0, atol=1e-14)
        gradients = [
            torch.autograd.grad(e.sum(), x, retain_graph=True)[0]
            for e in (alone[0], together[member])
        ]
        torch.testing.assert_close(*gradients, rtol=0, atol=1e-14)


def test_second_derivatives() -> None:
    """Forces are fitted: slopes are differentiated by the weights."""
    nets = networks(2)
    x = numbers(4, 5).requires_grad_()
    types = torch.tensor([0, 1, 1, 0])

    def with_weight(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        values = {"weights.0": weight}
        return torch.func.functional_call(nets, values, (x, types))

    weight = nets.weights[0].detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(with_weight, (x, weight))
    assert torch.autograd.gradgradcheck(with_weight, (x, weight))


def test_start() -> None:
    """The same generator, the same weights; members and elements differ."""
    one, two = (
        ElementNetworks(2, 2, 30, (200,), torch.float32, torch.Generator().manual_seed(7))
        for _ in range(2)
    )
    assert torch.equal(one.weights[0], two.weights[0])
    first = one.weights[0].detach()
    assert not torch.equal(first[0, 0], first[0, 1])
    assert not torch.equal(first[0, 0], first[1, 0])
    assert float(first.std()) == pytest.approx(30**-0.5, rel=0.02)
    no_atoms = one(torch.empty((0, 30)), torch.empty(0, dtype=torch.int64))
    assert no_atoms.shape == (2, 0)
    one_kind = one(torch.zeros((3, 30)), torch.ones(3, dtype=torch.int64))
    assert torch.equal(one_kind, one_kind[:, :1].expand(2, 3))


@pytest.mark.parametrize(
    "sizes", [(0, 1, 3, (2,)), (1, 1, 0, (2,)), (1, 1, 3, ()), (1, 1, 3, (0,))]
)
def test_sizes_that_make_no_network(sizes: tuple) -> None:
    with pytest.raises(PotentialError, match="at least one member"):
        ElementNetworks(*sizes)
