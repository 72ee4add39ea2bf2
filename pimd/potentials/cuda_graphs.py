"""Record what a function does on the GPU, and do it again without the host.

A model of many small kernels is limited by the host that launches them one by one. A CUDA graph
launches the recorded kernels together, on the same tensors every time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

__all__ = ["GraphRecorder"]

T = TypeVar("T")

WARM_UP = 3
"""Calls before recording: libraries choose their algorithms and allocate their workspaces then,
which must not happen while recording."""


class GraphRecorder:
    """Records functions; all graphs share one pool of memory.

    Sharing is safe as long as what a replay gave is copied before another graph is replayed.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pool: Any = None

    def __call__(self, function: Callable[[], T]) -> Callable[[], T]:
        """A function that does on the GPU what `function` does, and returns the same tensors
        at every call, filled anew.

        `function` must launch the same kernels at every call and never wait for the GPU.

        Raises:
            RuntimeError: it cannot be recorded.
        """
        with torch.cuda.device(self.device):
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    function()
            torch.cuda.current_stream().wait_stream(side)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, stream=side):
                results = function()

        def replay() -> T:
            graph.replay()
            return results

        return replay
