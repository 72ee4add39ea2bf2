"""Which beads are kept and when a run stops, step by step, with what i-PI holds played."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.io import read

from pimd.ipi.uncertainty import BeadFrame
from pimd.run.uncertainty import NoUncertainty, Uncertainty, UncertaintyOptions
from pimd.structure import Structure


class Played:
    """A committee on two atoms that says what it is told; `distance` Å apart."""

    def __init__(self, label: str = "nn", system: int = 0) -> None:
        self.label, self.system, self.n_atoms = label, system, 2
        self.time_fs, self.distance, self.reads = 0.0, 1.0, 0
        self.values: np.ndarray | None = np.zeros(3)

    def sigma(self) -> np.ndarray | None:
        self.reads += 1
        return None if self.values is None else 2.0 * self.values

    def frame(self, bead: int, sigma: float) -> BeadFrame:
        positions = np.array([[0.0, 0, 0], [self.distance, 0, 0]])
        structure = Structure(np.array([8, 1]), positions)
        return BeadFrame(structure, 0.0, np.zeros((2, 3)), sigma, np.zeros(2))


class Run:
    """An `Uncertainty` with what it said and how it stopped."""

    def __init__(self, folder: Path, *played: Played, **options: Any) -> None:
        self.said: list[str] = []
        self.stops: list[str] = []
        self.folder = folder
        self.uncertainty = Uncertainty(
            list(played), UncertaintyOptions(**options), folder,  # type: ignore[arg-type]
            self.stops.append, self.said.append,
        )

    def kept(self) -> list[tuple[int, int, int]]:
        path = self.folder / "uncertain.extxyz"
        frames = read(path, ":") if path.exists() else []
        return [(f.info["step"], f.info["system"], f.info["bead"]) for f in frames]


def test_without_limits_nothing_is_read_but_for_the_display(tmp_path: Path) -> None:
    played = Played()
    run = Run(tmp_path, played)
    run.uncertainty.begin()
    assert not run.uncertainty.options.every_step
    assert played.reads == 0
    played.values = np.array([0.001, 0.002, 0.003])
    assert run.uncertainty.shown(5) == {"nn": pytest.approx((0.002, 0.003))}
    assert played.reads == 1
    told = run.uncertainty.summary()
    assert told["committees"]["nn"]["steps_read"] == 1
    assert told["read"] == "when progress was shown"


def test_the_worst_bead_of_each_system_is_kept_at_most_every_spacing(tmp_path: Path) -> None:
    one, two = Played(system=0), Played(system=1)
    run = Run(tmp_path, one, two, save_above=0.01, save_spacing=5)
    for step in range(1, 13):
        one.values = np.array([0.0, 0.02, 0.03]) if step >= 2 else np.zeros(3)
        two.values = np.array([0.02, 0.0, 0.0]) if step == 4 else np.full(3, 0.01)
        run.uncertainty.check(step)
    assert run.kept() == [(2, 0, 2), (4, 1, 0), (7, 0, 2), (12, 0, 2)]


def test_the_worse_of_two_committees_counts(tmp_path: Path) -> None:
    one, two = Played("a"), Played("b")
    run = Run(tmp_path, one, two, save_above=0.01, stop_above=0.05)
    one.values, two.values = np.array([0.02, 0.0, 0.0]), np.array([0.0, 0.06, 0.0])
    run.uncertainty.check(1)
    assert run.kept() == [(1, 0, 1)]
    assert "step 1, bead 1 of 'b', above the limit of 50" in run.stops[0]


def test_the_limit_on_frames_is_said_once_and_counts_over_resumes(tmp_path: Path) -> None:
    played = Played()
    played.values = np.array([0.02, 0.0, 0.0])
    first = Run(tmp_path, played, save_above=0.01, save_spacing=1, save_limit=3)
    for step in (1, 2):
        first.uncertainty.check(step)
    again = Run(tmp_path, played, save_above=0.01, save_spacing=2, save_limit=3)
    for step in (3, 4, 5, 6, 7):
        again.uncertainty.check(step)
    assert [step for step, _, _ in again.kept()] == [1, 2, 4]
    assert len(again.said) == 1
    assert "holds 3 frames, the first that came" in again.said[0]
    kept = again.uncertainty.summary()["kept"]
    assert (kept["frames"], kept["frames_in_all"]) == (1, 3)


def test_unphysical_beads_are_never_kept(tmp_path: Path) -> None:
    played = Played()
    played.values, played.distance = np.array([0.02, 0.0, 0.0]), 0.2
    run = Run(tmp_path, played, save_above=0.01, save_spacing=5)
    for step in (1, 2):
        run.uncertainty.check(step)
    assert run.kept() == []
    assert len(run.said) == 1
    assert "0.20 Å apart" in run.said[0]
    played.distance = 1.0
    run.uncertainty.check(3)  # nothing was kept, so no spacing is to be waited for
    assert run.kept() == [(3, 0, 0)]
    assert run.uncertainty.summary()["kept"]["unphysical_refused"] == 2


def test_a_stop_is_said_once_with_its_structure(tmp_path: Path) -> None:
    played = Played()
    run = Run(tmp_path, played, stop_above=0.02)
    played.values = np.full(3, 0.02)
    run.uncertainty.check(1)
    assert run.stops == []
    played.values, played.distance = np.array([0.0, 0.0, 0.03]), 0.2
    run.uncertainty.check(2)
    run.uncertainty.check(3)
    (message,) = run.stops
    assert message.startswith("sigma is 30 meV/atom at step 2, bead 2, above the limit of 20")
    assert "0.20 Å apart" in message
    frame = read(tmp_path / "stopped.extxyz")
    assert frame.info["sigma"] == pytest.approx(0.06)
    assert run.uncertainty.summary()["stopped"]["message"] == message


def test_what_is_no_number_stops_the_run_and_spoils_no_mean(tmp_path: Path) -> None:
    played = Played()
    run = Run(tmp_path, played, stop_above=1.0)
    played.values = np.array([0.5, np.nan, 0.1])
    run.uncertainty.check(4)
    assert "bead 1" in run.stops[0]
    one = run.uncertainty.summary()["committees"]["nn"]
    assert (one["mean"], one["max"]) == (pytest.approx(0.3), pytest.approx(0.5))


def test_limits_without_an_uncertainty_are_refused(tmp_path: Path) -> None:
    played = Played()
    played.values = None
    run = Run(tmp_path, played, stop_above=1.0)
    with pytest.raises(NoUncertainty, match="--stop-above: no potential"):
        run.uncertainty.begin()
    silent = Run(tmp_path, played)
    silent.uncertainty.begin()
    assert silent.uncertainty.shown(1) == {}
    assert silent.uncertainty.summary() == {}
