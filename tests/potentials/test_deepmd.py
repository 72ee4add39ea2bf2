"""The adapter to frozen DeePMD models, on a pair potential with their interface; torch alone."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from deepmd_standin import BIASES, CUTOFF, STRENGTHS, Frozen, write
from nequip_models import structures

from pimd.notices import PimdNotice
from pimd.potentials import deepmd_operators
from pimd.potentials.base import Batch, PotentialError, Prediction, Wanted
from pimd.potentials.deepmd import DeePMD
from pimd.potentials.deepmd_frames import atoms_as_frames
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.registry import make_potential
from pimd.structure import Structure
from pimd.testing import check_potential

STANDIN = Path(__file__).with_name("deepmd_standin.py")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("plain") / "pairs.pth")


def attached(potential: DeePMD, given: list[Structure]) -> Batch:
    return NeighbourLists(potential.cutoff, threads=1).attach(Batch.from_structures(given))


def evaluate(potential: DeePMD, given: list[Structure]) -> Prediction:
    return potential.compute(attached(potential, given), Wanted())


def same(got: Prediction, want: Prediction) -> None:
    for name, tolerance in (("energies", 1e-9), ("forces", 1e-12), ("virials", 1e-12)):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=0, atol=tolerance)


def by_loops(structure: Structure, keep: Callable[[list], list] = list) -> float:
    """Energy of the stand-in; `keep` chooses among an atom's (distance, type) neighbours."""
    types = (structure.numbers == 1).astype(int)
    energy = float(np.sum(np.array(BIASES)[types]))
    ranges = [range(-3, 4) if periodic else range(1) for periodic in structure.pbc]
    shifts = [np.array(shift) @ structure.cell for shift in itertools.product(*ranges)]
    for i in range(len(structure)):
        found = []
        for shift, j in itertools.product(shifts, range(len(structure))):
            distance = np.linalg.norm(structure.positions[j] - structure.positions[i] + shift)
            if 0.0 < distance < CUTOFF:
                found.append((distance, types[j]))
        for distance, kind in keep(sorted(found)):
            energy += STRENGTHS[types[i]][kind] * (1.0 - (distance / CUTOFF) ** 2) ** 3
    return energy


def test_energies_are_those_of_plain_loops(plain: Path) -> None:
    potential = DeePMD(plain)
    assert (potential.cutoff, potential.precision) == (CUTOFF, torch.float64)
    found = evaluate(potential, structures())
    expected = [by_loops(one) for one in structures()]
    np.testing.assert_allclose(found.energies, expected, rtol=0, atol=1e-9)


def test_contract(plain: Path, tmp_path: Path) -> None:
    """Each atom a frame, and the batch one frame, for a model that passes messages."""
    batchwise = DeePMD(write(tmp_path / "passes.pth", Frozen(passes=True)))
    print(check_potential(batchwise, structures()[:4]))
    print(check_potential(make_potential(str(plain)), structures()[:4], reference=batchwise))


def test_memory_grows_with_the_batch_not_with_its_square(plain: Path) -> None:
    """Models that tell types apart have tables of (frames, local atoms, all atoms)."""
    potential = DeePMD(plain)
    sizes = []
    for n in (1, 4):
        batch = attached(potential, [structures()[0]] * n)
        types, width = torch.zeros_like(batch.numbers), sum(potential.model.sel)
        frames = atoms_as_frames(types, batch.pairs, batch.pair_vectors(), width)
        n_frames, n_local, _ = frames.neighbours.shape
        sizes.append(n_frames * n_local * frames.types.shape[1])
    assert sizes[1] == 4 * sizes[0]


@pytest.mark.parametrize("passes", [False, True])
def test_few_atoms(tmp_path: Path, passes: bool) -> None:
    """A lone atom, two apart, one structure: as in a batch with others."""
    potential = DeePMD(write(tmp_path / "few.pth", Frozen(passes=passes)))
    lone, apart = structures()[-1], Structure([8, 1], [[0, 0, 0], [9.0, 0, 0]])
    whole = evaluate(potential, [*structures()[:3], lone, apart])
    for k, given in ((3, lone), (4, apart), (2, structures()[2])):
        alone = evaluate(potential, [given])
        assert alone.energies[0] == pytest.approx(float(whole.energies[k]), abs=1e-10)
        np.testing.assert_allclose(alone.virials[0], whole.virials[k], rtol=0, atol=1e-13)
    assert not evaluate(potential, [lone]).forces.any()
    assert float(evaluate(potential, [apart]).energies) == sum(BIASES)


