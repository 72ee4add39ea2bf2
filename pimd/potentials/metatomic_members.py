"""Derivatives of all members of an ensemble from one forward pass.

One batched vector-Jacobian product for several members at a time; where an operation of the
model knows no batches, one product for each member.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from pimd.evaluator import is_out_of_memory

__all__ = ["MemberGradients", "gradients"]

MAX_BATCHED = 2**24
"""Numbers in the gradients of the members that go together; the graph holds several times as
many."""


def gradients(total: Tensor, leaves: Sequence[Tensor], *, keep: bool) -> list[Tensor | None]:
    """d(total)/d(leaves); None where it does not depend on a leaf. `keep` the graph."""
    if not total.requires_grad:
        return [None for _ in leaves]
    return list(torch.autograd.grad(total, leaves, retain_graph=keep, allow_unused=True))


class MemberGradients:
    """d(energy of a member)/d(leaves) for all members; remembers which way works.

    Attributes:
        batched: whether members go together; False once the model was found unable to.
    """

    def __init__(self) -> None:
        self.batched = True

    def __call__(self, totals: Tensor, leaves: Sequence[Tensor]) -> list[list[Tensor | None]]:
        """Gradients by member, then by leaf; None where there is no dependence.

        Args:
            totals: energy of each member, (n_members,), with the graph.
            leaves: what to differentiate by.
        """
        if self.batched and totals.requires_grad:
            try:
                return self._together(totals, leaves)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                self.batched = False
        last = len(totals) - 1
        return [gradients(total, leaves, keep=k < last) for k, total in enumerate(totals)]

    def _together(self, totals: Tensor, leaves: Sequence[Tensor]) -> list[list[Tensor | None]]:
        n_members = len(totals)
        size = sum(leaf.numel() for leaf in leaves)
        step = max(1, MAX_BATCHED // max(1, size))
        one = torch.eye(n_members, dtype=totals.dtype, device=totals.device)
        found: list[list[Tensor | None]] = []
        for weights in one.split(step):  # [member of these, member]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an operation without batches is only slower
                part = torch.autograd.grad(
                    totals, leaves, weights, retain_graph=True, is_grads_batched=True,
                    allow_unused=True,
                )  # fmt: skip
            by_leaf = [[None] * len(weights) if g is None else list(g) for g in part]
            found += [list(own) for own in zip(*by_leaf, strict=True)]
        return found
