"""Arrays between the host and the potential's device: one copy in and one copy out per round.

Each copy to or from a GPU costs some ten microseconds however small it is, and one from or to
ordinary memory stops the host until it is done. So the arrays of a round lie in one buffer, in
page-locked memory where the device is a GPU, and go over together. torch keeps freed
page-locked memory and hands it out again once copies from it are over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["Staging", "fetch"]

ALIGNMENT = 64
"""Bytes; every array begins at a multiple of this, as kernels like it."""


class Staging:
    """Arrays to be filled on the host, which become tensors on a device.

    Args:
        shapes: of the arrays.
        dtype: of the tensors; numbers are rounded to it as they are written or sent.
        device: where the tensors will live.
        packed: whether the arrays share one buffer and one copy. None: unless the device is
            the CPU, where the tensors are the arrays and nothing is copied at all.

    Attributes:
        arrays: one of each shape, not initialised.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        dtype: torch.dtype,
        device: torch.device,
        *,
        packed: bool | None = None,
    ) -> None:
        self._shapes, self._dtype, self._device = list(shapes), dtype, device
        self._buffer: Tensor | None = None
        if not (device.type != "cpu" if packed is None else packed):
            self.arrays = [np.empty(shape) for shape in shapes]
            return
        step = ALIGNMENT // dtype.itemsize
        lengths = [-(-math.prod(shape) // step) * step for shape in shapes]
        self._starts = [sum(lengths[:k]) for k in range(len(lengths))]
        self._buffer = _host_buffer(sum(lengths), dtype, device)
        self.arrays = [view.numpy() for view in self._views(self._buffer)]

    def send(self) -> list[Tensor]:
        """The arrays as tensors; they must not be written again."""
        if self._buffer is None:
            return [torch.from_numpy(a).to(self._device, self._dtype) for a in self.arrays]
        # (a buffer of its own on the CPU too, as on any other device)
        return self._views(self._buffer.to(self._device, non_blocking=True, copy=True))

    def _views(self, flat: Tensor) -> list[Tensor]:
        return [
            flat[start : start + math.prod(shape)].view(shape)
            for start, shape in zip(self._starts, self._shapes, strict=True)
        ]


def fetch(tensors: Sequence[Tensor], *, packed: bool | None = None) -> list[np.ndarray]:
    """Tensors of one device as float64 arrays on the host.

    Args:
        tensors: of any shapes and types.
        packed: whether they are laid into one tensor on the device and copied at once; None:
            unless they are on the CPU, where arrays of float64 share their memory.
    """
    if not tensors:
        return []
    device = tensors[0].device
    if not (device.type != "cpu" if packed is None else packed):
        return [tensor.detach().to("cpu", torch.float64).numpy() for tensor in tensors]
    flat = torch.cat([tensor.detach().reshape(-1).to(torch.float64) for tensor in tensors])
    host = _host_buffer(len(flat), torch.float64, device)
    host.copy_(flat, non_blocking=True)
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    parts = host.split([tensor.numel() for tensor in tensors])
    return [part.view(t.shape).numpy() for part, t in zip(parts, tensors, strict=True)]


def _host_buffer(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.empty(length, dtype=dtype, pin_memory=device.type == "cuda")