def test_nearest_neighbours_are_kept(tmp_path: Path) -> None:
    """With room for 20, the 20 nearest whatever their type; said once, with numbers."""
    file = write(tmp_path / "few.pth", Frozen(sel=(20,), mixed=True))
    potential = DeePMD(file)
    given = structures()[:3]
    most = int(torch.bincount(attached(potential, given).pairs[0]).max())
    message = rf"few.pth ignores the farthest .* of 4 Å \(all types: {most} where 20 are kept\)"
    with pytest.warns(PimdNotice, match=message) as said:
        found = evaluate(potential, given)
    assert len(said) == 1
    expected = [by_loops(one, lambda near: near[:20]) for one in given]
    np.testing.assert_allclose(found.energies, expected, rtol=0, atol=1e-9)
    cut = [by_loops(one) - kept for one, kept in zip(given, expected, strict=True)]
    assert max(map(abs, cut)) > 1e-4
    evaluate(potential, given)  # warnings are errors here


def test_notice_by_type(tmp_path: Path) -> None:
    enough = DeePMD(write(tmp_path / "enough.pth"))
    batch = attached(enough, structures()[:2])
    i, j = batch.pairs
    most = int(torch.bincount(i[batch.numbers[j] == 1]).max())
    few = DeePMD(write(tmp_path / "few.pth", Frozen(sel=(60, most - 1))))
    with pytest.warns(PimdNotice, match=rf"\(H: {most} where {most - 1} are kept\)"):
        few.compute(batch, Wanted())
    enough = DeePMD(write(tmp_path / "enough.pth", Frozen(sel=(60, most))))
    enough.compute(batch, Wanted())


@pytest.mark.parametrize("passes", [False, True])
def test_parameters(plain: Path, tmp_path: Path, passes: bool) -> None:
    """f = (0.5, -2) of each structure and a = (0.1, 0.2, 0.3) of each atom."""
    file = write(tmp_path / "asks.pth", Frozen(n_fparam=2, n_aparam=3, passes=passes))
    text = f"deepmd, model: {file}, fparam: [0.5; -2], aparam: [0.1; 0.2; 0.3]"
    found = evaluate(make_potential(text), structures())
    shift = (0.5 - 2.0 * 2.0) + (0.1 + 0.2 * 2.0 + 0.3 * 3.0)
    sizes = torch.tensor([len(one) for one in structures()], dtype=torch.float64)
    want = evaluate(DeePMD(plain), structures())
    want.energies += shift * sizes
    same(found, want)
    for options, message in (
        ({"aparam": [1, 2, 3]}, r"takes 2 parameters of each structure, fparam: \[a; b\]; got 0"),
        ({"fparam": [1, 2]}, r"takes 3 parameters of each atom, aparam: \[a; b; c\]; got 0"),
        ({"fparam": 1.0, "aparam": [1, 2, 3]}, "takes 2 parameters .* got 1"),
        ({"fparam": ["x", 1], "aparam": [1, 2, 3]}, "fparam is a finite number, got 'x'"),
    ):
        with pytest.raises(PotentialError, match=message):
            DeePMD(file, **options)
    with pytest.raises(PotentialError, match="takes no parameters of each structure"):
        DeePMD(plain, fparam=300.0)
    lenient = write(tmp_path / "lenient.pth", Frozen(n_fparam=1, default_fparam=True))
    default = evaluate(DeePMD(lenient), structures())
    same(default, evaluate(DeePMD(plain), structures()))
    hot = evaluate(DeePMD(lenient, fparam=2.0), structures())
    np.testing.assert_allclose(hot.energies - default.energies, 2.0 * sizes, atol=1e-9)


