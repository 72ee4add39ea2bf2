"""The adapter to compiled NequIP models, on a pair potential with their interface; torch alone."""

from __future__ import annotations

import importlib.util
import itertools
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from nequip_models import structures
from nequip_standin import (
    CUTOFF,
    INPUTS,
    SHIFTS,
    STRENGTHS,
    OneStructure,
    write_archive,
    write_torchscript,
)

from pimd.notices import PimdNotice
from pimd.potentials.base import Batch, PotentialError, Prediction, Wanted
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.nequip import NequIP, cells_with_volume
from pimd.potentials.registry import make_potential
from pimd.structure import Structure
from pimd.testing import check_potential

STANDIN = Path(__file__).with_name("nequip_standin.py")
COMPILE = "nequip-compile MODEL.nequip.zip"


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_torchscript(tmp_path_factory.mktemp("script") / "pairs.nequip.pth")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("nequip") is not None:
        pytest.skip("where nequip is installed, networks of its own are compiled instead")
    if shutil.which("g++") is None:
        pytest.skip("torch compiles with a C++ compiler, and there is none")
    file = tmp_path_factory.mktemp("compiled") / "pairs.nequip.pt2"
    subprocess.run([sys.executable, STANDIN, file], check=True, capture_output=True, timeout=300)
    return file


def attached(potential: NequIP, given: list[Structure]) -> Batch:
    return NeighbourLists(potential.cutoff, threads=1).attach(Batch.from_structures(given))


def evaluate(potential: NequIP, given: list[Structure]) -> Prediction:
    return potential.compute(attached(potential, given), Wanted())


def by_loops(structure: Structure, cutoffs: np.ndarray | None = None) -> float:
    """Energy of the stand-in; `cutoffs` (Å, [type, type]) where pairs are cut and u = 1."""
    types = (structure.numbers == 8).astype(int)
    energy = float(np.sum(np.array(SHIFTS)[types]))
    ranges = [range(-3, 4) if periodic else range(1) for periodic in structure.pbc]
    for shift in itertools.product(*ranges):
        for i, j in itertools.product(range(len(structure)), repeat=2):
            vector = structure.positions[j] - structure.positions[i] + shift @ structure.cell
            squared = float(vector @ vector)
            if squared == 0.0 or squared >= CUTOFF**2:
                continue
            strength = STRENGTHS[types[i]][types[j]]
            if cutoffs is None:
                energy += strength * (1.0 - squared / CUTOFF**2) ** 3
            elif squared <= cutoffs[types[i], types[j]] ** 2:
                energy += strength
    return energy


def same(got: Prediction, want: Prediction) -> None:
    for name, tolerance in (("energies", 1e-9), ("forces", 1e-12), ("virials", 1e-12)):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=0, atol=tolerance)


def test_energies_are_those_of_plain_loops(script: Path) -> None:
    potential = NequIP(script)
    assert (potential.cutoff, potential.precision) == (CUTOFF, torch.float64)
    found = evaluate(potential, structures())
    expected = [by_loops(one) for one in structures()]
    np.testing.assert_allclose(found.energies, expected, rtol=0, atol=1e-9)


def test_contract_of_torchscript(script: Path) -> None:
    print(check_potential(NequIP(script), structures()[:4]))


def test_compiled_code(compiled: Path, script: Path) -> None:
    """The contract, and the numbers of the same model in TorchScript."""
    potential = NequIP(compiled)
    print(check_potential(potential, structures()[:4], reference=NequIP(script)))
    for given in (structures(), structures()[-1:], structures()[2:3]):
        same(evaluate(potential, given), evaluate(NequIP(script), given))


@pytest.mark.parametrize("n_atoms", [1, 2, 6])
@pytest.mark.parametrize("n_structures", [1, 2])
def test_code_for_batches_gets_no_less_than_two_of_each(
    script: Path, n_atoms: int, n_structures: int
) -> None:
    """Structures, atoms and pairs; in memory as compiled code reads them."""
    potential = NequIP(script)
    call, seen = potential.model.call, []

    def strict(data):
        seen.append((len(data["num_atoms"]), len(data["pos"]), data["edge_index"].shape[1]))
        for name in INPUTS:
            assert data[name].is_contiguous(), name
            assert data[name].data_ptr() % 16 == 0, name
        assert int(data["num_atoms"].sum()) == len(data["pos"]) == len(data["batch"])
        assert torch.equal(torch.bincount(data["batch"]), data["num_atoms"])
        return call(data)

    potential.model = replace(potential.model, call=strict)
    water = structures()[2]
    few = Structure(water.numbers[:n_atoms], water.positions[:n_atoms])
    found = evaluate(potential, [few] * n_structures)
    assert min(seen[-1]) >= 2
    np.testing.assert_allclose(found.energies, [by_loops(few)] * n_structures, atol=1e-9)
    assert found.forces.shape == (n_atoms * n_structures, 3)
    assert found.virials.shape == (n_structures, 3, 3)
    if n_atoms == 1:
        assert not found.forces.any()
        assert not found.virials.any()
    # (a batch cut out of another begins anywhere in memory)
    batch = attached(potential, [structures()[-1], few, few])
    same(potential.compute(batch.slice(1, 1 + n_structures), Wanted()), found)


