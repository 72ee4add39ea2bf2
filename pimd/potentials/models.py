"""What the adapters to machine-learning libraries share.

Optional libraries, devices and precisions as users name them, the table from elements to a
model's types, and the composition baseline: the energies of lone atoms, thousands of eV, are
added in fp64 to what the network says in its own precision, since fp32 would round the sum to
0.1 eV.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from pimd.potentials.base import Batch, PotentialError
from pimd.potentials.options import PRECISIONS, choice, torch_device

__all__ = [
    "CompositionBaseline", "SpeciesTable", "asked_precision", "model_device", "model_file",
    "model_precision", "require",
]

N_ELEMENTS = 119


def require(module: str, extra: str) -> ModuleType:
    """Import an optional library.

    Args:
        module: name to import.
        extra: the extra of pimd that installs it.

    Raises:
        PotentialError: it is not installed, or cannot be imported; says what to install.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        top = module.partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith(top):
            why = f"{top} is not installed"
        else:
            why = f"{module} cannot be imported ({error})"
        raise PotentialError(f"{why}: pip install 'pimd[{extra}]'") from error


def model_file(path: str | Path, what: str) -> Path:
    """The file of a model. Raises PotentialError where there is none."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise PotentialError(f"there is no {what} file {file}")
    return file


def model_device(device: str | torch.device | None) -> torch.device:
    """A device by name; None or `auto`: the GPU where torch sees one, else the CPU."""
    if device is None or device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch_device(device)


def model_precision(dtype: str | None, stored: torch.dtype) -> torch.dtype:
    """What a model computes in: `float32`, `float64`, or as it is stored (None or `model`)."""
    return asked_precision(dtype) or stored


def asked_precision(dtype: str | None) -> torch.dtype | None:
    """The dtype a user named; None for None or `model`: as the model is stored."""
    if dtype is None or dtype == "model":
        return None
    return PRECISIONS[choice("dtype", dtype, ("model", *PRECISIONS))]


class SpeciesTable:
    """From atomic numbers to the types of a model.

    Args:
        numbers: atomic number of each type, (n_types,).
        name: of the potential, for messages.
        device: where batches live.
    """

    def __init__(self, numbers: Sequence[int], name: str, device: torch.device) -> None:
        self.numbers, self.name = [int(z) for z in numbers], name
        self._type = torch.full((N_ELEMENTS,), -1, dtype=torch.int64)
        self._type[torch.tensor(self.numbers, dtype=torch.int64)] = torch.arange(len(self.numbers))
        self._type = self._type.to(device)

    def types(self, batch: Batch) -> Tensor:
        """Type of each atom, (n_atoms,) int64; -1 for an element the model does not know."""
        return self._type.index_select(0, batch.numbers)

    def check(self, batch: Batch) -> None:
        """Raise PotentialError for elements that the model does not know."""
        types = self.types(batch)
        if bool((types < 0).any()):
            from ase.data import chemical_symbols as symbols

            others = torch.unique(batch.numbers[types < 0]).tolist()
            raise PotentialError(
                f"{self.name} knows {', '.join(symbols[z] for z in self.numbers)}; got "
                f"{', '.join(symbols[z] for z in others)}: use a model trained for them"
            )


class CompositionBaseline:
    """Energies of lone atoms, summed in fp64.

    Args:
        energies: eV, (n_types,).
        device: where batches live.
    """

    def __init__(self, energies: Tensor | Sequence[float], device: torch.device) -> None:
        self.energies = torch.as_tensor(energies, dtype=torch.float64).reshape(-1).to(device)

    def sum(self, batch: Batch, types: Tensor) -> Tensor:
        """Sum over the atoms of each structure, eV, (n_structures,) float64."""
        return batch.sum_over_atoms(self.energies.index_select(0, types))
