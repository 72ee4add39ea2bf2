"""Metatomic models: the contract, metatomic's own calculator, units, precision, what is refused."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("metatomic.torch")

import metatomic_models as models
from metatomic.torch import unit_conversion_factor

from pimd.evaluator import Evaluator
from pimd.notices import PimdNotice
from pimd.potentials.base import Batch, Wanted
from pimd.potentials.metatomic import Metatomic
from pimd.potentials.metatomic_systems import ListOptions, select_pairs
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.registry import make_potential, parse_spec
from pimd.structure import PotentialError, Structure
from pimd.testing import check_potential, example_structures

Maker = Callable[..., Path]

FP32 = {"dtype": torch.float32}
BOHR = {"cutoff": 8.0, "length_unit": "bohr", "unit": "kcal/mol"}
MODELS: dict[str, tuple[Maker, dict]] = {
    "pair": (models.pair_ensemble, {}),
    "pair in bohr and kcal/mol": (models.pair_ensemble, BOHR),
    "many-body": (models.many_body, {}),
    "cell": (models.cell_energy, {}),
    "pair fp32": (models.pair_ensemble, FP32),
    "many-body fp32 in nm": (
        models.many_body, {**FP32, "cutoff": 0.5, "length_unit": "nm", "unit": "kJ/mol"}
    ),
    "cell fp32": (models.cell_energy, FP32),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A model file by name, or by maker and arguments; each made once."""
    folder, files = tmp_path_factory.mktemp("metatomic"), {}

    def make(maker: str | Maker, **arguments) -> Path:
        if isinstance(maker, str):
            maker, arguments = MODELS[maker]
        key = f"{maker.__name__}{sorted(arguments.items())}"
        if key not in files:
            files[key] = maker(folder / f"model{len(files)}.pt", **arguments)
        return files[key]

    return make


@pytest.fixture(scope="module")
def ase_calculator() -> Iterator[type]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("metatomic_ase").MetatomicCalculator


def structures_for(potential: Metatomic) -> list[Structure]:
    """Two crystals, a cluster and a slab; of no more than two elements."""
    found = []
    for k, one in enumerate(example_structures(potential.cutoff, spacing=2.6, margin=0.06)):
        if potential.model.lists or one.pbc.all() == one.pbc.any():
            numbers = np.where(np.arange(len(one)) % 2 == k % 2, 18, 8)
            found.append(Structure(numbers, one.positions, one.cell, one.pbc))
    return found


@pytest.mark.parametrize("name", MODELS)
def test_contract(made, name: str) -> None:
    potential = Metatomic(made(name))
    assert potential.precision == MODELS[name][1].get("dtype", torch.float64)
    print(check_potential(potential, structures_for(potential)))


@pytest.mark.parametrize("name", ["pair", "many-body", "pair in bohr and kcal/mol", "pair fp32"])
def test_agrees_with_the_ase_calculator(made, ase_calculator, name: str) -> None:
    """Energies, forces and stresses, also where an atom sees many images of itself."""
    potential = Metatomic(made(name))
    single = potential.precision == torch.float32
    tiny = np.array([[2.3, 0.0, 0.0], [0.4, 2.4, 0.0], [-0.3, 0.2, 2.5]])
    images = [Structure(np.array([18]), np.zeros((1, 3)), tiny, np.array([True] * 3))]
    images.append(Structure(np.array([8, 1]), np.array([[0, 0, 0], [1.1, 0.9, 1.0]]), 1.1 * tiny,
                            np.array([True] * 3)))  # fmt: skip
    structures = structures_for(potential) + images
    found = Evaluator(potential).evaluate_structures(structures)
    start, largest = 0, 0.0
    for k, structure in enumerate(structures):
        atoms, end = structure.to_ase(), start + len(structure)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            atoms.calc = ase_calculator(
                str(potential.model.file), device="cpu", uncertainty_threshold=None,
                do_gradients_with_energy=False,
            )  # fmt: skip
            energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        assert found.energies[k] == pytest.approx(
            energy, abs=(1e-4 if single else 1e-6) * len(atoms)
        )
        tolerance = 2e-5 if single else 1e-10
        np.testing.assert_allclose(found.forces[start:end], forces, rtol=0, atol=tolerance)
        if structure.pbc.all():
            virial = -atoms.get_stress(voigt=False) * atoms.cell.volume
            np.testing.assert_allclose(found.virials[k], virial, rtol=1e-6, atol=10 * tolerance)
        start, largest = end, max(largest, np.abs(forces).max())
    assert largest > 0.1