def test_cells_without_volume() -> None:
    given = [*structures(), Structure([1], np.zeros((1, 3)), np.diag([3.0, 0.0, 4.0]),
                                      np.array([True, False, False]))]  # fmt: skip
    batch = Batch.from_structures(given)
    cells = cells_with_volume(batch)
    assert torch.equal(cells[batch.pbc], batch.cells[batch.pbc])
    for cell, pbc in zip(cells, batch.pbc, strict=True):
        new, old = cell[~pbc], cell[pbc]
        torch.testing.assert_close(new @ new.T, torch.eye(len(new), dtype=cell.dtype))
        torch.testing.assert_close(old @ new.T, torch.zeros(len(old), len(new), dtype=cell.dtype))
    assert torch.linalg.det(cells).abs().min() > 0.1


def test_virial_does_not_depend_on_the_box_of_what_is_not_periodic(script: Path) -> None:
    slab = structures()[3]
    assert slab.pbc.tolist() == [True, True, False]
    flat = Structure(slab.numbers, slab.positions, slab.cell * [[1], [1], [0]], slab.pbc)
    potential = NequIP(script)
    same(evaluate(potential, [flat]), evaluate(potential, [slab]))


@pytest.mark.parametrize(
    "outputs", [("atomic_energy", "total_energy", "forces", "stress"),
                ("atomic_energy", "forces", "virial")]
)  # fmt: skip
def test_model_for_one_structure(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outputs: tuple[str, ...]
) -> None:
    """One by one, the same numbers, and a word about it, once."""
    one = OneStructure(outputs)
    monkeypatch.setattr("torch._inductor.aoti_load_package", lambda file, device_index: one)
    file = write_archive(
        tmp_path / "one.nequip.pt2",
        nequip_aoti_inputs=" ".join(INPUTS[:5]), nequip_aoti_outputs=" ".join(outputs),
    )  # fmt: skip
    potential = NequIP(file)
    with pytest.warns(PimdNotice, match="nequip-compile .* --target batch") as said:
        found = evaluate(potential, structures())
    same(found, evaluate(NequIP(script), structures()))
    assert len(said) == 1
    assert len(one.calls) == len(structures())
    assert min(itertools.chain(*one.calls)) >= 2
    assert evaluate(potential, structures()).forces is not None  # warnings are errors here
    wanted = Wanted(forces=False, virials=False)
    energies_only = potential.compute(attached(potential, structures()), wanted)
    assert (energies_only.forces, energies_only.virials) == (None, None)
    print(check_potential(potential, structures()[:4]))


def test_cutoffs_of_pairs_of_types(tmp_path: Path) -> None:
    """Pairs are cut before the model sees them; here it would count every one it sees."""
    cutoffs = np.array([[2.0, 2.7], [3.4, 3.9]])
    file = write_torchscript(
        tmp_path / "edges.nequip.pth", cutoff=1e9, per_edge_type_cutoff="2.0 2.7 3.4 3.9"
    )
    found = evaluate(NequIP(file), structures())
    expected = [by_loops(one, cutoffs) for one in structures()]
    np.testing.assert_allclose(found.energies, expected, rtol=0, atol=1e-9)


def test_types_with_names_of_their_own(script: Path, tmp_path: Path) -> None:
    file = write_torchscript(tmp_path / "named.nequip.pth", type_names="H_w 8")
    unnamed = r"types that are no elements: H_w, 8.*types: \(H: H_w\)"
    with pytest.raises(PotentialError, match=unnamed):
        NequIP(file)
    potential = make_potential(f"nequip, model: {file}, types: (H: H_w; O: 8)")
    same(evaluate(potential, structures()), evaluate(NequIP(script), structures()))
    deuterated = NequIP(file, types={"H": "H_w", "O": "8", "He": "H_w"})
    water = structures()[2]
    helium = replace(water, numbers=np.where(water.numbers == 1, 2, 8))
    same(evaluate(deuterated, [helium]), evaluate(NequIP(script), [water]))
    with pytest.raises(PotentialError, match="knows H, O; got He"):
        evaluate(potential, [helium])
    for types, message in (
        ({"H": "X"}, "no type X for H; its types: H_w, 8"),
        ({"Xx": "H_w"}, "Xx is none"),
        ("H_w", "types is a mapping"),
    ):
        with pytest.raises(PotentialError, match=message):
            NequIP(file, types=types)


