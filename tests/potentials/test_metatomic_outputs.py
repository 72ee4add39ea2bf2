"""What a metatomic model gives besides its energy: members, variants, properties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("metatomic.torch")

import metatomic_models as models

from pimd.evaluator import Evaluated, Evaluator
from pimd.potentials import metatomic_members
from pimd.potentials.base import Batch, Wanted
from pimd.potentials.metatomic import Metatomic
from pimd.potentials.metatomic_members import MemberGradients
from pimd.potentials.metatomic_systems import Geometry
from pimd.potentials.neighbours import NeighbourLists
from pimd.structure import PotentialError, Structure
from pimd.testing import example_structures
from pimd.units import HARTREE_EV

ALL = Wanted(member_forces=True, member_virials=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("metatomic_outputs")


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    return models.pair_ensemble(folder / "pair.pt")


@pytest.fixture(scope="module")
def single(folder: Path) -> Path:
    return models.pair_ensemble(folder / "pair32.pt", dtype=torch.float32)


@pytest.fixture(scope="module")
def structures() -> list[Structure]:
    found = []
    for one in example_structures(4.0, spacing=2.6, margin=0.06):
        numbers = np.resize([18, 8, 1], len(one))
        found.append(Structure(numbers, one.positions, one.cell, one.pbc))
    return found


def evaluated(potential: Metatomic, structures: list[Structure], wanted: Wanted) -> Evaluated:
    return Evaluator(potential).evaluate_structures(structures, wanted)


@pytest.fixture(scope="module")
def one_by_one(folder: Path, structures: list[Structure]) -> list[Evaluated]:
    """Each member as a model of its own."""
    found = []
    for k in range(models.N_MEMBERS):
        member = Metatomic(models.pair_ensemble(folder / f"m{k}.pt", head=k), ensemble=False)
        assert member.n_members == 0
        found.append(evaluated(member, structures, Wanted()))
        assert found[-1].member_energies is None
    return found


@pytest.mark.parametrize("way", ["together", "two by two", "one by one"])
def test_members_are_models_of_their_own(
    file: Path,
    structures: list[Structure],
    one_by_one: list[Evaluated],
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    """Energies, forces and virials of every member, moved together onto the head."""
    potential = Metatomic(file)
    assert potential.n_members == models.N_MEMBERS
    if way == "two by two":
        batch = NeighbourLists(potential.cutoff).attach(Batch.from_structures(structures))
        leaves = Geometry.of(batch, potential.model.lists, grad=False).leaves
        size = sum(leaf.numel() for leaf in leaves)
        monkeypatch.setattr(metatomic_members, "MAX_BATCHED", 2 * size)
    potential._member_gradients.batched = way != "one by one"
    for _ in range(3):  # TorchScript specialises a graph in its first runs
        found = evaluated(potential, structures, ALL)
    assert potential._member_gradients.batched == (way != "one by one")
    for name in ("energies", "forces", "virials"):
        members = np.stack([getattr(one, name) for one in one_by_one])
        head = getattr(found, name)
        assert np.abs(members.mean(0) - head).max() > 0.01  # the head is not their mean
        got = getattr(found, {"energies": "member_energies"}.get(name, f"member_{name}"))
        np.testing.assert_allclose(got, members - members.mean(0) + head, rtol=0, atol=1e-10)
        assert np.abs(got.mean(0) - head).max() < 1e-9 * HARTREE_EV


def test_members_only_where_wanted(file: Path, structures: list[Structure]) -> None:
    potential = Metatomic(file)
    found = evaluated(potential, structures, Wanted(False, False))
    assert found.member_energies.shape == (models.N_MEMBERS, len(structures))
    assert found.forces is found.virials is found.member_forces is found.member_virials is None
    found = evaluated(potential, structures, Wanted(False, False, member_virials=True))
    assert found.member_forces is found.forces is None
    want = evaluated(potential, structures, ALL).member_virials
    np.testing.assert_allclose(found.member_virials, want, atol=1e-12)


def test_a_batch_of_members_is_its_structures(
    file: Path, structures: list[Structure]
) -> None:
    potential = Metatomic(file)
    together = evaluated(potential, structures, ALL)
    alone = [evaluated(potential, [one], ALL) for one in structures]
    for name, axis in (("member_energies", 1), ("member_forces", 1), ("member_virials", 1)):
        want = np.concatenate([getattr(one, name) for one in alone], axis)
        np.testing.assert_allclose(getattr(together, name), want, rtol=0, atol=1e-12)


def test_fp32_members(single: Path, file: Path, structures: list[Structure]) -> None:
    got, want = (evaluated(Metatomic(f), structures, ALL) for f in (single, file))
    for name in ("member_energies", "member_forces", "member_virials"):
        expected = getattr(want, name)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(getattr(got, name), expected, rtol=0, atol=2e-6 * scale)


class Unbatched(torch.autograd.Function):
    """x², by a function that knows no batches of gradients."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2.0 * x * float(grad)


