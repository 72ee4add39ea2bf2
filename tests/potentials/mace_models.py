"""Tiny random MACE models, saved as mace-torch's training saves them; structures to try them on.

Nothing here imports mace-torch before it is called, so that tests can be collected without it.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pimd.potentials.mace_library import import_mace
from pimd.structure import Structure

ELEMENTS = (1, 8)
LONE_ATOMS = {1: -13.587222780835477, 6: -1029.4889999855063, 8: -2041.9816003861047}
"""eV."""
EMBEDDINGS = {
    "total_charge": {
        "type": "categorical", "per": "graph", "num_classes": 9, "emb_dim": 4, "offset": 4
    },
    "total_spin": {"type": "categorical", "per": "graph", "num_classes": 5, "emb_dim": 4},
}  # fmt: skip


def _make(kind: str, options: dict[str, Any], dtype: torch.dtype, seed: int) -> torch.nn.Module:
    """A network of random weights; the default dtype and random state are left as they were."""
    modules = import_mace()
    from e3nn import o3

    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    given = {
        "r_max": 3.5, "num_bessel": 6, "num_polynomial_cutoff": 5, "max_ell": 2,
        "interaction_cls": block, "interaction_cls_first": block, "num_interactions": 2,
        "hidden_irreps": "8x0e+8x1o", "MLP_irreps": "8x0e", "gate": torch.nn.functional.silu,
        "avg_num_neighbors": 1.5, "correlation": 2, "radial_MLP": [16, 16],
        "atomic_numbers": list(ELEMENTS), **options,
    }  # fmt: skip
    given["num_elements"] = len(given["atomic_numbers"])
    for key in ("hidden_irreps", "MLP_irreps"):
        given[key] = o3.Irreps(given[key])
    default = torch.get_default_dtype()
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript warns of what mace-torch does
        torch.manual_seed(seed)
        torch.set_default_dtype(dtype)
        try:
            return getattr(modules, kind)(**given)
        finally:
            torch.set_default_dtype(default)


def energy_network(
    kind: str = "ScaleShiftMACE",
    *,
    heads: Sequence[str] = ("Default",),
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    **options: Any,
) -> torch.nn.Module:
    """A network with energies, of a class of mace-torch; the E0 of each head are 1 eV apart."""
    numbers = options.get("atomic_numbers", ELEMENTS)
    lone_atoms = np.array([[LONE_ATOMS[z] + k for z in numbers] for k in range(len(heads))])
    given: dict[str, Any] = {"heads": list(heads), "atomic_energies": lone_atoms, **options}
    if kind == "ScaleShiftMACE":
        given = {
            "atomic_inter_scale": [0.8 + 0.1 * k for k in range(len(heads))],
            "atomic_inter_shift": [0.05 - 0.1 * k for k in range(len(heads))],
            **given,
        }
    return _make(kind, given, dtype, seed)


def dipole_network(
    kind: str = "AtomicDielectricMACE", *, dtype: torch.dtype = torch.float64, seed: int = 0
) -> torch.nn.Module:
    """A network with dipoles, of a class of mace-torch."""
    irreps = "6x0e+6x1o+6x2e" if kind == "AtomicDielectricMACE" else "6x0e+6x1o"
    options: dict[str, Any] = {
        "hidden_irreps": irreps, "MLP_irreps": irreps, "atomic_energies": None
    }  # fmt: skip
    if kind == "AtomicDipolesMACE":
        options["MLP_irreps"] = "6x1o"
    if kind == "EnergyDipolesMACE":
        options["atomic_energies"] = np.array([[LONE_ATOMS[z] for z in ELEMENTS]])
    return _make(kind, options, dtype, seed)


NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {
    "water": energy_network,
    "tiny": lambda: energy_network(
        hidden_irreps="4x0e", max_ell=1, correlation=1, num_bessel=4, radial_MLP=[8]
    ),
    "water_again": lambda: energy_network(
        seed=1,
        avg_num_neighbors=1.9,
        atomic_inter_scale=[0.7],
        atomic_energies=np.array([[-9.0, -7.0]]),
    ),
    "water_other": lambda: energy_network(seed=2, num_bessel=5),
    "heads": lambda: energy_network("MACE", heads=["pbe", "Default", "scan"], pair_repulsion=True),
    "undecided": lambda: energy_network(
        heads=["pbe", "scan"], distance_transform="Agnesi", avg_num_neighbors=9.0
    ),
    "charged": lambda: energy_network(embedding_specs=EMBEDDINGS, use_embedding_readout=True),
    **{
        kind: partial(dipole_network, kind)
        for kind in ("AtomicDipolesMACE", "EnergyDipolesMACE", "AtomicDielectricMACE")
    },
}
"""Name -> network, for `mace_file`."""


@functools.cache
def _pickled(name: str) -> bytes:
    buffer = io.BytesIO()
    torch.save(NETWORKS[name](), buffer)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def mace_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """From a name of `NETWORKS` to a `.model` file of it, made when first asked for."""
    folder = tmp_path_factory.mktemp("mace")

    def file(name: str) -> Path:
        path = folder / f"{name}.model"
        if not path.exists():
            path.write_bytes(_pickled(name))
        return path

    return file


def save(network: torch.nn.Module, file: Path) -> Path:
    """A `.model` file."""
    torch.save(network, file)
    return file


def save_scripted(network: torch.nn.Module, file: Path) -> Path:
    """A `_compiled.model` file, TorchScript."""
    from e3nn.util import jit

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(jit.compile(network), file)
    return file


def structures() -> list[Structure]:
    """Water-like: a triclinic cell smaller than the cutoff, clusters, a slab, a larger cell."""
    rng = np.random.default_rng(3)
    water = np.array([[0.0, 0.0, 0.0], [0.76, 0.58, 0.05], [-0.75, 0.6, -0.04]])
    small = np.array([[3.1, 0.1, -0.2], [0.4, 2.9, 0.3], [-0.3, 0.2, 3.3]])
    large = np.array([[6.4, 0.0, 0.0], [0.9, 6.1, 0.0], [-0.5, 0.7, 5.9]])

    def waters(n: int, spacing: float) -> np.ndarray:
        sites = spacing * np.argwhere(np.ones((2, 2, 2)))[:n]
        moved = water + sites[:, None] + rng.normal(scale=0.06, size=(n, 3, 3))
        return moved.reshape(-1, 3)

    kinds = [
        (1, small, (True, True, True)),
        (3, np.zeros((3, 3)), (False, False, False)),
        (2, small + np.diag([0.0, 2.5, 0.0]), (True, True, False)),
        (8, large, (True, True, True)),
    ]
    return [
        Structure(np.tile([8, 1, 1], n), waters(n, 2.9), cell, np.array(pbc))
        for n, cell, pbc in kinds
    ]