def test_unknown_element(script: Path) -> None:
    potential = make_potential(str(script))  # by the ending of its name
    assert isinstance(potential, NequIP)
    with pytest.raises(PotentialError, match=r"pairs.nequip.pth knows H, O; got C: use a model"):
        evaluate(potential, [Structure([6, 1], [[0, 0, 0], [1.1, 0, 0]])])


def test_nothing_global_is_changed(script: Path) -> None:
    before = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())
    optimize = torch._C._get_graph_executor_optimize()
    with torch.no_grad():
        evaluate(NequIP(script), structures())
    assert optimize == torch._C._get_graph_executor_optimize()
    assert before == (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"AOTI_DEVICE_KEY": "cuda"}, f"compiled for cuda, but .*{COMPILE}.* cpu "),
        ({"AOTI_PLATFORM": "amiga"}, f"compiled for amiga, this is {sys.platform}; .*{COMPILE}"),
        ({"AOTI_MACHINE": "abacus"}, "compiled for abacus, this is "),
        ({"AOTI_CPU_ISA": "AVX512 AMX_TILE"}, f"with AMX_TILE, which this one .*{COMPILE}"),
        ({"nequip_aoti_inputs": ""}, f"NequIP 0.17 or later; .*{COMPILE}"),
        ({"nequip_aoti_inputs": "pos charge spin"}, "wants charge, spin beside"),
        ({"nequip_aoti_outputs": "total_energy"}, "without atomic_energy, forces, stress"),
        ({"AOTI_CPU_ISA": "AVX512"}, rf"torch {torch.__version__.split('+')[0]}.* cannot load .*"
         f"{COMPILE}"),
    ],
)  # fmt: skip
def test_files_that_cannot_run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: dict[str, str], message: str
) -> None:
    """The last has no code in it, as if made by another torch."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: True)
    file = write_archive(tmp_path / "other.nequip.pt2", **metadata)
    with pytest.raises(PotentialError, match=message):
        NequIP(file)


def test_device_is_that_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    file = write_archive(tmp_path / "cpu.nequip.pt2")
    with pytest.raises(PotentialError, match=rf"compiled for cpu, not for cuda; .*{COMPILE}"):
        NequIP(file, device="cuda")


def test_libraries_of_kernels(tmp_path: Path) -> None:
    file = write_archive(tmp_path / "kernels.nequip.pt2")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("nequip_custom_ops_libs.txt", "no_such_library_of_kernels")
    with pytest.raises(PotentialError, match="kernels of no_such_library_of_kernels, which"):
        NequIP(file)


def test_other_files(script: Path, tmp_path: Path) -> None:
    with pytest.raises(PotentialError, match="there is no NequIP model file"):
        NequIP(tmp_path / "missing.nequip.pt2")
    (tmp_path / "text.nequip.pt2").write_text("no archive")
    (tmp_path / "text.nequip.pth").write_text("no module")
    (tmp_path / "model.nequip.zip").write_text("a package")
    for name, message in (
        ("text.nequip.pt2", "no .pt2 archive"),
        ("text.nequip.pth", "no TorchScript model"),
        ("model.nequip.zip", f"no compiled NequIP model .*{COMPILE}"),
    ):
        with pytest.raises(PotentialError, match=message):
            NequIP(tmp_path / name)
    bare = write_torchscript(tmp_path / "bare.nequip.pth", type_names="", r_max="")
    with pytest.raises(PotentialError, match="names no types and no cutoff"):
        NequIP(bare)
    with pytest.raises(PotentialError, match="computes in float64, which is fixed"):
        NequIP(script, dtype="float32")
    assert NequIP(script, dtype="float64").precision == torch.float64
    unsaid = write_torchscript(tmp_path / "unsaid.nequip.pth", model_dtype="")
    assert NequIP(unsaid).precision == torch.float64
    with pytest.raises(PotentialError, match="has no neighbour list"):
        NequIP(script).compute(Batch.from_structures(structures()), Wanted())
