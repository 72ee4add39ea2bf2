"""Frozen models of DeePMD-kit's PyTorch backend, `.pth`, read with torch alone.

A frozen model is TorchScript with an interface of its own: neighbours of each atom, nearest
first, and extended coordinates in, energies of atoms and forces on the extended atoms out.

Baseline. Biases of the atomic energies are added by the model in fp64 (`out_bias`), or within the
network in its own precision (`bias_atom_e`, in models converted from TensorFlow). The second is
taken out of a float32 model, where it would round energies to 1e-4 eV per atom, and added in fp64.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pimd.potentials.base import PotentialError
from pimd.potentials.deepmd_operators import missing_operator, provide, why_not_loaded
from pimd.potentials.models import model_file
from pimd.potentials.torchscript import changing_shapes, load_torchscript, precision_of

__all__ = ["FrozenModel", "read_model"]

FREEZE = "`dp --pt freeze -c {name} -o MODEL.pth` (and `--head NAME` for a multi-task model)"
INSTEAD = {
    ".pt": "a checkpoint; freeze it: " + FREEZE,
    ".pb": "a model of the TensorFlow backend; convert it: "
    "`dp convert-backend {name} MODEL.pth`",
    ".dp": "a backend-independent model; convert it: `dp convert-backend {name} MODEL.pth`",
    ".pt2": "an exported program, not TorchScript, and cannot be used",
}


@dataclass(frozen=True)
class FrozenModel:
    """A frozen model and what it says of itself.

    Attributes:
        file: where it is.
        module: TorchScript.
        type_names: of the types, in order.
        cutoff: Å.
        sel: neighbours that are kept, nearest first: of each type, or one number for all types.
        passes_messages: whether the energy of an atom depends on neighbours of its neighbours.
        precision: of the network.
        n_fparam, n_aparam: numbers it takes for each structure and for each atom.
        has_default_fparam: whether it can do without the first.
        biases: eV, [type], taken out of the network, to be added; None: nothing was.
    """

    file: Path
    module: Any
    type_names: tuple[str, ...]
    cutoff: float
    sel: tuple[int, ...]
    passes_messages: bool
    precision: torch.dtype
    n_fparam: int
    n_aparam: int
    has_default_fparam: bool
    biases: Tensor | None


def read_model(path: str | Path, device: torch.device) -> FrozenModel:
    """Read a frozen model.

    Raises:
        PotentialError: no such file, no frozen model, or one that needs or gives something else.
    """
    file = model_file(path, "DeePMD model")
    if file.suffix in INSTEAD:
        what = INSTEAD[file.suffix].format(name=file.name)
        raise PotentialError(f"{file} is {what}")
    module, modifier = _load(file, device)
    if not hasattr(module, "forward_lower") or not hasattr(module, "get_type_map"):
        raise PotentialError(f"{file} is TorchScript, but no model frozen by DeePMD-kit")
    _refuse_others(file, module, modifier)
    names = tuple(module.get_type_map())
    sel = tuple(int(n) for n in module.get_sel())
    precision = precision_of(module)
    model = FrozenModel(
        file=file,
        module=module,
        type_names=names,
        cutoff=float(module.get_rcut()),
        sel=(sum(sel),) if module.mixed_types() else sel,
        # (models frozen before there was the method may pass them)
        passes_messages=bool(_ask(module, "has_message_passing", True)),
        precision=precision,
        n_fparam=int(module.get_dim_fparam()),
        n_aparam=int(module.get_dim_aparam()),
        has_default_fparam=bool(_ask(module, "has_default_fparam", False)),
        biases=_take_biases(module, names) if precision == torch.float32 else None,
    )
    _try(model, device)
    return model


def _ask(module: Any, method: str, default: Any) -> Any:
    """What a method says; the default for models frozen before there was such a method."""
    return getattr(module, method)() if hasattr(module, method) else default


def _load(file: Path, device: torch.device) -> tuple[Any, str]:
    """The module, and the modifier of its data, if any."""
    while True:
        try:
            module, extra = load_torchscript(file, device, ("data_modifier.pth",))
            return module, extra["data_modifier.pth"]
        except RuntimeError as error:
            name = missing_operator(error)
            if name is not None and provide(name):
                continue
            what = f"it wants the operator deepmd::{name}" if name else str(error).splitlines()[0]
            raise PotentialError(
                f"{file} is no frozen DeePMD model that torch {torch.__version__} can load: {what}"
            ) from error


def _try(model: FrozenModel, device: torch.device) -> None:
    """Evaluate a lone atom. Raises PotentialError for a model that needs compiled operators."""

    def zeros(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    nobody = zeros(1, 1, sum(model.sel), dtype=torch.int64) - 1
    fparam = zeros(1, model.n_fparam) if model.n_fparam else None
    aparam = zeros(1, 1, model.n_aparam) if model.n_aparam else None
    lone, first = zeros(1, 1, 3), zeros(1, 1, dtype=torch.int64)
    try:
        with torch.enable_grad(), changing_shapes(device):
            model.module.forward_lower(lone, first, nobody, first, fparam, aparam)
    except NotImplementedError as error:
        name = missing_operator(error)
        if name is None:
            raise
        raise PotentialError(
            f"{model.file} was compressed and calls deepmd::{name} of DeePMD-kit's compiled "
            f"library; {why_not_loaded()}; or use the model as it was before `dp compress`"
        ) from error


def _refuse_others(file: Path, module: Any, modifier: str) -> None:
    """Raise PotentialError for models that take or give something else."""
    gives = [name for name in module.model_output_type() if name != "mask"]
    if "energy" not in gives:
        raise PotentialError(f"{file} gives {', '.join(gives)} and no energy: it is no potential")
    if _ask(module, "has_spin", False):
        raise PotentialError(f"{file} takes spins, which i-PI does not send: it cannot be used")
    if _ask(module, "get_dim_chg_spin", 0) and not _ask(module, "has_default_chg_spin", False):
        raise PotentialError(
            f"{file} takes the charge and spin of each structure and has no default for them: it "
            "cannot be used"
        )
    if modifier:
        raise PotentialError(
            f"{file} carries a modifier of its data (long-range dipole-charge terms), which is "
            "not applied here: it cannot be used"
        )


def _take_biases(module: Any, names: Sequence[str]) -> Tensor | None:
    """Set the biases within the network to zero; what they were, eV, [type]."""
    script = json.loads(module.get_model_def_script() or "{}")
    excluded = script.get("fitting_net", {}).get("exclude_types") or script.get(
        "atom_exclude_types"
    )
    buffers = dict(module.named_buffers())
    found = buffers.get("atomic_model.fitting_net.bias_atom_e")
    if excluded or found is None or found.numel() != len(names) or not bool(found.any()):
        return None
    biases = found.detach().to(torch.float64).reshape(-1).clone()
    with torch.no_grad():
        found.zero_()
    return biases
