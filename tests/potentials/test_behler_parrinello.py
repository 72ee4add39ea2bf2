"""Behler–Parrinello committees: the contract, the members, stacks of single models."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from bp_models import NUMBERS, SITES, batch_of, make_model, structures, types_of

from pimd.potentials.acceleration import Accelerated
from pimd.potentials.base import PotentialError, Structure, Wanted
from pimd.potentials.behler_parrinello import EMBEDDED_MODEL, BehlerParrinello
from pimd.potentials.bp_file import save_model
from pimd.potentials.bp_model import BPModel
from pimd.potentials.element_networks import ElementNetworks
from pimd.potentials.pair_vectors import PairVectorPotential
from pimd.potentials.registry import make_potential
from pimd.testing import check_potential

EVERYTHING = Wanted(member_forces=True, member_virials=True, properties=("extrapolation",))
MEMBERS = ("member_energies", "member_forces", "member_virials")


def close(got: object, want: torch.Tensor, tolerance: float) -> None:
    assert isinstance(got, torch.Tensor)
    assert float(want.abs().max()) > 0.0
    torch.testing.assert_close(got, want, rtol=0, atol=tolerance * float(want.abs().max()))


@pytest.mark.parametrize("kind", ["G5", "G4"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_contract(tmp_path: Path, dtype: str, kind: str) -> None:
    """Triclinic cells smaller than the cutoff, a cluster, a slab, lone atoms, mixed batches."""
    save_model(make_model(3, torch.float64, kind), tmp_path / "model.npz", {})
    reference = BehlerParrinello(tmp_path / "model.npz")
    potential = make_potential(f"{tmp_path / 'model.npz'}, dtype: {dtype}, device: cpu")
    assert isinstance(potential, BehlerParrinello)
    assert potential.n_members == 3
    assert potential.precision == getattr(torch, dtype)
    report = check_potential(potential, structures(), reference=reference)
    print(report)
    assert {"forces", "virials", "batch", "one_atom", "two_atoms"} <= set(report.deviations)


def test_energy_is_the_sum_of_networks() -> None:
    """Against the formula atom by atom, with scaling and baseline in their places."""
    model = make_model(2)
    batch = batch_of(structures(), model.settings.range)
    types = types_of(batch)
    assert batch.pairs is not None
    g = model.symmetry(types, batch.pairs, batch.pair_vectors())
    x = (g - model.mean[types]) / model.std[types]
    want = torch.zeros((2, batch.n_structures), dtype=torch.float64)
    for atom, structure in enumerate(batch.structure_index.tolist()):
        kind = types[atom : atom + 1]
        network = model.networks(x[atom : atom + 1], kind)[:, 0].detach()
        want[:, structure] += model.baseline[kind] + 0.4 * network
    found = model.member_energies(batch, batch.pair_vectors()).detach()
    torch.testing.assert_close(found, want, rtol=0, atol=1e-10)
    potential = BehlerParrinello.of_model(model)
    energies = potential.compute(batch, Wanted()).energies
    torch.testing.assert_close(energies, want.mean(0), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["G5", "G4"])
@pytest.mark.parametrize("calibrated", [True, False])
def test_committee_of_eight_is_eight_models(kind: str, calibrated: bool) -> None:
    """Mean, energies, forces and virials of members, in fp64 to rounding."""
    model = make_model(8, kind=kind, alpha=1.7)
    committee = BehlerParrinello.of_model(model, calibrated=calibrated)
    batch = batch_of(structures(), committee.cutoff)
    found = committee.compute(batch, EVERYTHING)
    singles = [BehlerParrinello.of_model(model.of_members([m])) for m in range(8)]
    assert all(one.n_members == 0 for one in singles)
    alone = [one.compute(batch, EVERYTHING) for one in singles]
    assert all(one.member_energies is None and one.member_forces is None for one in alone)
    factor = 1.7 if calibrated else 1.0
    for name in ("energies", "forces", "virials"):
        want = torch.stack([getattr(one, name) for one in alone])
        mean = want.mean(0)
        close(getattr(found, name), mean, 1e-12)
        close(getattr(found, f"member_{name}"), mean + factor * (want - mean), 1e-12)
    asked_less = committee.compute(batch, Wanted())
    assert asked_less.member_forces is None
    assert asked_less.member_virials is None
    close(asked_less.forces, found.forces, 1e-12)
    close(asked_less.virials, found.virials, 1e-12)
    close(asked_less.member_energies, found.member_energies, 1e-14)
    close(found.member_energies.mean(0), found.energies, 1e-14)
    spread = found.member_energies.std(0) / torch.stack([a.energies for a in alone]).std(0)
    torch.testing.assert_close(spread, torch.full_like(spread, factor), rtol=1e-9, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_members_at_once_and_one_by_one(dtype: torch.dtype) -> None:
    """The pass over the pairs for all members, and one backward pass for each."""
    committee = BehlerParrinello.of_model(make_model(4, dtype), calibrated=False)
    batch = batch_of(structures(), committee.cutoff)
    found = committee.compute(batch, EVERYTHING)
    want = PairVectorPotential.predict(committee, batch, EVERYTHING)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    for name in ("energies", "forces", "virials", *MEMBERS):
        close(getattr(found, name), getattr(want, name), tolerance)
    only = committee.compute(batch, Wanted(False, False, member_forces=True))
    assert only.forces is None
    assert only.virials is None
    assert only.member_virials is None
    close(only.member_forces, want.member_forces, tolerance)


def test_precision() -> None:
    """fp32: energies of thousands of eV keep their digits, since the baseline stays in fp64."""
    models = [make_model(3, dtype) for dtype in (torch.float64, torch.float32)]
    exact, fast = (BehlerParrinello.of_model(model) for model in models)
    many = [s for k in range(8) for s in structures(k)]
    batch = batch_of(many, exact.cutoff)
    want, found = exact.compute(batch, EVERYTHING), fast.compute(batch, EVERYTHING)
    assert float(want.energies.abs().min()) > 2000.0
    assert found.energies.dtype == torch.float64
    assert float((found.energies - want.energies).abs().max()) < 3e-6
    for name in ("forces", "virials", "member_forces", "member_virials"):
        close(getattr(found, name), getattr(want, name), 5e-5)


def test_extrapolation() -> None:
    """The share of descriptors outside the range of training: none inside, many far away."""
    model = make_model(2)
    potential = BehlerParrinello.of_model(model)
    inside = structures(100)  # one of those that made the range
    squeezed = [Structure(s.numbers, 0.7 * s.positions, 0.7 * s.cell, s.pbc) for s in inside]
    batch = batch_of([*inside, *squeezed], potential.cutoff)
    found = potential.compute(batch, Wanted(properties=("extrapolation",)))
    shares = found.properties["extrapolation"]
    assert shares.shape == (8,)
    assert float(shares[:4].max()) == 0.0
    assert float(shares[4:].min()) > 0.3
    assert float(shares.max()) <= 1.0
    # by hand, for the last
    last = batch_of(squeezed[3:], potential.cutoff)
    types = types_of(last)
    assert last.pairs is not None
    g = model.symmetry(types, last.pairs, last.pair_vectors())
    outside = (g < model.low[types]) | (g > model.high[types])
    assert float(shares[7]) == pytest.approx(float(outside.double().mean()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_stack_of_single_models(dtype: torch.dtype) -> None:
    """Models with a scaling, an energy scale and a baseline each of their own."""
    models = [make_model(1, dtype, seed=k) for k in range(3)]
    rng = torch.Generator().manual_seed(5)
    for k, model in enumerate(models):
        model.mean += 0.1 * torch.randn(model.mean.shape, generator=rng)
        model.std *= 1.0 + torch.rand(model.std.shape, generator=rng)
        model.energy_scale.fill_(0.3 + 0.2 * k)
        model.baseline += 0.1 * k
    models[0].std[0, 3] = torch.inf  # used by the others
    models[1].std[1, 5] = torch.inf
    singles = [BehlerParrinello.of_model(model) for model in models]
    stack = BehlerParrinello.stacked(singles)
    assert stack is not None
    assert stack.n_members == 3
    batch = batch_of(structures(), stack.cutoff)
    found = stack.compute(batch, EVERYTHING)
    alone = [one.compute(batch, EVERYTHING) for one in singles]
    tolerance = 1e-12 if dtype == torch.float64 else 3e-5
    for name in ("energies", "forces", "virials"):
        want = torch.stack([getattr(one, name) for one in alone])
        close(getattr(found, f"member_{name}"), want, 1e-9 if name == "energies" else tolerance)
        close(getattr(found, name), want.mean(0), tolerance)


def test_what_does_not_stack() -> None:
    one = BehlerParrinello.of_model(make_model(1))
    others = [
        make_model(2),
        make_model(1, torch.float32),
        make_model(1, kind="G4"),
        make_model(1, hidden=(9, 8)),
    ]
    for model in others:
        assert BehlerParrinello.stacked([one, BehlerParrinello.of_model(model)]) is None
    far = make_model(1)
    far.baseline += 500.0
    assert BehlerParrinello.stacked([one, BehlerParrinello.of_model(far)]) is None


def test_shapes_that_do_not_depend_on_positions() -> None:
    """Padded with ghosts, as for a CUDA graph."""
    potential = BehlerParrinello.of_model(make_model(3))
    assert potential.graph_safe
    assert not BehlerParrinello.of_model(make_model(1, kind="G4")).graph_safe
    batch = batch_of(structures(), potential.cutoff)
    want = potential.compute(batch, EVERYTHING)
    padded = Accelerated(potential, "graphs", recorder=lambda function: function)
    found = padded(batch, EVERYTHING)
    assert padded.mode == "graphs"
    for name in ("energies", "forces", "virials", *MEMBERS):
        close(getattr(found, name), getattr(want, name), 1e-12)
    close(found.properties["extrapolation"], want.properties["extrapolation"], 1e-12)


def test_elements_it_does_not_know() -> None:
    potential = BehlerParrinello.of_model(make_model(1))
    numbers = NUMBERS.copy()
    numbers[2] = 14
    batch = batch_of([Structure(numbers, 2.1 * SITES)], potential.cutoff)
    with pytest.raises(PotentialError, match="knows H, O; got Si"):
        potential.compute(batch, Wanted())


def test_models_whose_parts_do_not_fit() -> None:
    good = make_model(1)
    parts = (good.settings, good.networks, good.mean, good.std, good.baseline)
    with pytest.raises(PotentialError, match="mean: expected shape"):
        BPModel(*parts[:2], good.mean[:1], *parts[3:])
    with pytest.raises(PotentialError, match="baseline: expected shape"):
        BPModel(*parts[:4], good.baseline[:1])
    with pytest.raises(PotentialError, match="expected networks for"):
        BPModel(good.settings, ElementNetworks(1, 2, 3, (4,), torch.float64), *parts[2:])


def test_options(tmp_path: Path) -> None:
    save_model(make_model(2, torch.float32), tmp_path / "one.npz", {"name": "tiny"})
    potential = make_potential(f"{tmp_path / 'one.npz'}, calibrated: false")
    assert isinstance(potential, BehlerParrinello)
    assert not potential.calibrated
    assert potential.card == {"name": "tiny"}
    assert potential.cutoff == 5.0
    assert potential.precision == torch.float32
    with pytest.raises(PotentialError, match="dtype is one of"):
        make_potential(f"{tmp_path / 'one.npz'}, dtype: float16")
    with pytest.raises(PotentialError, match="no Behler–Parrinello model file"):
        make_potential(f"{tmp_path / 'two.npz'}")


@pytest.mark.skipif(not EMBEDDED_MODEL.is_file(), reason="no embedded model")
def test_embedded_model() -> None:
    """The default: a committee for water, which knows its molecule from a broken one."""
    potential = make_potential("behler_parrinello")
    assert isinstance(potential, BehlerParrinello)
    assert potential.n_members >= 4
    assert potential.card
    assert potential.model.settings.elements == (1, 8)
    half, bond = np.radians(107.4) / 2, 0.94
    x, y = bond * np.sin(half), bond * np.cos(half)
    whole = np.array([[0.0, 0.0, 0.0], [x, y, 0.0], [-x, y, 0.0]])
    broken = whole.copy()
    broken[1] *= 1.35
    given = [Structure([8, 1, 1], x) for x in (whole, broken)]
    batch = batch_of(given, potential.cutoff)
    energies = potential.compute(batch, Wanted()).energies
    assert float(energies[1] - energies[0]) > 0.1


@pytest.mark.skipif(not EMBEDDED_MODEL.is_file(), reason="no embedded model")
def test_benchmark(tmp_path: Path) -> None:
    """The script runs, and writes a row for each number of members."""
    script = Path(__file__).parents[2] / "benchmarks" / "behler_parrinello.py"
    out = tmp_path / "out.csv"
    subprocess.run([sys.executable, script, "--quick", "--out", out], check=True, timeout=120)
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(r["members"]) for r in rows if r["what"] == "mean"] == [1, 2, 4, 8]
    assert all(float(r["ms_per_round"]) > 0.0 for r in rows)


def test_batch_of_no_pairs() -> None:
    potential = BehlerParrinello.of_model(make_model(3))
    lone = Structure([8], [[0.0, 0.0, 0.0]])
    found = potential.compute(batch_of([lone, lone], potential.cutoff), EVERYTHING)
    assert torch.equal(found.forces, torch.zeros((2, 3), dtype=torch.float64))
    assert torch.equal(found.member_virials, torch.zeros((3, 2, 3, 3), dtype=torch.float64))
