"""Other forms of a MACE network: rebuilt of plain operations, compiled, with cuEquivariance.

Each is compared with the network as stored, energies and gradients of a small cluster, before it
is used; where it cannot be made or differs, the stored network goes on, and a notice says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pimd.notices import notice
from pimd.potentials.base import PotentialError
from pimd.potentials.mace_input import Network, NetworkInput
from pimd.potentials.mace_library import Card, building, import_mace
from pimd.potentials.models import require

__all__ = ["CompiledNetwork", "Example", "compiled", "rebuilt", "with_cuequivariance"]

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Largest difference of energies and gradients of equal networks, relative to the largest of
each."""

N_EXAMPLE_ATOMS = 40
"""torch.compile makes other code for few atoms (up to 24); the example has more."""


class Example:
    """A small cluster with many of the elements of a network, to compare networks with.

    Args:
        card: of the network.
        inputs: how it is called.
        device: where it is.
    """

    def __init__(self, card: Card, inputs: NetworkInput, device: torch.device) -> None:
        rng = np.random.default_rng(0)
        sites = np.argwhere(np.ones((4, 4, 3)))[:N_EXAMPLE_ATOMS]
        places = 0.4 * card.cutoff * (sites + rng.uniform(-0.2, 0.2, sites.shape))
        positions = torch.as_tensor(places, device=device)
        types = np.linspace(0, len(card.numbers) - 1, len(sites)).round().astype(np.int64)
        vectors = positions[None, :] - positions[:, None]  # [i, j, xyz]
        lengths = vectors.norm(dim=2)
        near = (lengths > 0.0) & (lengths < card.cutoff)
        self.inputs, self.types = inputs, torch.as_tensor(types, device=device)
        self.pairs = near.nonzero().T.clone(memory_format=torch.contiguous_format)
        self.vectors = vectors[near]

    def run(self, network: Network) -> tuple[Tensor, Tensor]:
        """Energies (n_atoms,), eV, and their gradient (n_pairs, 3), eV/Å."""
        vectors = self.vectors.detach().clone().requires_grad_(True)
        energies = self.inputs.atomic_energies(network, self.types, self.pairs, vectors)
        (gradients,) = torch.autograd.grad(energies.sum(), vectors)
        return energies.detach(), gradients

    def differs(self, network: Network, other: Network) -> str | None:
        """How two networks differ, in words; None if they are equal."""
        tolerance = TOLERANCE[self.inputs.dtype]
        for what, a, b in zip(
            ("energies", "gradients"), self.run(network), self.run(other), strict=True
        ):
            scale = float(a.abs().max())
            difference = float((a - b).abs().max())
            if not difference <= tolerance * max(scale, 1e-6):
                return f"its {what} differ by {difference:.1e} of {scale:.1e}"
        return None


def rebuilt(network: torch.nn.Module, card: Card) -> torch.nn.Module:
    """The same network of plain torch operations, in its own dtype and on its device.

    Raises:
        PotentialError: for what mace-torch cannot take apart.
    """
    if card.kind != "ScaleShiftMACE" or card.scripted:
        kind = f"TorchScript of a {card.kind}" if card.scripted else card.kind
        raise PotentialError(f"mace-torch rebuilds networks of ScaleShiftMACE only, not a {kind}")
    tools = import_mace("mace.tools.scripts_utils")
    weight = next(network.parameters())
    with building(weight.dtype):
        copy = tools.extract_model(network, map_location=weight.device)
    return copy.to(weight.dtype).eval().requires_grad_(False)


def compiled(
    network: torch.nn.Module, card: Card, inputs: NetworkInput, device: torch.device
) -> Network:
    """The network through torch.compile, energies only; the stored network where that fails."""

    def make() -> Network:
        plain = rebuilt(network, card)
        simplify = import_mace("mace.tools.compile").simplify
        with building(inputs.dtype):
            plain = simplify(plain)
        return torch.compile(plain, dynamic=True)

    found = _or_stored(make, network, Example(card, inputs, device), "torch.compile")
    return found if found is network else CompiledNetwork(found, network)


class CompiledNetwork:
    """Calls a compiled network, or the stored one where compiling anew would not pay.

    torch.compile makes code for any number of atoms and pairs, except for none and one of them,
    and except without gradients. It makes code anew for tensors that are views of others, so
    those are copied.
    """

    def __init__(self, network: Network, stored: Network) -> None:
        self.network, self.stored = network, stored

    def __call__(self, data: dict[str, Tensor], **options: bool) -> dict[str, Tensor]:
        few = len(data["positions"]) < 2 or len(data["shifts"]) < 2
        if few or not data["shifts"].requires_grad or self.network is self.stored:
            return self.stored(data, **options)
        own = {key: x.clone() if x._is_view() else x for key, x in data.items()}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self.network(own, **options)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # compilers raise anything
            _say("torch.compile", error)
            self.network = self.stored
            return self.stored(data, **options)


def with_cuequivariance(
    network: torch.nn.Module, card: Card, inputs: NetworkInput, device: torch.device
) -> Network:
    """The network on cuEquivariance's operations; the stored network where that fails.

    Raises:
        PotentialError: cuEquivariance is not installed.
    """
    try:
        require("cuequivariance_torch", "mace")
    except PotentialError as error:
        raise PotentialError(
            "cuequivariance: true needs cuequivariance_torch, which cannot be imported: pip "
            "install cuequivariance-torch, and cuequivariance-ops-torch-cu12 for its GPU kernels"
        ) from error

    def make() -> Network:
        if card.kind != "ScaleShiftMACE" or card.scripted:
            raise PotentialError("mace-torch converts networks of ScaleShiftMACE only")
        convert = import_mace("mace.cli.convert_e3nn_cueq").run
        with building(inputs.dtype):
            made = convert(network, device=device.type)
        return made.to(device=device, dtype=inputs.dtype).eval().requires_grad_(False)

    return _or_stored(make, network, Example(card, inputs, device), "cuequivariance")


def _or_stored(
    make: Callable[[], Network], stored: torch.nn.Module, example: Example, what: str
) -> Network:
    """What `make` makes, tried; or the stored network, and a notice."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = make()
            why: str | Exception | None = example.differs(stored, made)
    except Exception as error:  # compilers and converters raise anything
        why = error
    else:
        if why is None:
            return made
    _say(what, why)
    return stored


def _say(what: str, why: str | Exception) -> None:
    """That the stored network is used instead."""
    if isinstance(why, Exception):
        lines = str(why).strip().splitlines() or [""]
        why = f"{type(why).__name__}: {lines[0]}"
    notice(f"{what} does not serve this MACE model, which runs as stored: {why}")
