"""Random numbers are drawn before they are asked for, the same ones.

Normal numbers for the thermostat are the largest part of what a large ring's step must take, and
all of it can be done while others work. What is asked for repeats: a vector of one length, or for
a global thermostat a normal number, a gamma number, then a vector. Once such a cycle has come
twice, the next ones are drawn ahead from the same generator, in the same order: long ones in a
second thread, short ones, which take less time than handing them over, by the thread that is
about to wait for the driver (`prepare`).

Before each draw the generator's position is kept. When something else is asked for (another
length, a uniform number, a new state), the generator goes back to where the consumer is, and
when its state is read, for RESTART, the consumer's position is what is read. So the stream is
i-PI's to the last bit, whatever is asked for and whenever.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from pimd.ipi.extensions.ahead_generator import AheadGenerator
from pimd.ipi.extensions.patching import Extension, Layer

__all__ = ["RandomAhead", "prepare"]


class RandomAhead(Extension):
    """See the module."""

    name = "random_ahead"
    purpose = "random numbers are drawn before they are asked for, in a second thread"
    relies_on: ClassVar = {
        "ipi.utils.prng:Random.__init__": "62bc126cc1a7",
        "ipi.utils.prng:Random.get_state": "4594d6c10773",
        "ipi.utils.prng:Random.set_state": "71fe66c71a21",
        "ipi.utils.prng:Random.gamma": "8bb10b591780",
        "ipi.utils.prng:Random.gfill_serial": "4476aeb399bd",
        "ipi.utils.prng:Random.gvec_serial": "a7cd1bc8a576",
    }

    def __init__(self) -> None:
        self._randoms: weakref.WeakSet[Any] = weakref.WeakSet()

    def layers(self) -> Mapping[str, Layer]:
        return {
            "ipi.utils.prng:Random.__init__": self._init,
            "ipi.utils.prng:Random.gvec_serial": _gvec,
        }

    def left_to_ipi(self, simulation: Any) -> list[str]:
        """See `Extension.left_to_ipi`."""
        if simulation.prng.n_threads == 1:
            return []
        return [f"random numbers: i-PI draws them in {simulation.prng.n_threads} threads"]

    def disable(self) -> None:
        """Also puts the generators back in place, at the consumer's position."""
        super().disable()
        for random in list(self._randoms):
            if random.rng and type(random.rng[0]) is AheadGenerator:
                random.rng[0] = random.rng[0].close()
        self._randoms.clear()

    def _init(self, stock: Any) -> Any:
        def __init__(random: Any, *args: Any, **kwargs: Any) -> None:
            stock(random, *args, **kwargs)
            if random.n_threads == 1:
                ahead = AheadGenerator.of(random.rng[0])
                if ahead is not None:
                    random.rng = [ahead]
                    self._randoms.add(random)

        return __init__


def _gvec(stock: Any) -> Any:
    def gvec_serial(self: Any, shape: Any) -> np.ndarray:
        ahead = self.rng[0]
        if type(ahead) is not AheadGenerator:
            numbers: np.ndarray = stock(self, shape)
            return numbers
        length = math.prod(shape) if type(shape) is tuple else int(np.prod(shape))
        return ahead.vector(length).reshape(shape)

    return gvec_serial


def prepare(random: Any, before: Callable[[], object]) -> None:
    """For a thread that is about to wait: draw what i-PI's `Random` will be asked for next.

    Args:
        random: the `Random`; nothing is done where the extension is off.
        before: called first if there is something to draw; sends off what will be waited for.
    """
    ahead = random.rng[0]
    if type(ahead) is AheadGenerator:
        ahead.prepare(before)