def test_units(made) -> None:
    """The same function in other units: lengths and energies scaled, to all digits."""
    bohr = unit_conversion_factor("bohr", "angstrom")
    kcal = unit_conversion_factor("kcal/mol", "eV")
    scaled = Metatomic(made("pair in bohr and kcal/mol"))
    plain = Metatomic(made(models.pair_ensemble, cutoff=8.0 * bohr))
    assert scaled.cutoff == pytest.approx(plain.cutoff, rel=1e-12)
    structures = structures_for(plain)
    wanted = Wanted(properties=("dipole", "energy_uncertainty"))
    got = Evaluator(scaled).evaluate_structures(structures, wanted)
    want = Evaluator(plain).evaluate_structures(structures, wanted)
    for name in ("energies", "forces", "virials", "member_energies"):
        np.testing.assert_allclose(getattr(got, name), kcal * getattr(want, name), rtol=1e-9)
    assert scaled.properties["dipole"].unit == "eÅ"
    np.testing.assert_allclose(got.properties["dipole"], want.properties["dipole"], rtol=1e-12)
    np.testing.assert_allclose(
        got.properties["energy_uncertainty"], kcal * want.properties["energy_uncertainty"],
        rtol=1e-9,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["pair in bohr and kcal/mol", "many-body fp32 in nm"])
def test_checks_of_the_library_pass(made, name: str) -> None:
    """What goes in and out is as metatomic demands, and its own conversions change nothing."""
    plain, checked = Metatomic(made(name)), Metatomic(made(name), check_consistency=True)
    structures = structures_for(plain)
    want = Evaluator(plain).evaluate_structures(structures)
    got = Evaluator(checked).evaluate_structures(structures)
    for field in ("energies", "forces", "virials"):
        np.testing.assert_array_equal(getattr(got, field), getattr(want, field))


def test_fp32_totals_are_summed_in_fp64(made) -> None:
    """300 atoms of -450 eV each: a total in fp32 is a multiple of 1/128 eV."""
    rng = np.random.default_rng(2)
    sites = np.stack(np.meshgrid(*[np.arange(n) for n in (5, 6, 10)], indexing="ij"), -1)
    positions = 3.0 * sites.reshape(-1, 3) + rng.uniform(-0.3, 0.3, (300, 3))
    cell, pbc = np.diag([15.0, 18.0, 30.0]), np.array([True] * 3)
    structure = Structure(np.full(300, 18), positions, cell, pbc)
    energies, spreads = [], []
    for dtype in (torch.float32, torch.float64):
        file = made(models.pair_ensemble, dtype=dtype, baseline=-25.0)
        found = Evaluator(Metatomic(file)).evaluate_structures([structure])
        energies.append(found.energies[0])
        spreads.append(found.member_energies[:, 0].std(ddof=1))
    assert energies[1] < -1.3e5
    assert abs(energies[0] - energies[1]) < 1e-3
    assert spreads[0] == pytest.approx(spreads[1], rel=1e-3)
    assert spreads[1] > 1.0


def test_lists_may_reach_further(made) -> None:
    """A committee attaches one list for all its members: each cuts it at its own cutoff."""
    for name in ("pair", "many-body"):
        potential = Metatomic(made(name))
        batch = Batch.from_structures(structures_for(potential))
        wanted = Wanted()
        want = potential.compute(NeighbourLists(potential.cutoff).attach(batch), wanted)
        got = potential.compute(NeighbourLists(potential.cutoff + 1.3).attach(batch), wanted)
        torch.testing.assert_close(got.energies, want.energies, rtol=1e-12, atol=0.0)
        torch.testing.assert_close(got.virials, want.virials, rtol=1e-10, atol=1e-12)


def test_half_lists(made) -> None:
    """A half list and its mirror image are the full list, own images included."""
    potential = Metatomic(made("many-body"))
    batch = NeighbourLists(5.0).attach(Batch.from_structures(structures_for(potential)))
    assert batch.pairs is not None
    assert batch.shifts is not None
    vectors = batch.pair_vectors()
    half, full = (
        select_pairs(batch, vectors, ListOptions(5.0, full, None)) for full in (False, True)
    )

    def rows(indices: torch.Tensor, sign: int) -> set[tuple[float, ...]]:
        i, j = batch.pairs[:, indices].tolist()[::sign]
        shifts = sign * batch.shifts[indices]
        return set(zip(i, j, *shifts.T.tolist(), strict=True))

    there, back = rows(half, 1), rows(half, -1)
    assert len(there) == len(half) == len(full) // 2
    assert not there & back
    assert there | back == rows(full, 1)
    assert any(i == j for i, j, *_ in there)
    owner = batch.structure_index[batch.pairs[0, full]]
    assert bool((owner.diff() >= 0).all())


def test_spec_may_be_the_file(made) -> None:
    file = made("many-body")
    spec = parse_spec(str(file))
    assert spec.potential == "metatomic"
    assert isinstance(make_potential(spec), Metatomic)


def test_charge_and_spin(made) -> None:
    """E = (charge + 10 spin multiplicity) sum |x - mean|², as the model has it."""
    file = made(models.charged)
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    structure = Structure(np.array([1, 8, 1]), positions)
    spread = ((positions - positions.mean(0)) ** 2).sum()
    for charge, spin, consistent in ((0, 1, False), (-1, 3, True)):
        potential = Metatomic(
            file, charge=charge, spin_multiplicity=spin, check_consistency=consistent
        )
        energy = Evaluator(potential).evaluate_structures([structure]).energies[0]
        assert energy == pytest.approx((charge + 10 * spin) * spread, rel=1e-12)


