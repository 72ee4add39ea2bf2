"""Model files of `nequip-compile`: AOTInductor (`.nequip.pt2`) and TorchScript (`.nequip.pth`).

Both are read with torch alone. A `.nequip.pt2` holds machine code: it runs on the kind of device
it was compiled for, and one for CPUs only where the processor knows its instructions. Loading
either runs code from the file.

A `.nequip.pt2` says in its metadata which tensors it takes and gives. Those of
`--target batch` take structures one after another; those of `--target ase` and `pair_nequip` one
structure.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pimd.potentials.base import PotentialError
from pimd.potentials.models import model_device, model_file
from pimd.potentials.options import PRECISIONS
from pimd.potentials.torchscript import changing_shapes, load_torchscript, precision_of

__all__ = ["CompiledModel", "how_to_compile", "read_model"]

ONE_STRUCTURE = ("pos", "edge_index", "atom_types", "cell", "edge_cell_shift")
BATCH = (*ONE_STRUCTURE, "batch", "num_atoms")
"""What models take, by the names of nequip.data.AtomicDataDict."""

INSTRUCTIONS = {
    "AVX2": "_is_avx2_supported",
    "AVX512": "_is_avx512_supported",
    "AVX512_VNNI": "_is_vnni_supported",
    "AMX_TILE": "_is_amx_tile_supported",
}
"""Word in AOTI_CPU_ISA -> function of torch.cpu that says whether this processor has it."""

METADATA = ("r_max", "type_names", "per_edge_type_cutoff", "model_dtype")
CUSTOM_LIBRARIES = "nequip_custom_ops_libs.txt"


@dataclass(frozen=True)
class CompiledModel:
    """A compiled model and what its file says of it.

    Attributes:
        file: where it is.
        call: from inputs to outputs, by name; inputs must be contiguous and aligned.
        inputs, outputs: names, in order.
        type_names: of the types, in order.
        cutoff: Å, the largest.
        edge_cutoffs: Å, [type of i, type of j] of a pair i -> j, where they differ.
        precision: of the network.
        device: what it was compiled for or loaded to.
    """

    file: Path
    call: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    type_names: tuple[str, ...]
    cutoff: float
    edge_cutoffs: Tensor | None
    precision: torch.dtype
    device: torch.device

    @property
    def takes_batches(self) -> bool:
        return "batch" in self.inputs


def read_model(path: str | Path, device: str | torch.device | None) -> CompiledModel:
    """Read a `.nequip.pt2` or `.nequip.pth`.

    Args:
        path: file.
        device: as in `model_device`; `auto` is what a `.nequip.pt2` was compiled for.

    Raises:
        PotentialError: no such file, no compiled model, or one that cannot run here.
    """
    file = model_file(path, "NequIP model")
    if file.suffix == ".pt2":
        return _read_aotinductor(file, device)
    if file.suffix == ".pth":
        return _read_torchscript(file, model_device(device))
    raise PotentialError(
        f"{file} is no compiled NequIP model (.nequip.pt2 or .nequip.pth); make one of a package "
        f"or checkpoint by {how_to_compile()}"
    )


def how_to_compile(device: str = "cpu", output: str = "MODEL.nequip.pt2") -> str:
    """The command that makes a model which takes batches."""
    return (
        f"`nequip-compile MODEL.nequip.zip {output} --mode aotinductor --device {device} "
        "--target batch`"
    )


def _read_aotinductor(file: Path, device: str | torch.device | None) -> CompiledModel:
    metadata = _stored_metadata(file)
    found = _compiled_device(file, metadata, device)
    again = how_to_compile(found.type, file.name)
    inputs, outputs = (
        tuple(metadata.get(f"nequip_aoti_{kind}", "").split()) for kind in ("inputs", "outputs")
    )
    _check_fields(file, inputs, outputs, again)
    if found.type == "cpu":
        _check_processor(file, metadata, again)
    _import_custom_libraries(file)
    from torch._inductor import aoti_load_package
    from torch._inductor import codecache as _codecache  # noqa: F401  (loading needs it, unsaid)

    try:
        index = -1 if found.index is None else found.index
        package = aoti_load_package(str(file), device_index=index)
    except (RuntimeError, OSError) as error:
        raise PotentialError(
            f"torch {torch.__version__} cannot load {file} ({str(error).splitlines()[0]}); compile "
            f"it again with this torch: {again}"
        ) from error

    def call(data: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        with torch.no_grad():
            values = package(*[data[key] for key in inputs])
        return dict(zip(outputs, values, strict=True))

    return _model(file, metadata, call, inputs, outputs, found)


def _read_torchscript(file: Path, device: torch.device) -> CompiledModel:
    try:
        module, metadata = load_torchscript(file, device, METADATA)
    except RuntimeError as error:
        raise PotentialError(
            f"{file} is no TorchScript model: {str(error).splitlines()[0]}"
        ) from error
    if not metadata["model_dtype"]:
        stored = precision_of(module)
        metadata["model_dtype"] = next(k for k, v in PRECISIONS.items() if v == stored)

    def call(data: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        with torch.enable_grad(), changing_shapes(device):
            return module(dict(data))

    outputs = ("atomic_energy", "forces", "virial")
    return _model(file, metadata, call, BATCH, outputs, device)


def _model(
    file: Path,
    metadata: Mapping[str, str],
    call: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    device: torch.device,
) -> CompiledModel:
    names = tuple(metadata.get("type_names", "").split())
    if not names or not metadata.get("r_max"):
        raise PotentialError(
            f"{file} names no types and no cutoff: it was not written by nequip-compile; make a "
            f"model by {how_to_compile(device.type)}"
        )
    cutoff, per_edge = float(metadata["r_max"]), None
    if metadata.get("per_edge_type_cutoff"):
        values = [float(word) for word in metadata["per_edge_type_cutoff"].split()]
        per_edge = torch.tensor(values, dtype=torch.float64, device=device)
        per_edge = per_edge.reshape(len(names), len(names))
        cutoff = max(values)
    return CompiledModel(
        file=file,
        call=call,
        inputs=inputs,
        outputs=outputs,
        type_names=names,
        cutoff=cutoff,
        edge_cutoffs=per_edge,
        precision=PRECISIONS[metadata.get("model_dtype") or "float64"],
        device=device,
    )


def _stored_metadata(file: Path) -> dict[str, str]:
    """What the compiler wrote down, read without loading the code."""
    found: dict[str, str] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith("_metadata.json"):
                    found.update(json.loads(archive.read(name)))
    except (zipfile.BadZipFile, json.JSONDecodeError) as error:
        raise PotentialError(
            f"{file} is no .pt2 archive ({error}); make one by {how_to_compile()}"
        ) from error
    if not found.get("nequip_aoti_inputs"):
        raise PotentialError(
            f"{file} does not say what it takes: it was not written by nequip-compile of NequIP "
            f"0.17 or later; make it again by {how_to_compile(output=file.name)}"
        )
    return found


def _compiled_device(
    file: Path, metadata: Mapping[str, str], asked: str | torch.device | None
) -> torch.device:
    compiled = torch.device(metadata.get("AOTI_DEVICE_KEY", "cpu"))
    if asked is None or asked == "auto":
        if compiled.type == "cuda" and not torch.cuda.is_available():
            raise PotentialError(
                f"{file} was compiled for {compiled}, but this torch sees no CUDA device; compile "
                f"it for the CPU: {how_to_compile('cpu')}"
            )
        return compiled
    device = model_device(asked)
    if device.type != compiled.type:
        raise PotentialError(
            f"{file} was compiled for {compiled}, not for {device}; say device: {compiled}, or "
            f"compile it by {how_to_compile(device.type)}"
        )
    return device


def _check_fields(
    file: Path, inputs: tuple[str, ...], outputs: tuple[str, ...], again: str
) -> None:
    others = [name for name in inputs if name not in BATCH]
    if others:
        raise PotentialError(
            f"{file} wants {', '.join(others)} beside positions, species and cells, which i-PI "
            "does not send: it cannot be used"
        )
    gives = ("atomic_energy", "forces")
    missing = [name for name in gives if name not in outputs]
    if not {"stress", "virial"} & set(outputs):
        missing.append("stress")
    if missing:
        raise PotentialError(
            f"{file} was compiled without {', '.join(missing)}; compile it by {again}"
        )


def _check_processor(file: Path, metadata: Mapping[str, str], again: str) -> None:
    """Raise PotentialError for code that would end the process by an illegal instruction."""
    here = {"AOTI_PLATFORM": sys.platform, "AOTI_MACHINE": platform.machine()}
    for key, value in here.items():
        if metadata.get(key, value) != value:
            raise PotentialError(
                f"{file} was compiled for {metadata[key]}, this is {value}; compile it here: "
                f"{again}"
            )
    for word in metadata.get("AOTI_CPU_ISA", "").split():
        knows = getattr(torch.cpu, INSTRUCTIONS.get(word, ""), None)
        if knows is not None and not knows():
            raise PotentialError(
                f"{file} was compiled on a processor with {word}, which this one does not have; "
                f"compile it on this kind of machine: {again}"
            )


def _import_custom_libraries(file: Path) -> None:
    """Import the libraries of kernels that a model was compiled with, such as cuEquivariance."""
    with zipfile.ZipFile(file) as archive:
        if CUSTOM_LIBRARIES not in archive.namelist():
            return
        names = archive.read(CUSTOM_LIBRARIES).decode().split()
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise PotentialError(
                f"{file} was compiled with kernels of {name}, which cannot be imported "
                f"({error}): install it, or compile the model without that modifier"
            ) from error
