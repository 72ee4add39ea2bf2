"""DeePMD networks frozen as users freeze them, against DeePMD-kit's own calculator."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deepmd_models import APARAM, BIASES, COMPARED, FPARAM, MODELS, make
from nequip_models import structures

from pimd.notices import PimdNotice
from pimd.potentials import deepmd_file
from pimd.potentials.base import Batch, Prediction, Wanted
from pimd.potentials.deepmd import DeePMD
from pimd.potentials.neighbours import NeighbourLists
from pimd.structure import PotentialError, Structure
from pimd.testing import check_potential

pytestmark = pytest.mark.skipif(  # looked for, not imported: it changes how processes start
    importlib.util.find_spec("deepmd") is None, reason="could not find deepmd"
)

Made = tuple[Path, dict[str, dict[str, np.ndarray]]]
OPTIONS: dict[str, dict[str, Any]] = {
    "parameters": {"fparam": list(FPARAM), "aparam": APARAM, "types": {"O": "O_w", "H": "H_w"}}
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("deepmd")
    return folder, make(folder)


def load(made: Made, name: str) -> DeePMD:
    return DeePMD(made[0] / f"{name}.pth", **OPTIONS.get(name, {}))


def evaluate(potential: DeePMD, given: list[Structure]) -> Prediction:
    lists = NeighbourLists(potential.cutoff, threads=1)
    return potential.compute(lists.attach(Batch.from_structures(given)), Wanted())


def symmetric(virials: np.ndarray) -> np.ndarray:
    """(DeePMD gives sum_a x_a (outer) F_a, which rounding in float32 leaves asymmetric.)"""
    return 0.5 * (virials + virials.transpose(0, 2, 1))


@pytest.mark.parametrize("name", COMPARED)
def test_agrees_with_the_library(made: Made, name: str) -> None:
    potential, want = load(made, name), made[1][name]
    in_single = MODELS[name].get("precision") == "float32"
    assert (potential.precision == torch.float32) == in_single
    if name == "few":
        with pytest.warns(PimdNotice, match=r"O: \d+ where 6 are kept; H: \d+ where 14 are kept"):
            found = evaluate(potential, structures())
    else:
        found = evaluate(potential, structures())
    sizes = np.array([len(one) for one in structures()])
    per_atom, tolerance = (1e-4, 1e-6) if in_single else (1e-6, 1e-10)
    assert np.abs(want["forces"]).max() > 0.05
    assert (np.abs(found.energies.numpy() - want["energies"]) / sizes).max() < per_atom
    np.testing.assert_allclose(found.forces, want["forces"], rtol=0, atol=tolerance)
    virials = symmetric(want["virials"])
    np.testing.assert_allclose(found.virials, virials, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["se_e2_a", "dpa1", "dpa3"])
def test_contract(made: Made, name: str) -> None:
    """DPA-3 passes messages; the second is in float32."""
    given = structures()[:4] if name != "dpa3" else structures()[1:3]  # it takes longest
    print(check_potential(load(made, name), given))


def test_biases_within_a_network_in_single_precision(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken out and added in fp64: what the network says without them, to its own precision."""
    found = evaluate(load(made, "biased"), structures())
    bare = evaluate(load(made, "unbiased"), structures())
    counts = [[int((one.numbers == z).sum()) for z in (8, 1)] for one in structures()]
    baseline = np.array(counts) @ np.array(BIASES)
    np.testing.assert_allclose(found.energies - bare.energies, baseline, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.forces, bare.forces, rtol=0, atol=1e-12)
    monkeypatch.setattr(deepmd_file, "_take_biases", lambda module, names: None)
    rounded = evaluate(load(made, "biased"), structures())
    error = float((rounded.energies - found.energies).abs().max())
    assert 1e-5 < error < 1e-3  # eV: half a unit in the last place of 2000 eV in fp32 is 6e-5


@pytest.mark.parametrize("name", ["se_e2_a", "dpa3"])
def test_few_atoms(made: Made, name: str) -> None:
    potential = load(made, name)
    lone = [Structure([z], [[1.0, 2.0, 3.0]]) for z in (1, 8)]
    whole = evaluate(potential, [*structures()[:3], *lone])
    alone = [evaluate(potential, [one]) for one in lone]
    for one, energy in zip(alone, whole.energies[3:], strict=True):
        assert float(one.energies) == pytest.approx(float(energy), abs=1e-9)
        assert not one.forces.any()
        assert not one.virials.any()


@pytest.mark.parametrize(
    ("name", "message"), [("dipole", "gives dipole and no energy"), ("spin", "takes spins")]
)
def test_models_of_something_else(made: Made, name: str, message: str) -> None:
    with pytest.raises(PotentialError, match=message):
        load(made, name)


def test_unknown_element_and_parameters(made: Made) -> None:
    with pytest.raises(PotentialError, match="knows O, H; got C"):
        evaluate(load(made, "se_e2_a"), [Structure([6, 1], [[0, 0, 0], [1.1, 0, 0]])])
    with pytest.raises(PotentialError, match="takes 2 parameters of each structure"):
        DeePMD(made[0] / "parameters.pth", types={"O": "O_w", "H": "H_w"})