def test_functions_without_batches_go_one_by_one() -> None:
    gradients = MemberGradients()
    x, unused = torch.tensor(3.0, requires_grad=True), torch.zeros(2, requires_grad=True)
    totals = torch.stack([Unbatched.apply(x), 5.0 * Unbatched.apply(x)])
    found = gradients(totals, [x, unused])
    assert not gradients.batched
    assert [float(own[0]) for own in found] == [6.0, 30.0]
    assert [own[1] for own in found] == [None, None]


def test_memory_is_not_mistaken_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too large a batch is the evaluator's to split."""

    def full(*_, **__):
        raise RuntimeError("CUDA out of memory")

    gradients = MemberGradients()
    x = torch.tensor(3.0, requires_grad=True)
    totals = torch.stack([x * x, x])
    monkeypatch.setattr(torch.autograd, "grad", full)
    with pytest.raises(RuntimeError, match="out of memory"):
        gradients(totals, [x])
    assert gradients.batched


def test_variants(file: Path, structures: list[Structure]) -> None:
    """`variant` takes head and ensemble, `uncertainty_variant` another ensemble."""
    wanted = Wanted(properties=("energy_uncertainty",))
    plain = evaluated(Metatomic(file), structures, wanted)
    scaled = evaluated(Metatomic(file, variant="scaled"), structures, wanted)
    mixed = evaluated(Metatomic(file, uncertainty_variant="scaled"), structures, wanted)
    for name in ("energies", "forces", "virials", "member_energies"):
        np.testing.assert_allclose(getattr(scaled, name), 3.0 * getattr(plain, name), rtol=1e-9)
    np.testing.assert_array_equal(mixed.energies, plain.energies)
    np.testing.assert_allclose(mixed.member_energies.mean(0), plain.energies, rtol=1e-12)
    spreads = [one.member_energies.std(0, ddof=1) for one in (plain, scaled, mixed)]
    np.testing.assert_allclose(spreads[1:], [3.0 * spreads[0]] * 2, rtol=1e-9)
    for one, spread in zip((plain, scaled, mixed), spreads, strict=True):
        np.testing.assert_allclose(one.properties["energy_uncertainty"], spread, rtol=1e-9)


def test_other_heads_are_properties(file: Path, structures: list[Structure]) -> None:
    found = evaluated(Metatomic(file), structures, Wanted(properties=("energy/scaled",)))
    np.testing.assert_allclose(found.properties["energy/scaled"], 3.0 * found.energies, rtol=1e-12)
    other = Metatomic(file, variant="scaled")
    assert "energy" in other.properties
    assert "energy/scaled" not in other.properties


