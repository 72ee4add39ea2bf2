"""Small models with random weights for the benchmarks, and the bare call of each library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ase import Atoms

__all__ = ["bare_mace", "bare_metatomic", "make_behler_parrinello", "make_mace", "make_metatomic"]

CUTOFF = 4.0


def make_mace(path: Path, dtype: str, *, full_size: bool = False, seed: int = 0) -> Path:
    """A MACE of two layers, scalar messages, for H and O.

    Small: 8 channels, spherical harmonics up to l = 1, two-body products. Full size: 96 channels,
    l up to 3, three-body products, 4.5 Å, as the smallest of the published models for molecules.
    """
    import mace  # noqa: F401  (before e3nn)
    from e3nn import o3
    from mace import modules

    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    torch.manual_seed(seed)
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    try:
        model = modules.ScaleShiftMACE(
            r_max=4.5 if full_size else CUTOFF, num_bessel=8, num_polynomial_cutoff=5,
            max_ell=3 if full_size else 1, interaction_cls=block,
            interaction_cls_first=block, num_interactions=2, num_elements=2,
            hidden_irreps=o3.Irreps("96x0e" if full_size else "8x0e"),
            MLP_irreps=o3.Irreps("16x0e"),
            gate=torch.nn.functional.silu, atomic_energies=np.array([[-13.6, -2041.0]]),
            avg_num_neighbors=50.0, atomic_numbers=[1, 8], correlation=3 if full_size else 2,
            atomic_inter_scale=0.1, atomic_inter_shift=0.0, radial_type="bessel", heads=["Default"],
        )  # fmt: skip
    finally:
        torch.set_default_dtype(before)
    torch.save(model, path)
    return path


def bare_mace(
    structures: list[Atoms], file: Path, device: str, dtype: str
) -> Callable[[], None]:
    """MACE on input that MACE itself prepared: energies, forces and virials in one call."""
    import mace  # noqa: F401
    from mace import data
    from mace.tools import torch_geometric, torch_tools, utils

    model = torch.load(file, map_location=device, weights_only=False)
    model = model.to(getattr(torch, dtype)).requires_grad_(False).eval()
    table = utils.AtomicNumberTable([int(z) for z in model.atomic_numbers])
    with torch_tools.default_dtype(dtype):
        items = [
            data.AtomicData.from_config(
                data.config_from_atoms(atoms), z_table=table, cutoff=float(model.r_max)
            )
            for atoms in structures
        ]
        loader = torch_geometric.dataloader.DataLoader(items, batch_size=len(items))
        batch = next(iter(loader)).to(device).to_dict()

    def call() -> None:
        copy = {k: v.clone() if torch.is_tensor(v) else v for k, v in batch.items()}
        model(copy, compute_force=True, compute_virials=True, compute_stress=True)

    return call


def make_metatomic(path: Path, dtype: str, *, full_size: bool = False, seed: int = 0) -> Path:
    """A message-passing network for H and O; see `metatomic_network`.

    Small: 2 layers of 32 channels. Full size: 6 layers of 128 channels with filters of two layers,
    as published networks with continuous filters have.
    """
    import metatomic.torch as mta
    from metatomic_network import Network

    torch.manual_seed(seed)
    size = {"channels": 128, "n_layers": 6, "deep": True} if full_size else {"channels": 32}
    network = Network(CUTOFF, **size).to(getattr(torch, dtype)).eval()
    outputs = {"energy": mta.ModelOutput(unit="eV", sample_kind="system")}
    capabilities = mta.ModelCapabilities(
        outputs=outputs, atomic_types=[1, 8], interaction_range=2 * CUTOFF,
        length_unit="angstrom", supported_devices=["cpu", "cuda"], dtype=dtype,
    )
    mta.AtomisticModel(network, mta.ModelMetadata(name="random"), capabilities).save(str(path))
    return path


def bare_metatomic(
    structures: list[Atoms], file: Path, device: str, dtype: str
) -> Callable[[], None]:
    """A metatomic model on prepared systems: energies and their gradient by pair vectors."""
    import metatomic.torch as mta
    import vesin.metatomic as vesin_metatomic

    model = mta.load_atomistic_model(str(file)).to(device)
    real = getattr(torch, model.capabilities().dtype)
    systems, leaves = [], []
    for atoms in structures:
        system = mta.System(
            types=torch.tensor(atoms.numbers, dtype=torch.int32),
            positions=torch.tensor(atoms.positions, dtype=real),
            cell=torch.tensor(np.asarray(atoms.cell), dtype=real),
            pbc=torch.tensor(atoms.pbc),
        )
        for calculator in vesin_metatomic.neighbor_lists_for_model("A", model):
            calculator.add_neighbor_list(system)
        system = system.to(device=device)
        leaves += [
            system.get_neighbor_list(wish).values.requires_grad_(True)
            for wish in model.requested_neighbor_lists()
        ]
        systems.append(system)
    outputs = {"energy": mta.ModelOutput(unit="eV", sample_kind="system")}
    options = mta.ModelEvaluationOptions(length_unit="angstrom", outputs=outputs)

    def call() -> None:
        found = model(systems, options, check_consistency=False)
        torch.autograd.grad(found["energy"].block().values.sum(), leaves)

    return call


def make_behler_parrinello(path: Path, n_members: int, seed: int = 0) -> Path:
    """A committee for H and O in fp32, with the descriptors of `default_settings`."""
    from pimd.potentials.bp_file import save_model
    from pimd.potentials.bp_model import BPModel
    from pimd.potentials.element_networks import ElementNetworks
    from pimd.potentials.symmetry_functions import default_settings

    settings = default_settings((1, 8))
    generator = torch.Generator().manual_seed(seed)
    shape = (2, settings.n_descriptors)
    networks = ElementNetworks(n_members, *shape, (32, 32), torch.float32, generator)
    baseline = torch.tensor([-13.6, -2041.0], dtype=torch.float64)
    model = BPModel(settings, networks, torch.zeros(shape), torch.ones(shape), baseline, 0.01)
    save_model(model, path, {"description": "random weights"})
    return path