def test_direct_forces(made) -> None:
    """Predicted forces and stress, without the mean force, and with a loud note."""
    file = made("pair in bohr and kcal/mol")
    with pytest.warns(PimdNotice, match="NON-CONSERVATIVE.*Never use it for free energies"):
        direct = Metatomic(file, non_conservative=True)
    usual = Metatomic(file)
    structures = structures_for(usual)
    names = ("non_conservative_force", "non_conservative_stress")
    want = Evaluator(usual).evaluate_structures(structures, Wanted(properties=names))
    got = Evaluator(direct).evaluate_structures(structures)
    np.testing.assert_allclose(got.energies, want.energies, rtol=1e-12)
    start = 0
    for k, one in enumerate(structures):
        raw = want.properties[names[0]][start : start + len(one)]
        assert np.abs(raw.mean(0)).max() > 1e-3
        own = got.forces[start : start + len(one)]
        np.testing.assert_allclose(own, raw - raw.mean(0), atol=1e-12)
        volume = abs(np.linalg.det(one.cell)) if one.pbc.all() else 0.0
        stress = want.properties[names[1]][k]
        np.testing.assert_allclose(got.virials[k], -volume * stress, atol=1e-12)
        start += len(one)
    assert np.abs(got.forces - want.forces).max() > 0.01
    with pytest.raises(PotentialError, match="leave out non_conservative"):
        Evaluator(direct).evaluate_structures(structures, Wanted(member_forces=True))


def test_direct_forces_without_a_stress(made) -> None:
    with pytest.raises(PotentialError, match="predicts no forces directly"):
        Metatomic(made(models.pair_ensemble, direct="no"), non_conservative=True)
    with pytest.raises(PotentialError, match="for the variant scaled"):
        Metatomic(made("pair"), non_conservative=True, non_conservative_variant="scaled")
    with pytest.warns(PimdNotice, match="no stress: virials are zero"):
        potential = Metatomic(made(models.pair_ensemble, direct="force"), non_conservative=True)
    assert not potential.gives_virials
    found = Evaluator(potential).evaluate_structures(structures_for(potential))
    assert not found.virials.any()
    assert found.forces.any()


def test_unknown_elements(made) -> None:
    potential = Metatomic(made("many-body"))
    gold = Structure(np.array([79, 18]), np.array([[0, 0, 0], [0, 0, 3.0]]))
    with pytest.raises(PotentialError, match="knows H, O, Ar; got Au"):
        Evaluator(potential).evaluate_structures([gold])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float32"}, "computes in float64.*got dtype: float32. Leave dtype out"),
        ({"dtype": "half"}, "dtype is one of"),
        ({"variant": "pbe"}, "does not give energy/pbe; its energies: energy; choose one"),
        ({"ensemble": True}, "has no ensemble"),
        ({"ensemble": "maybe"}, "ensemble is auto, true or false; got 'maybe'"),
        ({"extensions": "nowhere"}, "extensions: there is no folder nowhere"),
        ({"device": "tpu"}, "device 'tpu' is no device"),
        ({"device": "meta"}, "runs on cpu, cuda, not on meta"),
    ],
)
def test_wrong_options(made, options: dict, message: str) -> None:
    with pytest.raises(PotentialError, match=message):
        Metatomic(made("many-body"), **options)


def test_dtype_may_be_said(made) -> None:
    assert Metatomic(made("pair fp32"), dtype="float32").precision == torch.float32


def test_files_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(PotentialError, match="there is no metatomic model file"):
        Metatomic(tmp_path / "nowhere.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(PotentialError, match=r"text\.pt is no metatomic model"):
        Metatomic(tmp_path / "text.pt")
    torch.save({"weights": torch.zeros(2)}, tmp_path / "weights.pt")
    with pytest.raises(PotentialError, match=r"weights\.pt is no metatomic model"):
        Metatomic(tmp_path / "weights.pt")


def test_missing_extension(tmp_path: Path) -> None:
    """A model made with an operator that is not there any more."""
    with models.with_operator(tmp_path / "special.pt") as file:
        assert Metatomic(file).cutoff == 0.0
    with pytest.raises(PotentialError, match="needs compiled extensions that are not installed"):
        Metatomic(file)
    with pytest.raises(PotentialError, match=f"extensions that are not in {tmp_path}"):
        Metatomic(file, extensions=tmp_path)


def test_missing_library(made, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made("pair")
    monkeypatch.setitem(sys.modules, "metatomic", None)
    monkeypatch.setitem(sys.modules, "metatomic.torch", None)
    with pytest.raises(PotentialError, match=r"pip install 'pimd\[metatomic\]'"):
        Metatomic(file)


def test_inputs_nobody_gives(tmp_path: Path) -> None:
    with pytest.raises(PotentialError, match="asks for 'momentum' of each atom"):
        Metatomic(models.charged(tmp_path / "momentum.pt", "momentum"))


def test_leaves_torch_as_found(made) -> None:
    before = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    potential = Metatomic(made("pair fp32"))
    Evaluator(potential).evaluate_structures(structures_for(potential))
    assert (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()) == before
