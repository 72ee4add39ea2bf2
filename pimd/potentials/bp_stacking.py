"""Several single Behler–Parrinello models with the same descriptors as one committee."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pimd.potentials.bp_model import BPModel
from pimd.potentials.element_networks import ElementNetworks

__all__ = ["stack_models"]

LARGEST_SHIFT = 10.0
"""eV: baselines that differ by more would be rounded where they go into a bias in fp32."""


def stack_models(models: Sequence[BPModel]) -> BPModel | None:
    """One model whose members are these, in their order; None where they cannot be stacked.

    Each model has its own scaling of descriptors and energies and its own baseline. That of the
    stack is the first's, and what differs goes into weights and biases, in fp64: with
    x = (G - mean) / std of the stack,

        (G - mean_m) / std_m = x std / std_m + (mean - mean_m) / std_m.

    Members keep no calibration of their own, since there is none for a single model.
    """
    first = models[0]
    if any(model.n_members != 1 or not _alike(model, first) for model in models):
        return None
    std = torch.stack([model.std for model in models])  # [member, element, descriptor]
    used = std.isfinite().to(torch.int8).argmax(0, keepdim=True)  # the first that uses it
    mean = torch.stack([model.mean for model in models]).gather(0, used)[0].double()
    width = std.gather(0, used)[0].double()
    networks = ElementNetworks(
        len(models), len(first.settings.elements), first.settings.n_descriptors,
        first.networks.hidden, first.dtype,
    ).to(first.device)  # fmt: skip
    with torch.no_grad():
        for m, model in enumerate(models):
            weights, biases = _in_terms_of(model, mean, width, first)
            for own, value in zip(networks.weights, weights, strict=True):
                own[:, m] = value[:, 0]
            for own, value in zip(networks.biases, biases, strict=True):
                own[:, m] = value[:, 0]
    return BPModel(
        first.settings,
        networks,
        mean,
        width,
        first.baseline,
        float(first.energy_scale),
        low=torch.stack([model.low for model in models]).amin(0),
        high=torch.stack([model.high for model in models]).amax(0),
    )


def _alike(model: BPModel, first: BPModel) -> bool:
    """Whether two models differ in numbers only, and little in their baselines."""
    return (
        model.settings == first.settings
        and model.networks.hidden == first.networks.hidden
        and model.dtype == first.dtype
        and model.device == first.device
        and bool((model.baseline - first.baseline).abs().max() <= LARGEST_SHIFT)
    )


def _in_terms_of(
    model: BPModel, mean: Tensor, width: Tensor, first: BPModel
) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and biases of a model for descriptors scaled by `mean` and `width`, with the energy
    scale and baseline of `first`; float64."""
    weights = [w.double() for w in model.networks.weights]
    biases = [b.double() for b in model.networks.biases]
    own = model.std.double()
    unused = own.isinf()
    ratio = torch.where(unused, 0.0, width / own)
    shift = torch.where(unused, 0.0, (mean - model.mean.double()) / own)
    biases[0] = biases[0] + shift[:, None, None, :] @ weights[0]
    weights[0] = weights[0] * ratio[:, None, :, None]
    scale = float(model.energy_scale / first.energy_scale)
    offset = (model.baseline - first.baseline) / first.energy_scale  # [element]
    weights[-1] = weights[-1] * scale
    biases[-1] = biases[-1] * scale + offset[:, None, None, None]
    return weights, biases