def test_species(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(PotentialError, match=r"pairs.pth knows O, H; got C"):
        evaluate(DeePMD(plain), [Structure([6, 1], [[0, 0, 0], [1.1, 0, 0]])])
    named = write(tmp_path / "named.pth", Frozen(types=("O_w", "H_w")))
    with pytest.raises(PotentialError, match="types that are no elements: O_w, H_w"):
        DeePMD(named)
    potential = make_potential(f"deepmd, model: {named}, types: (H: H_w; O: O_w)")
    same(evaluate(potential, structures()), evaluate(DeePMD(plain), structures()))


def test_operators_of_the_library(plain: Path, tmp_path: Path) -> None:
    """Models mention them without calling them; in processes of their own, to begin without."""
    mentions, calls = tmp_path / "mentions.pth", tmp_path / "calls.pth"
    code = (
        "import sys, torch; from pimd.potentials.deepmd import DeePMD; "
        "from pimd.structure import PotentialError\n"
        "assert not hasattr(torch.ops.deepmd, 'border_op')\n"
        "print(DeePMD(sys.argv[1]).model.type_names)\n"
        "try: DeePMD(sys.argv[2])\n"
        "except PotentialError as error: print(error)\n"
        "assert not any(name.split('.')[0] == 'deepmd' for name in sys.modules)\n"
    )
    for arguments in ([STANDIN, mentions], [STANDIN, calls, "call"]):
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, timeout=90)
    done = subprocess.run(
        [sys.executable, "-c", code, mentions, calls], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "('O', 'H')"
    assert "calls.pth was compressed and calls deepmd::tabulate_fusion_se_a" in lines[1]
    assert "before `dp compress`" in lines[1]


def test_library_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = deepmd_operators.importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'pimd[deepmd]'" in deepmd_operators.why_not_loaded()
    package = tmp_path / "deepmd"
    (package / "lib").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", find)
    assert "no compiled library in" in deepmd_operators.why_not_loaded()
    (package / "lib" / "libdeepmd_op_pt.so").write_text("no library")
    config = package / "lib" / "run_config.ini"
    config.write_text("[CONFIG]\nPT_VERSIOn = 1.0.0\n")
    assert f"built for torch 1.0.0, this is torch {torch.__version__}" in (
        deepmd_operators.why_not_loaded()
    )
    config.write_text(f"[CONFIG]\nPT_VERSION = {torch.__version__.partition('+')[0]}\n")
    assert "libdeepmd_op_pt.so cannot be loaded" in deepmd_operators.why_not_loaded()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.pt", r"a checkpoint; freeze it: `dp --pt freeze -c model.pt -o MODEL.pth`"),
        ("graph.pb", "TensorFlow backend; convert it: `dp convert-backend graph.pb MODEL.pth`"),
        ("any.dp", "`dp convert-backend any.dp MODEL.pth`"),
        ("dpa4.pt2", "exported program, not TorchScript"),
        ("text.pth", r"is no frozen DeePMD model that torch [\d.+a-z]+ can load"),
    ],
)
def test_other_files(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_text("something else")
    with pytest.raises(PotentialError, match=message):
        DeePMD(tmp_path / name)


def test_models_of_something_else(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(PotentialError, match="there is no DeePMD model file"):
        DeePMD(tmp_path / "missing.pth")
    for settings, message in (
        ({"outputs": ("dipole", "mask")}, "gives dipole and no energy"),
        ({"spin": True}, "takes spins, which i-PI does not send"),
    ):
        with pytest.raises(PotentialError, match=message):
            DeePMD(write(tmp_path / "other.pth", Frozen(**settings)))
    with pytest.raises(PotentialError, match="carries a modifier of its data"):
        DeePMD(write(tmp_path / "modified.pth", modifier="a module"))
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(tmp_path / "linear.pth"))
    with pytest.raises(PotentialError, match="is TorchScript, but no model frozen by DeePMD-kit"):
        DeePMD(tmp_path / "linear.pth")
    with pytest.raises(PotentialError, match="computes in float64, which is fixed"):
        DeePMD(plain, dtype="float32")


def test_nothing_global_is_changed(plain: Path) -> None:
    before = (torch.get_default_dtype(), torch.is_grad_enabled())
    optimize = torch._C._get_graph_executor_optimize()
    with torch.no_grad():
        evaluate(DeePMD(plain), structures())
    assert before == (torch.get_default_dtype(), torch.is_grad_enabled())
    assert optimize == torch._C._get_graph_executor_optimize()
