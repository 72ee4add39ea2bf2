"""The evaluator: memory that runs out, structures that fail, numbers that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pimd.daemon.budget import Budget
from pimd.evaluator import BadPrediction, Evaluator, OutOfMemory, is_out_of_memory
from pimd.potentials.base import Batch, EnergyPotential, Prediction, Wanted
from pimd.potentials.registry import make_potential
from pimd.structure import Structure, StructureFailed


def structures(n: int, size: int = 3) -> list[Structure]:
    rng = np.random.default_rng(3)
    return [Structure(np.full(size, 18), 4.0 * rng.normal(size=(size, 3))) for _ in range(n)]


class Trap(EnergyPotential):
    name = "trap"
    invariant = False

    def energies(self, batch: Batch) -> Tensor:
        return 0.5 * batch.sum_over_atoms((batch.positions**2).sum(1))


class SmallMemory(Trap):
    """Has room for `room` structures and counts the sizes of what it was given."""

    def __init__(self, room: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.room, self.error, self.seen = room, error, []  # type: ignore[var-annotated]

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        self.seen.append(batch.n_structures)
        if batch.n_structures > self.room:
            raise self.error("CUDA out of memory")
        return super().compute(batch, wanted)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_out_of_memory_halves_the_batch_and_remembers(error: type[Exception]) -> None:
    batch = structures(10)
    potential = SmallMemory(3, error)
    evaluator = Evaluator(potential)
    result = evaluator.evaluate_structures(batch)
    reference = Evaluator(Trap()).evaluate_structures(batch)
    np.testing.assert_array_equal(result.energies, reference.energies)
    np.testing.assert_array_equal(result.forces, reference.forces)
    np.testing.assert_array_equal(result.virials, reference.virials)
    assert evaluator.n_splits > 0
    potential.seen.clear()
    again = evaluator.evaluate_structures(batch)
    np.testing.assert_array_equal(again.energies, reference.energies)
    assert max(potential.seen) <= 3, "the size that did not fit was tried again"


def test_a_structure_that_never_fits_is_said_so() -> None:
    with pytest.raises(OutOfMemory, match="one structure of 3 atoms does not fit"):
        Evaluator(SmallMemory(0)).evaluate_structures(structures(4))


def test_other_runtime_errors_pass_through() -> None:
    assert not is_out_of_memory(RuntimeError("shape mismatch"))

    class Broken(Trap):
        def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
            raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        Evaluator(Broken()).evaluate_structures(structures(2))


@pytest.mark.parametrize(
    ("what", "words"),
    [("energies", "energy is nan"), ("forces", "force on atom 1"), ("virials", "virial")],
)
def test_numbers_that_cannot_be_used_name_the_structure(what: str, words: str) -> None:
    class Odd(Trap):
        def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
            prediction = super().compute(batch, wanted)
            place = {"energies": (2,), "forces": (2 * 3 + 1, 0), "virials": (2, 0, 0)}[what]
            getattr(prediction, what)[place] = float("nan")
            return prediction

    given = structures(4)
    with pytest.raises(BadPrediction, match=words) as error:
        Evaluator(Odd()).evaluate_structures(given)
    assert error.value.index == 2
    np.testing.assert_array_equal(error.value.structure.positions, given[2].positions)


def test_absurd_forces_are_refused() -> None:
    near = Structure(np.full(2, 18), np.array([[0.0, 0, 0], [0.5, 0, 0]]))
    evaluator = Evaluator(make_potential("lennard_jones"))
    with pytest.raises(BadPrediction, match="limit 1000"):
        evaluator.evaluate_structures([*structures(1), near])


def test_splitting_gives_what_one_batch_gives() -> None:
    given = [*structures(5), *structures(3, size=5), *structures(2, size=1)]
    whole = Evaluator(make_potential("lennard_jones")).evaluate_structures(given)
    parts = Evaluator(make_potential("lennard_jones"), max_atoms=7).evaluate_structures(given)
    np.testing.assert_allclose(parts.energies, whole.energies, atol=1e-13)
    np.testing.assert_allclose(parts.forces, whole.forces, atol=1e-13)


def test_a_failed_structure_is_counted_over_the_parts() -> None:
    class FailsSecond(Trap):
        def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
            if batch.n_structures and float(batch.positions[0, 0]) == 99.0:
                raise StructureFailed(0, "no convergence")
            return super().compute(batch, wanted)

    given = structures(3)
    bad = given[2].positions.copy()
    bad[0, 0] = 99.0
    given[2] = Structure(given[2].numbers, bad)
    with pytest.raises(StructureFailed) as error:
        Evaluator(FailsSecond(), max_atoms=3).evaluate_structures(given)
    assert error.value.index == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_what_the_cpu_gives() -> None:
    """Lists, copies, recorded graphs and all, while atoms move."""
    rng = np.random.default_rng(0)
    grid = 3.7 * np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)
    spec = "lennard_jones, cutoff: 6.0, mode: smooth"
    here, there = (Evaluator(make_potential(f"{spec}, device: {d}")) for d in ("cpu", "cuda"))
    for _ in range(5):
        given = [
            Structure(
                np.full(27, 18), grid + rng.normal(0, 0.1, grid.shape), np.eye(3) * 11.1,
                np.array([True, True, k < 3]),
            )
            for k in range(5)
        ]  # fmt: skip
        got, want = there.evaluate_structures(given), here.evaluate_structures(given)
        np.testing.assert_allclose(got.energies, want.energies, rtol=1e-12)
        np.testing.assert_allclose(got.forces, want.forces, atol=1e-12)
        np.testing.assert_allclose(got.virials, want.virials, atol=1e-11)


def test_the_budget_books_every_second_once() -> None:
    budget = Budget()
    evaluator = Evaluator(make_potential("lennard_jones"), budget=budget)
    evaluator.evaluate_structures(structures(3))
    seconds = budget.snapshot()
    assert seconds["model"] > 0
    assert seconds["neighbours"] > 0
    assert seconds["copies"] > 0
    assert budget.total() == pytest.approx(sum(seconds.values()), rel=0.5)
    with pytest.raises(KeyError), budget.stage("tea"):
        pass
