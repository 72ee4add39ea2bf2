"""Recording and compiling, with stand-ins for CUDA graphs that run on the CPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from shape_samples import (
    Family,
    assert_same,
    everything,
    listed,
    number_for,
    potentials,
    structures,
)
from torch import Tensor

from pimd.notices import PimdNotice
from pimd.potentials import acceleration
from pimd.potentials.acceleration import Accelerated
from pimd.potentials.base import Batch, PotentialError, Prediction, Wanted
from pimd.potentials.lennard_jones import LennardJones
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.pair_vectors import PairVectorPotential
from pimd.potentials.registry import make_potential
from pimd.potentials.stillinger_weber import StillingerWeber


class Recorder:
    """Does what a CUDA graph does: the results are the same tensors at every call."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, function: Callable[[], Prediction]) -> Callable[[], Prediction]:
        self.recorded += 1
        results = function()

        def replay() -> Prediction:
            self.replayed += 1
            again = function()
            for name, value in vars(again).items():
                if isinstance(value, Tensor):
                    getattr(results, name).copy_(value)
            for name, value in again.properties.items():
                results.properties[name].copy_(value)
            return results

        return replay


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Record every shape when it comes first."""
    monkeypatch.setattr(acceleration, "PATIENCE", 0)


def recorded(potential: PairVectorPotential, recorder: object = None) -> Accelerated:
    return Accelerated(potential, "graphs", recorder=recorder or Recorder())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "potential", [p for p in potentials() if p.graph_safe], ids=lambda p: p.name
)
def test_recorded_is_as_written(potential: PairVectorPotential) -> None:
    recorder = Recorder()
    run = recorded(potential, recorder)
    kept = []
    wanted = everything(potential)
    for seed in range(6):
        batch = listed(potential.cutoff, seed, number_for(potential))
        want = potential.predict(batch, wanted)
        got = run(batch, wanted)
        assert_same(got, want)
        kept.append((got, want))
    for got, want in kept:  # results are the caller's: a later replay does not write them
        assert_same(got, want)
    assert recorder.recorded == run.n_prepared <= 2
    assert recorder.replayed == 6


def test_what_is_wanted_is_recorded_apart() -> None:
    potential, recorder = Family(), Recorder()
    run = recorded(potential, recorder)
    batch = listed(potential.cutoff)
    for wanted in (Wanted(), Wanted(forces=False, virials=False), Wanted(virials=False)) * 2:
        assert_same(run(batch, wanted), potential.predict(batch, wanted))
    assert recorder.recorded == 3


def test_shapes_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "MAX_SHAPES", 2)
    recorder = Recorder()
    potential = LennardJones()
    run = recorded(potential, recorder)
    some = structures()
    batches = [
        NeighbourLists(potential.cutoff).attach(Batch.from_structures(some[:n]))
        for n in (1, 2, 3)
    ]
    for k in (0, 1, 0, 1, 2, 1, 2, 0):
        assert_same(run(batches[k], Wanted()), potential.predict(batches[k], Wanted()))
        assert len(run._shapes) <= 2
    assert recorder.recorded == run.n_prepared == 4  # 0, 1, 2, and 0 again


def test_a_shape_that_comes_once_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "PATIENCE", 1)
    potential, recorder = LennardJones(), Recorder()
    run = recorded(potential, recorder)
    batch = listed(potential.cutoff)
    single = batch.slice(0, 1)
    for one, n_recorded in ((single, 0), (batch, 0), (batch, 1), (batch, 1), (single, 2)):
        assert_same(run(one, Wanted()), potential.predict(one, Wanted()))
        assert recorder.recorded == n_recorded


def test_batches_that_keep_changing_shape_are_not_recorded_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acceleration, "MAX_SHAPES", 1)
    potential, recorder = LennardJones(), Recorder()
    run = recorded(potential, recorder)
    batch = listed(potential.cutoff)
    parts = [batch.slice(0, 1), batch.slice(0, 2)]

    def by_turns() -> None:
        for k in range(40):
            assert_same(run(parts[k % 2], Wanted()), potential.predict(parts[k % 2], Wanted()))

    with pytest.warns(PimdNotice, match="shapes in"):
        by_turns()
    assert recorder.recorded <= acceleration.RESTLESS[0] + 1
    steady = recorded(potential, Recorder())
    for _ in range(200):
        steady(parts[0], Wanted())
    for k in range(20):
        steady(parts[k % 2], Wanted())
    assert steady.mode == "graphs"


def test_lone_atoms_and_nothing_at_all() -> None:
    potential = LennardJones()
    run = recorded(potential)
    alone = listed(potential.cutoff).slice(3, 4)
    assert_same(run(alone, Wanted()), potential.predict(alone, Wanted()))
    nothing = alone.slice(0, 0)
    assert len(run(nothing, Wanted()).energies) == 0


@pytest.mark.parametrize("at", ["recording", "running"])
def test_what_cannot_be_recorded_runs_as_written_and_that_is_said_once(at: str) -> None:
    def broken(function: Callable[[], Prediction]) -> Callable[[], Prediction]:
        def fail() -> Prediction:
            raise RuntimeError("operation not permitted when stream is capturing")

        return fail() if at == "recording" else fail  # type: ignore[return-value]

    potential = LennardJones()
    run = recorded(potential, broken)
    batch = listed(potential.cutoff)
    with pytest.warns(PimdNotice, match="lennard_jones cannot be recorded as a CUDA graph") as told:
        assert_same(run(batch, Wanted()), potential.predict(batch, Wanted()))
    assert len(told) == 1
    assert "stream is capturing" in str(told[0].message)
    assert run.mode == "none"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(run(batch, Wanted()), potential.predict(batch, Wanted()))


def test_memory_that_runs_out_is_passed_on_and_the_graphs_are_let_go() -> None:
    class Full(Recorder):
        def __call__(self, function: Callable[[], Prediction]) -> Callable[[], Prediction]:
            if self.recorded:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().__call__(function)

    potential = LennardJones()
    run = recorded(potential, Full())
    batch = listed(potential.cutoff)
    run(batch, Wanted())
    with pytest.raises(torch.OutOfMemoryError):
        run(batch, Wanted(forces=False))
    assert run.mode == "graphs"
    assert not run._shapes


def test_errors_of_the_potential_stay_its_own() -> None:
    class Picky(LennardJones):
        def predict(self, *_: object, **__: object) -> Prediction:
            raise PotentialError("not this one")

    with pytest.raises(PotentialError, match="not this one"):
        recorded(Picky())(listed(8.0), Wanted())


def test_modes_that_cannot_be() -> None:
    with pytest.raises(PotentialError, match="accelerate is one of auto, none"):
        Accelerated(LennardJones(), "fast")
    with pytest.warns(PimdNotice, match="CUDA graphs need a GPU"):
        assert Accelerated(LennardJones(), "graphs").mode == "none"
    with pytest.warns(PimdNotice, match="waits for the device"):
        assert Accelerated(StillingerWeber(), "graphs", recorder=Recorder()).mode == "none"
    assert Accelerated(LennardJones(), "auto").mode == "none"  # on a CPU
    assert not LennardJones(tail=True).graph_safe


def test_a_compiler_gets_the_energy_alone() -> None:
    seen = []

    def compiler(function: Callable) -> Callable:
        seen.append(function)
        return lambda *given: function(*given)

    potential = Family()
    run = Accelerated(potential, "compile", compiler=compiler)
    wanted = everything(potential)
    for seed in range(3):
        batch = listed(potential.cutoff, seed)
        assert_same(run(batch, wanted), potential.predict(batch, wanted))
    assert seen == [potential.outputs_of_vectors]


def test_torch_takes_batches_apart() -> None:
    """torch.compile traces the energy of a batch; its tracing alone, without a compiler."""
    potential = LennardJones(mode="smooth")
    run = Accelerated(
        potential, "compile", compiler=lambda f: torch.compile(f, backend="aot_eager")
    )
    for seed in range(2):
        batch = listed(potential.cutoff, seed)
        assert_same(run(batch, Wanted()), potential.predict(batch, Wanted()))
    assert run.mode == "compile"


def test_the_option_of_a_spec() -> None:
    potential = make_potential("lennard_jones, accelerate: none")
    assert isinstance(potential, LennardJones)
    assert potential.accelerate == "none"
    batch = listed(potential.cutoff)
    want = potential.compute(batch, Wanted())
    with pytest.warns(PimdNotice, match="CUDA graphs need a GPU"):
        assert_same(
            make_potential("lennard_jones, accelerate: graphs").compute(batch, Wanted()), want
        )
    with pytest.raises(PotentialError, match="accelerate is one of"):
        make_potential("lennard_jones, accelerate: fast")
    with pytest.raises(PotentialError, match="no option accelerate"):
        make_potential("harmonic, k: 1.2, accelerate: graphs")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("mode", ["graphs", "compile"])
def test_on_a_gpu_as_on_the_cpu(mode: str) -> None:
    here = LennardJones(mode="smooth")
    there = LennardJones(mode="smooth", device="cuda")
    there.accelerate = mode
    for seed in range(6):
        batch = listed(here.cutoff, seed)
        moved = Batch(**{k: None if v is None else v.cuda() for k, v in vars(batch).items()})
        got, want = there.compute(moved, Wanted()), here.compute(batch, Wanted())
        for name in ("energies", "forces", "virials"):
            torch.testing.assert_close(
                getattr(got, name).cpu(), getattr(want, name), rtol=1e-10, atol=1e-10
            )
    assert there._accelerated is not None
    assert there._accelerated.mode == mode
