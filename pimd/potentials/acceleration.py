"""Potentials of pair vectors recorded as CUDA graphs or compiled, on batches of few shapes.

    accelerate: none       as written
                graphs     forward and backward pass recorded as a CUDA graph for each shape
                compile    the energy compiled by torch.compile
                auto       graphs, where the potential allows them and the device is a GPU

What cannot be recorded or compiled is evaluated as written, and that is said once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch._functorch.config as functorch_config

from pimd.notices import notice
from pimd.potentials.base import Batch, Potential, PotentialError, Prediction, Wanted
from pimd.potentials.cuda_graphs import GraphRecorder
from pimd.potentials.fixed_shape import PaddedBatch, Sizes, without_padding
from pimd.potentials.options import choice

if TYPE_CHECKING:
    from pimd.potentials.pair_vectors import PairVectorPotential

__all__ = ["MODES", "Accelerated", "choose_mode"]

MODES = ("auto", "none", "graphs", "compile")
MAX_SHAPES = 8
"""Shapes kept, each with its tensors and, on a GPU, its graph; what was not used for longest goes
first."""
PATIENCE = 1
"""Batches of a shape that are evaluated as written before one is recorded, which takes as long as
several batches: some shapes come once and never again."""
MAX_SEEN = 64
RESTLESS = 20, 0.2
"""Shapes recorded, and their share of all batches: with more of both, recording does not pay."""

Recorder = Callable[[Callable[[], Prediction]], Callable[[], Prediction]]
Compiler = Callable[[Callable[..., Any]], Callable[..., Any]]


class Accelerated:
    """Evaluates one potential in one of the ways of MODES.

    Args:
        potential: whose `predict` is evaluated.
        mode: one of MODES.
        recorder: from a function to one that does the same again; None: CUDA graphs.
        compiler: from a function to a compiled one; None: torch.compile.

    Attributes:
        mode: what is done: `none`, `graphs` or `compile`.
        n_prepared: shapes recorded or padded to so far, those dropped since included.
        n_calls: batches so far.

    Raises:
        PotentialError: for another mode.
    """

    def __init__(
        self,
        potential: PairVectorPotential,
        mode: str = "auto",
        *,
        recorder: Recorder | None = None,
        compiler: Compiler | None = None,
    ) -> None:
        choice("accelerate", mode, MODES)
        self.potential, self.n_prepared, self.n_calls = potential, 0, 0
        self._recorder, self._compiler = recorder, compiler
        self._compiled: Callable[..., Any] | None = None
        self._shapes: OrderedDict[tuple[Sizes, Wanted], _Shape] = OrderedDict()
        self._seen: OrderedDict[tuple[Sizes, Wanted], int] = OrderedDict()
        self.mode = self._possible(mode)

    def __call__(self, batch: Batch, wanted: Wanted) -> Prediction:
        """The prediction for a batch that the potential has checked."""
        if self.mode == "none" or batch.n_atoms == 0:
            return self.potential.predict(batch, wanted)
        try:
            return self._in_shape(batch, wanted)
        except (torch.OutOfMemoryError, MemoryError):
            self._shapes.clear()  # the batch will come back in parts
            raise
        except PotentialError:
            raise
        except Exception as error:
            self._shapes.clear()
            prediction = self.potential.predict(batch, wanted)  # its own errors are its own
            self._give_up(f"{type(error).__name__}: {error}")
            return prediction

    def _possible(self, mode: str) -> str:
        """What is done where `mode` is asked for."""
        on_gpu = self.potential.device.type == "cuda"
        if mode == "auto":
            return "graphs" if on_gpu and self.potential.graph_safe else "none"
        if mode == "graphs" and not self.potential.graph_safe:
            return self._give_up("it waits for the device within its energy", mode)
        if mode == "graphs" and not on_gpu and self._recorder is None:
            return self._give_up("CUDA graphs need a GPU", mode)
        if mode == "graphs" and self._recorder is None:
            self._recorder = GraphRecorder(self.potential.device)
        return mode

    def _give_up(self, why: str, mode: str | None = None) -> str:
        """Say that the potential is evaluated as written from now on."""
        what = {"graphs": "recorded as a CUDA graph", "compile": "compiled"}[mode or self.mode]
        notice(f"{self.potential.name} cannot be {what}, and runs without: {why}")
        self.mode = "none"
        return self.mode

    def _in_shape(self, batch: Batch, wanted: Wanted) -> Prediction:
        self.n_calls += 1
        sizes = Sizes.of(batch)
        shape = self._shapes.pop((sizes, wanted), None)
        if shape is None:
            if not self._worth_recording(sizes, wanted):
                return self.potential.predict(batch, wanted)
            while len(self._shapes) >= MAX_SHAPES:
                self._shapes.popitem(last=False)
            shape = _Shape(PaddedBatch(batch, sizes, self.potential.cutoff))
            self.n_prepared += 1
        padded = shape.padded.fill(batch)
        if shape.run is None:
            shape.run = self._runner(padded, wanted)
        prediction = shape.run()
        self._shapes[sizes, wanted] = shape
        return without_padding(prediction, batch.n_structures, batch.n_atoms, self.potential)

    def _worth_recording(self, sizes: Sizes, wanted: Wanted) -> bool:
        """Whether a shape that is not kept came often enough; gives up where there are too many."""
        if self.mode != "graphs":
            return True
        most, share = RESTLESS
        if self.n_prepared > most and self.n_prepared > share * self.n_calls:
            self._shapes.clear()
            self._give_up(f"batches had {self.n_prepared} shapes in {self.n_calls} calls")
            return False
        seen = self._seen.pop((sizes, wanted), 0)
        self._seen[sizes, wanted] = seen + 1
        while len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        return seen >= PATIENCE

    def _runner(self, padded: Batch, wanted: Wanted) -> Callable[[], Prediction]:
        """A function that evaluates what is in `padded`."""
        if self.mode == "graphs":
            assert self._recorder is not None
            return self._recorder(lambda: self.potential.predict(padded, wanted))
        if self._compiled is None:
            self._compiled = (self._compiler or torch.compile)(self.potential.outputs_of_vectors)
        compiled = self._compiled

        def run() -> Prediction:
            # (else the first of several backward passes, one for each member, may write over
            # what the others need)
            with functorch_config.patch(donated_buffer=False):
                return self.potential.predict(padded, wanted, outputs=compiled)

        return run


def choose_mode(potential: Potential, mode: str) -> None:
    """Have a potential evaluated in one of the ways of MODES from now on.

    Raises:
        PotentialError: for another mode, and for a potential that is not one of pair vectors.
    """
    from pimd.potentials.pair_vectors import PairVectorPotential

    if not isinstance(potential, PairVectorPotential):
        raise PotentialError(
            f"{potential.name} has no option accelerate: leave it out (it is for potentials "
            "that take pair vectors)"
        )
    potential.accelerate = choice("accelerate", mode, MODES)
    potential._accelerated = None


class _Shape:
    """Tensors of one shape, and how they are evaluated."""

    def __init__(self, padded: PaddedBatch) -> None:
        self.padded = padded
        self.run: Callable[[], Prediction] | None = None
