"""The order of operations is that of i-PI's own recursion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pimd.ipi.extensions.step_order import step_order

dynamics: Any = pytest.importorskip("ipi.engine.motion.dynamics")


def recorded(nmts: list[int], splitting: str) -> list[str]:
    """What i-PI's integrator calls, in order."""
    base = dynamics.NVEIntegrator if splitting == "nve" else dynamics.NVTIntegrator
    calls: list[str] = []

    class Recorder(base):  # type: ignore[misc]
        splitting = nmtslevels = None

        def pstep(self, level: int = 0) -> None:
            calls.append(f"B{level}")

        def qcstep(self) -> None:
            calls.append("A")

        def tstep(self) -> None:
            calls.append("O")

        def pconstraints(self) -> None:
            pass

    class NormalModes:
        @staticmethod
        def free_qstep() -> None:
            pass

    Recorder.nmts, Recorder.nmtslevels, Recorder.splitting = np.array(nmts), len(nmts), splitting
    Recorder.nm = NormalModes
    Recorder().step()
    return calls


@pytest.mark.parametrize("splitting", ["nve", "obabo", "baoab"])
@pytest.mark.parametrize("nmts", [[1], [2], [3], [1, 4], [2, 1], [2, 3], [3, 2], [1, 2, 3]])
def test_i_pi_s_order(nmts: list[int], splitting: str) -> None:
    order = step_order(nmts, splitting)
    flat = [half for operation in order if operation != "q" for half in (
        ["A", "A"] if operation == "AA" else [operation]
    )]
    assert flat == recorded(nmts, splitting)
    assert flat.count("A") == 2 * np.prod(nmts)


@pytest.mark.parametrize("splitting", ["nve", "obabo", "baoab"])
def test_beads_are_sent_once_between_a_move_and_the_next_kick(splitting: str) -> None:
    order = step_order([2, 3], splitting)
    for here, operation in enumerate(order):
        if operation.startswith("B"):
            since = order[:here][::-1]
            moved = next((o for o in since if o in ("A", "AA", "q")), "q")
            assert moved == "q"
        if operation == "q":
            assert order[here + 1].startswith("B")


def test_the_plain_step() -> None:
    assert step_order([1], "obabo") == ["O", "B0", "AA", "q", "B0", "O"]
    assert step_order([1], "baoab") == ["B0", "A", "O", "A", "q", "B0"]
