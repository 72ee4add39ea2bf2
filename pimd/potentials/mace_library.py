"""mace-torch, imported and used so that it leaves no trace in the process.

Importing it sets an environment variable that makes every `torch.load` of the process and its
children run pickled code, and warns and prints; building a network of it goes by torch's default
dtype and by switches of e3nn. All of that is put back here.

A `.model` file is a pickled module: loading one runs the code in it.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from pimd.potentials.base import PotentialError
from pimd.potentials.models import require

__all__ = ["KINDS", "Card", "building", "import_mace", "load_network"]

UNSAFE_LOADING = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"

KINDS = {
    "MACE": True,
    "ScaleShiftMACE": True,
    "EnergyDipolesMACE": True,
    "AtomicDipolesMACE": False,
    "AtomicDielectricMACE": False,
}
"""Classes of mace-torch that can be evaluated -> whether they give energies."""

REFUSED = {
    "MACELES": "its long-range energy depends on more than the vectors of pairs",
    "PolarMACE": "its long-range energy depends on more than the vectors of pairs",
    "LAMMPS_MACE": "it was converted for LAMMPS; take the .model file it was made from",
    "LAMMPS_MLIAP_MACE": "it was converted for LAMMPS; take the .model file it was made from",
}
"""Classes known and refused, and why."""

FEATURES = ("total_charge", "total_spin", "elec_temp")
"""What networks with embeddings may take of each structure beside its atoms."""


@dataclass(frozen=True)
class Card:
    """What a MACE network is.

    Attributes:
        kind: its class, one of `KINDS`.
        numbers: atomic numbers it knows, in the order of its types.
        cutoff: Å.
        heads: names of its heads.
        features: names, among `FEATURES`, of what it takes beside the atoms.
        dtype: what its weights are stored in.
        scripted: whether it was saved as TorchScript (`*_compiled.model`).
    """

    kind: str
    numbers: tuple[int, ...]
    cutoff: float
    heads: tuple[str, ...]
    features: tuple[str, ...]
    dtype: torch.dtype
    scripted: bool

    @property
    def gives_energies(self) -> bool:
        return KINDS[self.kind]


@contextlib.contextmanager
def _kept_environment() -> Iterator[None]:
    """The environment variable as it was, and nothing printed or warned meanwhile."""
    before = os.environ.get(UNSAFE_LOADING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        if before is None:
            os.environ.pop(UNSAFE_LOADING, None)
        else:
            os.environ[UNSAFE_LOADING] = before


def import_mace(module: str = "mace.modules") -> ModuleType:
    """A module of mace-torch. Raises PotentialError where it is not installed."""
    with _kept_environment():
        require("mace", "mace")  # before e3nn, whose import fails without what it sets
        return require(module, "mace")


@contextlib.contextmanager
def building(dtype: torch.dtype) -> Iterator[None]:
    """For building networks: in this dtype, and of plain torch operations rather than
    TorchScript, which can be neither compiled nor stacked. Their first weights are random; the
    random numbers that others draw stay the same."""
    e3nn = require("e3nn", "mace")
    default, switches = torch.get_default_dtype(), e3nn.get_optimization_defaults()
    torch.set_default_dtype(dtype)
    e3nn.set_optimization_defaults(jit_script_fx=False)
    try:
        with _kept_environment(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_default_dtype(default)
        e3nn.set_optimization_defaults(jit_script_fx=switches["jit_script_fx"])


def load_network(file: Path, device: torch.device) -> tuple[torch.nn.Module, Card]:
    """The network in a file, in evaluation mode and without gradients, and what it is.

    Raises:
        PotentialError: mace-torch is not installed, the file cannot be read, or the network is
            of a class that cannot be evaluated here.
    """
    import_mace()
    try:
        with _kept_environment():
            network = torch.load(file, map_location=device, weights_only=False)
    except ImportError as error:
        raise PotentialError(
            f"{file} needs the Python module {error.name}, which cannot be imported: {error}"
        ) from error
    except Exception as error:  # unpickling runs code of any kind
        raise PotentialError(
            f"{file} cannot be read as a MACE model ({type(error).__name__}: {error}): it is no "
            "file of mace-torch, or of a version that fits neither this mace-torch nor its e3nn"
        ) from error
    if not isinstance(network, torch.nn.Module):
        raise PotentialError(
            f"{file} holds a {type(network).__name__}, not a MACE model: give the .model file "
            "that mace_run_train writes at its end, not a checkpoint"
        )
    card = _card(network, file)
    for weight in network.parameters():
        weight.requires_grad_(False)
    return network.eval(), card


def _card(network: torch.nn.Module, file: Path) -> Card:
    scripted = isinstance(network, torch.jit.ScriptModule)
    kind = str(network.original_name) if scripted else type(network).__name__
    if kind not in KINDS:
        why = REFUSED.get(kind, f"known are {', '.join(KINDS)}")
        raise PotentialError(
            f"{file} is a {kind}, which this potential does not evaluate: {why}. Other models "
            "of mace-torch run through its own calculator: {potential: ase, calculator: "
            "mace.calculators.MACECalculator, model_paths: FILE}"
        )
    features = tuple(getattr(network, "embedding_specs", None) or ())
    unknown = [name for name in features if name not in FEATURES]
    if unknown:
        raise PotentialError(
            f"{file} takes {', '.join(unknown)} of each structure; only "
            f"{', '.join(FEATURES)} can be given"
        )
    numbers, cutoff = network.atomic_numbers, network.r_max
    assert isinstance(numbers, Tensor)
    assert isinstance(cutoff, Tensor)
    return Card(
        kind=kind,
        numbers=tuple(int(z) for z in numbers),
        cutoff=float(cutoff),
        heads=tuple(getattr(network, "heads", None) or ("Default",)),
        features=features,
        dtype=next(network.parameters()).dtype,
        scripted=scripted,
    )