def test_the_only_variant_needs_no_name(tmp_path: Path) -> None:
    outputs = {"energy/only": models.energy()}
    file = models.save(
        models.ManyBody(4.0, torch.float64), tmp_path / "one.pt", outputs,
        interaction_range=4.0, dtype=torch.float64,
    )  # fmt: skip
    assert Metatomic(file)._energy.name == "energy/only"
    outputs["energy/other"] = models.energy(description="another")
    file = models.save(
        models.ManyBody(4.0, torch.float64), tmp_path / "two.pt", outputs,
        interaction_range=4.0, dtype=torch.float64,
    )  # fmt: skip
    with pytest.raises(PotentialError, match="its energies: energy/only, energy/other"):
        Metatomic(file)


@pytest.mark.parametrize("precision", ["double", "single"])
def test_properties(
    file: Path, single: Path, structures: list[Structure], precision: str
) -> None:
    """Known values, shapes and units; in fp32 energies are atomic and uncertainties are not."""
    potential = Metatomic(file if precision == "double" else single)
    tolerance = 1e-10 if precision == "double" else 2e-5
    names = tuple(potential.properties)
    assert set(names) == {
        "energy_uncertainty", "atomic_energy_uncertainty", "energy/scaled", "dipole", "spherical",
        "feature", "non_conservative_force", "non_conservative_stress",
    }  # fmt: skip
    found = evaluated(potential, structures, Wanted(properties=names))
    n_atoms = sum(map(len, structures))
    for name, spec in potential.properties.items():
        rows = n_atoms if spec.per_atom else len(structures)
        assert found.properties[name].shape == (rows, *spec.shape), name
    units = {name: spec.unit for name, spec in potential.properties.items()}
    assert units["energy_uncertainty"] == units["energy/scaled"] == "eV"
    assert units["non_conservative_force"] == "eV/Å"
    assert units["feature"] == ""

    charges = np.linspace(-1.0, 1.0, 100)
    moments = [charges[s.numbers] @ s.positions for s in structures]
    np.testing.assert_allclose(found.properties["dipole"], moments, atol=tolerance)
    spread = found.member_energies.std(0, ddof=1)
    np.testing.assert_allclose(
        found.properties["energy_uncertainty"], spread, rtol=1e3 * tolerance
    )
    starts = np.cumsum([0, *map(len, structures)])[:-1]
    atomic = found.properties["feature"]
    np.testing.assert_allclose(
        np.add.reduceat(atomic[:, 0], starts), found.energies, rtol=10 * tolerance
    )
    np.testing.assert_allclose(atomic[:, 1], atomic[:, 0] ** 2, rtol=1e-5)
    assert np.all(found.properties["atomic_energy_uncertainty"] > 0.0)


def test_spherical_vectors_come_as_xyz(file: Path) -> None:
    """One pair along z, then x: the vector of components m = -1, 0, 1 follows."""
    numbers = np.array([18, 1])
    pair = [
        Structure(numbers, np.array([[0, 0, 0], end], float))
        for end in ([0, 0, 2.0], [2.0, 0, 0], [0, 2.0, 0])
    ]
    found = evaluated(Metatomic(file), pair, Wanted(properties=("spherical",)))
    size = found.properties["spherical"][0, 2]
    assert abs(size) > 0.1
    np.testing.assert_allclose(
        found.properties["spherical"], size * np.eye(3)[[2, 0, 1]], atol=1e-12
    )


def test_an_ensemble_that_does_not_come(tmp_path: Path) -> None:
    """Declared, but not given: said at once, with the way out."""
    outputs = {name: models.energy() for name in ("energy", "energy_ensemble")}
    file = models.save(
        models.PairEnsemble(4.0, torch.float64, 0.0, True, None), tmp_path / "liar.pt", outputs,
        interaction_range=4.0, dtype=torch.float64,
    )  # fmt: skip
    with pytest.raises(PotentialError, match=r"did not return energy_ensemble.*ensemble: false"):
        Metatomic(file)
    assert Metatomic(file, ensemble=False).n_members == 0
