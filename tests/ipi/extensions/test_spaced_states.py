"""The state to go back to: kept seldom when steps are fast, always when they are slow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pimd.ipi.extensions import spaced_states
from pimd.ipi.extensions.spaced_states import SHARE, SpacedStates


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(spaced_states, "time", clock)
    return clock


class FakeRun:
    """i-PI's loop in small: a step, then a copy of the state where safe_stride says so."""

    def __init__(self, clock: Clock, step_s: float, copy_s: float, stride: int = 1) -> None:
        self.simulation = SimpleNamespace(safe_stride=stride, chk=None)
        self.checkpoint = SimpleNamespace(simul=self.simulation)
        self.simulation.chk = self.checkpoint
        self.stored: list[int] = []
        self.strides: list[int] = []
        self.step = -1
        extension = SpacedStates()

        def store(checkpoint: Any) -> None:
            clock.sleep(copy_s)
            self.stored.append(self.step)
            self.strides.append(checkpoint.simul.safe_stride)

        layers = extension.layers()
        self.store = layers["ipi.engine.outputs:CheckpointOutput.store"](store)
        self.run_step = layers["ipi.engine.simulation:Simulation.run_step"](
            lambda simulation, step: clock.sleep(step_s)
        )
        self.run = layers["ipi.engine.simulation:Simulation.run"](self._loop)

    def _loop(self, simulation: Any, steps: int) -> None:
        self.store(self.checkpoint)
        for self.step in range(steps):
            self.run_step(simulation, self.step)
            if (self.step + 1) % simulation.safe_stride == 0:
                self.store(self.checkpoint)


def test_fast_steps_pay_little_for_copies(clock: Clock) -> None:
    fake = FakeRun(clock, step_s=0.0005, copy_s=0.001)
    fake.run(fake.simulation, 150)
    n_copies = len(fake.stored)
    assert 2 <= n_copies <= clock.now / (0.001 / SHARE) + 2
    assert set(fake.strides) == {1}, "the stride of the input is what is stored"


def test_slow_steps_are_all_kept(clock: Clock) -> None:
    fake = FakeRun(clock, step_s=0.02, copy_s=0.0005)
    fake.run(fake.simulation, 10)
    assert fake.stored == [-1, *range(10)]


@pytest.mark.parametrize("stride", [3, 5])
def test_a_stride_of_the_input_is_left_alone(clock: Clock, stride: int) -> None:
    fake = FakeRun(clock, step_s=0.0, copy_s=0.001, stride=stride)
    fake.run(fake.simulation, 30)
    assert fake.stored == [-1, *range(stride - 1, 30, stride)]
    assert set(fake.strides) == {stride}
