"""Files of Behler–Parrinello committees: .npz archives of plain arrays, without pickles.

    format       "pimd behler-parrinello 1"
    settings     JSON: the symmetry functions
    card         JSON: what the model is, what it was trained on and how good it is
    mean, std, low, high           (n_elements, n_descriptors)
    baseline, energy_scale, alpha  float64
    weight_K, bias_K               of layer K: (n_elements, n_members, n_in, n_out) and
                                   (n_elements, n_members, 1, n_out)

Text is stored as UTF-8 bytes. The same content gives the same bytes.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pimd.potentials.base import PotentialError
from pimd.potentials.bp_model import BPModel
from pimd.potentials.element_networks import ElementNetworks
from pimd.potentials.models import model_file
from pimd.potentials.symmetry_functions import Settings
from pimd.whole_file import whole_file

__all__ = ["SUFFIXES", "is_model_file", "load_model", "save_model"]

FORMAT = "pimd behler-parrinello"
VERSION = 1
MAX_BYTES = 1 << 30
"""A file that unpacks to more than this is no model of small networks."""
SUFFIXES = (".npz", ".pt")
"""Endings of model files; the second one holds the same archive of arrays, no pickle."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time stamp of every entry, so that bytes do not depend on the clock."""
DTYPES = {np.dtype(np.float32): torch.float32, np.dtype(np.float64): torch.float64}


def save_model(model: BPModel, path: str | Path, card: Mapping[str, Any]) -> None:
    """Write a model, in its own precision; an earlier file is replaced when all is written.

    Args:
        model: what to store.
        path: ends in one of `SUFFIXES`.
        card: what JSON can hold.

    Raises:
        PotentialError: for another ending.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise PotentialError(
            f"files of Behler–Parrinello models end in {' or '.join(SUFFIXES)}, got {path}"
        )
    arrays = {
        "format": _text(f"{FORMAT} {VERSION}"),
        "settings": _json(model.settings.as_dict()),
        "card": _json(dict(card)),
    }
    for name in ("mean", "std", "low", "high", "baseline", "energy_scale", "alpha"):
        arrays[name] = getattr(model, name).detach().cpu().numpy()
    for k, (weight, bias) in enumerate(
        zip(model.networks.weights, model.networks.biases, strict=True)
    ):
        arrays[f"weight_{k}"] = weight.detach().cpu().numpy()
        arrays[f"bias_{k}"] = bias.detach().cpu().numpy()
    with (
        whole_file(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
    ):
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(array, order="C"), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, buffer.getvalue())


def load_model(
    path: str | Path,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> tuple[BPModel, dict[str, Any]]:
    """Read a model and its card. No code of the file is run.

    Args:
        path: what `save_model` wrote.
        dtype: precision of the networks; None: as stored.
        device: where the model shall be.

    Raises:
        PotentialError: no file, another file, or one that is damaged.
    """
    file = model_file(path, "Behler–Parrinello model")
    try:
        arrays = _arrays(file)
        _check_format(_string(arrays, "format"))
        settings = Settings.from_dict(json.loads(_string(arrays, "settings")))
        card = json.loads(_string(arrays, "card"))
        model = _model(settings, arrays, dtype, torch.device(device))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        # (PotentialError is a ValueError)
        raise PotentialError(
            f"{file} is no model that this version of pimd can read: {error}"
        ) from error
    return model, card if isinstance(card, dict) else {}


def is_model_file(path: str | Path) -> bool:
    """Whether a file is one that `save_model` wrote, whatever its name; nothing of it is run."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"format.npy", "settings.npy", "card.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _arrays(file: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive, of bounded size; raises ValueError for what is none."""
    if not zipfile.is_zipfile(file):
        raise ValueError("it is no .npz archive")
    with zipfile.ZipFile(file) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise ValueError(f"it unpacks to {size} bytes")
    found = {}
    with np.load(file, allow_pickle=False) as archive:
        for name in archive.files:
            array = archive[name]
            if not isinstance(array, np.ndarray):
                raise ValueError(f"its entry {name} is no array")
            found[name] = array
    return found


def _check_format(found: str) -> None:
    name, _, version = found.rpartition(" ")
    if name != FORMAT or not version.isdigit():
        raise ValueError(f"its format is '{found[:80]}', expected '{FORMAT} {VERSION}'")
    if int(version) > VERSION:
        raise ValueError(f"its format has version {version}, expected {VERSION}: update pimd")


def _model(
    settings: Settings, arrays: dict[str, np.ndarray], dtype: torch.dtype | None,
    device: torch.device,
) -> BPModel:  # fmt: skip
    """The model of the arrays; raises ValueError where their shapes do not fit."""
    n_elements, n_descriptors = len(settings.elements), settings.n_descriptors
    n_layers = sum(name.startswith("weight_") for name in arrays)
    if n_layers < 2:
        raise ValueError(f"expected networks of two layers or more, got {n_layers}")
    weights = [_floats(arrays, f"weight_{k}", 4) for k in range(n_layers)]
    n_members = weights[0].shape[1]
    layers = [n_descriptors, *(w.shape[3] for w in weights[:-1]), 1]
    if n_members < 1 or min(layers) < 1:
        raise ValueError(f"expected members and nodes, got {n_members} and layers {layers}")
    biases = [_floats(arrays, f"bias_{k}", 4) for k in range(n_layers)]
    for k, (n_in, n_out) in enumerate(itertools.pairwise(layers)):
        _expect(f"weight_{k}", weights[k], (n_elements, n_members, n_in, n_out))
        _expect(f"bias_{k}", biases[k], (n_elements, n_members, 1, n_out))
    dtype = dtype or DTYPES[weights[0].dtype]
    networks = ElementNetworks(n_members, n_elements, n_descriptors, layers[1:-1], dtype)
    with torch.no_grad():
        for own, values in zip(
            [*networks.weights, *networks.biases], [*weights, *biases], strict=True
        ):
            own.copy_(torch.from_numpy(values))
    scaling = {
        name: torch.from_numpy(_floats(arrays, name, 2)) for name in ("mean", "std", "low", "high")
    }
    return BPModel(
        settings,
        networks.to(device),
        baseline=torch.from_numpy(_floats(arrays, "baseline", 1)),
        energy_scale=_number(arrays, "energy_scale"),
        alpha=_number(arrays, "alpha"),
        **scaling,
    )


def _text(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def _json(value: Mapping[str, Any]) -> np.ndarray:
    try:
        return _text(json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise PotentialError(f"this cannot be stored with a model as JSON: {error}") from error


def _entry(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise ValueError(f"it has no entry '{name}'")
    return arrays[name]


def _string(arrays: dict[str, np.ndarray], name: str) -> str:
    array = _entry(arrays, name)
    if array.dtype != np.uint8 or array.ndim != 1:
        raise ValueError(f"its entry '{name}' is no text")
    return array.tobytes().decode()


def _floats(arrays: dict[str, np.ndarray], name: str, ndim: int) -> np.ndarray:
    array = _entry(arrays, name)
    if array.dtype not in DTYPES or array.ndim != ndim:
        raise ValueError(
            f"{name}: expected float32 or float64 with {ndim} axes, got {array.dtype} {array.shape}"
        )
    free = ("std", "low", "high")  # may be infinite
    if np.isnan(array).any() or (name not in free and not np.isfinite(array).all()):
        raise ValueError(f"{name} has values that are not finite")
    return array


def _number(arrays: dict[str, np.ndarray], name: str) -> float:
    value = float(_floats(arrays, name, 0))
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(f"{name} is a positive number, got {value}")
    return value


def _expect(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
