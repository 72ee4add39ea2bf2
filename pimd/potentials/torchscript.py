"""What the adapters to TorchScript models share."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

__all__ = ["changing_shapes", "load_torchscript", "precision_of"]


def load_torchscript(file: Path, device: torch.device, keys: tuple[str, ...] = ()) -> Any:
    """A TorchScript module in evaluation mode, and the extra files `keys` as text.

    Returns:
        (module, {key: text}), with "" for a key that the file does not have.

    Raises:
        RuntimeError: it is no TorchScript file, or needs operators that are not there.
    """
    extra: dict[str, Any] = dict.fromkeys(keys, "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated
        module = torch.jit.load(file, map_location=device, _extra_files=extra)
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    texts = {
        key: value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        for key, value in extra.items()
    }
    return module, texts


def precision_of(module: Any) -> torch.dtype:
    """float32 if any parameter is, else float64."""
    found = {p.dtype for p in module.parameters() if p.is_floating_point()}
    return torch.float32 if torch.float32 in found else torch.float64


@contextmanager
def changing_shapes(device: torch.device) -> Iterator[None]:
    """Run TorchScript on inputs whose numbers of pairs differ from call to call.

    TorchScript would profile its first calls and then compile for the shapes it saw. On a CPU,
    where it fuses nothing, that costs seconds and gains nothing, and is switched off; on a GPU it
    is told from the start that shapes change. Settings are put back at the end.
    """
    if device.type == "cpu":
        with torch.jit.optimized_execution(False):
            yield
        return
    before = torch.jit.set_fusion_strategy([("DYNAMIC", 10)])
    try:
        yield
    finally:
        torch.jit.set_fusion_strategy(before)
