"""The steps of a single system are called; those of several systems stay with i-PI's threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from ipi.engine.simulation import Simulation
from ipi.utils.softexit import softexit

from pimd.ipi.extensions import disable_all
from pimd.ipi.extensions.single_system import SingleSystem


@pytest.fixture(autouse=True)
def extension() -> Iterator[SingleSystem]:
    disable_all()
    found = SingleSystem()
    assert found.self_check() is None
    found.enable()
    yield found
    found.disable()


class Motion:
    """Notes the thread of each step."""

    def __init__(self, finished: bool = False) -> None:
        self.finished, self.exit_status, self.exit_message = finished, None, "converged"
        self.steps: list[tuple[int, int]] = []

    def step(self, step: int) -> None:
        self.steps.append((step, threading.get_ident()))


def simulation(*motions: Motion, smotion: Any = None, threads: bool = True) -> Any:
    systems = [SimpleNamespace(motion=motion) for motion in motions]
    return SimpleNamespace(
        syslist=systems, threading=threads, smotion=smotion, finished=False,
        exit_status=None, exit_message="", executor=ThreadPoolExecutor(2),
    )


def test_one_system_steps_in_the_calling_thread() -> None:
    motion, smotion = Motion(), Motion()
    one = simulation(motion, smotion=SimpleNamespace(step=lambda step: smotion.step(step)))
    Simulation.run_step(one, 7)
    assert motion.steps == smotion.steps == [(7, threading.get_ident())]
    assert one.threading  # what RESTART says


def test_several_systems_step_in_threads_of_their_own() -> None:
    motions = [Motion(), Motion()]
    Simulation.run_step(simulation(*motions), 7)
    for motion in motions:
        assert [step for step, _ in motion.steps] == [7]
        assert motion.steps[0][1] != threading.get_ident()


@pytest.mark.parametrize("threads", [True, False])
def test_a_motion_that_has_finished_ends_the_run(threads: bool) -> None:
    ended = simulation(Motion(finished=True), threads=threads)
    Simulation.run_step(ended, 1)
    assert (ended.finished, ended.exit_status, ended.exit_message) == (
        True, "success", "converged",
    )  # fmt: skip


def test_a_soft_exit_within_the_step_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    motion, smotion = Motion(finished=True), Motion()
    monkeypatch.setattr(softexit, "triggered", True)
    one = simulation(motion, smotion=smotion)
    Simulation.run_step(one, 3)
    assert motion.steps
    assert not one.finished
    assert not smotion.steps
