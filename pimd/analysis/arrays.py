"""The same lines on numpy, cupy or torch arrays: where arrays live, and how they come back.

Functions that take arrays ask `namespace` for the library of what they were given; who calls them
chooses it with `place`. The array API standard through array-api-compat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = [
    "LIBRARIES", "best_library", "chunk_elements", "namespace", "place", "select", "to_numpy",
]

LIBRARIES = ("numpy", "cupy", "torch")

CACHED = 12_288
"""Elements of a temporary array that stay in a processor's cache."""
ON_DEVICE = 8_388_608
"""Elements that keep a GPU busy."""


def namespace(*arrays: Any) -> Any:
    """The library of arrays, with the names of the array API standard."""
    from array_api_compat import array_namespace

    return array_namespace(*arrays)


def best_library() -> str:
    """cupy or torch where they have a GPU, numpy otherwise."""
    try:
        if _cupy().cuda.runtime.getDeviceCount() > 0:
            return "cupy"
    except Exception:  # not installed, or it cannot load CUDA, which it tells in many ways
        pass
    import torch

    return "torch" if torch.cuda.is_available() else "numpy"


def _cupy() -> Any:
    from pimd.potentials.models import require

    return require("cupy", "cuda")


def place(library: str) -> Callable[[np.ndarray], Any]:
    """What turns numpy arrays into arrays of a library, on the GPU where there is one.

    Args:
        library: of `LIBRARIES`, or `auto`: `best_library`.

    Raises:
        ValueError: no such library.
        PotentialError: it is not installed.
    """
    if library == "auto":
        library = best_library()
    if library == "numpy":
        return np.asarray
    if library == "cupy":
        cupy = _cupy()
        return lambda array: cupy.asarray(array)
    if library == "torch":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        return lambda array: torch.as_tensor(np.ascontiguousarray(array), device=device)
    raise ValueError(f"arrays are of {', '.join(LIBRARIES)} or auto, got '{library}'")


def to_numpy(array: Any) -> np.ndarray:
    """A numpy array of an array of any library, copied from a device if it is on one."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "detach"):
        return np.asarray(array.detach().cpu().numpy())
    return np.asarray(array.get() if hasattr(array, "get") else array)


def select(array: Any, index: np.ndarray, axis: int) -> Any:
    """Rows of an array of any library, along an axis, by a numpy array of their numbers."""
    from array_api_compat import array_namespace, device

    xp = array_namespace(array)
    rows = xp.asarray(np.asarray(index, dtype=np.int64), device=device(array))
    return xp.take(array, rows, axis=axis)


def chunk_elements(array: Any) -> int:
    """How many elements a temporary array should have where an array lives."""
    return CACHED if str(getattr(array, "device", "cpu")) == "cpu" else ON_DEVICE
